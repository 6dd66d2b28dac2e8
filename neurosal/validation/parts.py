"""What the checks of a trust card work on: windows, classes, folds, decoders and maps."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.parcellation.coverage import covered
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.likeness import class_means
from neurosal.validation.removal import Folds

DIMS = ("sample", "time", "region")


@dataclass(frozen=True, eq=False)
class Parts:
    """A cross-validated decoder taken apart.

    Parameters
    ----------
    windows : xarray.DataArray
        (sample, time, region), regions that every run covers.
    y : numpy.ndarray
        (sample,) classes.
    folds : sequence of (train, test)
        Index arrays.
    fold_decoders : sequence of WindowDecoder
        The decoder of each fold.
    decoder : WindowDecoder
        Fitted on all windows.
    predictions : numpy.ndarray
        (sample,) classes predicted for held-out windows.
    maps : xarray.DataArray
        (sample, time, region): what is checked.
    foreign : bool
        The maps are not the decoder's own.
    averaged : bool
        The maps were given as means of the classes, each standing for all its windows.
    atlas : Atlas or None
        Where the regions lie.

    Examples
    --------
    >>> X, y = xr.DataArray(np.zeros((2, 3, 4)), dims=DIMS), np.array(["rest", "task"])
    >>> Parts(X, y, [], [], None, y, X).groups is None
    True
    """

    windows: xr.DataArray
    y: np.ndarray
    folds: Folds
    fold_decoders: list[WindowDecoder]
    decoder: WindowDecoder
    predictions: np.ndarray
    maps: xr.DataArray
    foreign: bool = False
    averaged: bool = False
    atlas: object = None

    @property
    def groups(self) -> np.ndarray | None:
        """Labels (sample,) of runs, or else of subjects; None where no group has two classes.

        A run is of one task; where the tasks are the classes, runs of one name count together.
        """
        run = ("subject", "session", "task", "run")
        for names in (run, ("subject", "session", "run"), ("subject",)):
            known = [self.windows[name].to_numpy() for name in names if name in self.windows.coords]
            labels = np.array([" ".join(map(str, row)) for row in zip(*known, strict=True)])
            if known and any(len(set(self.y[labels == one])) > 1 for one in np.unique(labels)):
                return labels
        return None

    @property
    def importance(self) -> xr.DataArray:
        """Mean map (condition, time, region) of each class."""
        coords = {k: v for k, v in self.windows.coords.items() if "sample" not in v.dims}
        coords["condition"] = [str(one) for one in np.unique(self.y)]
        means = class_means(self.maps.to_numpy(), self.y)
        return xr.DataArray(means, dims=("condition", "time", "region"), coords=coords)


def take_apart(decoder: object, *, maps: object = None) -> Parts:
    """Find the parts of a fitted decoder of images, by its attributes.

    Parameters
    ----------
    decoder : SaliencyDecoder or Parts
        Fitted, or anything with ``windows_``, ``folds_``, ``fold_decoders_``, ``decoder_``,
        ``cv_predictions_`` and ``saliency_``.
    maps : array of shape (sample, time, region) or (condition, time, region), optional
        To be checked in place of the decoder's own.

    Returns
    -------
    Parts
        The parts, without the regions that some run does not cover.

    Raises
    ------
    ArgumentError
        If the decoder is not fitted or the maps do not fit its windows.

    Examples
    --------
    >>> take_apart("a decoder")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: decoder must be fitted and have windows_, folds_, ...
    """
    parts = decoder if isinstance(decoder, Parts) else _parts(decoder)
    if maps is None:
        return parts
    own, averaged = _as_samples(maps, parts)
    return Parts(**vars(parts) | {"maps": own, "foreign": True, "averaged": averaged})


def _parts(decoder: object) -> Parts:
    """Read the attributes of a fitted decoder."""
    names = ("windows_", "folds_", "fold_decoders_", "decoder_", "cv_predictions_", "saliency_")
    if not all(hasattr(decoder, name) for name in names):
        raise ArgumentError(
            f"decoder must be fitted and have {', '.join(names)}. Got {type(decoder).__name__}."
        )
    windows = covered(decoder.windows_)
    y = decoder.windows_["condition"].to_numpy()
    return Parts(
        windows=windows,
        y=y,
        folds=decoder.folds_,
        fold_decoders=decoder.fold_decoders_,
        decoder=decoder.decoder_,
        predictions=decoder.cv_predictions_,
        maps=_same_regions(decoder.saliency_, windows),
        atlas=getattr(decoder, "atlas_", None),
    )


def _as_samples(maps: object, parts: Parts) -> tuple[xr.DataArray, bool]:
    """Give every window a map; a class's mean map stands for all its windows."""
    names = [str(one) for one in np.unique(parts.y)]
    maps = _labelled(maps, n_samples=len(parts.y), names=names)
    averaged = "condition" in maps.dims
    if averaged:
        maps = _spread(maps, [str(one) for one in parts.y])
    if set(maps.dims) == set(DIMS):
        maps = _same_regions(maps, parts.windows)
    if maps.shape != parts.windows.shape:
        raise ArgumentError(
            f"maps must be (sample, time, region) = {tuple(parts.windows.shape)} as the windows "
            f"are, or have one map for each condition ({', '.join(names)}). Got "
            f"{dict(maps.sizes)}."
        )
    return parts.windows.copy(data=maps.to_numpy()).assign_attrs(maps.attrs), averaged


def _labelled(maps: object, *, n_samples: int, names: list[str]) -> xr.DataArray:
    """Name the dimensions and conditions of a plain array by its length."""
    if not isinstance(maps, xr.DataArray):
        values = np.asarray(maps)
        if values.ndim != 3:
            return xr.DataArray(values)
        by_class = len(values) == len(names) != n_samples
        maps = xr.DataArray(values, dims=("condition" if by_class else "sample", *DIMS[1:]))
    if "condition" in maps.dims and "condition" not in maps.coords:
        known = names if maps.sizes["condition"] == len(names) else range(len(maps))
        maps = maps.assign_coords(condition=list(known))
    return maps


def _spread(maps: xr.DataArray, y: list[str]) -> xr.DataArray:
    """Repeat each condition's map for its windows."""
    known = [str(one) for one in maps["condition"].to_numpy()]
    lacking = sorted(set(y) - set(known))
    if lacking:
        raise ArgumentError(f"maps lack the condition(s) {', '.join(lacking)}. Got {known}.")
    rows = maps.isel(condition=[known.index(one) for one in y])
    return rows.drop_vars("condition").rename(condition="sample")


def _same_regions(maps: xr.DataArray, windows: xr.DataArray) -> xr.DataArray:
    """Pick the regions of the windows, by name where both have names."""
    maps = maps.transpose(*DIMS)
    if "region" in maps.coords and "region" in windows.coords:
        known = set(maps["region"].to_numpy())
        if not known >= set(windows["region"].to_numpy()):
            raise ArgumentError("maps lack regions of the windows. Give maps of the same regions.")
        return maps.sel(region=windows["region"].to_numpy())
    return maps
