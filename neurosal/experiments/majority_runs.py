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
KEYS = ("dataset", "cell", "method", "seed")
#: The test sequences are the same for all cells and seeds.
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

    @property
    def name(self) -> str:
        """The run's name, fit for a file."""
        return f"{self.dataset}_{self.cell}_{self.seed}"

    @property
    def fold(self) -> int:
        """Which seventh of the training images is left out."""
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
        return row | {"fold": self.fold} | published_scores(self.dataset, self.cell, method)


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
    train, held_out = training_sequences(run)
    test = sequences_of_test(run.dataset, run.data, run.n_test)
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


def training_sequences(run: MajorityRun) -> tuple[Sequences, Sequences]:
    """Make the sequences to train on, and those of the fold left out.

    Parameters
    ----------
    run : MajorityRun
        What is asked for; ``n_train`` takes the first images of the training folds.

    Returns
    -------
    tuple of Sequences and Sequences
        All made of their own images.

    Examples
    --------
    >>> training_sequences(MajorityRun("mnist", "Deep", ("SA",), seed=0, data="nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    images, _ = _images(run.dataset, run.data)
    train, held_out = leave_fold_out(images, fold=run.fold)
    train = Images(train.x[: run.n_train], train.y[: run.n_train])
    held_out = Images(held_out.x[: run.n_test], held_out.y[: run.n_test])
    return make_majority(train, seed=run.seed), make_majority(held_out, seed=run.seed)


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
    return Sequences(*(part[:n_test] for part in make_majority(test, seed=TEST_SEED)))


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


def reference_rows(
    dataset: str, *, seed: int, data: str | Path | None = None, n_test: int | None = None
) -> pd.DataFrame:
    """Score maps of uniform random numbers, and maps that are the majority mask itself.

    Parameters
    ----------
    dataset : {'mnist', 'fashion_mnist'}
        Which images.
    seed : int
        Of the random maps.
    data : path-like, optional
        Folder of the images.
    n_test : int, optional
        Fewer test sequences.

    Returns
    -------
    pandas.DataFrame
        Two rows, methods ``'random'`` and ``'oracle'``, with ``'-'`` for the cell.

    Examples
    --------
    >>> reference_rows("mnist", seed=0, data="nowhere")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    test = sequences_of_test(dataset, data, n_test)
    uniform = np.random.default_rng([seed, 1]).random(test.x.shape, dtype=np.float32)
    oracle = np.repeat(test.majority, test.x.shape[1] // N_IMAGES, axis=1)[:, :, None]
    rows = [
        {"dataset": dataset, "cell": "-", "method": method, "seed": seed}
        | score_relevance(maps, test.majority)
        for method, maps in (("random", uniform), ("oracle", oracle))
    ]
    return as_columns(rows, COLUMNS, flags=("learned",))


@cache
def _images(dataset: str, data: str | Path | None) -> tuple[Images, Images]:
    """Load images once for all runs."""
    return load_images(dataset, data=data)
