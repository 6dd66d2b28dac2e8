"""How far the map is a picture of where the signal is strong."""

import numpy as np
import xarray as xr

from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.agreement import unit_ranks
from neurosal.validation.check import Check
from neurosal.validation.likeness import class_means
from neurosal.validation.removal import match_maps

QUESTION = "Is the map more than a picture of where the signal is strong?"
#: Where a map's ranks are explained to 80 % and more by the signal's size (0.9 squared), it is a
#: picture of that size. Maps of trained decoders have 0.1 to 0.7.
LIMIT = 0.9


def signal_size(
    maps: xr.DataArray, windows: xr.DataArray, *, y: object, decoder: WindowDecoder
) -> Check:
    """Correlate the size of the map with the size of the signal, as an edge detector would be.

    Compared are each window's map with the window's absolute values, and the mean map of each
    class with four pictures that need no decoder: the mean absolute signal of the class and of
    all windows, the absolute mean signal of the class, and the standard deviation over windows.
    All by rank, over the cells that the decoder is given.

    Parameters
    ----------
    maps : xarray.DataArray or array of shape (sample, time, region)
        The maps to be checked.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    decoder : WindowDecoder
        Fitted; says which cells are given.

    Returns
    -------
    Check
        Flagged if one of the correlations is above 0.9. ``data`` holds ``correlation`` (picture,
        class), and ``importance`` and ``signal`` (class, time, region), the mean sizes.

    Raises
    ------
    ArgumentError
        If shapes do not fit.

    References
    ----------
    Adebayo et al. (2018), Sanity checks for saliency maps: maps like those of an edge detector.
    https://doi.org/10.48550/arXiv.1810.03292

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 6, 5)), np.tile(["rest", "task"], 20)
    >>> X[1::2, 3, 2] += 4
    >>> decoder = WindowDecoder(screening_percentile=50).fit(X, y)
    >>> signal_size(decoder.explain(X, y), X, y=y, decoder=decoder).verdict
    'passed'
    >>> signal_size(np.abs(X), X, y=y, decoder=decoder).verdict
    'flagged'
    """
    matched = match_maps(maps, windows, y=y, decoder=decoder)
    given = decoder.screening_.to_numpy()
    own = np.abs(class_means(matched.maps, matched.y))
    pictures = _pictures(matched.windows, matched.y)
    found = {name: _rows(own[:, given], one[:, given]) for name, one in pictures.items()}
    single = _rows(np.abs(matched.maps[:, given]), np.abs(matched.windows[:, given]))
    found["absolute signal of each window"] = class_means(single[:, None, None], matched.y).ravel()
    dims, classes = ("class", "time", "region"), [str(one) for one in np.unique(matched.y)]
    data = xr.Dataset(
        {
            "correlation": (("picture", "class"), np.stack(list(found.values()))),
            "importance": (dims, own),
            "signal": (dims, pictures["mean absolute signal of the class"]),
        },
        coords={"picture": list(found), "class": classes},
    )
    return _judge(data)


def _pictures(windows: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures (class, time, region) that need no decoder."""
    sizes = np.abs(windows)
    by_class = class_means(sizes, y)
    return {
        "mean absolute signal of the class": by_class,
        "mean absolute signal": np.broadcast_to(sizes.mean(axis=0), by_class.shape),
        "absolute mean signal of the class": np.abs(class_means(windows, y)),
        "standard deviation": np.broadcast_to(windows.std(axis=0), by_class.shape),
    }


def _rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation of each row; 0 where a row is the same everywhere."""
    return np.nan_to_num((unit_ranks(first) * unit_ranks(second)).sum(axis=-1))


def _judge(data: xr.Dataset) -> Check:
    """Say how much of the map the signal's size explains."""
    means = data["correlation"].mean("class")
    nearest = str(means["picture"].to_numpy()[means.to_numpy().argmax()])
    most = float(means.max())
    beside = (
        "The map is little more than a picture of the signal's size."
        if most > LIMIT
        else f"A mere picture of the signal would have more than {LIMIT:g}."
    )
    finding = (
        f"Rank correlation of the map's size with {len(means)} pictures of the signal that need no "
        f"decoder: {most:.2f} at most, with the {nearest}. {beside}"
    )
    return Check(
        name="signal size",
        question=QUESTION,
        verdict="flagged" if most > LIMIT else "passed",
        finding=finding,
        cannot_show=(
            "Where a task evokes a strong response, a true map and the signal's size are alike; a "
            "high correlation alone does not make a map false, nor a low one true."
        ),
        values={name: float(v) for name, v in zip(data["picture"].values, means, strict=True)},
        data=data,
    )
