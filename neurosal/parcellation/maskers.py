"""nilearn's maskers as atlases: regions with unique names, a hash, and maps painted.

Everything that the masker was told (smoothing, filters, how voxels are reduced to one value) is
heeded when it extracts series, see :mod:`neurosal.parcellation.masker_signals`.
"""

import copy
import functools
import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from neurosal.errors import ArgumentError
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.tables import complete_table

if TYPE_CHECKING:
    from nilearn.surface import SurfaceImage

#: What cleans or only reports, and is switched off while the columns are found out.
_PLAIN = {
    "smoothing_fwhm": None,
    "standardize": None,
    "standardize_confounds": False,
    "detrend": False,
    "high_variance_confounds": False,
    "low_pass": None,
    "high_pass": None,
    "dtype": None,
}
RESAMPLED = ".*(?:[Rr]esampling|following labels were removed).*"
_UNSHAPING = ("memory", "memory_level", "verbose", "reports", "cmap", "n_jobs")
_FITTED = ("labels_img_", "maps_img_", "mask_img_", "seeds_", "lut_")


@dataclass(frozen=True, eq=False)
class MaskerAtlas(RegionAtlas):
    """A fitted masker of nilearn with a table of its regions.

    Made by :func:`atlas_of_masker`.

    Parameters
    ----------
    masker : nilearn masker
        Fitted.
    regions : pandas.DataFrame
        Columns ``label_id``, ``name`` (unique), ``network`` and ``hemisphere``; one row for each
        column of what the masker extracts.
    name : str
        The atlas's name.
    space : str
        The space of the regions; empty if unknown.
    source, licence, citation : str
        Where it comes from, under which terms, and the paper to cite.

    Examples
    --------
    >>> from nilearn.maskers import NiftiSpheresMasker
    >>> atlas_of_masker(NiftiSpheresMasker([(-40, -22, 54), (4, -90, 2)])).regions["name"].tolist()
    ['sphere -40 -22 54', 'sphere 4 -90 2']
    """

    masker: object
    regions: pd.DataFrame
    name: str = "masker"
    space: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        table = complete_table(self.regions, source=f"The table of {self.name}")
        object.__setattr__(self, "regions", table)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) over the masker's settings, images and regions."""
        digest = hashlib.sha256(type(self.masker).__name__.encode())
        settings = self.masker.get_params(deep=False)
        shaping = {key: value for key, value in settings.items() if key not in _UNSHAPING}
        shaping |= {key: getattr(self.masker, key, None) for key in _FITTED}
        for key in sorted(shaping):
            digest.update(key.encode() + _content(shaping[key]))
        digest.update(self.table_text())
        return digest.hexdigest()

    @property
    def on_surface(self) -> bool:
        """Whether the regions are on surfaces, not in volumes."""
        regions = (getattr(self.masker, name, None) for name in _FITTED[:3])
        return any(hasattr(one, "mesh") for one in regions)

    def paint(
        self, values: np.ndarray, reference: object = None
    ) -> "nib.Nifti1Image | SurfaceImage":
        """Put values on the brain by the masker's ``inverse_transform``.

        Parameters
        ----------
        values : numpy.ndarray
            Of shape (region,) or (frame, region). Where a region is NaN, its voxels or vertices
            are NaN.
        reference : nibabel image, str, pathlib.Path or None
            For spheres without a ``mask_img``: whose grid to use.

        Returns
        -------
        nibabel.Nifti1Image or nilearn.surface.SurfaceImage
            Float32, of shape (x, y, z) or (x, y, z, frame), or (vertex,) or (vertex, frame).

        Raises
        ------
        ArgumentError
            If there is no grid to paint on.

        Examples
        --------
        >>> from nilearn.maskers import NiftiLabelsMasker
        >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int32"), np.eye(4))
        >>> atlas = atlas_of_masker(NiftiLabelsMasker(labels, standardize=None))
        >>> atlas.paint(np.array([5.0, 7.0])).get_fdata().tolist()
        [[[0.0, 5.0, 7.0]]]
        """
        painter = _painter(self.masker, reference)
        values = np.asarray(values, dtype=np.float32)
        missing = np.isnan(values)
        img = painter.inverse_transform(np.where(missing, np.float32(0), values))
        if not missing.any():
            return img
        return _with_holes(img, painter.inverse_transform(missing.astype(np.float32)))


def is_masker(thing: object) -> bool:
    """Tell a masker of nilearn by what it can do.

    Parameters
    ----------
    thing : anything
        What may be one.

    Returns
    -------
    bool
        Whether it is.

    Examples
    --------
    >>> from nilearn.maskers import NiftiSpheresMasker
    >>> is_masker(NiftiSpheresMasker([(0, 0, 0)])), is_masker("dosenbach160")
    (True, False)
    """
    wanted = ("transform_single_imgs", "inverse_transform", "get_params")
    return not isinstance(thing, type) and all(hasattr(thing, name) for name in wanted)


def atlas_of_masker(masker: object, img: object = None, *, name: str | None = None) -> MaskerAtlas:
    """Make an atlas of a masker, which stays as it is.

    Parameters
    ----------
    masker : nilearn masker
        ``NiftiLabelsMasker``, ``NiftiMapsMasker``, ``NiftiSpheresMasker``, ``SurfaceLabelsMasker``
        or another one, fitted or not.
    img : image, optional
        What a copy of the masker is fitted on if it is not fitted, so that its regions are on the
        grid of the data.
    name : str, optional
        The atlas's name; by default that of the class.

    Returns
    -------
    MaskerAtlas
        With the names of the regions as the masker's look-up table has them, or its labels;
        ``"map 1"`` and so on of maps; the centres of spheres, in mm.

    Raises
    ------
    ArgumentError
        If the masker cannot be fitted.

    Examples
    --------
    >>> from nilearn.maskers import NiftiMapsMasker
    >>> maps = nib.Nifti1Image(np.ones((2, 2, 2, 2), "float32"), np.eye(4))
    >>> atlas_of_masker(NiftiMapsMasker(maps, standardize=None)).regions["name"].tolist()
    ['map 1', 'map 2']
    """
    fitted = _fitted_copy(masker, img)
    name = name or type(masker).__name__
    return MaskerAtlas(fitted, _table(fitted), name=name)


def label_ids(masker: object) -> list:
    """List the labels of a masker of labels, in the order of its columns.

    Parameters
    ----------
    masker : nilearn masker
        A fitted one of labels.

    Returns
    -------
    list
        Without the background.

    Examples
    --------
    >>> from nilearn.maskers import NiftiLabelsMasker
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int32"), np.eye(4))
    >>> label_ids(NiftiLabelsMasker(labels).fit())
    [1, 2]
    """
    return [value for key, value in masker.region_ids_.items() if key != "background"]


def _fitted_copy(masker: object, img: object) -> object:
    """Copy a masker, fit it if it is not, and let it find out which of its labels are there."""
    try:
        check_is_fitted(masker)
        fitted = copy.copy(masker)
    except NotFittedError:
        fitted = _fit(clone(masker), img)
    if not hasattr(fitted, "labels_img_") or not hasattr(fitted.labels_img_, "affine"):
        return fitted
    probe = uncleaned(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe.transform(probe.labels_img_)
    return probe.set_params(**fitted.get_params(deep=False))


def uncleaned(masker: object) -> object:
    """Copy a masker with its filters and scaling switched off.

    Parameters
    ----------
    masker : nilearn masker
        Fitted; it stays as it is.

    Returns
    -------
    nilearn masker
        The copy, fitted.

    Examples
    --------
    >>> from nilearn.maskers import NiftiSpheresMasker
    >>> uncleaned(NiftiSpheresMasker([(0, 0, 0)], detrend=True)).detrend
    False
    """
    known = masker.get_params(deep=False)
    return copy.copy(masker).set_params(**{key: _PLAIN[key] for key in _PLAIN if key in known})


def _fit(masker: object, img: object) -> object:
    """Fit a masker, or say what it lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", RESAMPLED)
        try:
            return masker.fit(None if img is None else as_image(img, masker))
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                f"atlas, a {type(masker).__name__}, cannot be fitted: {error}"
            ) from error


def _table(masker: object) -> pd.DataFrame:
    """Name the regions of a fitted masker."""
    if hasattr(masker, "region_names_"):
        labels = label_ids(masker)
        whole = all(float(label).is_integer() and label > 0 for label in labels)
        ids = labels if whole else range(1, len(labels) + 1)
        table = pd.DataFrame({"label_id": ids, "name": list(masker.region_names_.values())})
        return table.assign(**_told(masker, labels))
    names = [f"map {number + 1}" for number in range(masker.n_elements_)]
    if hasattr(masker, "seeds_"):
        centres = masker.seeds_
        names = ["sphere " + " ".join(f"{value:g}" for value in centre) for centre in centres]
        sides = ["L" if centre[0] < 0 else "R" if centre[0] > 0 else "M" for centre in centres]
        return pd.DataFrame(
            {"label_id": range(1, len(names) + 1), "name": names, "hemisphere": sides}
        )
    return pd.DataFrame({"label_id": range(1, len(names) + 1), "name": names})


def _told(masker: object, labels: list) -> dict:
    """Take network and hemisphere of a look-up table, and the side of surface labels."""
    lut = masker.lut_.set_index("index").loc[labels]
    told = {name: lut[name].tolist() for name in ("network", "hemisphere") if name in lut}
    parts = getattr(getattr(masker.labels_img_, "data", None), "parts", None)
    if parts is None or "hemisphere" in told:
        return told
    on = {side: set(np.unique(part).tolist()) for side, part in parts.items()}
    sides = [[side for side in on if label in on[side]] for label in labels]
    return told | {"hemisphere": [one[0][0].upper() if len(one) == 1 else "" for one in sides]}


def _painter(masker: object, reference: object) -> object:
    """Give the masker that paints; spheres without a mask take the grid of the reference."""
    if not hasattr(masker, "seeds_") or masker.mask_img_ is not None:
        return masker
    if reference is None:
        raise ArgumentError(
            "The spheres have no grid to be painted on. Give the NiftiSpheresMasker a mask_img, or "
            "an image as reference."
        )
    grid = nib.load(reference) if isinstance(reference, str | Path) else reference
    whole = nib.Nifti1Image(np.ones(grid.shape[:3], dtype=np.uint8), grid.affine)
    return clone(masker).set_params(mask_img=whole).fit()


def _with_holes(img: object, holes: object) -> object:
    """Set an image to NaN where another one is not zero."""
    from nilearn.image import new_img_like

    if isinstance(img, nib.spatialimages.SpatialImage):
        data = np.where(holes.get_fdata() != 0, np.float32(np.nan), img.get_fdata(dtype="float32"))
        return new_img_like(img, data)
    parts = {
        side: np.where(holes.data.parts[side] != 0, np.float32(np.nan), part)
        for side, part in img.data.parts.items()
    }
    return new_img_like(img, parts)


def as_image(img: object, masker: object) -> object:
    """Give a path, or a pair of surface files, as nilearn wants it.

    Parameters
    ----------
    img : path, image or dict
        Anything that a run's image can be.
    masker : nilearn masker
        Whose mesh surface files belong to.

    Returns
    -------
    str, image or nilearn.surface.SurfaceImage
        What the masker takes.

    Examples
    --------
    >>> as_image(Path("bold.nii.gz"), None)
    'bold.nii.gz'
    """
    if not isinstance(img, dict):
        return str(img) if isinstance(img, Path) else img
    from nilearn.surface import SurfaceImage

    regions = [getattr(masker, name, None) for name in ("labels_img", "maps_img", "mask_img")]
    mesh = next((one.mesh for one in regions if hasattr(one, "mesh")), None)
    if mesh is None:
        return img
    return SurfaceImage(mesh, {side: as_image(path, masker) for side, path in img.items()})


@functools.singledispatch
def _content(value: object) -> bytes:
    """Turn a setting into bytes that are the same wherever it is."""
    if hasattr(value, "data") and isinstance(getattr(value.data, "parts", None), dict):
        return b"".join(side.encode() + _content(part) for side, part in value.data.parts.items())
    return repr(value).encode()


@_content.register
def _(value: nib.spatialimages.SpatialImage) -> bytes:
    return _content(np.asarray(value.affine, "<f8")) + _content(np.asarray(value.dataobj))


@_content.register
def _(value: np.ndarray) -> bytes:
    return str((value.shape, value.dtype.kind)).encode() + np.ascontiguousarray(value).tobytes()


@_content.register
def _(value: pd.DataFrame) -> bytes:
    return value.to_csv(index=False, lineterminator="\n").encode()
