"""The experiment on digits from plan to files: importance on the strokes over time.

>>> [run.name for run in plan_mnist(quick=True)][:2]
['rows_lstm_-_0', 'rows_input-cell-lstm_mean_0']
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.experiments.image_sets import N_CLASSES, PARTS, SIDE, Images
from neurosal.experiments.mnist_reports import write_mnist_page, write_mnist_results
from neurosal.experiments.mnist_runs import explain_digits, run_digits, train_phases
from neurosal.experiments.mnist_setups import (
    BATCH,
    COLUMNS,
    HIDDEN,
    KEYS,
    METHODS,
    N_SAMPLES,
    NETWORKS,
    PHASES,
    STEPS,
    STROKE,
    DigitRun,
)
from neurosal.experiments.mnist_strokes import digits, reference_rows
from neurosal.experiments.resuming import keep_maps, note_settings, work_through
from neurosal.experiments.tables import INPUT, append_rows, finished_keys, read_rows
from neurosal.progress import say

QUICK_TRAIN = 20000
QUICK_TEST = 1000
#: Few steps do with larger rates than the published ones.
QUICK_PHASES = ((1e-2, 8), (1e-3, 4))
QUICK_WITHOUT = ("flatten",)
TRIAL = 640
TRIAL_TEST = 4


def plan_mnist(
    *, quick: bool = False, seeds: int = 5, data: str | Path | None = None
) -> list[DigitRun]:
    """List the networks to train.

    Parameters
    ----------
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds; one if cut.
    data : path-like, optional
        Folder of the images.

    Returns
    -------
    list of DigitRun
        Seed by seed, so that a stopped experiment has whole tables of fewer seeds.

    Examples
    --------
    >>> len(plan_mnist(seeds=5)), len(plan_mnist(quick=True))
    (30, 4)
    """
    methods = tuple(METHODS)
    cuts = {"n_train": QUICK_TRAIN, "n_test": QUICK_TEST, "phases": QUICK_PHASES}
    return [
        DigitRun(steps, network, readout, methods, seed, data, **(cuts if quick else {}))
        for seed in range(1 if quick else seeds)
        for steps in STEPS
        for network, readout in NETWORKS
        if not (quick and readout in QUICK_WITHOUT)
    ]


def describe_cuts() -> str:
    """Say what the quick version leaves out.

    Returns
    -------
    str
        A sentence.

    Examples
    --------
    >>> describe_cuts()
    'quick: no readout flatten; one seed; 20000 training digits instead of 60000; ...'
    """
    quick, full = (
        " then ".join(f"{n} epochs at {rate:g}" for rate, n in phases)
        for phases in (QUICK_PHASES, PHASES)
    )
    return (
        f"quick: no readout {' and '.join(QUICK_WITHOUT)}; one seed; {QUICK_TRAIN} training digits "
        f"instead of {PARTS['train']}; {quick} instead of {full}; {QUICK_TEST} test digits instead "
        f"of {PARTS['t10k']}. Accuracies are lower for it."
    )


def estimate_seconds(runs: Sequence[DigitRun]) -> float:
    """Measure how long trainings and maps take, from an epoch and maps of few digits.

    Parameters
    ----------
    runs : sequence of DigitRun
        What is to be done.

    Returns
    -------
    float
        Seconds.

    Examples
    --------
    >>> estimate_seconds([DigitRun("rows", "lstm", "-", ("gradient",), seed=0)]) > 1
    True
    """
    measured = {run.name.rpartition("_")[0]: _trial(run) for run in runs}
    total = 0.0
    for run in runs:
        epoch, maps = measured[run.name.rpartition("_")[0]]
        n_epochs = sum(epochs for _, epochs in run.phases)
        total += n_epochs * (run.n_train or PARTS["train"]) * epoch
        n_test = run.n_test or PARTS["t10k"]
        total += sum(min(n_test, N_SAMPLES[method]) * maps[method] for method in run.methods)
    return total


def _trial(run: DigitRun) -> tuple[float, dict[str, float]]:
    """Time a second epoch and maps of noise, both in seconds an image."""
    x = np.random.default_rng(0).integers(0, 256, (TRIAL, SIDE, SIDE), dtype=np.uint8)
    images = Images(x, np.arange(TRIAL) % N_CLASSES)
    own = DigitRun(run.steps, run.network, run.readout, (), 0, phases=((1e-3, 2),))
    classifier, history = train_phases(own, images)
    few = Images(x[:TRIAL_TEST], images.y[:TRIAL_TEST])
    explain_digits(classifier, few, run.steps, "gradient")  # Not timed: a first call warms up.
    maps = {m: explain_digits(classifier, few, run.steps, m)[0]["seconds"] for m in run.methods}
    epoch = float(history["seconds"].iloc[-1]) / TRIAL
    return epoch, {method: seconds / TRIAL_TEST for method, seconds in maps.items()}


def reproduce_mnist(
    experiment: str = "mnist",
    *,
    out: Path,
    quick: bool = False,
    seeds: int = 5,
    data: str | Path | None = None,
    plan: Sequence[DigitRun] | None = None,
) -> Path:
    """Run the experiment on digits [1]_.

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
    data : path-like, optional
        Folder of the images.
    plan : sequence of DigitRun, optional
        Other runs than those of :func:`plan_mnist`.

    Returns
    -------
    pathlib.Path
        ``mnist.md``.

    References
    ----------
    .. [1] Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent
       Neural Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reproduce_mnist(out=Path(folder), plan=[]).name
    'mnist.md'
    """
    runs = plan_mnist(quick=quick, seeds=seeds, data=data) if plan is None else list(plan)
    path = out / "mnist.csv"
    for folder in dict.fromkeys(run.data for run in runs):
        digits(folder)  # Lacking images are told before all else.
    note_settings(out, experiment=experiment, quick=quick, settings=settings_digest())
    _add_references(path, runs)
    if quick:
        say(describe_cuts())

    def do(run: DigitRun) -> pd.DataFrame:
        """Write what was done before, then do a run."""
        write_mnist_page(out)
        return keep_maps(out, run, run_digits, shared=INPUT)

    work_through(
        path, runs, columns=COLUMNS, keys=KEYS, estimate=estimate_seconds, do=do, describe=_line
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return write_mnist_results(out)


def settings_digest() -> str:
    """Name networks, methods, training and cuts by a digest, to tell results of other settings.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> len(settings_digest())
    16
    """
    text = f"{NETWORKS} {METHODS} {N_SAMPLES} {PHASES} {BATCH} {HIDDEN} {STROKE} "
    text += f"{QUICK_TRAIN} {QUICK_TEST} {QUICK_PHASES} {QUICK_WITHOUT}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _add_references(path: Path, runs: Sequence[DigitRun]) -> None:
    """Add the random and the oracle row of both ways to read and every seed."""
    done = finished_keys(read_rows(path, COLUMNS), ["steps", "seed", "network"])
    for steps, seed, data, n_test in dict.fromkeys(
        (run.steps, run.seed, run.data, run.n_test) for run in runs
    ):
        if (steps, seed, "-") not in done:
            append_rows(path, reference_rows(steps, seed=seed, data=data, n_test=n_test))


def _line(run: DigitRun, table: pd.DataFrame) -> str:
    """Sum a run up in a line."""
    first = table.iloc[0]
    text = f"{run.steps}, {run.network} {run.readout}, seed {run.seed}: "
    text += f"accuracy {first['accuracy']:.1%}, {first['strokes']:.0%} on strokes"
    return text if first["learned"] else text + ", not learned"
