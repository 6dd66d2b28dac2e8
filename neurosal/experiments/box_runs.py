"""One network trained on one box data set, explained by many methods: one row for each."""

import copy
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from neurosal.errors import ArgumentError
from neurosal.experiments.boxes import Samples, make_boxes
from neurosal.experiments.resuming import stop_if_interrupted
from neurosal.experiments.setups import (
    EVIDENCE,
    EVIDENCE_WINDOW,
    LEARNED,
    MOST_SAMPLES,
    NOISE_METHODS,
    PUBLISHED,
    Setup,
    explain_arguments,
)
from neurosal.models.classifier import NetworkClassifier
from neurosal.saliency.explain import explain
from neurosal.validation.localization_metrics import check_maps, min_max, score_maps

SHARES = tuple(f"share_{i}" for i in range(10))
#: The columns of ``boxes.csv``.
COLUMNS = (
    "dataset",
    "network",
    "readout",
    "training",
    "method",
    "accuracy",
    "weighted_jaccard",
    "euclidean",
    "roc_auc",
    "aupr",
    "seed",
    "jaccard_top",
    "slope",
    *SHARES,
    "learned",
    "published_weighted_jaccard",
    "published_euclidean",
    "published_accuracy",
    "train_accuracy",
    "epochs",
    "n_samples",
    "seconds",
    "note",
)
#: What tells rows apart.
KEYS = ("dataset", "network", "readout", "training", "method", "seed")


@dataclass(frozen=True)
class BoxRun:
    """A network to be trained on a data set, and the methods to explain it by.

    Parameters
    ----------
    dataset : str
        A key of :data:`~neurosal.experiments.boxes.DATASETS`.
    setup : Setup
        The network and its training.
    methods : tuple of str
        Methods of the saliency engine.
    seed : int
        Of the data, the weights and the training.
    max_epochs : int, optional
        Fewer epochs than the training has.
    n_train, n_test : int, optional
        Fewer samples than published.

    Examples
    --------
    >>> BoxRun("earlier", Setup("lstm", "published"), ("gradient",), seed=1).name
    'earlier_lstm_-_published_1'
    """

    dataset: str
    setup: Setup
    methods: tuple[str, ...]
    seed: int
    max_epochs: int | None = None
    n_train: int | None = None
    n_test: int | None = None

    @property
    def name(self) -> str:
        """The run's name, fit for a file."""
        own = self.setup
        return f"{self.dataset}_{own.network}_{own.readout}_{own.training}_{self.seed}"

    def row(self, method: str) -> dict:
        """Begin a row of the table.

        Parameters
        ----------
        method : str
            How the network is explained.

        Returns
        -------
        dict
            The columns that tell it from other rows, and the published numbers.
        """
        own = self.setup
        row = {"dataset": self.dataset, "network": own.network, "readout": own.readout}
        row |= {"training": own.training, "method": method, "seed": self.seed}
        if own.training == "published" and method == "gradient":
            row |= PUBLISHED.get((self.dataset, own.network), {})
        return row


def run_boxes(run: BoxRun) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Train a network and score its maps on the test samples.

    Training is in the precision that the training says; maps are made in float64, for those of
    an LSTM fall below the smallest float32. Only methods that average over noise, which cost the
    most, keep the training's precision.

    Parameters
    ----------
    run : BoxRun
        What to do.

    Returns
    -------
    table : pandas.DataFrame
        One row a method, columns :data:`COLUMNS`. A method that this network cannot take has NaN
        for scores and the reason in ``note``.
    maps : dict of str to numpy.ndarray
        Method to the mean over samples of the scaled maps, (time, feature) float32.

    References
    ----------
    Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent Neural
    Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> run = BoxRun("latter", Setup("lstm-mean", "published"), ("gradient",), seed=0,
    ...              max_epochs=1, n_train=50, n_test=4)
    >>> table, maps = run_boxes(run)
    >>> len(table), maps["gradient"].shape
    (1, (100, 100))
    """
    train, test = make_boxes(run.dataset, seed=run.seed, n_train=run.n_train, n_test=run.n_test)
    classifier = run.setup.classifier(
        seed=run.seed, n_train=len(train.x), max_epochs=run.max_epochs
    )
    stop_if_interrupted(classifier.fit(train.x, train.y))
    found = {
        "accuracy": float((classifier.predict(test.x) == test.y).mean()),
        "train_accuracy": float((classifier.predict(train.x) == train.y).mean()),
        "epochs": len(classifier.history_),
    }
    found["learned"] = found["accuracy"] >= LEARNED
    exact = in_float64(classifier)
    rows, maps, known = [], {}, {}
    for method in run.methods:
        model = classifier if method in (*NOISE_METHODS, EVIDENCE) else exact
        scores, mean_map = explain_boxes(model, test, run.setup, method, seed=run.seed, known=known)
        rows.append(run.row(method) | found | scores)
        if mean_map is not None:
            maps[method] = mean_map
    return as_table(rows), maps


def explain_boxes(
    classifier: NetworkClassifier,
    test: Samples,
    setup: Setup,
    method: str,
    *,
    seed: int = 0,
    known: dict[str, np.ndarray] | None = None,
) -> tuple[dict, np.ndarray | None]:
    """Explain test samples by one method and score the maps.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.
    test : Samples
        Test samples; of costly methods the first few, see
        :data:`~neurosal.experiments.setups.MOST_SAMPLES`.
    setup : Setup
        How it was trained.
    method : str
        A method of the saliency engine, or
        :data:`~neurosal.experiments.setups.EVIDENCE`.
    seed : int
        For methods that draw noise.
    known : dict, optional
        Maps that two methods rest on: made once, kept here, taken from here.

    Returns
    -------
    scores : dict
        Mean scores over the samples, or the reason for their lack.
    mean_map : numpy.ndarray or None
        (time, feature) float32, mean of the scaled maps.

    Examples
    --------
    >>> train, test = make_boxes("latter", n_train=20, n_test=4)
    >>> setup = Setup("rnn", "published")
    >>> classifier = setup.classifier(seed=0, max_epochs=1).fit(train.x, train.y)
    >>> explain_boxes(classifier, test, setup, "gradient")[0]["n_samples"]
    4
    """
    few = slice(MOST_SAMPLES.get(method))
    started = time.perf_counter()
    try:
        part = Samples(test.x[few], test.y[few], test.truth[few])
        maps = _explain(classifier, part, setup, method, seed, {} if known is None else known)
    except ArgumentError as error:
        return {"note": str(error)}, None
    seconds = time.perf_counter() - started
    scores = score_maps(maps, test.truth[few]).mean().to_dict()
    scaled = min_max(check_maps(maps, test.truth[few])[0])
    scores |= {"n_samples": len(maps), "seconds": round(seconds, 3)}
    return scores, scaled.mean(axis=0).astype(np.float32)


def reference_rows(dataset: str, *, seed: int, n_test: int | None = None) -> pd.DataFrame:
    """Score maps of uniform random numbers, and the true boxes themselves.

    Parameters
    ----------
    dataset : str
        A key of :data:`~neurosal.experiments.boxes.DATASETS`.
    seed : int
        Of the data and the random maps.
    n_test : int, optional
        Fewer test samples than published.

    Returns
    -------
    pandas.DataFrame
        Two rows, methods ``'random'`` and ``'oracle'``, with ``'-'`` for network and training. The
        oracle, zero outside the box, has no slope.

    Examples
    --------
    >>> reference_rows("earlier", seed=0, n_test=10)["weighted_jaccard"].round(2).tolist()
    [0.19, 1.0]
    """
    _, test = make_boxes(dataset, seed=seed, n_train=2, n_test=n_test)
    uniform = np.random.default_rng([seed, 1]).random(test.truth.shape)
    rows = []
    for method, maps in (("random", uniform), ("oracle", test.truth)):
        row = {"dataset": dataset, "network": "-", "readout": "-", "training": "-"}
        row |= {"method": method, "seed": seed, "n_samples": len(maps)}
        rows.append(row | score_maps(maps, test.truth).mean().to_dict())
    rows[1]["slope"] = np.nan
    return as_table(rows)


def as_table(rows: list[dict]) -> pd.DataFrame:
    """Lay rows out in the columns of ``boxes.csv``.

    Parameters
    ----------
    rows : list of dict
        What is missing becomes NaN.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`COLUMNS`; ``learned`` is True, False or missing.

    Examples
    --------
    >>> as_table([{"dataset": "earlier"}]).shape
    (1, 32)
    """
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    return table.astype({"learned": "boolean"})


def in_float64(classifier: NetworkClassifier) -> NetworkClassifier:
    """Copy a fitted classifier, its networks in double precision.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.

    Returns
    -------
    NetworkClassifier
        A shallow copy with networks of its own.

    Examples
    --------
    >>> fitted = Setup("rnn", "published").classifier(seed=0, max_epochs=1)
    >>> fitted = fitted.fit(np.zeros((4, 3, 2)), [0, 1, 0, 1])
    >>> next(in_float64(fitted).modules_[0].parameters()).dtype
    torch.float64
    """
    exact = copy.copy(classifier)
    exact.modules_ = [copy.deepcopy(module).double() for module in classifier.modules_]
    return exact


def _explain(
    classifier: NetworkClassifier,
    test: Samples,
    setup: Setup,
    method: str,
    seed: int,
    known: dict[str, np.ndarray],
) -> np.ndarray:
    """Make the maps of a method."""
    name = "smoothgrad" if method == EVIDENCE else method
    if name not in known:
        arguments = explain_arguments(method, setup)
        options = {"y": test.y, "method": name, "seed": seed, "progress": False}
        known[name] = explain(classifier, test.x, **options, **arguments).to_numpy()
    if method == EVIDENCE:
        return uniform_filter(known[name] * test.x, (0, *EVIDENCE_WINDOW))
    return known[name]
