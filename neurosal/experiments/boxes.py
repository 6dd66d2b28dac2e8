"""The box data of input-cell attention: noise over time and features, a shifted box by class.

Every sample is normal noise; in a box of time and features its mean is +1 in one class and -1 in
the other. So the cells that tell the classes apart are known, and a map of importance can be
judged against them.

>>> train, test = make_boxes("earlier", n_train=20, n_test=10)
>>> train.x.shape, test.truth.shape
((20, 100, 100), (10, 100, 100))
>>> float(test.truth[0].mean())
0.24
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neurosal.errors import ArgumentError, check_one_of

N_STEPS = N_FEATURES = 100
THREE = ((0, 30), (35, 65), (70, 100))

Ranges = tuple[tuple[int, int], ...]
Place = tuple[tuple[int, int], Ranges]


@dataclass(frozen=True)
class BoxSet:
    """Where the boxes of a data set lie, and how many samples it has.

    Parameters
    ----------
    places : tuple
        Each place a sample's box may have: its steps (start, end) and its ranges of features, all
        ends exclusive. With several places each sample draws one.
    n_train, n_test : int
        Numbers of samples.

    Examples
    --------
    >>> BoxSet((((0, 30), ((10, 90),)),)).masks().sum()
    np.int64(2400)
    """

    places: tuple[Place, ...]
    n_train: int = 1000
    n_test: int = 300

    def masks(self) -> np.ndarray:
        """Mark the cells of each place.

        Returns
        -------
        numpy.ndarray
            (place, time, feature) bool.
        """
        masks = np.zeros((len(self.places), N_STEPS, N_FEATURES), dtype=bool)
        for mask, ((start, end), ranges) in zip(masks, self.places, strict=True):
            for low, high in ranges:
                mask[start:end, low:high] = True
        return masks


class Samples(NamedTuple):
    """Samples ``x`` (sample, time, feature), classes ``y`` (sample,), ``truth`` (as x) bool."""

    x: np.ndarray
    y: np.ndarray
    truth: np.ndarray


def _one(times: tuple[int, int], ranges: Ranges, **sizes: int) -> BoxSet:
    """Make a set whose samples all have the same box or boxes."""
    return BoxSet(((times, ranges),), **sizes)


_MIXED = (
    *(((start, start + 60), ((low, low + 60),)) for start in (5, 35) for low in (5, 35, 20)),
    ((20, 80), ((20, 80),)),
)

#: The six sets of the paper.
BOXES: dict[str, BoxSet] = {
    "earlier": _one((0, 30), ((10, 90),)),
    "middle": _one((20, 80), ((20, 80),)),
    "latter": _one((70, 100), ((10, 90),)),
    "mixed": BoxSet(_MIXED, n_train=8000, n_test=1000),
    "three-earlier": _one((0, 40), THREE),
    "three-middle": _one((25, 65), THREE),
}

#: The box of 60 steps that moves from set to set; the number is the step it starts at.
MOVING_BOX: dict[str, BoxSet] = {
    f"moving-{start}": _one((start, start + 60), ((20, 80),), n_train=1000, n_test=200)
    for start in (0, 10, 20, 30, 40)
}

DATASETS: dict[str, BoxSet] = BOXES | MOVING_BOX


def make_boxes(
    name: str | BoxSet, *, seed: int = 0, n_train: int | None = None, n_test: int | None = None
) -> tuple[Samples, Samples]:
    """Draw the training and the test samples of a box data set [1]_.

    Each class has half of the samples. Both parts are standardised at each cell by the training
    samples' mean and standard deviation there.

    Parameters
    ----------
    name : str or BoxSet
        A key of :data:`DATASETS`, or a set of one's own.
    seed : int
        Same seed, same samples; the two parts are drawn from streams of their own.
    n_train, n_test : int, optional
        Fewer or more samples than published.

    Returns
    -------
    tuple of Samples and Samples
        Training and test samples: ``x`` (sample, time, feature) float32, ``y`` (sample,) 0 or 1,
        ``truth`` (sample, time, feature) bool, True in the box.

    Raises
    ------
    ArgumentError
        If there is no such set, or fewer than two samples are asked for.

    References
    ----------
    .. [1] Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent
       Neural Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> train, test = make_boxes("mixed", n_train=10, n_test=4)
    >>> train.y.tolist().count(1), test.truth.sum(axis=(1, 2)).tolist()
    (5, [3600, 3600, 3600, 3600])
    """
    boxes = name if isinstance(name, BoxSet) else DATASETS[check_one_of("dataset", name, DATASETS)]
    sizes = (n_train or boxes.n_train, n_test or boxes.n_test)
    if min(sizes) < 2:
        raise ArgumentError(f"n_train and n_test must be at least 2. Got {sizes[0]}, {sizes[1]}.")
    streams = np.random.default_rng(seed).spawn(2)
    train, test = (_draw(boxes, n, rng) for n, rng in zip(sizes, streams, strict=True))
    mean = train.x.mean(axis=0, dtype=np.float64).astype(np.float32)
    sd = train.x.std(axis=0, dtype=np.float64).astype(np.float32)
    return train._replace(x=(train.x - mean) / sd), test._replace(x=(test.x - mean) / sd)


def _draw(boxes: BoxSet, n: int, rng: np.random.Generator) -> Samples:
    """Draw samples that are not standardised yet."""
    y = rng.permutation(np.arange(n) % 2)
    masks = boxes.masks()
    truth = masks[rng.integers(len(masks), size=n)]
    x = rng.standard_normal((n, N_STEPS, N_FEATURES), dtype=np.float32)
    x += truth * (2 * y - 1).astype(np.float32)[:, None, None]
    return Samples(x, y, truth)
