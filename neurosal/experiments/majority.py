"""The thesis's experiment from plan to files: cells that solve the majority problem, explained.

>>> run = plan_majority(quick=True)[0]
>>> run.dataset, run.cell
('mnist', 'Shallow')
"""

import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import check_one_of
from neurosal.experiments.image_sets import IMAGE_SETS, N_CLASSES, SIDE
from neurosal.experiments.majority_data import FOLDS, N_FOLDS, N_IMAGES, STEP_COLUMNS, Sequences
from neurosal.experiments.majority_reports import write_majority_page, write_majority_results
from neurosal.experiments.majority_runs import (
    COLUMNS,
    KEYS,
    MajorityRun,
    explain_majority,
    reference_rows,
    run_majority,
    sequences_of_test,
)
from neurosal.experiments.majority_setups import CELLS, EPOCHS, LEARNING_RATE, METHODS
from neurosal.experiments.resuming import keep_maps, note_settings, work_through
from neurosal.experiments.tables import append_rows, finished_keys, read_rows
from neurosal.progress import say

N_TRAIN = {"images": 60000 * (N_FOLDS - 1) // N_FOLDS, "sequences": 60000}
N_TEST = 10000
QUICK_TRAIN = 15000
QUICK_TEST = 500
QUICK_EPOCHS = 8
#: Few steps do with a larger rate than the thesis's.
QUICK_RATE = 1e-3
#: The convolutions of these cost eight times what the other cells do.
QUICK_CONVOLUTION_EPOCHS = 4
TRIAL = 400
TRIAL_TEST = 20


def plan_majority(
    *,
    quick: bool = False,
    seeds: int = 5,
    data: str | Path | None = None,
    folds: str = "images",
) -> list[MajorityRun]:
    """List the cells to train.

    Parameters
    ----------
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds, each with a fold of its own left out; one if cut.
    data : path-like, optional
        Folder of the images.
    folds : {'images', 'sequences'}
        What is left out, see :class:`~neurosal.experiments.majority_runs.MajorityRun`.

    Returns
    -------
    list of MajorityRun
        Seed by seed, so that a stopped experiment has whole tables of fewer seeds.

    Raises
    ------
    ArgumentError
        If ``folds`` is unknown.

    Examples
    --------
    >>> len(plan_majority(seeds=7)), len(plan_majority(quick=True))
    (126, 9)
    """
    check_one_of("folds", folds, FOLDS)
    methods = tuple(METHODS)
    if not quick:
        return [
            MajorityRun(dataset, cell, methods, seed, data, folds=folds)
            for seed in range(seeds)
            for dataset in IMAGE_SETS
            for cell in CELLS
        ]
    cuts = {"n_train": QUICK_TRAIN, "n_test": QUICK_TEST, "learning_rate": QUICK_RATE}
    cuts["folds"] = folds
    return [
        MajorityRun("mnist", cell, methods, 0, data, max_epochs=quick_epochs(cell), **cuts)
        for cell in CELLS
    ]


def quick_epochs(cell: str) -> int:
    """Give the epochs of the quick version.

    Parameters
    ----------
    cell : str
        A key of :data:`~neurosal.experiments.majority_setups.CELLS`.

    Returns
    -------
    int
        Fewer for the cells with convolutions.

    Examples
    --------
    >>> quick_epochs("Deep") > quick_epochs("ConvDeep")
    True
    """
    return QUICK_CONVOLUTION_EPOCHS if cell.startswith("Conv") else QUICK_EPOCHS


def describe_cuts() -> str:
    """Say what the quick version leaves out.

    Returns
    -------
    str
        A sentence.

    Examples
    --------
    >>> describe_cuts()
    'quick: MNIST only; one seed; ...'
    """
    return (
        f"quick: MNIST only; one seed; {QUICK_TRAIN} training sequences instead of "
        f"{N_TRAIN['images']} (folds of sequences: {N_TRAIN['sequences']}); "
        f"{QUICK_EPOCHS} epochs ({QUICK_CONVOLUTION_EPOCHS} for cells with convolutions) instead "
        f"of {EPOCHS}, at a learning rate of {QUICK_RATE:g} instead of {LEARNING_RATE:g}; maps and "
        f"accuracy of {QUICK_TEST} test sequences instead of {N_TEST}. Accuracies are lower for it."
    )


def estimate_seconds(runs: Sequence[MajorityRun]) -> float:
    """Measure how long trainings and maps take, from an epoch and maps of few sequences.

    Parameters
    ----------
    runs : sequence of MajorityRun
        What is to be done.

    Returns
    -------
    float
        Seconds.

    Examples
    --------
    >>> estimate_seconds([MajorityRun("mnist", "Deep", ("SA",), seed=0)]) > 1
    True
    """
    measured = {run.cell: _trial(run.cell) for run in runs}
    total = 0.0
    for run in runs:
        epoch, maps = measured[run.cell]
        total += (run.max_epochs or EPOCHS) * (run.n_train or N_TRAIN[run.folds]) * epoch
        total += (run.n_test or N_TEST) * sum(maps[method] for method in run.methods)
    return total


def _trial(cell: str) -> tuple[float, dict[str, float]]:
    """Time a second epoch and maps of noise, both in seconds a sequence."""
    rng = np.random.default_rng(0)
    steps = N_IMAGES * SIDE // STEP_COLUMNS
    x = rng.uniform(-1, 1, (TRIAL, steps, SIDE * STEP_COLUMNS)).astype(np.float32)
    y = np.arange(TRIAL) % N_CLASSES
    classifier = CELLS[cell].classifier(seed=0, max_epochs=2).fit(x, y)
    few = Sequences(x[:TRIAL_TEST], y[:TRIAL_TEST], np.eye(3)[y[:TRIAL_TEST] % 3] == 0, y)
    explain_majority(classifier, few, "SA")  # Not timed: a first call also warms up.
    maps = {}
    for method in METHODS:
        started = time.perf_counter()
        explain_majority(classifier, few, method)
        maps[method] = (time.perf_counter() - started) / TRIAL_TEST
    return float(classifier.history_["seconds"].iloc[-1]) / TRIAL, maps


def reproduce_majority(
    experiment: str = "majority",
    *,
    out: Path,
    quick: bool = False,
    seeds: int = 5,
    data: str | Path | None = None,
    folds: str = "images",
    plan: Sequence[MajorityRun] | None = None,
) -> Path:
    """Run the thesis's experiment [1]_.

    Parameters
    ----------
    experiment : str
        Its name.
    out : pathlib.Path
        Folder for the results.
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds; seven leave out every fold once.
    data : path-like, optional
        Folder of the images.
    folds : {'images', 'sequences'}
        What is left out: ``'images'``, none of which is tested and learned, or ready-made
        ``'sequences'``, as in the thesis.
    plan : sequence of MajorityRun, optional
        Other runs than those of :func:`plan_majority`.

    Returns
    -------
    pathlib.Path
        ``majority.md``.

    References
    ----------
    .. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's
       thesis, Technische Universität Berlin.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reproduce_majority(out=Path(folder), plan=[]).name
    'majority.md'
    """
    options = {"quick": quick, "seeds": seeds, "data": data, "folds": folds}
    runs = plan_majority(**options) if plan is None else list(plan)
    path = out / "majority.csv"
    for dataset, folder, n_test in dict.fromkeys((r.dataset, r.data, r.n_test) for r in runs):
        sequences_of_test(dataset, folder, n_test)  # Lacking images are told before all else.
    note_settings(out, experiment=experiment, quick=quick, settings=settings_digest())
    _add_references(path, runs)
    if quick:
        say(describe_cuts())

    def do(run: MajorityRun) -> pd.DataFrame:
        """Write what was done before, then do a run."""
        write_majority_page(out)
        return keep_maps(out, run, run_majority, shared=run.input_name)

    work_through(
        path, runs, columns=COLUMNS, keys=KEYS, estimate=estimate_seconds, do=do, describe=_line
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return write_majority_results(out)


def settings_digest() -> str:
    """Name cells, methods, training and cuts by a digest, to tell results of other settings.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> len(settings_digest())
    16
    """
    training = CELLS["Deep"].classifier(seed=0).training.get_params()
    cuts = (QUICK_TRAIN, QUICK_TEST, QUICK_EPOCHS, QUICK_CONVOLUTION_EPOCHS, QUICK_RATE)
    text = f"{CELLS} {METHODS} {training} {cuts}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _add_references(path: Path, runs: Sequence[MajorityRun]) -> None:
    """Add the random and the oracle row of every data set and seed."""
    done = finished_keys(read_rows(path, COLUMNS), ["dataset", "folds", "seed", "cell"])
    for asked, run in {(run.dataset, run.folds, run.seed): run for run in runs}.items():
        if (*asked, "-") not in done:
            append_rows(path, reference_rows(run))


def _line(run: MajorityRun, table: pd.DataFrame) -> str:
    """Sum a run up in a line."""
    scores = ", ".join(f"{row.method} {row.cosine:.3f}" for row in table.itertuples())
    accuracy = table["accuracy"].iloc[0]
    text = f"{run.dataset}, {run.cell}, folds of {run.folds}, seed {run.seed}: "
    text += f"accuracy {accuracy:.1%}, cosine {scores}"
    return text if table["learned"].iloc[0] else text + ", not learned"
