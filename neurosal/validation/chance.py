"""Does the decoder tell the classes apart at all? One at chance has nothing to explain."""

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.validation.check import Check
from neurosal.validation.twins import shuffle_within

QUESTION = "Does the decoder tell the classes apart at all?"
LEVEL = 0.05


def above_chance(
    predictions: object,
    y: object,
    *,
    groups: object = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> Check:
    """Compare the accuracy of held-out predictions with that under shuffled labels.

    The predictions stay and the labels are shuffled within runs or subjects, which asks whether
    the two are independent. Nothing is trained again.

    Parameters
    ----------
    predictions : array-like of shape (sample,)
        Each from a decoder that did not see the window.
    y : array-like of shape (sample,)
        The true classes.
    groups : array-like of shape (sample,), optional
        Runs or subjects; labels are shuffled within them.
    n_permutations : int
        Shuffles.
    seed : int
        Of the shuffles.

    Returns
    -------
    Check
        Flagged for p > 0.05. ``data`` holds ``null`` (draw) and ``accuracy`` (group).

    Raises
    ------
    ArgumentError
        If the two differ in length or there are no permutations.

    References
    ----------
    Ojala & Garriga (2010), Permutation tests for studying classifier performance.
    https://www.jmlr.org/papers/v11/ojala10a.html

    Examples
    --------
    >>> y = np.tile(["rest", "task"], 10)
    >>> above_chance(y, y).verdict, above_chance(np.full(20, "rest"), y).verdict
    ('passed', 'flagged')
    """
    predictions, y = np.asarray(predictions), np.asarray(y)
    if predictions.shape != y.shape or y.ndim != 1 or n_permutations < 1:
        raise ArgumentError(
            "predictions and y must hold one class for each sample, n_permutations be 1 or more. "
            f"Got shapes {predictions.shape} and {y.shape}, and {n_permutations!r}."
        )
    names, groups = np.unique(np.zeros(len(y)) if groups is None else groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = (shuffle_within(y, groups, rng=rng) for _ in range(n_permutations))
    null = np.array([np.mean(labels == predictions) for labels in draws])
    right = predictions == y
    data = xr.Dataset(
        {
            "null": ("draw", null),
            "accuracy": ("group", [right[groups == k].mean() for k in range(len(names))]),
        },
        coords={"group": [str(one) for one in names]},
    )
    return _judge(data, float(right.mean()), len(y))


def _judge(data: xr.Dataset, accuracy: float, n: int) -> Check:
    """Say whether it is above chance."""
    null = data["null"].to_numpy()
    p = float((1 + (null >= accuracy - 1e-12).sum()) / (1 + len(null)))
    beats = "above" if p <= LEVEL else "not above"
    finding = (
        f"{accuracy:.0%} of {n} held-out windows are decoded, {null.mean():.0%} by chance "
        f"(p = {p:.2g}, {len(null)} shuffles of the labels): {beats} chance."
    )
    if p > LEVEL:
        finding += " There is nothing for a map to explain."
    return Check(
        name="accuracy",
        question=QUESTION,
        verdict="passed" if p <= LEVEL else "flagged",
        finding=finding,
        cannot_show=(
            "What is decoded need not be what the task is about: movement, eye movements or "
            "difficulty that go with the condition are decoded as well. The p-value holds for "
            "these subjects; whether others can be decoded is a question for a test over subjects."
        ),
        values={"accuracy": accuracy, "chance": float(null.mean()), "p": p},
        data=data,
    )
