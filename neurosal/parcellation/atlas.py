"""Atlases: a label image and a table that says what the labels are.

An :class:`Atlas` holds both and checks that they fit each other once, so that every later stage can
map by label id and never by position. Labels of grayordinates and surfaces make a
:class:`~neurosal.parcellation.grayordinates.GrayordinateAtlas`, maps of weights a
:class:`~neurosal.parcellation.maps.MapsAtlas`; all are made by :meth:`Atlas.from_files` and
:func:`load_atlas`, which knows three atlases that ship with the package, those that nilearn
downloads, and any files a user has.

>>> atlas = load_atlas("dosenbach160")
>>> len(atlas.regions), atlas.regions["network"].nunique(), atlas.space
(160, 6, 'MNI152NLin6Asym')
"""

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.parcellation import fetchers
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.beside import describe, read_sidecar, table_beside
from neurosal.parcellation.files import as_volume, open_any, read_values
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.grids import resample_labels, same_grid
from neurosal.parcellation.label_files import is_on_surface, read_dlabel, read_surface_labels
from neurosal.parcellation.maps import MapsAtlas
from neurosal.parcellation.maskers import MaskerAtlas, atlas_of_masker, is_masker
from neurosal.parcellation.tables import complete_table, fit_table, read_table

OFFLINE = {"dosenbach160": "Dosenbach160", "power264": "Power264", "seitzman300": "Seitzman300"}


@dataclass(frozen=True, eq=False)
class Atlas(RegionAtlas):
    """A label image with a table of its regions.

    Building one checks it: labels become 32-bit integers, the table is put in the order of the
    ids, rows without a voxel are dropped with a warning, and a label without a row is an error.

    Parameters
    ----------
    labels : nibabel image
        Whole numbers of shape (x, y, z); 0 is background.
    regions : pandas.DataFrame
        Columns ``label_id`` (or ``index``), ``name`` (unique), and, if known, ``network`` and
        ``hemisphere`` (``L``, ``R`` or ``M``).
    name : str
        The atlas's name.
    space : str
        The space the labels are in (``"MNI152NLin6Asym"``); empty if unknown.
    source, licence, citation : str
        Where it comes from, under which terms, and the paper to cite.
    approximate : bool
        True for spheres around published coordinates: such an atlas fits any MNI152 space.

    Raises
    ------
    DataError
        If labels and table do not fit each other, or names occur twice.

    Examples
    --------
    >>> img = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int16"), np.eye(4))
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["7Networks_LH_Vis_1", "HIP-rh"]})
    >>> Atlas(img, table, name="mine").regions["network"].tolist()
    ['Vis', 'Subcortex']
    """

    labels: nib.Nifti1Image
    regions: pd.DataFrame
    name: str = "atlas"
    space: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""
    approximate: bool = False

    def __post_init__(self) -> None:
        labels = _integer_labels(self.labels, self.name)
        regions = complete_table(self.regions, source=f"The table of {self.name}")
        object.__setattr__(self, "labels", labels)
        present = np.unique(np.asarray(labels.dataobj))
        object.__setattr__(self, "regions", fit_table(present, regions, self.name))

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) over label data, affine and table: equal atlases, equal hashes."""
        digest = hashlib.sha256(np.ascontiguousarray(np.asarray(self.labels.dataobj), "<i4"))
        digest.update(str(self.labels.shape).encode())
        digest.update(np.ascontiguousarray(self.labels.affine, "<f8"))
        digest.update(self.table_text())
        return digest.hexdigest()

    @classmethod
    def from_files(
        cls,
        dseg: str | Path | nib.spatialimages.SpatialImage | nib.Cifti2Image | tuple | dict,
        table: str | Path | pd.DataFrame | None = None,
        *,
        space: str | None = None,
        name: str | None = None,
        label_map: int | str | None = None,
    ) -> "Atlas | GrayordinateAtlas | MapsAtlas":
        """Read an atlas of your own with its table, whatever its kind.

        Parameters
        ----------
        dseg : str, pathlib.Path, nibabel image, tuple or dict
            A label image of shape (x, y, z); a CIFTI ``.dlabel.nii``; a pair ``(left, right)`` or
            a dict of ``"left"`` and ``"right"`` of ``.label.gii`` or ``.annot`` files; or weights
            of shape (x, y, z, region).
        table : str, pathlib.Path, pandas.DataFrame or None
            A BIDS ``_dseg.tsv``, a FreeSurfer colour table or the two-line Schaefer/Tian text.
            None looks for the table beside the image, by BIDS names, or takes the one inside a
            CIFTI, GIFTI or ``.annot`` file.
        space : str or None
            The space of the labels; None reads it from the file name.
        name : str or None
            The atlas's name; None reads it from the file name.
        label_map : int, str or None
            Position or name of the map in a CIFTI or GIFTI file that has several.

        Returns
        -------
        Atlas, GrayordinateAtlas or MapsAtlas
            Of volumes, of surfaces and grayordinates, or of weights, with ``source``, ``licence``
            and ``citation`` of a JSON file beside the image.

        Raises
        ------
        DataError
            If a file is missing, damaged, or does not fit the other.

        See Also
        --------
        load_atlas : the same by name or path.

        Examples
        --------
        >>> img = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int16"), np.eye(4))
        >>> with warnings.catch_warnings(record=True):
        ...     Atlas.from_files(img).regions["name"].tolist()
        ['label_1', 'label_2']
        """
        choices = {"table": table, "space": space, "name": name, "label_map": label_map}
        if is_on_surface(dseg):
            return read_surface_labels(dseg, **choices)
        path = Path(dseg) if isinstance(dseg, str | Path) else None
        img = open_any(path) if path else dseg
        if isinstance(img, nib.Cifti2Image):
            return read_dlabel(img, **choices)
        if label_map is not None:
            raise ArgumentError(f"label_map is for CIFTI and GIFTI files. Got it with {dseg}.")
        img = as_volume(path or dseg, "atlas")
        table = table_beside(path) if table is None and path else table
        if table is None:
            table = _numbered(img, path or "the image")
        table = read_table(table) if isinstance(table, str | Path) else table
        kind = MapsAtlas if _is_maps(img) else cls
        approximate = bool(path and read_sidecar(path).get("Approximate", False))
        notes = describe(path, name=name, space=space)
        return kind(img, table, **notes, approximate=approximate)

    def resample_to(self, img: nib.spatialimages.SpatialImage) -> nib.Nifti1Image:
        """Give the labels on the grid of an image, by nearest neighbour.

        Parameters
        ----------
        img : nibabel image
            3D or 4D; only its shape and affine are used.

        Returns
        -------
        nibabel.Nifti1Image
            Label ids (32-bit) of shape ``img.shape[:3]``; the labels themselves on an equal grid.

        Examples
        --------
        >>> atlas = load_atlas("dosenbach160")
        >>> coarse = nib.Nifti1Image(np.zeros((10, 12, 10)), np.diag([18.0, 18, 18, 1]))
        >>> atlas.resample_to(coarse).shape
        (10, 12, 10)
        """
        if same_grid(self.labels, img):
            return self.labels
        return resample_labels(self.labels, img)


def list_atlases() -> dict[str, str]:
    """List the atlases that :func:`load_atlas` knows by name, and how each is come by.

    Returns
    -------
    dict
        Name to ``"offline"`` (ships with the package) or ``"nilearn"`` (downloaded on first use).

    Examples
    --------
    >>> list_atlases()["power264"], list_atlases()["schaefer2018"]
    ('offline', 'nilearn')
    """
    return {**dict.fromkeys(OFFLINE, "offline"), **dict.fromkeys(fetchers.FETCHERS, "nilearn")}


def load_atlas(
    name_or_path: str | Path | tuple | dict | RegionAtlas, **options: object
) -> Atlas | GrayordinateAtlas | MapsAtlas | MaskerAtlas:
    """Load an atlas by its name, from a file, or from a masker of nilearn.

    Parameters
    ----------
    name_or_path : str, pathlib.Path, tuple, dict or nilearn masker
        A name of :func:`list_atlases`, or what :meth:`Atlas.from_files` takes. An atlas is
        returned as it is; a masker becomes a
        :class:`~neurosal.parcellation.maskers.MaskerAtlas`.
    **options
        For files: ``table``, ``space``, ``name`` and ``label_map`` of :meth:`Atlas.from_files`.
        For an atlas of nilearn: the arguments of its fetcher (``n_rois=400``; ``n_regions`` means
        the same) and ``space``, if you know it better.

    Returns
    -------
    Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        Labels, weights or a masker, and regions.

    Raises
    ------
    ArgumentError
        If the name is unknown or the options are not those of the atlas.
    DataError
        If a file is missing or damaged, or a download fails.

    See Also
    --------
    list_atlases : the names.

    Examples
    --------
    >>> load_atlas("seitzman300").regions.loc[0, ["name", "hemisphere"]].tolist()
    ['unassigned cortex L 1', 'L']
    >>> load_atlas("shaefer")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: atlas must be one of 'dosenbach160', ... Got 'shaefer'.
    """
    if isinstance(name_or_path, RegionAtlas):
        return name_or_path
    if is_masker(name_or_path):
        return atlas_of_masker(name_or_path, **options)
    if not isinstance(name_or_path, str | Path):
        return _with_options(Atlas.from_files, name_or_path, options)
    key = str(name_or_path)
    if key in OFFLINE:
        return _load_offline(key, options)
    if key in fetchers.FETCHERS:
        return _load_fetched(key, dict(options))
    if Path(key).is_file() or key.endswith((".nii", ".nii.gz", ".mgz", ".gii", ".annot")):
        return _with_options(Atlas.from_files, key, options)
    return check_one_of("atlas", key, [*list_atlases(), "the path of a label image"])


def _load_offline(key: str, options: dict) -> Atlas:
    """Load an atlas that ships with the package, from the wheel or the checkout."""
    if options:
        raise ArgumentError(f"{key} takes no options. Got {', '.join(options)}.")
    package = Path(__file__).parents[1]
    for folder in (package / "_atlases", package.parent / "atlases"):
        stem = folder / key / f"atlas-{OFFLINE[key]}_space-MNI152NLin6Asym_res-2_dseg"
        if stem.with_suffix(".nii.gz").is_file():
            return Atlas.from_files(stem.with_suffix(".nii.gz"), stem.with_suffix(".tsv"), name=key)
    raise DataError(f"The files of {key} are not in {package / '_atlases'}. Install again.")


def _load_fetched(key: str, options: dict) -> Atlas | MapsAtlas:
    """Load an atlas that nilearn downloads."""
    space = options.pop("space", None)
    parts = fetchers.fetch(key, options)
    kind = MapsAtlas if "maps" in parts else Atlas
    return kind(**{**parts, **({} if space is None else {"space": space})})


def _with_options(function: object, argument: object, options: dict) -> RegionAtlas:
    """Call with the user's options, and say which are allowed if one is not."""
    for option in options:
        check_one_of("An option of atlas files", option, ["table", "space", "name", "label_map"])
    return function(argument, **options)


def _integer_labels(img: nib.spatialimages.SpatialImage, name: str) -> nib.Nifti1Image:
    """Read labels as 32-bit integers, or say why they are none."""
    data = read_values(img, name)
    data = data[..., 0] if data.ndim == 4 and data.shape[3] == 1 else data
    if data.ndim != 3:
        raise DataError(
            f"The labels of {name} have shape {data.shape}; a label image is 3D. A 4D image of "
            "one map a region (probabilities) makes a MapsAtlas: Atlas.from_files(image, table)."
        )
    if not np.isfinite(data).all() or (data != np.rint(data)).any() or data.min() < 0:
        raise DataError(
            f"The labels of {name} are not whole numbers from 0 up (0 is background). If the "
            "image was resampled, resample it again with nearest neighbour interpolation."
        )
    if data.max() >= 2**31:
        raise DataError(f"The labels of {name} go up to {data.max()}, over 2147483647.")
    out = nib.Nifti1Image(data.astype(np.int32), img.affine)
    out.header.set_xyzt_units("mm")
    return out


def _is_maps(img: nib.spatialimages.SpatialImage) -> bool:
    """Tell an image of one map a region from a label image."""
    return len(img.shape) == 4 and img.shape[3] > 1


def _numbered(img: nib.spatialimages.SpatialImage, source: object) -> pd.DataFrame:
    """Name regions by their ids where there is no table, and say so."""
    stem = "map" if _is_maps(img) else "label"
    warnings.warn(
        f"No region table beside {source}: the regions are named {stem}_<id>. "
        "Give table= (a BIDS .tsv, a FreeSurfer colour table or a label text) to name them.",
        stacklevel=3,
    )
    if _is_maps(img):
        ids = np.arange(1, img.shape[3] + 1)
    else:
        values = read_values(img, str(source))
        ids = np.unique(values[np.isfinite(values)])
        ids = ids[(ids > 0) & (ids == np.rint(ids))].astype(np.int64)
    return pd.DataFrame({"label_id": ids, "name": [f"{stem}_{number}" for number in ids]})
