"""One cell trained on the majority problem, explained by the thesis's methods: one row for each."""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.experiments.image_sets import Images, load_images
from neurosal.experiments.majority_data import (
    N_FOLDS,
    N_IMAGES,
    Sequences,
    image_relevance,
    leave_fold_out,
    leave_sequences_out,
    majority_cosine,
    make_majority,
)
from neurosal.experiments.majority_setups import CELLS, LEARNED, METHODS, published_scores
from neurosal.experiments.resuming import stop_if_interrupted
from neurosal.experiments.tables import INPUT, as_columns
from neurosal.models.classifier import NetworkClassifier
from neurosal.saliency.explain import explain

PLACES = tuple(f"relevance_{place}" for place in range(N_IMAGES))
#: The columns of ``majority.csv``.
COLUMNS = (
    "dataset",
    "cell",
    "method",
    "accuracy",
    "cosine",
    "seed",
    "folds",
    "fold",
    *PLACES,
    "no_relevance",
    "learned",
    "published_accuracy",
    "published_cosine",
    "fold_accuracy",
    "train_accuracy",
    "epochs",
    "n_train",
    "n_samples",
    "seconds",
)
#: What tells rows apart.
KEYS = ("dataset", "cell", "method", "folds", "seed")
#: The test sequences are the same for all cells and seeds, unless folds are of sequences.
TEST_SEED = 3


@dataclass(frozen=True)
class MajorityRun:
    """A cell to be trained, and the methods to explain it by.

    Parameters
    ----------
    dataset : {'mnist', 'fashion_mnist'}
        Which images.
    cell : str
        A key of :data:`~neurosal.experiments.majority_setups.CELLS`.
    methods : tuple of str
        Keys of :data:`~neurosal.experiments.majority_setups.METHODS`.
    seed : int
        Of the sequences, the weights and the training; it also says which fold is left out.
    data : path-like, optional
        Folder of the images.
    max_epochs, n_train, n_test : int, optional
        Fewer epochs and sequences than in the thesis.
    learning_rate : float, optional
        Another than the thesis's.
    folds : {'images', 'sequences'}
        ``'images'``: sequences of six sevenths of the training images are learned, those of the
        test images are tested. ``'sequences'``: as in the thesis, see
        :func:`~neurosal.experiments.majority_data.leave_sequences_out`.

    Examples
    --------
    >>> run = MajorityRun("mnist", "Deep", ("SA",), seed=8)
    >>> run.name, run.fold
    ('mnist_Deep_8', 1)
    """

    dataset: str
    cell: str
    methods: tuple[str, ...]
    seed: int
    data: str | Path | None = None
    max_epochs: int | None = None
    n_train: int | None = None
    n_test: int | None = None
    learning_rate: float | None = None
    folds: str = "images"

    @property
    def name(self) -> str:
        """The run's name, fit for a file."""
        return self._named(self.cell)

    @property
    def input_name(self) -> str:
        """Name of the example sequences, the same for runs that are tested on the same ones."""
        return f"{self.dataset}_{INPUT}" if self.folds == "images" else self._named(INPUT)

    def _named(self, what: str) -> str:
        """Name what the run makes."""
        ending = "" if self.folds == "images" else f"_{self.folds}"
        return f"{self.dataset}_{what}_{self.seed}{ending}"

    @property
    def fold(self) -> int:
        """Which seventh is left out."""
        return self.seed % N_FOLDS

    def row(self, method: str) -> dict:
        """Begin a row of the table.

        Parameters
        ----------
        method : str
            How the cell is explained.

        Returns
        -------
        dict
            The columns that tell it from other rows, and the thesis's numbers.
        """
        row = {"dataset": self.dataset, "cell": self.cell, "method": method, "seed": self.seed}
        row |= {"folds": self.folds, "fold": self.fold}
        return row | published_scores(self.dataset, self.cell, method)


def run_majority(
    run: MajorityRun, *, checkpoint: Path | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Train a cell and score its explanations of the test sequences [1]_.

    Parameters
    ----------
    run : MajorityRun
        What to do.
    checkpoint : pathlib.Path, optional
        Folder to keep the training's state in, epoch by epoch; a stopped training goes on there.

    Returns
    -------
    table : pandas.DataFrame
        One row a method, columns :data:`COLUMNS`.
    maps : dict of str to numpy.ndarray
        Method to the maps of the sequences that :func:`example_indices` names, (3, step, feature)
        float32; under ``'input'`` these sequences.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted.

    References
    ----------
    .. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's
       thesis, Technische Universität Berlin.

    Examples
    --------
    >>> MajorityRun("mnist", "Deep", tuple(METHODS), seed=0).methods
    ('SA', 'GB', 'DTD', 'LRP')
    """
    train, held_out, test = sequences_of(run)
    classifier = CELLS[run.cell].classifier(
        seed=run.seed,
        max_epochs=run.max_epochs,
        learning_rate=run.learning_rate,
        checkpoint=checkpoint,
    )
    classifier.fit(train.x, train.y)
    stop_if_interrupted(classifier)
    accuracy = float((classifier.predict(test.x) == test.y).mean())
    found = {
        "accuracy": accuracy,
        "learned": accuracy >= LEARNED,
        "fold_accuracy": float((classifier.predict(held_out.x) == held_out.y).mean()),
        "train_accuracy": float(classifier.history_["train_accuracy"].iloc[-1]),
        "epochs": len(classifier.history_),
        "n_train": len(train.y),
    }
    rows, maps = [], {INPUT: test.x[example_indices(test.majority)]}
    for method in run.methods:
        scores, examples = explain_majority(classifier, test, method)
        rows.append(run.row(method) | found | scores)
        maps[method] = examples
    return as_columns(rows, COLUMNS, flags=("learned",)), maps


def sequences_of(run: MajorityRun) -> tuple[Sequences, Sequences, Sequences]:
    """Make the sequences to train on, those of the fold left out, and those to test on.

    Parameters
    ----------
    run : MajorityRun
        What is asked for; ``n_train`` takes the first images, or sequences, of the training folds.

    Returns
    -------
    tuple of three Sequences
        Each made of its own images; the last two are the same if the folds are of sequences.

    Examples
    --------
    >>> sequences_of(MajorityRun("mnist", "Deep", ("SA",), seed=0, data="nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    images, test_images = _images(run.dataset, run.data)
    if run.folds == "sequences":
        train, test = leave_sequences_out(images, test_images, fold=run.fold)
        test = _first(test, run.n_test)
        return _first(train, run.n_train), test, test
    train, held_out = leave_fold_out(images, fold=run.fold)
    made = (_first(train, run.n_train), _first(held_out, run.n_test))
    test = sequences_of_test(run.dataset, run.data, run.n_test)
    return *(make_majority(part, seed=run.seed) for part in made), test


def _first(samples: Images | Sequences, n: int | None) -> Images | Sequences:
    """Take the first samples, or all."""
    return type(samples)(*(part[:n] for part in samples))


@cache
def sequences_of_test(dataset: str, data: str | Path | None, n_test: int | None) -> Sequences:
    """Make the test sequences.

    Parameters
    ----------
    dataset : {'mnist', 'fashion_mnist'}
        Which images.
    data : path-like or None
        Folder of the images.
    n_test : int or None
        How many; the first.

    Returns
    -------
    Sequences
        Whatever their number, made of all test images.

    Examples
    --------
    >>> sequences_of_test("mnist", "nowhere", 5)
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    _, test = _images(dataset, data)
    return _first(make_majority(test, seed=TEST_SEED), n_test)


def explain_majority(
    classifier: NetworkClassifier, test: Sequences, method: str
) -> tuple[dict, np.ndarray]:
    """Explain the true class's logit in test sequences and score the maps.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.
    test : Sequences
        What to explain.
    method : str
        A key of :data:`~neurosal.experiments.majority_setups.METHODS`.

    Returns
    -------
    scores : dict
        The mean cosine, the mean share of relevance by place, and the share of sequences without
        relevance.
    examples : numpy.ndarray
        Maps of a few sequences.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> images = Images(rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20) % 10)
    >>> test = make_majority(images)
    >>> classifier = CELLS["Deep"].classifier(seed=0, max_epochs=1).fit(test.x, test.y)
    >>> scores, examples = explain_majority(classifier, test, "SA")
    >>> scores["n_samples"], examples.shape
    (20, (3, 12, 196))
    """
    started = time.perf_counter()
    found = explain(classifier, test.x, y=test.y, progress=False, **METHODS[method])
    if found.attrs["interrupted"]:
        raise KeyboardInterrupt
    seconds = round(time.perf_counter() - started, 3)
    maps = found.to_numpy()
    examples = maps[example_indices(test.majority)].astype(np.float32)
    return score_relevance(maps, test.majority) | {"seconds": seconds}, examples


def score_relevance(maps: np.ndarray, majority: np.ndarray) -> dict[str, float]:
    """Sum a set of maps up.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, step, feature).
    majority : numpy.ndarray of bool
        (sample, 3).

    Returns
    -------
    dict
        ``cosine``; ``relevance_0`` to ``relevance_2``, the mean share of each place;
        ``no_relevance``, the share of sequences whose map is zero everywhere; ``n_samples``.

    Examples
    --------
    >>> score_relevance(np.ones((2, 3, 1)), np.array([[1, 1, 0], [0, 1, 1]]))["cosine"].round(3)
    np.float64(0.816)
    """
    shares = image_relevance(maps)
    scores = {"cosine": majority_cosine(maps, majority).mean(), "n_samples": len(maps)}
    scores |= dict(zip(PLACES, shares.mean(axis=0), strict=True))
    return scores | {"no_relevance": float((maps == 0).all(axis=(1, 2)).mean())}


def example_indices(majority: np.ndarray) -> np.ndarray:
    """Name the first sequence with the fake in the last, in the middle, and in the first place.

    Parameters
    ----------
    majority : numpy.ndarray of bool
        (sample, 3).

    Returns
    -------
    numpy.ndarray of int
        (3,).

    Examples
    --------
    >>> example_indices(np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 0]], bool)).tolist()
    [1, 0, 2]
    """
    return np.array([int(np.argmin(majority[:, place])) for place in (2, 1, 0)])


def reference_rows(run: MajorityRun) -> pd.DataFrame:
    """Score maps of uniform random numbers, and maps that are the majority mask itself.

    Parameters
    ----------
    run : MajorityRun
        Whose test sequences to score them on; its seed is that of the random maps.

    Returns
    -------
    pandas.DataFrame
        Two rows, methods ``'random'`` and ``'oracle'``, with ``'-'`` for the cell.

    Examples
    --------
    >>> reference_rows(MajorityRun("mnist", "Deep", (), seed=0, data="nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    images = (run.dataset, run.data, run.n_test)
    test = sequences_of_test(*images) if run.folds == "images" else sequences_of(run)[2]
    uniform = np.random.default_rng([run.seed, 1]).random(test.x.shape, dtype=np.float32)
    oracle = np.repeat(test.majority, test.x.shape[1] // N_IMAGES, axis=1)[:, :, None]
    rows = [
        {"dataset": run.dataset, "cell": "-", "method": method, "seed": run.seed}
        | {"folds": run.folds}
        | score_relevance(maps, test.majority)
        for method, maps in (("random", uniform), ("oracle", oracle))
    ]
    return as_columns(rows, COLUMNS, flags=("learned",))


@cache
def _images(dataset: str, data: str | Path | None) -> tuple[Images, Images]:
    """Load images once for all runs."""
    return load_images(dataset, data=data)
