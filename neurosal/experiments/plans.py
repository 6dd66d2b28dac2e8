"""What the box experiments run, in full and cut short, and how long that takes."""

import hashlib
from collections.abc import Callable, Sequence

from neurosal.experiments.box_runs import BoxRun, explain_boxes, in_float64
from neurosal.experiments.boxes import BOXES, DATASETS, MOVING_BOX, make_boxes
from neurosal.experiments.setups import EVIDENCE, MOST_SAMPLES, SETUPS, methods_of
from neurosal.models.training import resolve_training

QUICK_DATASETS = {"boxes": ("earlier", "latter"), "moving-box": ("moving-0", "moving-40")}
QUICK_NETWORKS = {
    "published": ("lstm", "lstm-self-attention", "lstm-mean", "input-cell-lstm"),
    "localizing": ("input-cell-bi-gru",),
}
QUICK_METHODS = ("gradient", "smoothgrad", EVIDENCE)
QUICK_TEST = 50
QUICK_EPOCHS = 60
TRIAL_SAMPLES = 200
TRIAL_TEST = 2


def plan_boxes(experiment: str, *, quick: bool = False, seeds: int = 5) -> list[BoxRun]:
    """List the networks to train.

    Parameters
    ----------
    experiment : {'boxes', 'moving-box'}
        Which data sets.
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds; one if cut.

    Returns
    -------
    list of BoxRun
        Seed by seed, so that a stopped experiment has whole tables of fewer seeds.

    Examples
    --------
    >>> len(plan_boxes("boxes", seeds=5)), len(plan_boxes("boxes", quick=True))
    (660, 10)
    """
    if not quick:
        names = BOXES if experiment == "boxes" else MOVING_BOX
        return [
            BoxRun(name, setup, methods_of(setup), seed)
            for seed in range(seeds)
            for name in names
            for setup in SETUPS
        ]
    setups = [s for s in SETUPS if s.network in QUICK_NETWORKS[s.training]]
    setups = [s for s in setups if s.readout in ("-", "mean")]
    return [
        BoxRun(
            name,
            setup,
            QUICK_METHODS,
            seed=0,
            max_epochs=_quick_epochs(setup.training),
            n_test=QUICK_TEST,
        )
        for name in QUICK_DATASETS[experiment]
        for setup in setups
    ]


def estimate_seconds(runs: Sequence[BoxRun]) -> float:
    """Measure how long trainings and their maps take, from a first epoch and a few maps.

    Parameters
    ----------
    runs : sequence of BoxRun
        What is to be done.

    Returns
    -------
    float
        Seconds, if no training stops early.

    Examples
    --------
    >>> runs = [r for r in plan_boxes("boxes", quick=True) if r.setup.network == "lstm-mean"]
    >>> estimate_seconds([BoxRun("latter", runs[0].setup, (), seed=0)]) > 0
    True
    """
    measured: dict = {}
    total = 0.0
    for run in runs:
        if (run.setup, run.methods) not in measured:
            measured[run.setup, run.methods] = _trial(run)
        total += measured[run.setup, run.methods](run)
    return total


def _quick_epochs(training: str) -> int | None:
    """Cut the epochs of plain training; the localising one needs all."""
    return QUICK_EPOCHS if training == "published" else None


def describe_cuts(experiment: str) -> str:
    """Say what the quick version leaves out.

    Parameters
    ----------
    experiment : {'boxes', 'moving-box'}
        Which data sets.

    Returns
    -------
    str
        A sentence.

    Examples
    --------
    >>> describe_cuts("boxes")
    'quick: only earlier and latter; one seed; ...'
    """
    networks = ", ".join(QUICK_NETWORKS["published"])
    return (
        f"quick: only {' and '.join(QUICK_DATASETS[experiment])}; one seed; {networks} trained as "
        f"published for at most {QUICK_EPOCHS} epochs, {QUICK_NETWORKS['localizing'][0]} with "
        f"localising training; {', '.join(QUICK_METHODS)}; {QUICK_TEST} test samples."
    )


def settings_digest() -> str:
    """Name the networks, trainings and cuts by a digest, to tell results of other settings.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> len(settings_digest())
    16
    """
    trainings = {s.training: resolve_training(s.training).get_params() for s in SETUPS}
    text = f"{SETUPS} {trainings} {MOST_SAMPLES} {QUICK_METHODS} {QUICK_TEST} {QUICK_EPOCHS}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _trial(run: BoxRun) -> Callable[[BoxRun], float]:
    """Time a second epoch on few samples and each method on fewer; make the estimate from those."""
    train, test = make_boxes(run.dataset, seed=0, n_train=TRIAL_SAMPLES, n_test=TRIAL_TEST)
    classifier = run.setup.classifier(seed=0, max_epochs=2).fit(train.x, train.y)
    epoch = float(classifier.history_["seconds"].iloc[-1]) / TRIAL_SAMPLES
    exact, maps = in_float64(classifier), {}
    explain_boxes(exact, test, run.setup, "gradient")  # Not timed: a first call also warms up.
    for method in run.methods:
        scores, _ = explain_boxes(exact, test, run.setup, method)
        maps[method] = scores.get("seconds", 0.0) / TRIAL_TEST

    def seconds(other: BoxRun) -> float:
        """Scale what was measured to a run's size."""
        training = resolve_training(other.setup.training)
        boxes = DATASETS[other.dataset]
        n_train, n_test = other.n_train or boxes.n_train, other.n_test or boxes.n_test
        n_maps = {m: min(n_test, MOST_SAMPLES.get(m, n_test)) for m in other.methods}
        epochs = min(training.max_epochs, other.max_epochs or training.max_epochs)
        return epochs * epoch * n_train + sum(maps[m] * n for m, n in n_maps.items())

    return seconds
