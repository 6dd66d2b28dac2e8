"""Run a published experiment: plan, say how long it takes, work through it, write it down."""

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.experiments.box_reports import save_maps, write_box_results
from neurosal.experiments.box_runs import COLUMNS, KEYS, BoxRun, reference_rows, run_boxes
from neurosal.experiments.plans import (
    describe_cuts,
    estimate_seconds,
    plan_boxes,
    settings_digest,
)
from neurosal.experiments.tables import append_rows, finished_keys, read_rows
from neurosal.progress import say
from neurosal.reporting.outputs import PACKAGES, prepare_folder


def reproduce(
    experiment: str,
    *,
    out: str | Path,
    quick: bool = False,
    seeds: int = 5,
    data: str | Path | None = None,
) -> Path:
    """Run a published experiment and print our numbers beside the published ones.

    What is finished is kept: called again with the same folder, the work goes on where it was
    stopped. Before the work, the time that is left is measured from first epochs and said.

    Parameters
    ----------
    experiment : str
        A key of :data:`EXPERIMENTS`.
    out : path-like
        Folder for the results; made if need be.
    quick : bool
        A cut version that ends within ten minutes; what is cut is said.
    seeds : int
        How many seeds; the quick version has one.
    data : path-like, optional
        Folder of data files, for experiments that need some; the boxes are drawn.

    Returns
    -------
    pathlib.Path
        The Markdown table. Beside it lie the tidy table (one row a run), figures and
        ``provenance.json``.

    Raises
    ------
    ArgumentError
        If there is no such experiment, or ``seeds`` is below 1.
    DataError
        If the folder holds the results of other settings.

    References
    ----------
    Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent Neural
    Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> reproduce("box", out="results")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: experiment must be one of 'boxes', 'moving-box'. Got 'box'.
    """
    run = EXPERIMENTS[check_one_of("experiment", experiment, EXPERIMENTS)]
    if seeds < 1:
        raise ArgumentError(f"seeds must be at least 1. Got {seeds!r}.")
    return run(experiment, out=prepare_folder(out), quick=quick, seeds=seeds, data=data)


def reproduce_boxes(
    experiment: str,
    *,
    out: Path,
    quick: bool = False,
    seeds: int = 5,
    data: object = None,
    plan: Sequence[BoxRun] | None = None,
) -> Path:
    """Run the experiments on boxes.

    Parameters
    ----------
    experiment : {'boxes', 'moving-box'}
        The six sets, or the box that moves.
    out : pathlib.Path
        Folder for the results.
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds.
    data : object
        Unused: the boxes are drawn.
    plan : sequence of BoxRun, optional
        Other runs than those of :func:`plan_boxes`.

    Returns
    -------
    pathlib.Path
        ``boxes.md``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reproduce_boxes("boxes", out=Path(folder), plan=[]).name
    'boxes.md'
    """
    runs = plan_boxes(experiment, quick=quick, seeds=seeds) if plan is None else list(plan)
    _check_settings(out, experiment, quick)
    if quick:
        say(describe_cuts(experiment))
    path = out / "boxes.csv"
    _add_references(path, runs)
    left = _left(path, runs)
    say(f"{experiment}: {len(runs) - len(left)} of {len(runs)} trainings are done in {out}.")
    if left:
        seconds = estimate_seconds(left)
        say(f"The other {len(left)} take up to about {_duration(seconds)} on this machine.")
    for number, run in enumerate(left, start=1):
        started = time.perf_counter()
        table, maps = run_boxes(run)
        save_maps(out / "maps", run.name, maps)
        append_rows(path, table)
        say(f"{number} of {len(left)}: {_line(run, table)} ({time.perf_counter() - started:.0f} s)")
    return write_box_results(out)


def _check_settings(out: Path, experiment: str, quick: bool) -> None:
    """Note the settings, or refuse a folder with the results of others."""
    settings = {"experiment": experiment, "quick": quick, "settings": settings_digest()}
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


def _add_references(path: Path, runs: Sequence[BoxRun]) -> None:
    """Add the random and the oracle row of every data set and seed."""
    done = finished_keys(read_rows(path, COLUMNS), ["dataset", "seed", "network"])
    for dataset, seed, n_test in dict.fromkeys((r.dataset, r.seed, r.n_test) for r in runs):
        if (dataset, seed, "-") not in done:
            append_rows(path, reference_rows(dataset, seed=seed, n_test=n_test))


def _left(path: Path, runs: Sequence[BoxRun]) -> list[BoxRun]:
    """Keep the runs, and of those the methods, that are not in the table."""
    done = finished_keys(read_rows(path, COLUMNS), KEYS)
    left = []
    for run in runs:
        methods = [m for m in run.methods if tuple(run.row(m)[key] for key in KEYS) not in done]
        if methods:
            left.append(replace(run, methods=tuple(methods)))
    return left


def _line(run: BoxRun, table: pd.DataFrame) -> str:
    """Sum a run up in a line."""
    own = run.setup
    first = table.iloc[0]
    text = f"{run.dataset}, {own.network}, {own.training}, seed {run.seed}: "
    text += f"accuracy {first['accuracy']:.1%}, {first['method']} AUPR {first['aupr']:.2f}"
    return text if first["learned"] else text + ", not learned"


def _duration(seconds: float) -> str:
    """Write seconds so that they can be understood."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


#: Name to the function that runs it; each takes the arguments of :func:`reproduce`.
EXPERIMENTS: dict[str, Callable[..., Path]] = {
    "boxes": reproduce_boxes,
    "moving-box": reproduce_boxes,
}
