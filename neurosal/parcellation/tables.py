"""Region tables: read the three formats atlases come with, and what their names tell.

A table is a :class:`pandas.DataFrame` with ``label_id``, ``name``, ``network`` and ``hemisphere``.
It is read from a BIDS ``_dseg.tsv``, a FreeSurfer colour table (``id name R G B A``) or the
two-line text of the Schaefer and Tian atlases (a name, then ``id R G B A``).
"""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import DataError
from neurosal.parcellation.files import shown

TABLE_COLUMNS = ("label_id", "name", "network", "hemisphere")
UNASSIGNED = "unassigned"
_ALIASES = {
    "label_id": ("index", "label_id", "id", "component"),
    "name": ("name", "label", "difumo_names"),
    "network": ("network", "network_label", "network_id", "yeo_networks7"),
    "hemisphere": ("hemisphere", "hemi"),
}
_SIDES = {"l": "L", "lh": "L", "left": "L", "r": "R", "rh": "R", "right": "R"}
_MIDDLE = {"m": "M", "mid": "M", "midline": "M", "b": "M", "bilateral": "M"}
_SCHAEFER = re.compile(r"^(?:\d+Networks_)?(LH|RH)_([^_]+)")
_SUBCORTEX = re.compile(r"(HIP|AMY|THA|NAc|GP|PUT|CAU)\b.*-(lh|rh)$")  # codespell:ignore tha
_SIDE_IN_NAME = re.compile(r"(?:^|[\s_-])(lh|rh|left|right|l|r)(?=$|[\s_-])", re.IGNORECASE)


def parse_name(name: str) -> tuple[str, str]:
    """Read network and hemisphere out of a region's name, where it tells them.

    Parameters
    ----------
    name : str
        A region's name, in the manner of Schaefer, Tian, FreeSurfer, AAL or Harvard-Oxford.

    Returns
    -------
    tuple of str
        Network (``"unassigned"`` if the name tells none) and hemisphere (``"L"``, ``"R"`` or
        an empty string).

    Examples
    --------
    >>> parse_name("7Networks_LH_Vis_1")
    ('Vis', 'L')
    >>> parse_name("HIP-rh")
    ('Subcortex', 'R')
    >>> parse_name("ctx-lh-cuneus")
    ('unassigned', 'L')
    """
    schaefer = _SCHAEFER.match(name)
    if schaefer:
        return schaefer.group(2), _SIDES[schaefer.group(1).lower()]
    subcortex = _SUBCORTEX.search(name)
    if subcortex:
        return "Subcortex", _SIDES[subcortex.group(2)]
    side = _SIDE_IN_NAME.search(name)
    return UNASSIGNED, _SIDES[side.group(1).lower()] if side else ""


def complete_table(table: pd.DataFrame, *, source: str = "the table") -> pd.DataFrame:
    """Bring any table of labels to the four columns of an atlas.

    Parameters
    ----------
    table : pandas.DataFrame
        At least an id (``index``, ``label_id`` or ``id``) and a ``name`` (or ``label``); network
        and hemisphere are parsed from the names where their columns are missing.
    source : str
        Where the table comes from, for messages.

    Returns
    -------
    pandas.DataFrame
        ``label_id``, ``name``, ``network``, ``hemisphere``, by ``label_id``, without background.

    Raises
    ------
    DataError
        If ids or names are missing, ids are no whole numbers, or ids or names occur twice.

    Examples
    --------
    >>> complete_table(pd.DataFrame({"index": [2, 1], "name": ["HIP-rh", "HIP-lh"]}))
       label_id    name    network hemisphere
    0         1  HIP-lh  Subcortex          L
    1         2  HIP-rh  Subcortex          R
    """
    ids, names = _column(table, "label_id"), _column(table, "name")
    if ids is None or names is None:
        raise DataError(
            f"{source} has the columns {', '.join(map(str, table.columns))}; a region table needs "
            "'index' (the label id) and 'name'."
        )
    parsed = [parse_name(str(name)) for name in names]
    network, hemisphere = _column(table, "network"), _column(table, "hemisphere")
    out = pd.DataFrame(
        {
            "label_id": _whole_numbers(ids, source),
            "name": ["" if pd.isna(name) else str(name).strip() for name in names],
            "network": _filled(network, [pair[0] for pair in parsed]),
            "hemisphere": _sides(hemisphere, [pair[1] for pair in parsed]),
        }
    )
    out = out[out["label_id"] != 0].sort_values("label_id", ignore_index=True)
    _check_unique(out, source)
    return out


def read_table(path: str | Path) -> pd.DataFrame:
    r"""Read a region table in any of the three formats.

    Parameters
    ----------
    path : str or pathlib.Path
        A ``.tsv`` or ``.csv`` with a header line, or a colour table or label text.

    Returns
    -------
    pandas.DataFrame
        As :func:`complete_table` gives it.

    Raises
    ------
    DataError
        If the file is missing or in none of the formats.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "label.txt"
    >>> _ = path.write_text("7Networks_RH_Vis_1\n17 120 18 129 255\n")
    >>> read_table(path).iloc[0].to_dict()
    {'label_id': 17, 'name': '7Networks_RH_Vis_1', 'network': 'Vis', 'hemisphere': 'R'}
    """
    path = Path(path)
    try:
        if path.suffix.lower() in (".tsv", ".csv"):
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
            table = pd.read_csv(path, sep=separator, keep_default_na=False)
        else:
            table = _label_text(path.read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"Cannot read the region table {path}: {error}.") from error
    return complete_table(table, source=str(path))


def fit_table(
    present: np.ndarray, regions: pd.DataFrame, name: str, *, unit: str = "voxel"
) -> pd.DataFrame:
    """Keep the rows whose label is there; refuse labels that have no row.

    Parameters
    ----------
    present : numpy.ndarray
        The labels of the image, each once; 0 is background.
    regions : pandas.DataFrame
        As :func:`complete_table` gives it.
    name : str
        The atlas's name, for messages.
    unit : str
        What carries a label, for messages.

    Returns
    -------
    pandas.DataFrame
        The rows in use, numbered anew; the others are named in a warning.

    Raises
    ------
    DataError
        If no label is there, or one has no row.

    Examples
    --------
    >>> table = complete_table(pd.DataFrame({"index": [2, 1], "name": ["b", "a"]}))
    >>> fit_table(np.array([0, 1, 2]), table, "mine")["name"].tolist()
    ['a', 'b']
    """
    present = present[present != 0]
    if not len(present):
        raise DataError(f"The label image of {name} is empty: every {unit} is 0.")
    unnamed = np.setdiff1d(present, regions["label_id"])
    if len(unnamed):
        raise DataError(
            f"{len(unnamed)} labels of {name} are not in its table: {shown(unnamed)}. Give the "
            "table that belongs to this image, or add the missing rows."
        )
    found = regions["label_id"].isin(present)
    if not found.all():
        warnings.warn(
            f"{(~found).sum()} regions of the table of {name} have no {unit} in the label image "
            f"and are left out: {shown(regions['name'][~found])}.",
            stacklevel=4,
        )
    return regions[found].reset_index(drop=True)


def _label_text(text: str, path: Path) -> pd.DataFrame:
    """Read a colour table or the two-line label text, whichever the lines are."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    colour = re.compile(r"^(-?\d+)\s+(\S.*?)((?:\s+\d+){4})$")
    rows = [colour.match(line) for line in lines]
    if lines and all(rows):
        return pd.DataFrame([(row.group(1), row.group(2)) for row in rows], columns=["id", "name"])
    pairs = list(zip(lines[::2], lines[1::2], strict=False))
    numbers = [re.match(r"^(\d+)(?:\s+\d+){4}$", second) for _, second in pairs]
    if lines and len(lines) % 2 == 0 and all(numbers):
        ids = [number.group(1) for number in numbers]
        return pd.DataFrame({"id": ids, "name": [name for name, _ in pairs]})
    raise DataError(
        f"{path} is no region table: expected a .tsv with 'index' and 'name', lines of "
        "'id name R G B A', or pairs of lines 'name' and 'id R G B A'."
    )


def _column(table: pd.DataFrame, wanted: str) -> pd.Series | None:
    """Find a column under any of its names."""
    present = {str(column).strip().lower(): column for column in table.columns}
    for alias in _ALIASES[wanted]:
        if alias in present:
            return table[present[alias]]
    return None


def _whole_numbers(ids: pd.Series, source: str) -> pd.Series:
    """Read ids as integers, or name those that are none."""
    numbers = pd.to_numeric(ids, errors="coerce")
    wrong = ids[numbers.isna() | (numbers % 1 != 0)]
    if len(wrong):
        shown = ", ".join(repr(value) for value in wrong.tolist()[:5])
        raise DataError(f"{source}: label ids must be whole numbers. Got {shown}.")
    return numbers.astype(int).to_numpy()


def _filled(column: pd.Series | None, parsed: list[str]) -> list[str]:
    """Take a column's words, and what the names tell where it is missing or empty."""
    if column is None:
        return parsed
    words = ["" if pd.isna(word) else str(word).strip() for word in column]
    return [
        guess if word in ("", "n/a") else word for word, guess in zip(words, parsed, strict=True)
    ]


def _sides(column: pd.Series | None, parsed: list[str]) -> list[str]:
    """Bring ``left``, ``LH``, ``l`` to ``L``, and so on; words it does not know are kept."""
    known = {**_SIDES, **_MIDDLE}
    return [known.get(word.lower(), word) for word in _filled(column, parsed)]


def _check_unique(table: pd.DataFrame, source: str) -> None:
    """Refuse an id or a name that stands for two regions."""
    for column, remedy in (
        ("label_id", "Keep one row for each label."),
        ("name", "Rename them, for instance by adding the hemisphere or the id."),
    ):
        twice = table[column][table[column].duplicated()].unique()
        if len(twice):
            shown = ", ".join(repr(value) for value in twice.tolist()[:5])
            raise DataError(
                f"{source} has the same {column} for several regions: {shown}. {remedy}"
            )
    if (table["name"] == "").any():
        empty = table["label_id"][table["name"] == ""].tolist()[:5]
        raise DataError(f"{source} has no name for the labels {empty}. Name them.")
