"""Maps on surfaces as a GIFTI file for each hemisphere, as nilearn and Workbench read them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from neurosal.errors import ArgumentError
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maskers import MaskerAtlas
from neurosal.projection.masked import paint_masker
from neurosal.projection.names import with_hemisphere
from neurosal.projection.sidecars import write_with_sidecar
from neurosal.projection.surface import paint_vertices, to_surface
from neurosal.projection.values import find_times, label_values

ENDINGS = (".func.gii", ".shape.gii")
_INTENTS = {".func.gii": "NIFTI_INTENT_TIME_SERIES", ".shape.gii": "NIFTI_INTENT_SHAPE"}


def save_surface_map(
    values: xr.DataArray | np.ndarray,
    atlas: RegionAtlas,
    path: str | Path,
    *,
    mesh: object = None,
    provenance: dict | None = None,
    t_r: float | None = None,
) -> dict[str, Path]:
    """Write a map as a GIFTI file for each hemisphere, with a JSON file beside each.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region).
    atlas : Atlas, GrayordinateAtlas or MaskerAtlas
        The regions; a masker's must be on surfaces.
    path : str or pathlib.Path
        Where to write, ending in ``.func.gii``, or ``.shape.gii`` for maps without times; the
        hemisphere is put into the names.
    mesh : object
        As :func:`~neurosal.projection.surface.to_surface` takes it; None is ``"fsaverage5"`` for
        a volume atlas, and the vertices of its own for one of grayordinates. A masker has its own.
    provenance : dict or None
        Anything about how the map came to be.
    t_r : float or None
        Repetition time in seconds; None takes that of ``values``.

    Returns
    -------
    dict of str to pathlib.Path
        ``"left"`` and ``"right"`` to the files written. ``nilearn.surface.SurfaceImage(mesh,
        files)`` reads them, and :func:`~neurosal.projection.surface.from_surface` the regions.

    Raises
    ------
    ArgumentError
        If the path is of another format, or the atlas has no surface.
    DataError
        If the folder cannot be written to.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> from neurosal.parcellation.grayordinates import GrayordinateAtlas
    >>> axis = nib.cifti2.BrainModelAxis.from_surface([0, 1, 9], 10242, "CORTEX_LEFT")
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, pd.DataFrame({"id": [1, 2], "name": ["a", "b"]}))
    >>> files = save_surface_map(np.ones(2), atlas, tempfile.mkdtemp() + "/task-x_map.shape.gii")
    >>> files["left"].name
    'task-x_hemi-L_map.shape.gii'
    """
    path = Path(path)
    end = next((one for one in ENDINGS if path.name.endswith(one)), None)
    array = label_values(values, atlas)
    timed = "time" in array.dims
    if end is None or (timed and end != ENDINGS[0]):
        allowed = ENDINGS[:1] if timed else ENDINGS
        raise ArgumentError(f"path must end in {' or '.join(allowed)}. Got {path}.")
    parts = _paint(array, atlas, mesh)
    times = find_times(array, t_r) if timed else None
    return _write_sides(parts, atlas, path, end, array=array, times=times, provenance=provenance)


def _paint(array: xr.DataArray, atlas: RegionAtlas, mesh: object) -> dict[str, np.ndarray]:
    """Give the values of the vertices of each hemisphere."""
    if isinstance(atlas, GrayordinateAtlas) and mesh is None:
        return paint_vertices(array, atlas)
    if not isinstance(atlas, MaskerAtlas):
        return to_surface(array, atlas, mesh="fsaverage5" if mesh is None else mesh).data.parts
    img = paint_masker(array, atlas)
    if not hasattr(img, "mesh"):
        raise ArgumentError(f"The masker of {atlas.name} is one of volumes: write .nii.gz.")
    return img.data.parts


def _write_sides(
    parts: dict[str, np.ndarray],
    atlas: RegionAtlas,
    path: Path,
    end: str,
    *,
    array: xr.DataArray,
    times: tuple | None,
    provenance: dict | None,
) -> dict[str, Path]:
    """Write each hemisphere that there is."""
    written = {}
    for side, part in parts.items():
        file = path.with_name(with_hemisphere(path.name, side[0].upper()))
        gifti = _as_gifti(part, side, end, times)
        notes = {
            "Description": "Region values painted on the vertices of their regions",
            "Hemisphere": side[0].upper(),
            "Vertices": len(part),
        }
        written[side] = write_with_sidecar(
            gifti, file, end, array, atlas, notes=notes, times=times, provenance=provenance
        )
    return written


def _as_gifti(part: np.ndarray, side: str, end: str, times: tuple | None) -> GiftiImage:
    """Make one array a frame, with what Workbench wants to know of a hemisphere."""
    frames = np.ascontiguousarray(part.reshape(len(part), -1).T, dtype=np.float32)
    start, step = times or (0.0, 0.0)
    arrays = [
        GiftiDataArray(
            frame,
            intent=nib.nifti1.intent_codes[_INTENTS[end]],
            datatype="NIFTI_TYPE_FLOAT32",
            meta=GiftiMetaData({"Name": f"{start + number * step:g} s"} if step else {}),
        )
        for number, frame in enumerate(frames)
    ]
    meta = {"AnatomicalStructurePrimary": f"Cortex{side.capitalize()}"}
    meta |= {"TimeStep": f"{step * 1000:g}"} if step else {}
    return GiftiImage(darrays=arrays, meta=GiftiMetaData(meta))
