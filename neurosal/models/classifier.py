"""scikit-learn classifiers of windows, around the networks of :mod:`neurosal.models.networks`."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosal.errors import check_number, check_one_of
from neurosal.models.checks import (
    check_classes,
    check_options,
    check_region_names,
    draw_seeds,
    number_weights,
    resolve_device,
)
from neurosal.models.fitting import (
    class_logits,
    history_table,
    train_network,
    warn_interrupted,
    was_interrupted,
)
from neurosal.models.networks import build_network
from neurosal.models.recurrent import CELLS
from neurosal.models.samples import WindowDataset, as_tensors, split_dataset
from neurosal.models.scopes import seeded
from neurosal.models.storage import load_classifier, save_classifier
from neurosal.models.training import PresetTuning, Training, resolve_training

__all__ = ["InputCellClassifier", "NetworkClassifier", "as_tensors"]


class NetworkClassifier(PresetTuning, ClassifierMixin, BaseEstimator):
    """Any network as a scikit-learn classifier of windows (sample, time, region).

    Parameters
    ----------
    network : str or torch.nn.Module
        A key of :data:`~neurosal.models.networks.NETWORKS`, or a module called with ``x``
        (batch, time, region) and, for padded windows, ``lengths`` (batch,), that returns logits.
        Of a module a copy is trained, from its weights as they are.
    hidden_size : int
        Hidden units of a named network.
    network_options : dict, optional
        Further arguments of a named network.
    training : str or Training
        A key of :data:`~neurosal.models.training.PRESETS` or the settings; those, also a preset's,
        can be tuned as ``training__learning_rate`` and so on.
    n_ensembles : int
        Networks trained from different seeds; their logits are averaged.
    random_state : int, RandomState, Generator or None
        Same seed, same result. Global random states are not touched.
    device : str
        ``'auto'`` (a CUDA device if there is one), ``'cpu'``, ``'cuda:1'``, ...
    verbose : bool
        Whether to show progress: a bar on a terminal, plain lines in a log.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The classes, sorted.
    modules_ : list of torch.nn.Module
        The trained networks, in eval mode, on the device they were trained on.
    history_ : pandas.DataFrame
        Loss and accuracy after every epoch of every network.
    nets_ : list of skorch.NeuralNetClassifier
        The skorch nets around ``modules_``; not there after :meth:`load`.
    n_features_in_ : int
        Number of regions.
    feature_names_in_ : numpy.ndarray
        The regions' names, if fitted on a labelled array.

    See Also
    --------
    InputCellClassifier : the network with input-cell attention, with its options as arguments.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 10)
    >>> X = generator.normal(size=(20, 6, 4)) + (y == "left")[:, None, None]
    >>> classifier = NetworkClassifier("gru", training=Training(max_epochs=5)).fit(X, y)
    >>> classifier.predict_proba(X).shape
    (20, 2)
    """

    def __init__(
        self,
        network: str | nn.Module = "lstm",
        *,
        hidden_size: int = 64,
        network_options: dict | None = None,
        training: str | Training = "standard",
        n_ensembles: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        verbose: bool = False,
    ):
        self.network = network
        self.hidden_size = hidden_size
        self.network_options = network_options
        self.training = training
        self.n_ensembles = n_ensembles
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: object, y: object, *, groups: object = None) -> "NetworkClassifier":
        """Train the networks.

        Parameters
        ----------
        X : array, xarray.DataArray, or list of arrays
            (sample, time, region), or one (time, region) for each sample. Trailing steps that are
            NaN in every region are padding.
        y : array-like
            (sample,) classes.
        groups : array-like, optional
            (sample,) runs or subjects: validation windows come from other groups than training
            windows do. Only used if the training validates.

        Returns
        -------
        NetworkClassifier
            Itself.

        Raises
        ------
        ArgumentError
            If X or y cannot be used, or a setting is out of its range.
        """
        training = resolve_training(self.training)
        device = resolve_device(self.device)
        dtype = torch.float64 if training.precision == "float64" else torch.float32
        x, lengths = as_tensors(X, dtype=dtype)
        names, classes = check_classes(y, len(x), groups)
        check_number("n_ensembles", self.n_ensembles, low=1, whole=True)
        training.class_weight = number_weights(training.class_weight, names)
        data = WindowDataset(x, torch.as_tensor(classes), lengths=lengths)
        seeds = draw_seeds(self.random_state, self.n_ensembles)
        data, valid = split_dataset(
            data, training.validation, groups=groups, seed=seeds[0], classes=names
        )
        for name in ("modules_", "nets_", "history_"):
            vars(self).pop(name, None)
        self.classes_, self.n_features_in_, self.n_steps_in_ = names, x.shape[2], x.shape[1]
        self._note_names(X)
        self._fit_members(data, valid, training, seeds, device)
        return self

    def logits(self, X: object) -> np.ndarray:
        """Return the class scores before the softmax, averaged over the networks.

        Parameters
        ----------
        X : array, xarray.DataArray, or list of arrays
            As in :meth:`fit`.

        Returns
        -------
        numpy.ndarray
            (sample, class), also for two classes.
        """
        check_is_fitted(self, "modules_")
        check_region_names(getattr(self, "feature_names_in_", None), getattr(X, "labelled", X))
        dtype = next(self.modules_[0].parameters()).dtype
        x, lengths = as_tensors(X, dtype=dtype, n_features=self.n_features_in_)
        members = [class_logits(module, x, lengths) for module in self.modules_]
        return np.mean(members, axis=0)

    def decision_function(self, X: object) -> np.ndarray:
        """Return the class scores as scikit-learn's scorers want them.

        Parameters
        ----------
        X : array, xarray.DataArray, or list of arrays
            As in :meth:`fit`.

        Returns
        -------
        numpy.ndarray
            (sample, class) :meth:`logits`; for two classes (sample,) the second's minus the
            first's.
        """
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: object) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array, xarray.DataArray, or list of arrays
            As in :meth:`fit`.

        Returns
        -------
        numpy.ndarray
            (sample, class).
        """
        return torch.from_numpy(self.logits(X)).softmax(dim=1).numpy()

    def predict(self, X: object) -> np.ndarray:
        """Return the most likely classes.

        Parameters
        ----------
        X : array, xarray.DataArray, or list of arrays
            As in :meth:`fit`.

        Returns
        -------
        numpy.ndarray
            (sample,).
        """
        logits = self.logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def save(self, folder: str | Path) -> Path:
        """Write the fitted classifier as safetensors and JSON.

        Parameters
        ----------
        folder : path-like
            Made if need be.

        Returns
        -------
        pathlib.Path
            The folder.
        """
        check_is_fitted(self, "modules_")
        return save_classifier(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        network: nn.Module | None = None,
        device: str | None = None,
    ) -> "NetworkClassifier":
        """Read what :meth:`save` wrote; nothing in the files is executed.

        Parameters
        ----------
        folder : path-like
            The folder.
        network : torch.nn.Module, optional
            A module like the one that was trained, if that was no named network.
        device : str, optional
            Where to load to, if not where the classifier's ``device`` says.

        Returns
        -------
        NetworkClassifier
            Of the class that was saved.

        Raises
        ------
        DataError
            If the folder was not written by :meth:`save` or is damaged.
        """
        return load_classifier(folder, cls, network=network, device=device)

    def build_module(self) -> nn.Module:
        """Build the untrained network for the data that was fitted.

        Returns
        -------
        torch.nn.Module
            A new network.
        """
        if isinstance(self.network, nn.Module):
            return copy.deepcopy(self.network)
        return build_network(
            self.network,
            n_features=self.n_features_in_,
            n_classes=len(self.classes_),
            hidden_size=self.hidden_size,
            n_steps=self.n_steps_in_,
            **check_options(self.network_options),
        )

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def _fit_members(
        self,
        data: WindowDataset,
        valid: WindowDataset | None,
        training: Training,
        seeds: list[int],
        device: str,
    ) -> None:
        """Train one network after the other, until done or interrupted."""
        nets = []
        for number, seed in enumerate(seeds, start=1):
            with seeded(seed):
                module = self.build_module()
            net = train_network(
                module,
                data,
                training,
                valid=valid,
                n_classes=len(self.classes_),
                seed=seed,
                device=device,
                label=f"network {number} of {len(seeds)}" if self.verbose else None,
            )
            nets.append(net)
            if was_interrupted(net):
                warn_interrupted(net)
                break
        self.nets_, self.modules_ = nets, [net.module_ for net in nets]
        tables = [history_table(net, member) for member, net in enumerate(nets)]
        self.history_ = pd.concat(tables, ignore_index=True)

    def _note_names(self, X: object) -> None:
        """Keep the regions' names of a labelled array."""
        vars(self).pop("feature_names_in_", None)
        X = getattr(X, "labelled", X)
        if isinstance(X, xr.DataArray) and "region" in X.coords:
            self.feature_names_in_ = X["region"].to_numpy().astype(str)


class InputCellClassifier(NetworkClassifier):
    """A recurrent network with input-cell attention as a scikit-learn classifier [1]_.

    Parameters
    ----------
    hidden_size : int
        Units of the recurrent layer (in each direction).
    hops : int
        Sets of attention weights.
    attention_size : int, optional
        Units of the attention's hidden layer. Default: 50.
    cell : {'lstm', 'gru', 'rnn'}
        The recurrent cell.
    readout : {'mean', 'flatten'}
        Whether the cell reads the hops' average or all of them.
    positional : bool
        Whether attention can also depend on the step's number.
    bidirectional : bool
        Whether a second cell reads backwards in time.
    read : {'last', 'mean', 'max', 'both-ends'}
        Which states the class scores are read from; ``'both-ends'`` suits ``bidirectional``.
    dropout : float
        Share of input values and of recurrent outputs dropped in training.
    training, n_ensembles, random_state, device, verbose
        As in :class:`NetworkClassifier`.

    Attributes
    ----------
    classes_, modules_, history_, nets_, n_features_in_, feature_names_in_
        As in :class:`NetworkClassifier`.

    References
    ----------
    .. [1] Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent
       Neural Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 10)
    >>> X = generator.normal(size=(20, 6, 4)) + 2 * (y == "left")[:, None, None]
    >>> InputCellClassifier().fit(X, y).predict(X[-2:])
    array(['right', 'right'], dtype='<U5')
    """

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        hops: int = 10,
        attention_size: int | None = None,
        cell: str = "lstm",
        readout: str = "mean",
        positional: bool = False,
        bidirectional: bool = False,
        read: str = "last",
        dropout: float = 0.1,
        training: str | Training = "standard",
        n_ensembles: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        verbose: bool = False,
    ):
        self.hidden_size = hidden_size
        self.hops = hops
        self.attention_size = attention_size
        self.cell = cell
        self.readout = readout
        self.positional = positional
        self.bidirectional = bidirectional
        self.read = read
        self.dropout = dropout
        self.training = training
        self.n_ensembles = n_ensembles
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def build_module(self) -> nn.Module:
        """Build the untrained network for the data that was fitted.

        Returns
        -------
        torch.nn.Module
            A new network.
        """
        return build_network(
            f"input-cell-{check_one_of('cell', self.cell, CELLS)}",
            n_features=self.n_features_in_,
            n_classes=len(self.classes_),
            hidden_size=self.hidden_size,
            n_steps=self.n_steps_in_,
            hops=self.hops,
            attention_size=self.attention_size,
            readout=self.readout,
            positional=self.positional,
            bidirectional=self.bidirectional,
            read=self.read,
            dropout=self.dropout,
        )
