"""What every way of extraction returns, and how it becomes a labelled array."""

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import region_coordinates
from neurosal.loaders.bids_tables import LONGEST_T_R
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.files import shown

OUTSIDE_VOLUME = "outside its field of view, or smaller than its voxels"
OUTSIDE_SURFACE = "its structure is not in the run, or all of it is NaN"


class MissingRegions(UserWarning):
    """A run lacks regions of the atlas."""


@dataclass(frozen=True, eq=False)
class RegionSignals:
    """The series of every region of an atlas in one run.

    Attributes
    ----------
    values : numpy.ndarray
        Float64 of shape (time, region); NaN throughout for a region that the run lacks.
    n_voxels : numpy.ndarray
        Voxels or vertices of each region in the run, of shape (region,).
    coverage : numpy.ndarray
        Share of each region that is in the run and changes over time, from 0 to 1.
    t_r, start : float
        Repetition time and time of the first frame in seconds.
    name, space : str
        The run, for messages, and its space.
    outside : str
        Why a region may be missing, for the warning.
    """

    values: np.ndarray
    n_voxels: np.ndarray
    coverage: np.ndarray
    t_r: float
    start: float
    name: str
    space: str
    outside: str

    def labelled(self, atlas: RegionAtlas) -> xr.DataArray:
        """Label the series.

        Parameters
        ----------
        atlas : RegionAtlas
            The regions, one for each column.

        Returns
        -------
        xarray.DataArray
            As :func:`~neurosal.parcellation.extract.extract_regions` returns it.

        Examples
        --------
        >>> from neurosal.parcellation.atlas import load_atlas
        >>> ones = np.ones(160)
        >>> signals = RegionSignals(ones[None], ones, ones, 2.0, 0.0, "x.nii", "", "")
        >>> signals.labelled(load_atlas("dosenbach160")).sizes["region"]
        160
        """
        coordinates = region_coordinates(atlas.regions)
        coordinates["n_voxels"] = ("region", self.n_voxels.astype(int))
        coordinates["coverage"] = ("region", self.coverage)
        times = self.start + np.arange(len(self.values)) * self.t_r
        return xr.DataArray(
            self.values,
            dims=("time", "region"),
            coords={**coordinates, "time": ("time", times)},
            name="signal",
            attrs={
                "t_r": self.t_r,
                "atlas": atlas.name,
                "atlas_hash": atlas.hash,
                "space": self.space,
                "source": self.name,
            },
        )


def check_t_r(t_r: float, name: str) -> float:
    """Refuse a repetition time that is not above 0 s.

    Parameters
    ----------
    t_r : float
        Seconds.
    name : str
        The run, for the message.

    Returns
    -------
    float
        The same.

    Raises
    ------
    ArgumentError
        If it is 0, negative or not finite.

    Examples
    --------
    >>> check_t_r(0.72, "run.nii.gz")
    0.72
    """
    if not (np.isfinite(t_r) and t_r > 0):
        raise ArgumentError(f"t_r must be above 0 s. Got {t_r} from {name}. Give t_r= in seconds.")
    return float(t_r)


def check_header_t_r(t_r: float, name: str) -> float:
    """Refuse a repetition time out of a header that must be in milliseconds.

    Parameters
    ----------
    t_r : float
        What the header gives, as seconds.
    name : str
        The run, for the message.

    Returns
    -------
    float
        The same.

    Raises
    ------
    DataError
        If it is longer than any repetition time.

    Examples
    --------
    >>> check_header_t_r(0.72, "run.nii.gz")
    0.72
    """
    if t_r > LONGEST_T_R:
        raise DataError(
            f"{name}: the header gives the repetition time as {t_r:g} s, above the "
            f"{LONGEST_T_R:g} s allowed. It looks like milliseconds: give t_r={t_r / 1000:g}, or "
            "correct pixdim[4] or the unit of time (xyzt_units)."
        )
    return t_r


def check_finite(bad: np.ndarray, atlas: RegionAtlas, name: str) -> None:
    """Refuse NaN and infinite values inside regions, naming the regions.

    Parameters
    ----------
    bad : numpy.ndarray
        True where a region's value is not finite, of shape (time, region).
    atlas : RegionAtlas
        The regions.
    name : str
        The run, for the message.

    Raises
    ------
    DataError
        If there is any.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> check_finite(np.zeros((5, 160), bool), load_atlas("dosenbach160"), "run.nii.gz")
    """
    if not bad.any():
        return
    names = atlas.regions["name"][bad.any(axis=0)]
    raise DataError(
        f"{name} has NaN or infinite voxels in {len(names)} regions ({shown(names, 5)}), in "
        f"{bad.any(axis=1).sum()} of {len(bad)} volumes. If they stand for 'outside the brain', "
        "write zeros there: nilearn.image.math_img('np.nan_to_num(img, posinf=0, neginf=0)', "
        "img=...)."
    )


def warn_missing(array: xr.DataArray, signals: RegionSignals, atlas: RegionAtlas) -> None:
    """Name the regions without a voxel or a value; refuse if that is all of them.

    Parameters
    ----------
    array : xarray.DataArray
        The labelled series.
    signals : RegionSignals
        Where it comes from.
    atlas : RegionAtlas
        The regions.

    Raises
    ------
    DataError
        If no region has a value.

    Examples
    --------
    >>> array = xr.DataArray([[1.0]], dims=("time", "region"), coords={"region": ["V1"]})
    >>> warn_missing(array, None, None)
    """
    missing = array["region"].values[np.isnan(array.values).all(axis=0)]
    if not len(missing):
        return
    if len(missing) == array.sizes["region"]:
        raise DataError(
            f"{signals.name} is zero in every region of {atlas.name}: run and atlas do not "
            "overlap. Check that both are in the same space and that the affine is right."
        )
    warnings.warn(
        f"{len(missing)} regions of {atlas.name} are NaN, for they have no voxel in "
        f"{signals.name} ({signals.outside}) or only zeros: {shown(missing)}.",
        MissingRegions,
        stacklevel=3,
    )
