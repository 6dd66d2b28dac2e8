"""The JSON beside every image: what the map is, and how it came to be."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal import __version__
from neurosal.errors import DataError
from neurosal.parcellation.base import RegionAtlas

GENERATED_BY = [{"Name": "neurosal", "Version": __version__}]


def write_with_sidecar(
    img: nib.filebasedimages.FileBasedImage,
    path: Path,
    ending: str,
    values: xr.DataArray | np.ndarray,
    atlas: RegionAtlas,
    *,
    notes: dict,
    times: tuple[float, float] | None = None,
    provenance: dict | None = None,
) -> Path:
    """Write an image, and beside it under the same name a JSON file.

    Parameters
    ----------
    img : nibabel image
        The image.
    path : pathlib.Path
        Where; its folder is made if it is not there.
    ending : str
        The end of ``path`` that ``.json`` takes the place of.
    values : xarray.DataArray or numpy.ndarray
        What the image shows: its attributes and single coordinates (the condition, the subject)
        are written down.
    atlas : RegionAtlas
        The regions.
    notes : dict
        ``Description`` and whatever else there is to say of the format.
    times : tuple of float or None
        Time of the first frame and repetition time in seconds, if there are frames.
    provenance : dict or None
        Anything about how the map came to be.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    DataError
        If the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> path = Path(tempfile.mkdtemp()) / "a_map.nii.gz"
    >>> img, atlas = nib.Nifti1Image(np.ones((1, 1, 1)), np.eye(4)), load_atlas("power264")
    >>> _ = write_with_sidecar(img, path, ".nii.gz", np.ones(264), atlas, notes={})
    >>> json.loads(path.with_name("a_map.json").read_text())["Atlas"]["Name"]
    'power264'
    """
    content = notes | _of_map(values, atlas) | {"Provenance": provenance or {}}
    if times is not None:
        start, step = times
        content |= {"RepetitionTime": round(step, 6), "StartTime": round(start, 6)}
    text = json.dumps(content, indent=2, default=_plain) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(img, path)
        path.with_name(f"{path.name.removesuffix(ending)}.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error}. Choose a folder you may write to, with free space."
        ) from error
    return path


def _of_map(values: object, atlas: RegionAtlas) -> dict:
    """Say which regions, and which windows, the values are of."""
    coords = getattr(values, "coords", {})
    return {
        "SpatialReference": atlas.space or "unknown",
        "Atlas": {
            "Name": atlas.name,
            "SHA256": atlas.hash,
            "Source": atlas.source,
            "License": atlas.licence,
            "Citation": atlas.citation,
        },
        "Regions": len(atlas),
        "GeneratedBy": GENERATED_BY,
        "Selection": {str(name): one.item() for name, one in coords.items() if one.ndim == 0},
        "Attributes": dict(getattr(values, "attrs", {})),
    }


def _plain(value: object) -> object:
    """Make numpy values and paths fit for JSON."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
