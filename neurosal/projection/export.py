"""Every subject's maps as files in one call, laid out and named as BIDS derivatives are."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, check_one_of
from neurosal.labelled import writing
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.projection.averages import mean_maps
from neurosal.projection.gifti import save_surface_map
from neurosal.projection.grayordinates import KINDS
from neurosal.projection.images import map_extension, save_map
from neurosal.projection.names import bids_name
from neurosal.projection.sidecars import GENERATED_BY

_ENTITIES = {"subject": "sub", "session": "ses", "task": "task", "run": "run"}
_BIDS = "1.10.0"


def save_maps(
    maps: xr.DataArray,
    atlas: RegionAtlas,
    folder: str | Path,
    *,
    by: str | Sequence[str] = ("subject", "condition"),
    kind: str | None = None,
    reference: object = None,
    provenance: dict | None = None,
) -> list[Path]:
    """Average windows' maps by subject and condition, and write each mean as an image.

    Parameters
    ----------
    maps : xarray.DataArray
        Importance (sample, time, region), such as ``SaliencyDecoder.saliency_``.
    atlas : Atlas, MapsAtlas, GrayordinateAtlas or MaskerAtlas
        The regions.
    folder : str or pathlib.Path
        Where to write; made if it is not there, with a ``dataset_description.json``. Files of one
        subject go to ``sub-<subject>/[ses-<session>/]func``.
    by : str or sequence of str
        Coordinates on ``sample``: one file for each combination that occurs.
    kind : str or None
        ``"surface"`` for two GIFTI files on fsaverage5, or on the surfaces of the atlas; for
        grayordinates also ``"pscalar"``, ``"ptseries"``, ``"dscalar"`` or ``"dtseries"``. None
        takes what fits the atlas: NIfTI, ``"ptseries"``, or GIFTI for a masker of surfaces.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid volumes have; None uses the atlas's own.
    provenance : dict or None
        Anything about how the maps came to be; goes into every sidecar.

    Returns
    -------
    list of pathlib.Path
        The images, each with a JSON file beside it that names the atlas, the windows averaged and
        how they were explained.

    Raises
    ------
    ArgumentError
        If the maps lack a coordinate, two files would get one name, or the kind does not fit.
    DataError
        If the folder cannot be written to.

    See Also
    --------
    neurosal.projection.averages.mean_maps : the means.
    neurosal.projection.images.save_map : one map.

    Examples
    --------
    >>> import tempfile
    >>> from neurosal.labelled import region_coordinates
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> names = {"subject": ["01", "02"], "condition": ["lh", "lh"], "task": ["MOTOR", "MOTOR"]}
    >>> maps = xr.DataArray(
    ...     np.ones((2, 1, 160)), dims=("sample", "time", "region"),
    ...     coords=region_coordinates(atlas.regions) | {k: ("sample", v) for k, v in names.items()})
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_maps(maps, atlas, folder)[1].relative_to(folder).as_posix()  # doctest: +ELLIPSIS
    'sub-02/func/sub-02_task-MOTOR_space-MNI152NLin6Asym_seg-dosenbach160_desc-lh_saliency.nii.gz'
    """
    folder, names = Path(folder), [by] if isinstance(by, str) else list(by)
    means = mean_maps(maps, names)
    surface = _is_surface(atlas, kind)
    fixed = {"space": _space(atlas, surface), "seg": atlas.name, "task": _only_task(maps)}
    paths = {}
    for key, mean in means.items():
        means[key] = mean.isel(time=0) if mean.sizes.get("time") == 1 else mean
        ending = _ending(atlas, kind, surface, timed="time" in means[key].dims)
        paths[key] = folder / _path_of(dict(zip(names, key, strict=True)), fixed, ending)
    _check_unique(paths)
    _describe_dataset(folder)
    written = []
    for key, path in paths.items():
        if surface:
            files = save_surface_map(means[key], atlas, path, provenance=provenance)
            written += files.values()
        else:
            options = {"reference": reference, "provenance": provenance}
            written.append(save_map(means[key], atlas, path, **options))
    return written


def _is_surface(atlas: RegionAtlas, kind: str | None) -> bool:
    """Tell whether GIFTI files are to be written, and refuse unknown kinds."""
    gray = isinstance(atlas, GrayordinateAtlas)
    if kind is not None:
        check_one_of("kind", kind, ["surface", *(KINDS if gray else ())])
    return kind == "surface" or map_extension(atlas).endswith(".gii")


def _ending(atlas: RegionAtlas, kind: str | None, surface: bool, *, timed: bool) -> str:
    """Give the end of the files' names."""
    if surface:
        return ".func.gii" if timed else ".shape.gii"
    return map_extension(atlas, timed=timed) if kind is None else f".{kind}.nii"


def _space(atlas: RegionAtlas, surface: bool) -> str:
    """Name the space of the files: labels of volumes go to surfaces of fsaverage."""
    sampled = surface and map_extension(atlas) == ".nii.gz"
    return "fsaverage5" if sampled else atlas.space


def _only_task(maps: xr.DataArray) -> str:
    """Name the task, if all maps are of one."""
    tasks = np.unique(maps["task"].to_numpy()) if "task" in maps.coords else []
    return str(tasks[0]) if len(tasks) == 1 else ""


def _path_of(labels: dict, fixed: dict, ending: str) -> Path:
    """Build a file's place and name of what its windows have in common."""
    entities = {_ENTITIES[name]: value for name, value in labels.items() if name in _ENTITIES}
    rest = [str(value) for name, value in labels.items() if name not in _ENTITIES]
    name = bids_name({**fixed, "desc": "".join(rest) or "mean", **entities}, ending=ending)
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    inside = [*parts, "func"] if parts and parts[0].startswith("sub-") else []
    return Path(*inside, name)


def _check_unique(paths: dict[tuple, Path]) -> None:
    """Refuse to write two maps to one file."""
    seen: dict[Path, tuple] = {}
    for key, path in paths.items():
        if path in seen:
            raise ArgumentError(
                f"The maps of {seen[path]} and {key} would both be written to {path.name}, for "
                "BIDS names hold letters and numbers only. Rename one of them, "
                "e.g. maps.assign_coords(condition=('sample', names))."
            )
        seen[path] = key


def _describe_dataset(folder: Path) -> None:
    """Write what BIDS asks of a folder of derivatives, if it is not there."""
    path = folder / "dataset_description.json"
    content = {
        "Name": "Importance maps",
        "BIDSVersion": _BIDS,
        "DatasetType": "derivative",
        "GeneratedBy": GENERATED_BY,
    }
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
