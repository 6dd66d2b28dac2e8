"""Twins of a decoder, for comparison: parameters drawn anew, another seed, shuffled labels."""

import copy

import numpy as np
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from neurosal.errors import ArgumentError, DataError
from neurosal.saliency.network import Network, as_network
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.halves import reseed

#: Shuffles from which the one that tells least of the true labels is taken.
N_SHUFFLES = 50


def layers_of(network: Network) -> list[tuple[str, list[str]]]:
    """List a network's layers with the names of their parameters, the output first.

    A layer is a submodule that owns parameters. The order is that in which the submodules were
    defined, backwards, which is from the output to the input in the networks of this package.

    Parameters
    ----------
    network : Network
        Of an ensemble, the first member.

    Returns
    -------
    list of (str, list of str)
        The layer's name, and its parameters'.

    Examples
    --------
    >>> stack = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> layers_of(Network((stack,)))
    [('2', ['2.weight', '2.bias']), ('0', ['0.weight', '0.bias'])]
    """
    layers: dict[str, list[str]] = {}
    for name, values in network.modules[0].named_parameters():
        if values.numel():
            layers.setdefault(name.rpartition(".")[0], []).append(name)
    if not layers:
        raise ArgumentError(
            f"{type(network.modules[0]).__name__} has no parameters: there is nothing to randomise."
        )
    return list(layers.items())[::-1]


def randomised(decoder: WindowDecoder, names: list[str], *, seed: int) -> WindowDecoder:
    """Copy a fitted decoder and draw some of its network's parameters anew.

    Each value is drawn from a normal distribution of mean 0 and the root mean square of the values
    that it replaces, so that a layer keeps its scale and loses all that it has learnt; where all
    are 0, the standard deviation is 1 / sqrt(number of values).

    Parameters
    ----------
    decoder : WindowDecoder
        Fitted; left as it is.
    names : list of str
        The parameters, named as by :func:`layers_of`; in every member of an ensemble.
    seed : int
        Of the draws.

    Returns
    -------
    WindowDecoder
        With ``classifier_`` replaced by the changed network.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> decoder = WindowDecoder().fit(X, y)
    >>> twin = randomised(decoder, ["output.weight"], seed=1)
    >>> changed_parameters(decoder, twin)
    ['output.weight']
    """
    network, generator = as_network(decoder.classifier_), torch.Generator().manual_seed(seed)
    members = tuple(copy.deepcopy(module) for module in network.modules)
    for module in members:
        _redraw(module, set(names), generator)
    twin = copy.copy(decoder)
    twin.classifier_ = Network(members, network.classes)
    return twin


def changed_parameters(before: WindowDecoder, after: WindowDecoder) -> list[str]:
    """Walk all parameters of two decoders' networks and name those that differ.

    Parameters
    ----------
    before, after : WindowDecoder
        Fitted, of one kind.

    Returns
    -------
    list of str
        A parameter counts as changed if it differs in every member of an ensemble.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> decoder = WindowDecoder().fit(X, y)
    >>> changed_parameters(decoder, decoder)
    []
    """
    kept, names = set(), []
    old, new = (as_network(one.classifier_).modules for one in (before, after))
    for one, other in zip(old, new, strict=True):
        names = [name for name, values in one.named_parameters() if values.numel()]
        theirs = dict(other.named_parameters())
        kept |= {n for n, v in one.named_parameters() if torch.equal(v.detach(), theirs[n])}
    return [name for name in names if name not in kept]


def mean_map(
    decoder: WindowDecoder, windows: np.ndarray, y: np.ndarray, *, chosen: np.ndarray
) -> np.ndarray:
    """Explain some windows, each for its class, and average within the classes.

    Parameters
    ----------
    decoder : WindowDecoder
        Fitted.
    windows : numpy.ndarray
        (sample, time, region).
    y : numpy.ndarray
        (sample,) classes.
    chosen : numpy.ndarray
        Which samples, from :func:`balanced_sample`.

    Returns
    -------
    numpy.ndarray
        (class, time, region).

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> mean_map(WindowDecoder().fit(X, y), X, y, chosen=np.arange(4)).shape
    (2, 4, 3)
    """
    quiet = copy.copy(decoder)
    quiet.method_arguments = {**(decoder.method_arguments or {}), "progress": False}
    maps = quiet.explain(windows[chosen], y[chosen]).to_numpy()
    return np.stack([maps[y[chosen] == one].mean(axis=0) for one in np.unique(y)])


def balanced_sample(y: np.ndarray, *, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draw as many samples of each class, as far as there are.

    Parameters
    ----------
    y : numpy.ndarray
        (sample,) classes.
    most : int
        Samples in all; at least one of each class is drawn.
    rng : numpy.random.Generator
        Draws.

    Returns
    -------
    numpy.ndarray
        Indices, sorted.

    Examples
    --------
    >>> y = np.array(["a", "b", "b", "b"])
    >>> np.unique(y[balanced_sample(y, most=2, rng=np.random.default_rng(0))]).tolist()
    ['a', 'b']
    """
    classes = np.unique(y)
    each = max(1, most // len(classes))
    drawn = [rng.permutation(np.flatnonzero(y == one))[:each] for one in classes]
    return np.sort(np.concatenate(drawn))


def retrained_map(
    decoder: WindowDecoder,
    windows: np.ndarray,
    y: np.ndarray,
    *,
    chosen: np.ndarray,
    seed: int,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Train a copy of a decoder with another seed, and explain.

    Parameters
    ----------
    decoder : WindowDecoder
        Fitted or not; left as it is.
    windows : numpy.ndarray
        (sample, time, region).
    y : numpy.ndarray
        (sample,) classes, for which is explained.
    chosen : numpy.ndarray
        Which samples to explain.
    seed : int
        Of training and explaining.
    labels : numpy.ndarray, optional
        What to train on in place of ``y``.

    Returns
    -------
    numpy.ndarray
        (class, time, region).

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> retrained_map(WindowDecoder(), X, y, chosen=np.arange(8), seed=1).shape
    (2, 4, 3)
    """
    twin = reseed(decoder, seed).fit(windows, y if labels is None else labels)
    return mean_map(twin, windows, y, chosen=chosen)


def shuffle_labels(
    y: np.ndarray, *, groups: np.ndarray | None = None, rng: np.random.Generator
) -> np.ndarray:
    """Shuffle labels so that they tell as little as may be of the true ones.

    A single shuffle of few windows can by chance resemble the labels, or their opposite; of 50
    shuffles the one with the least mutual information is taken.

    Parameters
    ----------
    y : numpy.ndarray
        (sample,) classes.
    groups : numpy.ndarray, optional
        (sample,) runs or subjects; labels stay within them.
    rng : numpy.random.Generator
        Shuffles.

    Returns
    -------
    numpy.ndarray
        (sample,) shuffled.

    Raises
    ------
    DataError
        If every group has one class only.

    Examples
    --------
    >>> y = np.tile(["rest", "task"], 4)
    >>> shuffled = shuffle_labels(y, rng=np.random.default_rng(0))
    >>> float((shuffled == y).mean())
    0.5
    """
    drawn = [shuffle_within(y, groups, rng=rng) for _ in range(N_SHUFFLES)]
    return min(drawn, key=lambda labels: mutual_info_score(y, labels))


def shuffle_within(
    y: np.ndarray, groups: np.ndarray | None, *, rng: np.random.Generator
) -> np.ndarray:
    """Shuffle labels within groups, once.

    Parameters
    ----------
    y : numpy.ndarray
        (sample,) classes.
    groups : numpy.ndarray or None
        (sample,) runs or subjects; None: all samples are one group.
    rng : numpy.random.Generator
        Shuffles.

    Returns
    -------
    numpy.ndarray
        (sample,) shuffled.

    Raises
    ------
    DataError
        If every group has one class only.

    Examples
    --------
    >>> y, groups = np.array(["a", "b", "c", "c"]), np.array([0, 0, 1, 1])
    >>> shuffle_within(y, groups, rng=np.random.default_rng(0))[2:].tolist()
    ['c', 'c']
    """
    groups = np.zeros(len(y)) if groups is None else np.asarray(groups)
    places = [np.flatnonzero(groups == one) for one in np.unique(groups)]
    if all(len(np.unique(y[place])) == 1 for place in places):
        raise DataError(
            "Labels cannot be shuffled within groups: each has one class only. Give larger groups."
        )
    out = y.copy()
    for place in places:
        out[place] = rng.permutation(y[place])
    return out


def _redraw(module: nn.Module, names: set[str], generator: torch.Generator) -> None:
    """Draw the named parameters of one network, in place."""
    with torch.no_grad():
        for name, values in module.named_parameters():
            # Drawn for all, so that a longer list of names begins with the same new values.
            drawn = torch.randn(values.shape, generator=generator)
            if name in names:
                scale = float(values.double().square().mean().sqrt()) or values.numel() ** -0.5
                values.copy_((drawn * scale).to(values))
