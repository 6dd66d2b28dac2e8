"""The poster's fMRI experiment on simulated HCP tasks: plan, time, tables."""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neurosal.experiments.hcp_like_reports import REFERENCES, write_hcp_like
from neurosal.experiments.hcp_like_runs import (
    COLUMNS,
    KEYS,
    METHODS,
    NETWORKS,
    TRAININGS,
    HcpRun,
    run_hcp_like,
    training_of,
)
from neurosal.experiments.resuming import note_settings, work_through
from neurosal.experiments.tables import save_arrays
from neurosal.progress import say

QUICK = {"n_train": 6, "n_test": 3, "max_epochs": 20}
TRIAL_SUBJECTS, TRIAL_EPOCHS = 2, 2


def plan_hcp_like(*, quick: bool = False, seeds: int = 5) -> list[HcpRun]:
    """List the trainings, seed by seed.

    Parameters
    ----------
    quick : bool
        One seed, fewer subjects and epochs.
    seeds : int
        How many seeds.

    Returns
    -------
    list of HcpRun
        Both trainings of a seed before the next seed.

    Examples
    --------
    >>> [(run.training, run.seed) for run in plan_hcp_like(seeds=2)]
    [('standard', 0), ('localizing', 0), ('standard', 1), ('localizing', 1)]
    """
    sizes = QUICK if quick else {}
    return [
        HcpRun(training, METHODS + REFERENCES, seed, **sizes)
        for seed in range(1 if quick else seeds)
        for training in TRAININGS
    ]


def reproduce_hcp_like(
    experiment: str = "hcp-like",
    *,
    out: Path,
    quick: bool = False,
    seeds: int = 5,
    data: object = None,
    plan: Sequence[HcpRun] | None = None,
) -> Path:
    """Tell simulated tasks apart, and ask whether the maps find what tells them apart.

    Parameters
    ----------
    experiment : str
        Its name.
    out : pathlib.Path
        Folder for the results.
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds.
    data : object
        Unused: the subjects are simulated.
    plan : sequence of HcpRun, optional
        Other runs than those of :func:`plan_hcp_like`.

    Returns
    -------
    pathlib.Path
        ``hcp_like.md``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reproduce_hcp_like(out=Path(folder), plan=[]).name
    'hcp_like.md'
    """
    runs = plan_hcp_like(quick=quick, seeds=seeds) if plan is None else list(plan)
    trainings = {name: str(training_of(name).get_params()) for name in TRAININGS}
    note_settings(out, experiment=experiment, quick=quick, networks=NETWORKS, trainings=trainings)
    if quick:
        say(
            "quick: one seed, {n_train} subjects to train and {n_test} to test on, at most "
            "{max_epochs} epochs.".format(**QUICK)
        )

    def do(run: HcpRun) -> pd.DataFrame:
        """Do a run and keep its maps."""
        table, maps = run_hcp_like(run)
        stem = f"{run.training}_{run.seed}"
        save_arrays(out / "maps", {f"{stem}_{name}": values for name, values in maps.items()})
        return table

    try:
        work_through(
            out / "hcp_like.csv",
            runs,
            columns=COLUMNS,
            keys=KEYS,
            estimate=estimate_seconds,
            do=do,
            describe=_line,
        )
    finally:
        path = write_hcp_like(out)
    return path


def estimate_seconds(runs: Sequence[HcpRun]) -> float:
    """Measure how long runs take, from two epochs of few subjects.

    Parameters
    ----------
    runs : sequence of HcpRun
        What is to be done.

    Returns
    -------
    float
        Seconds.

    Examples
    --------
    >>> estimate_seconds([])
    0.0
    """
    total = 0.0
    for training in {run.training for run in runs}:
        sizes = {"n_train": TRIAL_SUBJECTS, "n_test": 1, "max_epochs": TRIAL_EPOCHS}
        started = time.perf_counter()
        run_hcp_like(HcpRun(training, ("gradient",), 0, **sizes))
        took = time.perf_counter() - started
        each = training_of(training).max_epochs
        for run in (run for run in runs if run.training == training):
            epochs = min(each, run.max_epochs or each)
            total += took * run.n_train / TRIAL_SUBJECTS * (epochs / TRIAL_EPOCHS + 10) / 12
    return total


def _line(run: HcpRun, table: pd.DataFrame) -> str:
    """Sum a run up in a line."""
    first = table.groupby("network", sort=False).first()
    text = ", ".join(f"{n} {row['accuracy']:.1%}" for n, row in first.iterrows())
    return f"{run.training}, seed {run.seed}: accuracy {text}"
