"""What a label image's file name and the files beside it tell."""

import json
import re
from pathlib import Path

from neurosal.errors import DataError

_SIDE = re.compile(
    r"(?:^(?=[lr]h\.)|(?:^|_)hemi-|[._](?=[LR](?:[._]|$)))([lrLR])(?:h\.|(?=[._]|$))"
)


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
        notes = json.loads(sidecar.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
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
    return found.group(1) if found else _SIDE.sub("", _stem(path), count=1)


def hemisphere_of(path: str | Path) -> str:
    """Read the hemisphere out of a file name: ``lh.``, ``hemi-L``, ``.L.`` and the like.

    Parameters
    ----------
    path : str or pathlib.Path
        A file of one hemisphere.

    Returns
    -------
    str
        ``"left"``, ``"right"``, or an empty string if the name tells none.

    Examples
    --------
    >>> hemisphere_of("sub-1_hemi-R_space-fsaverage5_bold.func.gii"), hemisphere_of("lh.annot")
    ('right', 'left')
    """
    found = _SIDE.search(Path(path).name)
    return {"l": "left", "r": "right"}[found.group(1).lower()] if found else ""


def describe(path: Path | None, *, name: str | None, space: str | None) -> dict[str, str]:
    """Gather what names an atlas: the arguments, else the JSON beside it, else the file name.

    Parameters
    ----------
    path : pathlib.Path or None
        The atlas's file; None if it is in memory.
    name, space : str or None
        What the user gave.

    Returns
    -------
    dict
        ``name``, ``space``, ``source``, ``licence`` and ``citation``.

    Raises
    ------
    DataError
        If the file beside the atlas is no JSON.

    Examples
    --------
    >>> describe(None, name="mine", space=None)["source"]
    'an image in memory'
    """
    notes = read_sidecar(path) if path else {}
    return {
        "name": name or notes.get("Name") or name_from(path),
        "space": guess_space(path) if space is None else space,
        "source": str(notes.get("Source") or path or "an image in memory"),
        "licence": str(notes.get("License", "")),
        "citation": str(notes.get("Citation", "")),
    }


def _stem(path: Path) -> str:
    """Give a file name without ``.nii.gz``, ``.dtseries.nii``, ``.func.gii`` and the like."""
    plain = re.sub(r"\.(nii|mgh|mgz|img|hdr|gii|annot)(\.gz)?$|\.gz$", "", path.name)
    return re.sub(r"\.([dp](?:label|scalar|tseries)|label|func|shape|time)$", "", plain)


def _entities(stem: str) -> set[str]:
    """Split a BIDS name into its parts."""
    return set(stem.split("_"))
