"""How much room words take in a figure, and where labels go that must not overlap."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from scipy.optimize import isotonic_regression


def spread(positions: np.ndarray, gap: float) -> np.ndarray:
    """Move labels as little as possible so that neighbours are at least ``gap`` apart.

    Parameters
    ----------
    positions : numpy.ndarray
        Wanted positions, ascending.
    gap : float
        Least distance, in the same unit.

    Returns
    -------
    numpy.ndarray
        The positions nearest in least squares.

    Examples
    --------
    >>> spread(np.array([0.0, 0.0, 9.0]), 2.0).tolist()
    [-1.0, 1.0, 9.0]
    """
    steps = gap * np.arange(len(positions))
    return isotonic_regression(np.asarray(positions) - steps).x + steps


def text_width(texts: Sequence[str], size: float) -> float:
    """Width of the widest of some texts, in points, judged by the five of most letters.

    Parameters
    ----------
    texts : sequence of str
        Single lines, as :func:`plain` makes them.
    size : float
        Font size in points.

    Returns
    -------
    float
        Zero where there is nothing to measure.

    Examples
    --------
    >>> 0 < text_width(["motor"], 7) < text_width(["somatomotor"], 7)
    True
    """
    font = FontProperties(family="DejaVu Sans")
    shown = sorted((text for text in texts if text.strip()), key=len)[-5:]
    widths = (TextPath((0, 0), t, size=size, prop=font).get_extents().width for t in shown)
    return 1.03 * float(max(widths, default=0.0))


def legend_columns(figure: Figure, labels: Sequence[str]) -> int:
    """How many entries of a legend stand side by side without leaving the figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Above or below whose panels the legend stands.
    labels : sequence of str
        The entries.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> legend_columns(Figure(figsize=(2, 1)), ["face", "house", "scissors", "chair"])
    2
    """
    room = 72 * figure.get_size_inches()[0]
    fitting = int(room // (text_width(list(labels), 7) + 42))
    return max(1, min(len(labels), fitting))
