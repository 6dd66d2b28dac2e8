"""One figure for each check of the trust card, chosen by what the check's data hold.

The figures are of one width and share their marks: blue circles come first, orange squares and
green triangles stand for what is compared, grey for what chance gives.
"""

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from neurosal.errors import ArgumentError
from neurosal.reporting import check_curves, check_marks
from neurosal.validation.check import Check


class Kind(NamedTuple):
    """One kind of figure.

    Attributes
    ----------
    draw : callable
        Maps a Check to a Figure.
    shows, cannot_show : str
        What is drawn, and what cannot be read from it.
    """

    draw: Callable[[Check], Figure]
    shows: str
    cannot_show: str


#: Variables that a check's data must hold, to the figure that is drawn from them.
KINDS: dict[tuple[str, ...], Kind] = {
    ("cascade", "randomised"): Kind(
        check_curves.plot_cascade,
        "Correlation of the map with that of the network trained again from another seed (left), "
        "with those of the network whose layers are drawn anew one after the other, beginning at "
        "the output (middle), and of networks drawn anew in full (right, a mark each). A map that "
        "depends on what was learnt falls from left to right.",
        "Falling is no proof that the map is right; and sizes stay somewhat alike because the "
        "input, which is the same, is part of many maps.",
    ),
    ("permuted", "own_map"): Kind(
        check_marks.plot_shuffled_labels,
        "Above: correlation of the map with that of the decoder trained again on the true labels, "
        "and with those of decoders trained on shuffled ones (a dot each). Below: the mean size of "
        "the map, and of the maps of shuffled labels, on one colour scale.",
        "Two pictures can look alike where both show where the signal is strong: the correlation "
        "with sign decides.",
    ),
    ("recovery", "profile"): Kind(
        check_curves.plot_positions,
        "Above: how well the map of the same decoder, trained anew, finds a planted signal, "
        "against the signal's middle; small dots are single trainings. Below: the share of "
        "importance at each time, a row for each position; the frame is where the signal is.",
        "The signal is short, in few regions and planted in noise like the data: a bias in finding "
        "other signals does not show.",
    ),
    ("random_score", "gap"): Kind(
        check_curves.plot_removals,
        "Probability of the true class in held-out windows while cells are removed (left) or put "
        "back (right) in the order of the map, of the signal's variance, and of random numbers "
        "(grey, from the least to the largest). A map that names what the decoder uses falls "
        "sooner than the grey on the left, and rises sooner on the right.",
        "The curves are about the decoder, not the brain. The order by each window's own map knows "
        "the window's class; only that of the mean map does not.",
    ),
    ("random_accuracy", "intact_accuracy"): Kind(
        check_curves.plot_retraining,
        "Accuracy after cells are removed and the decoder is trained again without them: those "
        "that the map ranks first, those of the largest variance, and random ones. Lines are means "
        "over folds, small dots the folds.",
        "Where neighbouring cells hold the same information, retraining makes up for the loss and "
        "even a true map's line stays high.",
    ),
    ("half_agreement", "n_units"): Kind(
        check_marks.plot_agreement,
        "Above: how far the mean maps of runs, subjects, folds or seeds agree. Below: how far the "
        "maps of two halves agree in which regions they name, and what random signs of the regions "
        "give.",
        "Agreement is not truth: a bias comes out again each time. Folds and subjects share most "
        "training windows; only the retrained halves share none.",
    ),
    ("importance", "contrast"): Kind(
        check_marks.plot_scatter,
        "Size of the importance, mean over time, against the size of the contrast: a dot a region, "
        "a panel a condition, with its rank correlation. Dots at zero are regions that screening "
        "takes away.",
        "The map need not agree with a contrast to be right, nor is it right because it agrees; "
        "screening by single cells builds part of the agreement in.",
    ),
    ("importance", "pattern"): Kind(
        check_marks.plot_scatter,
        "Size of the importance against the size of a linear model's pattern: a dot a cell (time, "
        "region), a panel a condition, with its rank correlation. Dots at zero are cells that "
        "screening takes away.",
        "Another decoder's pattern is a reference, no truth.",
    ),
    ("aupr", "truth"): Kind(
        check_marks.plot_recovery,
        "How well each condition's map finds the true cells, beside maps that need no decoder and "
        "the best map that is the same for all conditions, which only who knows the truth can "
        "draw.",
        "Measured data have no known truth, and may be unlike these simulated ones.",
    ),
    ("correlation", "picture"): Kind(
        check_marks.plot_pictures,
        "Rank correlation of the map's size with pictures of the signal that need no decoder, over "
        "the cells that the decoder is given. To the right of the dotted line the map would be "
        "little more than such a picture.",
        "A high correlation alone does not make a map false, nor a low one true.",
    ),
    ("null", "accuracy"): Kind(
        check_marks.plot_chance,
        "Above: the accuracy of the held-out predictions, and those that shuffled labels give. "
        "Below: the accuracy in each run, or subject, within which labels were shuffled.",
        "What is decoded need not be what the task is about; and the p-value holds for these "
        "subjects, not for others.",
    ),
}


def plot_check(check: Check) -> Figure:
    """Draw what a check of the trust card found.

    Parameters
    ----------
    check : Check
        Of one of the functions of :mod:`neurosal.validation`, such as
        :func:`~neurosal.validation.temporal_bias`; what its ``data`` hold decides what is drawn.

    Returns
    -------
    matplotlib.figure.Figure
        In the report it stands below the trust card.

    Raises
    ------
    ArgumentError
        If the check was not run, or holds nothing that can be drawn.

    See Also
    --------
    check_caption : what the figure shows in words, and what it cannot show.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosal.validation import above_chance
    >>> y = np.tile(["rest", "task"], 10)
    >>> len(plot_check(above_chance(y, y)).axes)
    2
    """
    return _kind(check).draw(check)


def check_caption(check: Check) -> str:
    """Say what the figure of a check shows, and what it cannot show.

    Parameters
    ----------
    check : Check
        One that can be drawn.

    Returns
    -------
    str
        A few sentences.

    Raises
    ------
    ArgumentError
        If the check was not run, or holds nothing that can be drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosal.validation import above_chance
    >>> y = np.tile(["rest", "task"], 10)
    >>> check_caption(above_chance(y, y))
    'Above: the accuracy of the held-out predictions, ... Limits: What is decoded...'
    """
    kind = _kind(check)
    return f"{kind.shows} Limits: {kind.cannot_show}"


def can_draw(check: Check) -> bool:
    """Tell whether a check holds what a figure is drawn from.

    Parameters
    ----------
    check : Check
        Any.

    Returns
    -------
    bool
        False for checks that were not run.

    Examples
    --------
    >>> can_draw(Check("accuracy", "?", "not run", "Not run.", "-"))
    False
    """
    return _found(check) is not None


def _found(check: Check) -> Kind | None:
    """Find the kind of figure, if there is one."""
    held = _held(check)
    return next((kind for names, kind in KINDS.items() if held >= set(names)), None)


def _held(check: Check) -> set[str]:
    """Name the variables and coordinates that a check holds."""
    return set() if check.data is None else {str(name) for name in check.data.variables}


def _kind(check: Check) -> Kind:
    """Find the kind of figure, or say that there is none."""
    kind = _found(check)
    if kind is None:
        held = (
            "nothing" if check.data is None else ", ".join(sorted(map(str, check.data.variables)))
        )
        raise ArgumentError(
            f"check must hold what a figure is drawn from. {check.name} ({check.verdict}) holds "
            f"{held}."
        )
    return kind
