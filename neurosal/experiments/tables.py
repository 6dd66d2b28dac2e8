"""Tidy tables that grow run by run, survive a stop, and are laid out as Markdown."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import DataError

#: Name under which example inputs are kept beside their maps.
INPUT = "input"


def read_rows(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read what earlier runs left.

    Parameters
    ----------
    path : path-like
        A CSV file, perhaps not there yet.
    columns : sequence of str
        The columns that it must have.

    Returns
    -------
    pandas.DataFrame
        Empty if there is no file.

    Raises
    ------
    DataError
        If the file has other columns.

    Examples
    --------
    >>> read_rows("nowhere.csv", ["network", "seed"]).columns.tolist()
    ['network', 'seed']
    """
    path = Path(path)
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    try:
        rows = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table of results: {error}. Move it away.") from error
    if list(rows.columns) != list(columns):
        raise DataError(
            f"{path} was not written by this version: its columns are {list(rows.columns)}, not "
            f"{list(columns)}. Move it away or choose another output folder."
        )
    return rows


def as_columns(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, flags: Sequence[str] = ()
) -> pd.DataFrame:
    """Lay rows out in the columns of a tidy table.

    Parameters
    ----------
    rows : sequence of mapping
        What is missing becomes NaN.
    columns : sequence of str
        The table's columns.
    flags : sequence of str
        Columns that are True, False or missing.

    Returns
    -------
    pandas.DataFrame
        One row each.

    Examples
    --------
    >>> as_columns([{"seed": 0}], ["seed", "learned"], flags=["learned"])["learned"].tolist()
    [<NA>]
    """
    table = pd.DataFrame(rows).reindex(columns=list(columns))
    return table.astype(dict.fromkeys(flags, "boolean"))


def append_rows(path: str | Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Add rows to a CSV file in one move, so that a stop leaves it whole.

    Parameters
    ----------
    path : path-like
        The file; made if need be.
    rows : pandas.DataFrame
        What to add.

    Returns
    -------
    pandas.DataFrame
        All rows of the file.

    Raises
    ------
    DataError
        If the file has other columns.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = append_rows(Path(folder) / "a.csv", pd.DataFrame({"seed": [0]}))
    ...     append_rows(Path(folder) / "a.csv", pd.DataFrame({"seed": [1]}))["seed"].tolist()
    [0, 1]
    """
    path = Path(path)
    known = read_rows(path, list(rows.columns))
    flags = [name for name in rows if rows[name].dtype == "boolean"]
    known = known.astype(dict.fromkeys(flags, "boolean"))
    table = pd.concat([known, rows], ignore_index=True) if len(known) else rows
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    table.to_csv(partial, index=False)
    partial.replace(path)
    return table


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays, each in a file of its own.

    Parameters
    ----------
    folder : pathlib.Path
        Made if need be.
    arrays : mapping of str to numpy.ndarray
        Name, without ending, to values.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_arrays(Path(folder) / "maps", {"a": np.ones(2)})
    ...     (Path(folder) / "maps" / "a.npy").exists()
    True
    """
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


def finished_keys(table: pd.DataFrame, keys: Sequence[str]) -> set[tuple]:
    """List what tells the rows apart.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows.
    keys : sequence of str
        Columns.

    Returns
    -------
    set of tuple
        One for each row.

    Examples
    --------
    >>> finished_keys(pd.DataFrame({"network": ["lstm"], "seed": [0]}), ["network", "seed"])
    {('lstm', 0)}
    """
    return set(table[list(keys)].itertuples(index=False, name=None))


def mean_and_spread(values: pd.Series, *, digits: int = 3) -> str:
    """Write the mean over seeds and, of several, their standard deviation.

    Parameters
    ----------
    values : pandas.Series
        One number a seed; NaN is left out.
    digits : int
        After the point.

    Returns
    -------
    str
        ``'0.120 ± 0.004'``, or ``'-'`` without a number.

    Examples
    --------
    >>> mean_and_spread(pd.Series([0.1, 0.3]))
    '0.200 ± 0.141'
    """
    known = values.dropna().to_numpy(dtype=float)
    if not known.size:
        return "-"
    mean = f"{known.mean():.{digits}f}"
    return mean if known.size == 1 else f"{mean} ± {np.std(known, ddof=1):.{digits}f}"


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Lay rows out as a Markdown table.

    Parameters
    ----------
    rows : sequence of mapping
        Column to cell, the same columns in each.

    Returns
    -------
    str
        Ends with a newline; empty without rows.

    Examples
    --------
    >>> print(markdown_table([{"network": "lstm", "AUPR": "0.24"}]), end="")
    | network | AUPR |
    |---|---|
    | lstm | 0.24 |
    """
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    text = [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]
    text[1] = "|" + "---|" * len(rows[0])
    return "\n".join(text) + "\n"
