"""How many frames, how far apart: of volumes, grayordinates and pairs of surfaces.

>>> import tempfile
>>> axes = nibabel.cifti2.SeriesAxis(0, 720, 3, unit="SECOND"), BrainModelAxis.from_surface(
...     [0, 2], 4, "CORTEX_LEFT")
>>> path = tempfile.mkdtemp() + "/run.dtseries.nii"
>>> nibabel.save(nibabel.Cifti2Image(np.zeros((3, 2), "float32"), axes), path)
>>> read_frames(path)
(3, 720.0)
"""

import os
import re
from pathlib import Path
from xml.parsers.expat import ExpatError

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, SeriesAxis
from nibabel.cifti2.cifti2 import Cifti2HeaderError

from neurosal.errors import DataError
from neurosal.loaders.runs import UNREADABLE, read_header

SIDES = {"L": "left", "R": "right"}
FROM_MILLISECONDS = 50  # a TimeStep is in s or ms, as the program has it; no frame takes 50 s
_HEAD = 1 << 16  # bytes of a GIFTI file that hold its first tags
_COUNT = re.compile(rb"<GIFTI\b[^>]*\bNumberOfDataArrays\s*=\s*[\"'](\d+)[\"']")
_STEP = re.compile(rb"TimeStep(?:\]\]>)?\s*</Name>\s*<Value>\s*(?:<!\[CDATA\[)?\s*([0-9.eE+-]+)")


def read_frames(img: str | Path | dict) -> tuple[int, float | None]:
    """Read a run's header, whatever it lies on.

    Parameters
    ----------
    img : str, pathlib.Path or dict
        A ``.nii`` or ``.nii.gz`` volume, a ``.dtseries.nii``, or ``{"left": ..., "right": ...}``
        of two ``.func.gii`` files. The values are not read, but for a GIFTI file that holds them
        as one array.

    Returns
    -------
    n_frames : int
        How many frames.
    t_r : float or None
        Repetition time in seconds; None where the header does not say.

    Raises
    ------
    DataError
        If a file is missing, damaged or no run, or two hemispheres differ.

    Examples
    --------
    >>> read_frames("nowhere.dtseries.nii")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot read nowhere.dtseries.nii as a CIFTI file: ...
    """
    for path in img.values() if isinstance(img, dict) else [img]:
        if os.path.islink(path) and not os.path.exists(path):
            raise DataError(
                f"{path} is a link to a file that is not there. Get the file (datalad get), or "
                "copy it to its place."
            )
    if isinstance(img, dict):
        sides = {path: _read_gifti(Path(path)) for path in img.values()}
        if len(set(sides.values())) > 1:
            each = (f"{path} has {n} frames, t_r {t_r}" for path, (n, t_r) in sides.items())
            raise DataError(f"Two hemispheres of one run differ: {'; '.join(each)}.")
        return next(iter(sides.values()))
    if str(img).endswith(".dtseries.nii"):
        return _read_cifti(Path(img))
    return read_header(img)


def _read_cifti(path: Path) -> tuple[int, float | None]:
    """Read the axes of a dense series."""
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Cifti2Image):
            raise DataError(f"{path} is a NIfTI volume, not CIFTI. Give a .dtseries.nii file.")
        series, brain = (image.header.get_axis(k) for k in range(2))
    except (*UNREADABLE, Cifti2HeaderError, ExpatError, IndexError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"Cannot read {path} as a CIFTI file: {error}. Download or copy it again."
        ) from error
    if not isinstance(series, SeriesAxis) or not isinstance(brain, BrainModelAxis):
        kinds = f"{type(series).__name__}, {type(brain).__name__}"
        raise DataError(f"{path} is no series of grayordinates: its axes are {kinds}.")
    step = round(float(series.step), 9)
    return len(series), step if series.unit == "SECOND" and 0 < step < np.inf else None


def _read_gifti(path: Path) -> tuple[int, float | None]:
    """Count the frames of one hemisphere."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error}. Download or copy it again.") from error
    count, step = _COUNT.search(head), _STEP.search(head)
    if not count or not int(count[1]):
        raise DataError(f"{path} is no GIFTI file of frames. Give a .func.gii file.")
    n_frames = int(count[1])
    if n_frames == 1:
        n_frames = _columns(path)
    if not n_frames:
        raise DataError(f"{path} holds no frames. Download or copy it again.")
    try:
        t_r = float(step[1]) if step else 0.0
    except ValueError:
        t_r = 0.0
    t_r = t_r / 1000 if t_r >= FROM_MILLISECONDS else t_r
    return n_frames, round(t_r, 9) if 0 < t_r < np.inf else None


def _columns(path: Path) -> int:
    """Frames of a GIFTI file that holds one array: its columns."""
    try:
        shape = nibabel.load(path).darrays[0].data.shape
    except (*UNREADABLE, ExpatError, AttributeError) as error:
        raise DataError(
            f"Cannot read {path} as a GIFTI file: {error}. Download or copy it again."
        ) from error
    return shape[1] if len(shape) == 2 else 1
