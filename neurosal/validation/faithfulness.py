"""Deletion and insertion curves: whether a decoder goes by the cells that a map names."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.progress import track
from neurosal.saliency.methods import METHODS
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.check import Check
from neurosal.validation.removal import (
    Folds,
    Matched,
    check_shares,
    class_free_map,
    match_maps,
    rank_cells,
    replace_cells,
)

#: Shares of the given cells at which the curves are drawn.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
RANKINGS = ("each window's map", "mean map", "variance of the signal")
WAYS = ("deletion", "insertion")
LEVEL = 0.05
QUESTION = "Does the decoder go by the cells that the map names, more than by random cells?"
CANNOT_SHOW = (
    "The curves test the map against its decoder, not against the brain: a map of a decoder that "
    "learnt nonsense can be faithful to it. Windows with replaced cells are unlike any that the "
    "decoder was trained on. The order by each window's own map knows the window's class, so its "
    "accuracies say nothing about decoding."
)


def deletion_insertion(
    maps: xr.DataArray,
    windows: xr.DataArray,
    *,
    y: object,
    folds: Folds,
    fold_decoders: Sequence[WindowDecoder],
    shares: Sequence[float] = SHARES,
    n_random: int = 19,
    most_windows: int = 200,
    seed: int = 0,
    progress: bool = False,
) -> Check:
    """Remove cells from held-out windows, or put them back, in the map's order and others.

    The order is taken from each window's own map (by value where the method's maps add up to the
    class score, else by size) and from a mean map that knows no class: the mean size of the
    classes' mean maps over the fold's training windows. They are compared with random orders, and
    with the order of the signal's variance over windows. Only cells that the decoder is given are
    ordered; what is removed is replaced by its mean over the fold's training windows.

    A ranking is worth the area between its insertion and its deletion curve of the true class's
    probability: the gap, 0 for random orders on average. The map is flagged if the gap of either
    of its rankings is not larger than those of the random orders (p > 0.05 by rank, or for fewer
    than 19 of them not larger than all). That the signal's variance ranks the cells as well is
    said, but not held against the map: where the signal is strong the information may be.

    Parameters
    ----------
    maps : xarray.DataArray or array of shape (sample, time, region)
        Each window explained by the decoder that did not train on it.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    folds : sequence of (train, test)
        Index arrays.
    fold_decoders : sequence of WindowDecoder
        The decoder fitted in each fold.
    shares : sequence of float
        Shares of the given cells that are removed or put back; from 0 to 1.
    n_random : int
        Random orders; each is the same for all windows of a fold.
    most_windows : int
        If there are more held-out windows, so many are drawn.
    seed : int
        Of the random orders, and of the draw.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    Check
        ``data`` holds ``accuracy`` and ``score`` (way, ranking, share), ``random_accuracy`` and
        ``random_score`` (way, draw, share), ``gap`` (ranking) and ``random_gap`` (draw).

    Raises
    ------
    ArgumentError
        If shapes do not fit or an argument is out of range.

    References
    ----------
    Samek et al. (2017), Evaluating the visualization of what a deep neural network has learned.
    https://doi.org/10.1109/TNNLS.2016.2599820
    Petsiuk et al. (2018), RISE: randomized input sampling for explanation of black-box models.
    https://doi.org/10.48550/arXiv.1806.07421

    Examples
    --------
    >>> from neurosal.saliency.window_decoder import cross_explain
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(24, 5, 4)), np.tile(["rest", "task"], 12)
    >>> X[1::2, 1:4, 1] += 3
    >>> halves = [(np.arange(12), np.arange(12, 24)), (np.arange(12, 24), np.arange(12))]
    >>> _, maps, fitted = cross_explain(WindowDecoder(screening_percentile=50), X, y, halves)
    >>> deletion_insertion(maps, X, y=y, folds=halves, fold_decoders=fitted).verdict
    'passed'
    """
    grid = check_shares("shares", shares, low=0, high=1)
    if grid[0] != 0 or grid[-1] != 1 or n_random < 1 or most_windows < 1:
        raise ArgumentError(
            "shares must begin at 0 and end at 1, n_random and most_windows be 1 or more. Got "
            f"{shares!r}, {n_random!r}, {most_windows!r}."
        )
    matched = match_maps(maps, windows, y=y, decoder=fold_decoders[0])
    rng = np.random.default_rng(seed)
    chosen = _draw(folds, most_windows, rng)
    pieces, counts = [], []
    steps = zip(folds, chosen, fold_decoders, strict=True)
    for (train, _), test, decoder in track(
        steps, "deletion and insertion", total=len(folds), show=progress
    ):
        if len(test):
            ranked = _rankings(matched, train, test, decoder, n_random=n_random, rng=rng, maps=maps)
            pieces.append(_curves(ranked, matched, train, test, decoder, grid))
            counts.append(len(test))
    data = _dataset(np.average(pieces, axis=0, weights=counts), grid)
    return _judge(data, n_windows=sum(counts))


def curve_areas(curves: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean height of curves over the shares 0 to 1, by trapezoids.

    Parameters
    ----------
    curves : numpy.ndarray
        (..., share).
    shares : numpy.ndarray
        (share,) from 0 to 1.

    Returns
    -------
    numpy.ndarray
        (...).

    Examples
    --------
    >>> float(curve_areas(np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.5, 1.0])))
    0.25
    """
    return np.trapezoid(curves, shares, axis=-1)


def _draw(folds: Folds, most: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Held-out windows of each fold, ``most`` in all."""
    held_out = np.concatenate([test for _, test in folds])
    kept = held_out if len(held_out) <= most else rng.choice(held_out, most, replace=False)
    return [np.intersect1d(test, kept) for _, test in folds]


def _rankings(
    matched: Matched,
    train: np.ndarray,
    test: np.ndarray,
    decoder: WindowDecoder,
    *,
    n_random: int,
    rng: np.random.Generator,
    maps: object,
) -> list[np.ndarray]:
    """Ranks of the given cells: by window, mean map, signal, then at random."""
    given = decoder.screening_.to_numpy()
    method = METHODS.get(getattr(maps, "attrs", {}).get("method"))
    own = matched.maps[test][:, given]
    own = own if method is not None and method.additive else np.abs(own)
    mean_map = class_free_map(matched.maps[train], matched.y[train])[given]
    signal = matched.windows[train].var(axis=0)[given]
    draws = rng.random((n_random, given.sum()))
    return [rank_cells(values, rng) for values in (own, mean_map, signal, *draws)]


def _curves(
    ranked: list[np.ndarray],
    matched: Matched,
    train: np.ndarray,
    test: np.ndarray,
    decoder: WindowDecoder,
    shares: np.ndarray,
) -> np.ndarray:
    """Accuracy and class score of one fold's windows: (measure, way, ranking, share)."""
    windows, y, given = matched.windows[test], matched.y[test], decoder.screening_.to_numpy()
    fill = matched.windows[train].mean(axis=0)
    out = np.empty((2, len(WAYS), len(ranked), len(shares)))
    for number, ranks in enumerate(ranked):
        for way, masks in enumerate(_removals(ranks, shares)):
            parts = [replace_cells(windows, given, remove, fill) for remove in masks]
            found = _measure(decoder, np.concatenate(parts), np.tile(y, len(shares)))
            out[:, way, number] = found.reshape(2, len(shares), len(y)).mean(axis=2)
    return out


def _removals(ranks: np.ndarray, shares: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Which cells are away at each share: the first ones, then all but the first ones."""
    counts = np.rint(shares * ranks.shape[-1]).astype(int)
    yield [ranks < count for count in counts]
    yield [ranks >= count for count in counts]


def _measure(decoder: WindowDecoder, windows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether each window is predicted right, and its class's probability: (2, sample)."""
    shape = decoder.screening_.shape
    labelled = xr.DataArray(windows.reshape(-1, *shape), dims=("sample", "time", "region"))
    chances = decoder.predict_proba(labelled)
    place = np.searchsorted(decoder.classes_, y)
    return np.stack([chances.argmax(axis=1) == place, chances[np.arange(len(y)), place]])


def _dataset(curves: np.ndarray, shares: np.ndarray) -> xr.Dataset:
    """Curves of all windows and the areas between them, with labels."""
    n = len(RANKINGS)
    dims, drawn = ("way", "ranking", "share"), ("way", "draw", "share")
    areas = curve_areas(curves[1], shares)
    gaps = areas[1] - areas[0]
    return xr.Dataset(
        {
            "accuracy": (dims, curves[0, :, :n]),
            "score": (dims, curves[1, :, :n]),
            "random_accuracy": (drawn, curves[0, :, n:]),
            "random_score": (drawn, curves[1, :, n:]),
            "area": (("way", "ranking"), areas[:, :n]),
            "gap": ("ranking", gaps[:n]),
            "random_gap": ("draw", gaps[n:]),
        },
        coords={"way": list(WAYS), "ranking": list(RANKINGS), "share": shares},
    )


def _judge(data: xr.Dataset, *, n_windows: int) -> Check:
    """Compare the map's gaps with the random ones, and with that of the signal's variance."""
    random = data["random_gap"].to_numpy()
    own, mean, signal = data["gap"].to_numpy()
    n, scatter = len(random), random.max() - random.mean()
    p_own, p_mean = [(1 + (random >= gap).sum()) / (1 + n) for gap in (own, mean)]
    beaten = max(p_own, p_mean) <= max(LEVEL, 1 / (n + 1))
    above_signal = mean - signal > scatter
    finding = (
        f"Area between insertion and deletion curve of the true class's probability: {own:.3f} in "
        f"the order of each window's map (p = {p_own:.2g}), {mean:.3f} in the order of the mean "
        f"map (p = {p_mean:.2g}); {random.mean():.3f} for {n} random orders (largest "
        f"{random.max():.3f}), {signal:.3f} for the order of the signal's variance "
        f"({n_windows} held-out windows). {_said(beaten, above_signal)}"
    )
    values = {"gap_window_map": own, "gap_mean_map": mean, "gap_mean_signal": signal}
    values |= {"gap_random": random.mean(), "gap_random_largest": random.max()}
    values |= {"p_window_map": p_own, "p_mean_map": p_mean, "n_windows": n_windows}
    return Check(
        name="deletion and insertion",
        question=QUESTION,
        verdict="passed" if beaten else "flagged",
        finding=finding,
        cannot_show=CANNOT_SHOW,
        values={name: float(value) for name, value in values.items()},
        data=data,
    )


def _said(beaten: bool, above_signal: bool) -> str:
    """Say what the numbers mean."""
    if not beaten:
        return "The map is no better than random orders."
    beside = "better than" if above_signal else "no better than"
    return f"The map is better than random orders, and its mean {beside} the signal's variance."
