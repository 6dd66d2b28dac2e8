"""What the box experiments run, in full and cut short, in which order, and how long that takes."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from neurosal.experiments.box_runs import BoxRun, explain_boxes, in_float64
from neurosal.experiments.boxes import BOXES, DATASETS, MOVING_BOX, make_boxes
from neurosal.experiments.setups import (
    EVIDENCE,
    MOST_SAMPLES,
    SETUPS,
    Setup,
    explain_arguments,
    main_methods,
    methods_of,
)
from neurosal.saliency.methods import METHODS

QUICK_DATASETS = {"boxes": ("earlier", "latter"), "moving-box": ("moving-0", "moving-40")}
QUICK_NETWORKS = {
    "published": ("lstm", "lstm-self-attention", "lstm-mean", "input-cell-lstm"),
    "localizing": ("input-cell-bi-rnn",),
}
QUICK_METHODS = ("gradient", "smoothgrad", EVIDENCE)
QUICK_TEST = 50
QUICK_EPOCHS = 60
TRIAL_SAMPLES = 200
TRIAL_TEST = 2
#: Epochs of 1000 samples after which a published training has reached 100 % training accuracy, for
#: the estimate of time; where none is named, about 5. An LSTM needs all on some sets.
USUAL_EPOCHS = {"lstm": 80, "bi-lstm": 30, "tcn": 20}


class Stage(NamedTuple):
    """Networks of one training that are done together, and whether by every method.

    Examples
    --------
    >>> Stage("localizing", ("lstm",)).every_method
    False
    """

    training: str
    networks: tuple[str, ...]
    every_method: bool = False

    def setups(self) -> list[Setup]:
        """List the stage's networks.

        Returns
        -------
        list of Setup
            Of input-cell attention, the published readouts only where it is named with one.

        Examples
        --------
        >>> [s.readout for s in Stage("published", ("input-cell-lstm/mean",)).setups()]
        ['mean']
        """
        return [
            setup
            for setup in SETUPS
            if setup.training == self.training
            and {setup.network, f"{setup.network}/{setup.readout}"} & set(self.networks)
        ]


#: The chosen network of each training, in whose rows the experiment's answers lie.
CHOSEN = {"published": "input-cell-lstm/mean", "localizing": "input-cell-bi-rnn"}
#: What matters most comes first: the paper's comparison, then what finds the boxes, then the rest.
STAGES = (
    Stage("published", ("lstm", CHOSEN["published"])),
    Stage("localizing", (CHOSEN["localizing"],)),
    Stage("published", tuple(s.network for s in SETUPS if s.training == "published")),
    Stage("localizing", tuple(s.network for s in SETUPS if s.training == "localizing")),
    Stage("localizing", (CHOSEN["localizing"],), every_method=True),
    Stage("published", (CHOSEN["published"],), every_method=True),
)


def plan_boxes(experiment: str, *, quick: bool = False, seeds: int = 5) -> list[BoxRun]:
    """List the networks to train, the most important first.

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
        Stage by stage (:data:`STAGES`), in each seed by seed, so that a stopped experiment has
        whole tables of fewer networks or seeds. A network comes again in a later stage for the
        methods that it was not explained by yet.

    Examples
    --------
    >>> runs = plan_boxes("boxes", seeds=5)
    >>> runs[0].name, len(runs), len(plan_boxes("boxes", quick=True))
    ('earlier_lstm_-_published_0', 750, 10)
    """
    if quick:
        return _quick_plan(experiment)
    names = BOXES if experiment == "boxes" else MOVING_BOX
    runs, seen = [], set()
    for stage in STAGES:
        for seed in range(seeds):
            for name in names:
                for setup in stage.setups():
                    wanted = methods_of(setup) if stage.every_method else main_methods(setup)
                    run = BoxRun(name, setup, wanted, seed)
                    methods = tuple(m for m in wanted if (run.name, m) not in seen)
                    seen |= {(run.name, method) for method in methods}
                    if methods:
                        runs.append(BoxRun(name, setup, methods, seed))
    return runs


def _quick_plan(experiment: str) -> list[BoxRun]:
    """List the few networks of the quick version."""
    setups = [s for s in SETUPS if s.network in QUICK_NETWORKS[s.training]]
    return [
        BoxRun(
            name,
            setup,
            QUICK_METHODS,
            seed=0,
            max_epochs=QUICK_EPOCHS,
            n_test=QUICK_TEST,
        )
        for name in QUICK_DATASETS[experiment]
        for setup in setups
        if setup.readout in ("-", "mean")
    ]


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


def settings_digest(*, quick: bool = False) -> str:
    """Name the networks, trainings and cuts by a digest, to tell results of other settings.

    Parameters
    ----------
    quick : bool
        Whether the cuts of the quick version count too.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> len(settings_digest())
    16
    """
    trainings = {s.training: s.fitting(1000).get_params() for s in SETUPS}
    text = f"{SETUPS} {trainings} {MOST_SAMPLES}"
    if quick:
        text += f" {QUICK_METHODS} {QUICK_TEST} {QUICK_EPOCHS}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def estimate_seconds(runs: Sequence[BoxRun]) -> float:
    """Measure how long trainings and their maps take, from a first epoch and a few maps.

    Parameters
    ----------
    runs : sequence of BoxRun
        What is to be done.

    Returns
    -------
    float
        Seconds, where published trainings stop after their usual number of epochs.

    Examples
    --------
    >>> runs = [r for r in plan_boxes("boxes", quick=True) if r.setup.network == "lstm-mean"]
    >>> estimate_seconds([BoxRun("latter", runs[0].setup, (), seed=0)]) > 0
    True
    """
    measured: dict[Setup, Callable[[BoxRun], float]] = {}
    total = 0.0
    for run in runs:
        if run.setup not in measured:
            measured[run.setup] = _trial(run.setup)
        total += measured[run.setup](run)
    return total


def _trial(setup: Setup) -> Callable[[BoxRun], float]:
    """Time an epoch on few samples and a pass of two maps; make the estimate from those."""
    train, test = make_boxes("earlier", seed=0, n_train=TRIAL_SAMPLES, n_test=TRIAL_TEST)
    classifier = setup.classifier(seed=0, max_epochs=2).fit(train.x, train.y)
    epoch = float(classifier.history_["seconds"].iloc[-1]) / TRIAL_SAMPLES
    started = time.perf_counter()
    explain_boxes(in_float64(classifier), test, setup, "smoothgrad")
    per_pass = (time.perf_counter() - started) / (TRIAL_TEST * _passes("smoothgrad", setup))

    def seconds(run: BoxRun) -> float:
        """Scale what was measured to a run's size."""
        boxes = DATASETS[run.dataset]
        n_train, n_test = run.n_train or boxes.n_train, run.n_test or boxes.n_test
        passes = sum(
            _passes(m, setup) * min(n_test, MOST_SAMPLES.get(m, n_test)) for m in run.methods
        )
        return epoch * n_train * _epochs(run, n_train) + per_pass * passes

    return seconds


def _epochs(run: BoxRun, n_train: int) -> float:
    """Guess after how many epochs a training ends."""
    most = run.setup.fitting(n_train, max_epochs=run.max_epochs).max_epochs
    if run.setup.training != "published":
        return most
    return min(most, max(1, USUAL_EPOCHS.get(run.setup.network, 5) * 1000 / n_train))


def _passes(method: str, setup: Setup) -> int:
    """Count the variants of a sample that a map sends through the network."""
    known = METHODS["smoothgrad" if method == EVIDENCE else method]
    return known.variants(known.arguments() | explain_arguments(method, setup), (100, 100))
