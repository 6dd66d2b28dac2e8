"""The list of what a store of windows holds as a whole: one line of JSON for each run.

A line is added after the run's values are in place. A process may be killed at any time: a line
that was cut short does not count, nor does anything that no line tells of.
"""

import json
import os
from pathlib import Path

import numpy as np
import xarray as xr

from neurosal.errors import DataError
from neurosal.loaders.events import concat_windows

NAME = "runs.jsonl"
RUN_NAMES = ("subject", "session", "task", "run")


def read_journal(folder: Path, *, repair: bool = False) -> list[dict]:
    """Read which runs are stored.

    Parameters
    ----------
    folder : pathlib.Path
        The store.
    repair : bool
        Cut off a last line that is not whole, so that lines can be added.

    Returns
    -------
    list of dict
        ``run`` (a list of four names; None for a run without windows), ``stop`` (samples in the
        store up to the end of this run) and ``attrs``; empty if there is no journal.

    Raises
    ------
    DataError
        If a line is none that :func:`add_line` writes.

    Examples
    --------
    >>> read_journal(Path("nowhere"))
    []
    """
    journal = folder / NAME
    try:
        text = journal.read_bytes() if journal.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if repair and len(whole) < len(text):
            os.truncate(journal, len(whole))
        entries = [json.loads(line) for line in whole.splitlines()]
        if not all(_is_entry(entry) for entry in entries):
            raise ValueError("a line is no entry of a run")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"Cannot read {journal}: {error}. Copy the store again, or remove it."
        ) from error
    return entries


def _is_entry(entry: object) -> bool:
    """Tell whether a line of the journal is one that save_windows writes."""
    if not isinstance(entry, dict) or not {"run", "stop", "attrs"} <= set(entry):
        return False
    run, stop = entry["run"], entry["stop"]
    named = run is None or (isinstance(run, list) and len(run) == len(RUN_NAMES))
    return named and isinstance(stop, int) and stop >= 0 and isinstance(entry["attrs"], dict)


def add_line(folder: Path, run: tuple | None, stop: int, attrs: dict) -> None:
    """Add a run; the line is on the disk before anything else happens.

    Parameters
    ----------
    folder : pathlib.Path
        The store.
    run : tuple of str or None
        Subject, session, task and run; None for a run without windows.
    stop : int
        Samples in the store up to the end of this run.
    attrs : dict
        The attributes of its windows.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> add_line(folder, ("01", "", "MOTOR", "LR"), 10, {"t_r": 0.72})
    >>> read_journal(folder)[0]["stop"]
    10
    """
    line = json.dumps({"run": run, "stop": stop, "attrs": attrs})
    with (folder / NAME).open("ab") as stream:
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def joined_attributes(entries: list[dict]) -> dict:
    """Join the attributes of all runs as :func:`~neurosal.loaders.events.concat_windows` does.

    Parameters
    ----------
    entries : list of dict
        What :func:`read_journal` returns.

    Returns
    -------
    dict
        Those on which no two runs differ; counts are summed.

    Examples
    --------
    >>> of_two = [{"attrs": {"t_r": 2.0, "source": name}} for name in ("a.nii", "b.nii")]
    >>> joined_attributes(of_two)["t_r"], "source" in joined_attributes(of_two)
    (2.0, False)
    """
    axes = {"time": [0.0], "region": ["any"]}
    empty = xr.DataArray(np.zeros((0, 1, 1)), dims=("sample", "time", "region"), coords=axes)
    return concat_windows([empty.assign_attrs(entry["attrs"]) for entry in entries]).attrs


def plain_attributes(attrs: dict) -> dict:
    """Give attributes as they come back from JSON.

    Parameters
    ----------
    attrs : dict
        Numpy's numbers and arrays become numbers and lists.

    Returns
    -------
    dict
        A copy.

    Examples
    --------
    >>> plain_attributes({"lag": np.float32(5), "window": (1, 2)})
    {'lag': 5.0, 'window': [1, 2]}
    """
    return json.loads(json.dumps(attrs, default=_listed))


def _listed(value: object) -> object:
    """Make numpy's numbers and arrays fit for JSON."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
