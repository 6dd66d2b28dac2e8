"""The majority problem: of three images side by side two are of one class; name that class.

For every image a twin of its class and a fake of another class are drawn, with replacement, and
the three are put side by side in random order. The 28 x 84 picture is read in steps of seven
columns. So the images that count are known, and so are the steps that importance should lie on.

>>> rng = np.random.default_rng(0)
>>> images = Images(rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20) % 10)
>>> found = make_majority(images, seed=0)
>>> found.x.shape, found.majority.sum(axis=1).tolist()[:3]
((20, 12, 196), [2, 2, 2])
"""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from neurosal.errors import ArgumentError
from neurosal.experiments.image_sets import Images

N_IMAGES = 3
STEP_COLUMNS = 7
N_FOLDS = 7
#: What folds are made of: images, none of which is tested and learned, or the thesis's sequences.
FOLDS = ("images", "sequences")


class Sequences(NamedTuple):
    """Three images read over time.

    ``x`` (sample, step, feature) float32 in [-1, 1], ``y`` (sample,) the majority's class,
    ``majority`` (sample, 3) True for images of that class, ``sources`` (sample, 3) which image
    stands where.
    """

    x: np.ndarray
    y: np.ndarray
    majority: np.ndarray
    sources: np.ndarray


def make_majority(images: Images, *, seed: int = 0, columns: int = STEP_COLUMNS) -> Sequences:
    """Make one sequence of each image, with a twin and a fake [1]_.

    Parameters
    ----------
    images : Images
        Of one split: all images of its sequences come from it.
    seed : int
        Same seed, same sequences.
    columns : int
        Columns of the picture that are one step; they divide 28.

    Returns
    -------
    Sequences
        As many as images, in their order. A step's features are its rows, one after the other.

    Raises
    ------
    ArgumentError
        If there are images of one class only.

    References
    ----------
    .. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's
       thesis, Technische Universität Berlin.

    Examples
    --------
    >>> images = Images(np.zeros((4, 28, 28), dtype=np.uint8), np.array([0, 0, 1, 1]))
    >>> make_majority(images).x.min()
    np.float32(-1.0)
    """
    rng = np.random.default_rng(seed)
    twins, fakes = _draw(images.y, rng)
    sources = np.stack([np.arange(len(images.y)), twins, fakes], axis=1)
    order = rng.permuted(np.tile(np.arange(N_IMAGES), (len(sources), 1)), axis=1)
    sources = np.take_along_axis(sources, order, axis=1)
    pictures = np.concatenate([images.x[sources[:, place]] for place in range(N_IMAGES)], axis=2)
    return Sequences(as_steps(pictures, columns=columns), images.y, order < 2, sources)


def _draw(y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw for each image one of its class and one of another."""
    twins, fakes = np.empty_like(y), np.empty_like(y)
    for label in np.unique(y):
        own, other = np.flatnonzero(y == label), np.flatnonzero(y != label)
        if not len(other):
            raise ArgumentError("images must be of at least two classes. Got one.")
        twins[own], fakes[own] = rng.choice(own, len(own)), rng.choice(other, len(own))
    return twins, fakes


def as_steps(pictures: np.ndarray, *, columns: int = STEP_COLUMNS) -> np.ndarray:
    """Read pictures from left to right, some columns a step.

    Parameters
    ----------
    pictures : numpy.ndarray
        (sample, row, column) uint8.
    columns : int
        Columns a step.

    Returns
    -------
    numpy.ndarray
        (sample, step, row * columns) float32, scaled so that 0 is -1 and 255 is 1.

    Raises
    ------
    ArgumentError
        If ``columns`` does not divide the pictures' columns.

    Examples
    --------
    >>> picture = np.arange(8, dtype=np.uint8).reshape(1, 2, 4) * 30
    >>> ((as_steps(picture, columns=2) + 1) * 127.5 / 30).round(3).tolist()
    [[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]
    """
    n, rows, width = pictures.shape
    if columns < 1 or width % columns:
        raise ArgumentError(f"columns must divide the {width} columns. Got {columns!r}.")
    steps = pictures.reshape(n, rows, width // columns, columns).transpose(0, 2, 1, 3)
    return steps.reshape(n, width // columns, rows * columns).astype(np.float32) / 127.5 - 1.0


def leave_fold_out(images: Images, *, fold: int, seed: int = 0) -> tuple[Images, Images]:
    """Split the training images as seven-fold cross-validation does.

    Parameters
    ----------
    images : Images
        Training images.
    fold : int
        Which of the seven folds to leave out.
    seed : int
        Of the folds.

    Returns
    -------
    tuple of Images and Images
        Six sevenths to train on, and the fold; every class in proportion.

    Examples
    --------
    >>> images = Images(np.zeros((140, 28, 28), dtype=np.uint8), np.arange(140) % 10)
    >>> [len(part.y) for part in leave_fold_out(images, fold=6)]
    [120, 20]
    """
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    train, held_out = list(folds.split(images.y, images.y))[fold]
    return Images(images.x[train], images.y[train]), Images(images.x[held_out], images.y[held_out])


def leave_sequences_out(
    train: Images, test: Images, *, fold: int, seed: int = 0
) -> tuple[Sequences, Sequences]:
    """Split ready-made sequences as the thesis [1]_ does: their images are in several folds.

    The sequences are made of four fifths of the training images, of the last fifth, and of the
    test images, each of its own; then all are shared out to seven folds. So six sevenths of all
    images' sequences are learned, and a tested sequence's images were seen in others.

    Parameters
    ----------
    train, test : Images
        The two parts of the set.
    fold : int
        Which of the seven folds to leave out.
    seed : int
        Of the sequences and the folds.

    Returns
    -------
    tuple of Sequences and Sequences
        Six sevenths to train on, and the fold. ``sources`` count the test images after the
        training images.

    References
    ----------
    .. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's
       thesis, Technische Universität Berlin.

    Examples
    --------
    >>> images = Images(np.zeros((100, 28, 28), dtype=np.uint8), np.arange(100) % 10)
    >>> test = Images(images.x[:40], images.y[:40])
    >>> [len(part.y) for part in leave_sequences_out(images, test, fold=6)]
    [120, 20]
    """
    cut = len(train.y) * 4 // 5
    parts = [Images(train.x[:cut], train.y[:cut]), Images(train.x[cut:], train.y[cut:]), test]
    made = [make_majority(part, seed=seed + place) for place, part in enumerate(parts)]
    starts = (0, cut, len(train.y))
    made = [one._replace(sources=one.sources + s) for one, s in zip(made, starts, strict=True)]
    joined = Sequences(*(np.concatenate(values) for values in zip(*made, strict=True)))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    learned, left = list(folds.split(joined.y, joined.y))[fold]
    return tuple(Sequences(*(values[rows] for values in joined)) for rows in (learned, left))


def image_relevance(maps: np.ndarray) -> np.ndarray:
    """Share the importance of a sequence among its three images.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, step, feature) importance, signs kept.

    Returns
    -------
    numpy.ndarray
        (sample, 3): sums over each image's steps, divided by the sum of all; zeros where that
        sum is zero.

    Examples
    --------
    >>> image_relevance(np.array([[[1.0], [2.0], [1.0]]])).tolist()
    [[0.25, 0.5, 0.25]]
    """
    sums = np.asarray(maps, dtype=np.float64).sum(axis=2)
    parts = sums.reshape(len(sums), N_IMAGES, -1).sum(axis=2)
    total = parts.sum(axis=1, keepdims=True)
    return np.divide(parts, total, out=np.zeros_like(parts), where=total != 0)


def majority_cosine(maps: np.ndarray, majority: np.ndarray) -> np.ndarray:
    """Cosine between the images' importance and the mask of those that count.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, step, feature) importance.
    majority : numpy.ndarray of bool
        (sample, 3).

    Returns
    -------
    numpy.ndarray
        (sample,): 1 if all importance lies on the two images in equal parts, .82 if it is the
        same everywhere, 0 if it lies on the fake or there is none.

    References
    ----------
    Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's thesis,
    Technische Universität Berlin.

    Examples
    --------
    >>> majority_cosine(np.array([[[0.9], [0.1], [0.0]]]), np.array([[True, True, False]])).round(6)
    array([0.780869])
    """
    relevance, mask = image_relevance(maps), np.asarray(majority, dtype=np.float64)
    size = np.linalg.norm(relevance, axis=1) * np.linalg.norm(mask, axis=1)
    together = (relevance * mask).sum(axis=1)
    return np.divide(together, size, out=np.zeros_like(size), where=size > 0)
