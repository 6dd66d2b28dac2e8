"""The digits read over time, and how much of a map's importance lies on their strokes.

Importance off the strokes lies on the empty background.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import check_one_of
from neurosal.experiments.image_sets import Images, load_images
from neurosal.experiments.mnist_setups import COLUMNS, N_SAMPLES, ON_STROKES, STEPS, STROKE
from neurosal.experiments.tables import as_columns
from neurosal.validation.localization_metrics import check_maps, score_maps, time_shares


@cache
def digits(data: str | Path | None) -> tuple[Images, Images]:
    """Load MNIST once for all runs.

    Parameters
    ----------
    data : path-like or None
        Folder of the images.

    Returns
    -------
    tuple of Images and Images
        Training and test images.

    Examples
    --------
    >>> digits("nowhere")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    return load_images("mnist", data=data)


def as_series(images: np.ndarray, steps: str) -> np.ndarray:
    """Read images over time.

    Parameters
    ----------
    images : numpy.ndarray
        (image, row, column) uint8.
    steps : {'rows', 'columns'}
        What is one step.

    Returns
    -------
    numpy.ndarray
        (image, step, feature) float32 from 0 to 1.

    Examples
    --------
    >>> as_series(np.array([[[0, 255], [0, 0]]], dtype=np.uint8), "columns").tolist()
    [[[0.0, 0.0], [1.0, 0.0]]]
    """
    check_one_of("steps", steps, STEPS)
    turned = images if steps == "rows" else images.swapaxes(1, 2)
    return np.ascontiguousarray(turned, dtype=np.float32) / 255.0


def first_of_each(y: np.ndarray) -> np.ndarray:
    """Find the first sample of each class.

    Parameters
    ----------
    y : numpy.ndarray of int
        (sample,) classes.

    Returns
    -------
    numpy.ndarray of int
        In the order of classes.

    Examples
    --------
    >>> first_of_each(np.array([1, 0, 1])).tolist()
    [1, 0]
    """
    return np.unique(y, return_index=True)[1]


def strokes_of(images: np.ndarray, steps: str) -> np.ndarray:
    """Mark the strokes, the pixels of at least half brightness.

    Parameters
    ----------
    images : numpy.ndarray
        (image, row, column) uint8.
    steps : {'rows', 'columns'}
        What is one step.

    Returns
    -------
    numpy.ndarray of bool
        (image, step, feature).

    Examples
    --------
    >>> strokes_of(np.array([[[0, 200], [127, 128]]], dtype=np.uint8), "rows").tolist()
    [[[False, True], [False, True]]]
    """
    return as_series(images, steps) >= STROKE / 255


def score_strokes(maps: np.ndarray, strokes: np.ndarray) -> dict[str, float]:
    """Score maps against strokes, and share their importance out among tenths of time.

    Parameters
    ----------
    maps : numpy.ndarray
        (image, step, feature).
    strokes : numpy.ndarray of bool
        The same shape.

    Returns
    -------
    dict
        Means over the images: ``strokes``, the share of all importance that lies on strokes;
        ``strokes_0`` to ``strokes_9``, its parts in each tenth of time; ``share_0`` to
        ``share_9``, all importance in each tenth; and the scores of
        :func:`~neurosal.validation.localization_metrics.score_maps`.

    Examples
    --------
    >>> strokes = np.zeros((1, 10, 2), dtype=bool)
    >>> strokes[:, 5:, 0] = True
    >>> scores = score_strokes(np.ones((1, 10, 2)), strokes)
    >>> scores["strokes"], scores["strokes_0"], scores["strokes_9"]
    (np.float64(0.25), np.float64(0.0), np.float64(0.05))
    """
    maps, strokes = check_maps(maps, strokes)
    total = maps.sum(axis=(1, 2))
    on_strokes = (maps * strokes).sum(axis=(1, 2))
    share = np.divide(on_strokes, total, out=np.zeros_like(total), where=total > 0)
    parts = time_shares(maps * strokes) * share[:, None]
    scores = {"strokes": share.mean()} | dict(zip(ON_STROKES, parts.mean(axis=0), strict=True))
    wanted = {*COLUMNS} & {*(table := score_maps(maps, strokes)).columns}
    return scores | table[sorted(wanted)].mean().to_dict() | {"n_samples": len(maps)}


def reference_rows(
    steps: str, *, seed: int, data: str | Path | None = None, n_test: int | None = None
) -> pd.DataFrame:
    """Score maps of uniform random numbers, and the strokes themselves.

    Parameters
    ----------
    steps : {'rows', 'columns'}
        What is one step.
    seed : int
        Of the random maps.
    data : path-like, optional
        Folder of the images.
    n_test : int, optional
        Fewer test digits.

    Returns
    -------
    pandas.DataFrame
        Two rows, methods ``'random'`` and ``'oracle'``, with ``'-'`` for the network. The oracle,
        zero off the strokes, has no slope.

    Examples
    --------
    >>> reference_rows("rows", seed=0, data="nowhere")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    _, test = digits(data)
    images = test.x[: min(n_test or len(test.x), N_SAMPLES["gradient"])]
    strokes = strokes_of(images, steps)
    uniform = np.random.default_rng([seed, 1]).random(strokes.shape)
    rows = []
    for method, maps in (("random", uniform), ("oracle", strokes)):
        row = {"steps": steps, "network": "-", "readout": "-", "method": method, "seed": seed}
        rows.append(row | score_strokes(maps, strokes))
    rows[1]["slope"] = np.nan
    return as_columns(rows, COLUMNS, flags=("learned",))
