"""What lets a stopped experiment go on: settings that are noted, runs that are left to do.

A run is a dataclass with ``methods`` and ``row(method)``, which gives the columns that tell one
row of the table from another.
"""

import json
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from neurosal.errors import DataError
from neurosal.experiments.tables import INPUT, append_rows, finished_keys, read_rows, save_arrays
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.fitting import was_interrupted
from neurosal.progress import say
from neurosal.reporting.outputs import PACKAGES


def note_settings(out: Path, **settings: object) -> None:
    """Write the settings to ``provenance.json``, or refuse a folder with the results of others.

    Parameters
    ----------
    out : pathlib.Path
        Folder for the results; made if need be.
    **settings
        What decides the results, fit for JSON.

    Raises
    ------
    DataError
        If the folder was begun with other settings.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     note_settings(Path(folder) / "new", experiment="boxes", quick=True)
    ...     note_settings(Path(folder) / "new", experiment="boxes", quick=False)
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: ... holds results of other settings (quick differ)...
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "provenance.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name, value in settings.items() if found.get(name) != value]
        if different:
            raise DataError(
                f"{out} holds results of other settings ({', '.join(different)} differ). Choose "
                "another output folder, or remove this one to begin anew."
            )
        return
    versions = {name: version(name) for name in PACKAGES}
    settings |= {"started": datetime.now(UTC).isoformat(timespec="seconds")}
    settings |= {"python": platform.python_version(), "machine": platform.platform()}
    path.write_text(json.dumps(settings | {"versions": versions}, indent=2), encoding="utf-8")


def work_through(
    path: Path,
    runs: Sequence,
    *,
    columns: Sequence[str],
    keys: Sequence[str],
    estimate: Callable[[list], float],
    do: Callable[[object], pd.DataFrame],
    describe: Callable[[object, pd.DataFrame], str],
) -> None:
    """Do the runs that are not in the table yet, and say how long that takes before it begins.

    Parameters
    ----------
    path : pathlib.Path
        The tidy table; every finished run is added to it.
    runs : sequence
        All runs.
    columns, keys : sequence of str
        The table's columns, and those that tell its rows apart.
    estimate : callable
        Runs to seconds.
    do : callable
        Does a run and returns its rows.
    describe : callable
        Sums a run and its rows up in a line.

    Examples
    --------
    >>> work_through(Path("nowhere.csv"), [], columns=["seed"], keys=["seed"],
    ...              estimate=len, do=None, describe=None)
    """
    left = runs_left(read_rows(path, columns), runs, keys)
    say(f"{len(runs) - len(left)} of {len(runs)} trainings are done in {path.parent}.")
    if left:
        seconds = estimate(left)
        say(f"The other {len(left)} take up to about {in_words(seconds)} on this machine.")
    for number, run in enumerate(left, start=1):
        started = time.perf_counter()
        table = do(run)
        append_rows(path, table)
        took = in_words(time.perf_counter() - started)
        say(f"{number} of {len(left)}: {describe(run, table)} ({took})")


def keep_maps(out: Path, run: object, work: Callable, *, shared: str) -> pd.DataFrame:
    """Do a run from where it was stopped, keep its maps, drop the training's state.

    Parameters
    ----------
    out : pathlib.Path
        Folder for the results; gets the maps in ``maps``, each named after the run.
    run : object
        Has a ``name``.
    work : callable
        Takes the run and the folder for its ``checkpoint``; returns a table, and arrays by name.
    shared : str
        Name for the array called ``INPUT``, which many runs have in common.

    Returns
    -------
    pandas.DataFrame
        The table.

    Examples
    --------
    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> def work(run, checkpoint):
    ...     return pd.DataFrame(), {"input": np.zeros(2), "gradient": np.ones(2)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = keep_maps(Path(folder), SimpleNamespace(name="lstm"), work, shared="input")
    ...     sorted(path.name for path in Path(folder, "maps").iterdir())
    ['input.npy', 'lstm_gradient.npy']
    """
    checkpoint = out / "checkpoints" / run.name
    table, maps = work(run, checkpoint=checkpoint)
    names = {name: shared if name == INPUT else f"{run.name}_{name}" for name in maps}
    save_arrays(out / "maps", {names[name]: values for name, values in maps.items()})
    shutil.rmtree(checkpoint, ignore_errors=True)
    return table


def runs_left(table: pd.DataFrame, runs: Sequence, keys: Sequence[str]) -> list:
    """Keep the runs, and of those the methods, that are not in the table.

    Parameters
    ----------
    table : pandas.DataFrame
        What is done.
    runs : sequence
        All runs.
    keys : sequence of str
        Columns that tell rows apart.

    Returns
    -------
    list
        Runs with the methods that are left.

    Examples
    --------
    >>> runs_left(pd.DataFrame(columns=["seed"]), [], ["seed"])
    []
    """
    done = finished_keys(table, keys)
    left = []
    for run in runs:
        methods = [m for m in run.methods if tuple(run.row(m)[key] for key in keys) not in done]
        if methods:
            left.append(replace(run, methods=tuple(methods)))
    return left


def stop_if_interrupted(classifier: NetworkClassifier) -> None:
    """Hand an interrupt on that ended a training early: half a training is no result.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.

    Raises
    ------
    KeyboardInterrupt
        If a person ended the training.

    Examples
    --------
    >>> from neurosal.models.training import Training
    >>> classifier = NetworkClassifier("rnn", training=Training(max_epochs=1))
    >>> stop_if_interrupted(classifier.fit([[[0.0]], [[1.0]]], [0, 1]))
    """
    if any(was_interrupted(net) for net in classifier.nets_):
        raise KeyboardInterrupt


def in_words(seconds: float) -> str:
    """Write seconds so that they can be understood.

    Parameters
    ----------
    seconds : float
        How long.

    Returns
    -------
    str
        In s, min or h.

    Examples
    --------
    >>> in_words(90), in_words(600), in_words(36000)
    ('90 s', '10 min', '10.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
