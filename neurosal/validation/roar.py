"""Remove and retrain: whether a decoder can do without the cells that a map names."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.stats import t as t_distribution
from sklearn.base import clone

from neurosal.errors import ArgumentError
from neurosal.progress import track
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.check import Check
from neurosal.validation.removal import (
    Folds,
    check_shares,
    class_free_map,
    match_maps,
    rank_cells,
    replace_cells,
)

RANKINGS = ("map", "variance of the signal")
LEVEL = 0.05
QUESTION = "Does a decoder trained without the cells that the map names do worse?"
CANNOT_SHOW = (
    "Where other cells hold the same information, as neighbouring time points and regions do, "
    "retraining makes up for the loss and a true map seems to fail; and which cells matter to the "
    "decoder as it is, retrained ones do not tell."
)


def roar(
    decoder: WindowDecoder,
    windows: xr.DataArray,
    *,
    y: object,
    folds: Folds,
    fold_decoders: Sequence[WindowDecoder],
    rankings: np.ndarray | None = None,
    fractions: Sequence[float] = (0.5,),
    n_random: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> Check:
    """Remove cells by rank, train the very same decoder again, and see what accuracy is left.

    In each fold the cells that the fold's decoder was given are ranked, by information of the
    training windows alone; a share of them is replaced, in training and held-out windows, by the
    mean over the training windows; a copy of ``decoder`` (screening included) is trained and
    predicts the held-out windows. Beside the map's ranking stand random ones and that of the
    signal's variance. This trains ``len(folds) * len(fractions) * (2 + n_random)`` decoders.

    The map is flagged unless removing its cells costs more accuracy than removing random ones, by
    more than the folds' scatter allows (one-sided t-test over folds, p <= 0.05). Folds share
    training windows, so this p-value is a yardstick rather than a probability.

    Parameters
    ----------
    decoder : WindowDecoder
        Unfitted, as it was for ``fold_decoders``.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    folds : sequence of (train, test)
        Index arrays.
    fold_decoders : sequence of WindowDecoder
        The decoder fitted in each fold.
    rankings : array of shape (fold, time, region), optional
        Importance to rank by; it must not have seen the fold's held-out windows. By default each
        fold's decoder explains its training windows, see :func:`training_maps`.
    fractions : sequence of float
        Shares of the given cells to remove.
    n_random : int
        Random rankings a fold and fraction.
    seed : int
        Of the random rankings.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    Check
        ``data`` holds ``accuracy`` (ranking, fraction, fold), ``random_accuracy`` (draw, fraction,
        fold) and ``intact_accuracy`` (fold).

    Raises
    ------
    ArgumentError
        If shapes do not fit or an argument is out of range.

    References
    ----------
    Hooker et al. (2019), A benchmark for interpretability methods in deep neural networks.
    https://doi.org/10.48550/arXiv.1806.10758

    Examples
    --------
    >>> from neurosal.saliency.window_decoder import cross_explain
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(24, 5, 4)), np.tile(["rest", "task"], 12)
    >>> X[1::2, 2, 1] += 6
    >>> halves = [(np.arange(12), np.arange(12, 24)), (np.arange(12, 24), np.arange(12))]
    >>> decoder = WindowDecoder(screening_percentile=50)
    >>> fitted = cross_explain(decoder, X, y, halves)[2]
    >>> check = roar(decoder, X, y=y, folds=halves, fold_decoders=fitted)
    >>> check.values["accuracy_map"] < check.values["accuracy_random"]
    True
    """
    shares = check_shares("fractions", fractions, low=0.01, high=0.99)
    if n_random < 1:
        raise ArgumentError(f"n_random must be 1 or more. Got {n_random!r}.")
    _, values, y = match_maps(windows, windows, y=y, decoder=fold_decoders[0])
    if rankings is None:
        rankings = training_maps(fold_decoders, windows, y=y, folds=folds, progress=progress)
    rankings = _check_rankings(rankings, (len(folds), *values.shape[1:]))
    rng, intact, accuracy = np.random.default_rng(seed), [], []
    steps = zip(folds, fold_decoders, rankings, strict=True)
    for (train, test), known, ranking in track(
        steps, "removing and retraining", total=len(folds), show=progress
    ):
        given = known.screening_.to_numpy()
        signal = values[train].var(axis=0)
        random = rng.random((n_random, given.sum()))
        ranked = [rank_cells(one, rng) for one in (ranking[given], signal[given], *random)]
        intact.append(np.mean(known.predict(_labelled(values[test])) == y[test]))
        removed = [_without(values, train, given, ranks, shares) for ranks in ranked]
        accuracy.append([[_retrain(decoder, X, y, train, test) for X in one] for one in removed])
    return _judge(np.moveaxis(np.array(accuracy), 0, 2), np.array(intact), shares, folds)


def training_maps(
    fold_decoders: Sequence[WindowDecoder],
    windows: xr.DataArray,
    *,
    y: object,
    folds: Folds,
    progress: bool = False,
) -> np.ndarray:
    """Explain each fold's training windows by its own decoder: maps that saw no held-out window.

    Parameters
    ----------
    fold_decoders : sequence of WindowDecoder
        The decoder fitted in each fold.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    folds : sequence of (train, test)
        Index arrays.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    numpy.ndarray
        (fold, time, region): the mean size of the classes' mean maps.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> fold = (np.arange(6), np.arange(6, 8))
    >>> fitted = WindowDecoder().fit(X[fold[0]], y[fold[0]])
    >>> training_maps([fitted], X, y=y, folds=[fold]).shape
    (1, 4, 3)
    """
    labelled, y = _labelled(windows), np.asarray(y)
    known = fold_decoders[0].screening_
    if "region" in labelled.coords and "region" in known.coords:
        labelled = labelled.sel(region=known["region"].to_numpy())
    steps, found = zip(folds, fold_decoders, strict=True), []
    for (train, _), known in track(
        steps, "explaining training windows", total=len(folds), show=progress
    ):
        maps = known.explain(labelled[train], y[train])
        found.append(class_free_map(maps.to_numpy(), y[train]))
    return np.stack(found)


def _labelled(windows: object) -> xr.DataArray:
    """See windows as a labelled array."""
    dims = ("sample", "time", "region")
    if isinstance(windows, xr.DataArray):
        return windows.transpose(*dims)
    return xr.DataArray(np.asarray(windows), dims=dims)


def _check_rankings(rankings: object, shape: tuple) -> np.ndarray:
    """Refuse rankings of another shape, or with missing values."""
    values = np.asarray(rankings, dtype=float)
    if values.shape != shape or not np.isfinite(values).all():
        raise ArgumentError(
            f"rankings must be finite and (fold, time, region) = {shape}. Got {values.shape}."
        )
    return values


def _without(
    values: np.ndarray, train: np.ndarray, given: np.ndarray, ranks: np.ndarray, shares: np.ndarray
) -> list[np.ndarray]:
    """All windows without the first cells, for each share of them."""
    fill = values[train].mean(axis=0)
    counts = np.maximum(np.rint(shares * len(ranks)), 1)
    return [replace_cells(values, given, ranks < count, fill) for count in counts]


def _retrain(
    decoder: WindowDecoder, values: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> float:
    """Accuracy in held-out windows of a decoder trained on what is left."""
    twin = clone(decoder).fit(_labelled(values[train]), y[train])
    return float(np.mean(twin.predict(_labelled(values[test])) == y[test]))


def _judge(accuracy: np.ndarray, intact: np.ndarray, shares: np.ndarray, folds: Folds) -> Check:
    """Compare what is left without the map's cells with what is left without random ones."""
    data = xr.Dataset(
        {
            "accuracy": (("ranking", "fraction", "fold"), accuracy[:2]),
            "random_accuracy": (("draw", "fraction", "fold"), accuracy[2:]),
            "intact_accuracy": ("fold", intact),
        },
        coords={"ranking": list(RANKINGS), "fraction": shares},
    )
    weights = np.array([len(test) for _, test in folds], dtype=float)
    by_map, by_signal, random = accuracy[0], accuracy[1], accuracy[2:].mean(axis=0)
    p = _fold_test((random - by_map).mean(axis=0))
    mean = [float(np.average(one.mean(axis=0), weights=weights)) for one in (by_map, by_signal)]
    mean += [float(np.average(random.mean(axis=0), weights=weights))]
    whole = float(np.average(intact, weights=weights))
    percents = ", ".join(f"{share:.0%}" for share in shares)
    finding = (
        f"Accuracy of decoders retrained without {percents} of the cells they were given: "
        f"{mean[0]:.1%} without those that the map ranks first, {mean[2]:.1%} without random ones "
        f"({accuracy.shape[0] - 2} draw(s)), {mean[1]:.1%} without those of the largest variance; "
        f"{whole:.1%} with all. Map against random over {len(folds)} folds: p = {p:.2g}."
    )
    values = {"accuracy_map": mean[0], "accuracy_random": mean[2], "accuracy_signal": mean[1]}
    return Check(
        name="remove and retrain",
        question=QUESTION,
        verdict="passed" if p <= LEVEL else "flagged",
        finding=finding,
        cannot_show=CANNOT_SHOW,
        values=values | {"accuracy_intact": whole, "p_over_folds": p},
        data=data,
    )


def _fold_test(gain: np.ndarray) -> float:
    """One-sided p-value that the folds' gain is above 0."""
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    if error == 0:
        return 0.0 if gain.mean() > 0 else 1.0
    return float(t_distribution.sf(gain.mean() / error, max(len(gain) - 1, 1)))
