"""Does the decoder tell the classes apart at all? One at chance has nothing to explain."""

import numpy as np
import xarray as xr

from neurosal.validation.check import Check
from neurosal.validation.shuffles import shuffled_accuracy

QUESTION = "Does the decoder tell the classes apart at all?"
LEVEL = 0.05


def above_chance(
    predictions: object,
    y: object,
    *,
    groups: object = None,
    cross_validated: bool = True,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> Check:
    """Compare the accuracy of held-out predictions with that under shuffled labels.

    The predictions stay and the labels are shuffled within runs or subjects, which asks whether
    the two are independent. Nothing is trained again. The p-value is that of
    :func:`neurosal.inference.prediction_test`, and the same if the shuffles are within the same
    runs from the same seed.

    Parameters
    ----------
    predictions : array-like of shape (sample,)
        Each from a decoder that did not see the window.
    y : array-like of shape (sample,)
        The true classes.
    groups : array-like of shape (sample,), optional
        Runs or subjects; labels are shuffled within them.
    cross_validated : bool
        Whether the labels of some windows trained the decoders of others, as folds do: then the
        null distribution is widened by the square root of two.
    n_permutations : int
        Shuffles.
    seed : int
        Of the shuffles.

    Returns
    -------
    Check
        Flagged for p > 0.05. ``data`` holds ``null`` (permutation) and ``accuracy`` (group).

    Raises
    ------
    ArgumentError
        If the arrays differ in length, there are no permutations, or each group has one class
        only.

    References
    ----------
    Ojala & Garriga (2010), Permutation tests for studying classifier performance.
    https://www.jmlr.org/papers/v11/ojala10a.html
    Noirhomme et al. (2014), Biased binomial assessment of cross-validated estimation of
    classification accuracies. https://doi.org/10.1016/j.nicl.2014.04.004

    Examples
    --------
    >>> y = np.tile(["rest", "task"], 10)
    >>> above_chance(y, y).verdict, above_chance(np.full(20, "rest"), y).verdict
    ('passed', 'flagged')
    """
    predictions, y = np.asarray(predictions), np.asarray(y)
    groups = np.zeros(y.shape) if groups is None else np.asarray(groups)
    options = {"cross_validated": cross_validated, "n_permutations": n_permutations, "seed": seed}
    found = shuffled_accuracy(predictions, y, groups, **options)
    names = np.unique(groups)
    each = [float(np.mean(predictions[groups == name] == y[groups == name])) for name in names]
    found = found.assign(accuracy=("group", each)).assign_coords(group=[str(one) for one in names])
    return _judge(found, len(y), widened=cross_validated)


def _judge(found: xr.Dataset, n: int, *, widened: bool) -> Check:
    """Say whether it is above chance."""
    values = {"accuracy": "observed", "chance": "chance", "p": "p"}
    values = {name: float(found[variable]) for name, variable in values.items()}
    passed = values["p"] <= LEVEL
    wider = ", widened because folds share training labels" if widened else ""
    finding = (
        f"{values['accuracy']:.1%} of {n} held-out windows are decoded, {values['chance']:.1%} by "
        f"chance (p = {values['p']:.2g}, {found.sizes['permutation']} shuffles of the labels"
        f"{wider}): {'above' if passed else 'not above'} chance."
    )
    if not passed:
        finding += " There is nothing for a map to explain."
    return Check(
        name="accuracy",
        question=QUESTION,
        verdict="passed" if passed else "flagged",
        finding=finding,
        cannot_show=(
            "What is decoded need not be what the task is about: movement, eye movements or "
            "difficulty that go with the condition are decoded as well. The p-value holds for "
            "these subjects; whether others can be decoded is a question for a test over subjects."
        ),
        values=values,
        data=found[["null", "accuracy"]],
    )
