"""What a label image's file name and the files beside it tell."""

import json
import re
from pathlib import Path

from neurosal.errors import DataError


def guess_space(path: str | Path | None) -> str:
    """Read the space out of a file name: BIDS ``space-`` or ``tpl-``, or an MNI152 name in it.

    Parameters
    ----------
    path : str, pathlib.Path or None
        A file.

    Returns
    -------
    str
        The space; empty if the name tells none.

    Examples
    --------
    >>> guess_space("sub-1_task-x_space-MNI152NLin2009cAsym_res-2_bold.nii.gz")
    'MNI152NLin2009cAsym'
    >>> guess_space("Schaefer2018_100Parcels_MNI152NLin6Asym_2mm.nii.gz")
    'MNI152NLin6Asym'
    """
    name = Path(path).name if path else ""
    for pattern in (
        r"(?:^|_)space-([A-Za-z0-9]+)",
        r"(?:^|_)tpl-([A-Za-z0-9]+)",
        r"(MNI152N\w*?)(?:_|\.)",
    ):
        found = re.search(pattern, name)
        if found:
            return found.group(1)
    return ""


def table_beside(path: Path) -> Path | None:
    """Find the table of a label image: the same name, or the nearest more general BIDS name.

    Parameters
    ----------
    path : pathlib.Path
        The label image.

    Returns
    -------
    pathlib.Path or None
        The table; None if there is none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "atlas-mine_dseg.tsv").write_text("")
    >>> table_beside(folder / "atlas-mine_res-2_dseg.nii.gz").name
    'atlas-mine_dseg.tsv'
    """
    for suffix in (".tsv", ".txt", ".csv"):
        candidate = path.with_name(_stem(path) + suffix)
        if candidate.is_file():
            return candidate
    wanted = _entities(_stem(path))
    tables = [table for table in path.parent.glob("*_dseg.tsv") if _entities(table.stem) <= wanted]
    return max(tables, key=lambda table: len(_entities(table.stem)), default=None)


def read_sidecar(path: Path) -> dict:
    """Read the JSON beside an image, if there is one.

    Parameters
    ----------
    path : pathlib.Path
        The image.

    Returns
    -------
    dict
        What the file says; empty if there is none.

    Raises
    ------
    DataError
        If the file is no JSON.

    Examples
    --------
    >>> read_sidecar(Path("nowhere_dseg.nii.gz"))
    {}
    """
    sidecar = path.with_name(_stem(path) + ".json")
    if not sidecar.is_file():
        return {}
    try:
        notes = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {sidecar}: {error}. Repair or remove it.") from error
    return notes if isinstance(notes, dict) else {}


def name_from(path: Path | None) -> str:
    """Name an atlas after its file: the ``atlas-`` or ``seg-`` entity, or the whole stem.

    Parameters
    ----------
    path : pathlib.Path or None
        The label image; None for an image in memory.

    Returns
    -------
    str
        The name.

    Examples
    --------
    >>> name_from(Path("atlas-Power264_space-MNI152NLin6Asym_dseg.nii.gz"))
    'Power264'
    """
    if path is None:
        return "atlas"
    found = re.search(r"(?:^|_)(?:atlas|seg)-([A-Za-z0-9]+)", path.name)
    return found.group(1) if found else _stem(path)


def _stem(path: Path) -> str:
    """Give a file name without ``.nii.gz`` and the like."""
    return re.sub(r"\.(nii|mgh|mgz|img|hdr)(\.gz)?$|\.gz$", "", path.name)


def _entities(stem: str) -> set[str]:
    """Split a BIDS name into its parts."""
    return set(stem.split("_"))
