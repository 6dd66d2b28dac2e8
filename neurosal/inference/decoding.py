"""Is the decoding accuracy above chance? Label permutations within runs.

Labels are shuffled within runs only, so that what runs have in common (drift, a subject's level)
is the same under the null hypothesis. This needs labels that could as well have come in another
order: designs in one fixed order are not tested by it.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed

from neurosal.errors import ArgumentError, DataError
from neurosal.progress import track
from neurosal.validation.shuffles import (
    checked_labels,
    share_reaching,
    shuffled_accuracy,
    shuffled_orders,
)

_RUN = ("subject", "session", "task", "run")


def prediction_test(
    predicted: np.ndarray,
    y: np.ndarray,
    runs: np.ndarray | xr.DataArray,
    *,
    cross_validated: bool = True,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Test the accuracy of held-out predictions against shuffled labels, without training again.

    **The null hypothesis** is that, given these predictions, the true labels of each run are
    exchangeable: the predictions know nothing of which window is which. The test is exact for
    windows whose labels no training has seen.

    The folds of a cross-validation are no such windows: the labels tested in one fold train the
    others, and folds that succeed by chance succeed together, so that their accuracy varies more
    than shuffled labels say. Where the scores add up over pairs of a test and a training run, as
    those of decoders do that are linear in their training labels, the variance is at most twice
    that of the shuffles, for each pair occurs twice, once each way. With ``cross_validated=True``
    the null distribution is therefore widened by the square root of two about chance: of simulated
    data without information, at most 4 % came out at p <= .05 for any decoder tried (nearest
    centroid, logistic regression, ridge, support vectors, forest, perceptron); without it, up to
    10 %. For recurrent networks it is an approximation. :func:`retraining_test` is exact, and costs
    a training for each permutation.

    Parameters
    ----------
    predicted : array of shape (sample,)
        Held-out predictions, such as ``decoder.cv_predictions_``.
    y : array of shape (sample,)
        True labels.
    runs : array of shape (sample,) or xarray.DataArray
        The run of each sample, unique over subjects; or labelled windows, whose ``subject``,
        ``session``, ``task`` and ``run`` tell.
    cross_validated : bool
        Whether the labels of some predictions trained others. False for one held-out set.
    n_permutations : int
        How many shuffles.
    seed : int
        Of the shuffles.

    Returns
    -------
    xarray.Dataset
        ``observed`` accuracy, ``chance`` (its expectation under the null hypothesis), ``p`` (one
        plus the shuffles that reach it, over one plus all) and ``null`` (permutation,).

    Raises
    ------
    ArgumentError
        If the arrays differ in length, or no run has two labels to exchange.

    References
    ----------
    Noirhomme et al. (2014), Biased binomial assessment of cross-validated estimation of
    classification accuracies. https://doi.org/10.1016/j.nicl.2014.04.004

    Phipson & Smyth (2010), Permutation p-values should never be zero.
    https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    >>> y = np.tile(["lh", "rh"], 12)
    >>> test = prediction_test(y, y, np.repeat([1, 2, 3], 8))
    >>> test["observed"].item(), test["chance"].item(), test["p"].item() < 0.001
    (1.0, 0.5, True)
    """
    runs = _run_codes(runs)
    options = {"cross_validated": cross_validated, "n_permutations": n_permutations, "seed": seed}
    found = shuffled_accuracy(predicted, y, runs, **options)
    about = {
        "null_hypothesis": "given the predictions, labels are exchangeable within runs",
        "widened": "by sqrt(2), for folds share training labels" if cross_validated else "no",
    }
    return found.assign_attrs(about | _settings(found["null"], y, runs, seed))


def retraining_test(
    decode: Callable[[np.ndarray], float],
    y: np.ndarray,
    runs: np.ndarray | xr.DataArray,
    *,
    n_permutations: int = 99,
    n_jobs: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Test a decoder's score against that of the same decoder trained on shuffled labels.

    **The null hypothesis** is that the labels of each run are exchangeable: nothing in the data
    tells the conditions apart. Everything that sees labels is done again for each shuffle, so that
    the test is exact, whatever the decoder and its cross-validation. Its p-value is that of the
    decoder given: where a network is too slow, a linear decoder's test
    (:func:`~neurosal.models.folds.baseline_classifier`) says whether there is something to decode,
    not that the network does.

    Parameters
    ----------
    decode : callable
        Takes labels (sample,), trains with them, and returns the held-out score: the higher the
        better. Screening and the choice of parameters belong into it if they see labels.
    y : array of shape (sample,)
        True labels.
    runs : array of shape (sample,) or xarray.DataArray
        The run of each sample, unique over subjects; or labelled windows, whose ``subject``,
        ``session``, ``task`` and ``run`` tell.
    n_permutations : int
        How many shuffles, a training each; p can be no smaller than 1 / (1 + n_permutations).
    n_jobs : int
        How many shuffles at once, through joblib.
    seed : int
        Of the shuffles.
    progress : bool
        Show the progress on standard error.

    Returns
    -------
    xarray.Dataset
        ``observed`` score, ``p`` (one plus the shuffles that reach it, over one plus all) and
        ``null`` (permutation,). If the work is interrupted, of the shuffles that were done.

    Raises
    ------
    ArgumentError
        If the arrays differ in length, or no run has two labels to exchange.
    DataError
        If a score is not finite.

    See Also
    --------
    sklearn.model_selection.permutation_test_score : the same with ``groups=runs``.

    References
    ----------
    Ojala & Garriga (2010), Permutation tests for studying classifier performance. Journal of
    Machine Learning Research 11, 1833-1863.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
    >>> y, runs = np.tile([0, 1], 12), np.repeat([1, 2, 3], 8)
    >>> x = np.random.default_rng(0).standard_normal((24, 2)) + 3 * y[:, None]
    >>> folds = list(LeaveOneGroupOut().split(x, y, runs))
    >>> def decode(labels):
    ...     return cross_val_score(LogisticRegression(), x, labels, cv=folds).mean()
    >>> retraining_test(decode, y, runs, n_permutations=19, progress=False)["p"].item()
    0.05
    """
    (y,), codes = checked_labels(y, _run_codes(runs), n_permutations=n_permutations)
    observed, scores = _score(decode, y), []
    orders = shuffled_orders(codes, n_permutations, seed=seed)
    done = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_score)(decode, y[order]) for order in orders
    )
    try:
        for score in track(done, "retraining", total=n_permutations, show=progress):
            scores.append(score)
    except KeyboardInterrupt:
        if not scores:
            raise
        warnings.warn(
            f"retraining_test was interrupted: {len(scores)} of {n_permutations} shuffles were "
            "done, and p is that of these.",
            stacklevel=2,
        )
    null = np.array(scores)
    about = {"null_hypothesis": "labels are exchangeable within runs; trained again"}
    data = {"observed": observed, "p": share_reaching(null, observed)}
    found = xr.Dataset(data | {"null": ("permutation", null)})
    return found.assign_attrs(about | _settings(null, y, codes, seed))


def _run_codes(runs: object) -> np.ndarray:
    """Number the runs."""
    labelled = isinstance(runs, xr.DataArray) and "sample" in runs.dims
    if labelled and (runs.ndim > 1 or runs.name == "run"):
        names = [name for name in _RUN if name in runs.coords and runs[name].dims == ("sample",)]
        if "run" not in names:
            raise ArgumentError("The windows given as runs= lack the coordinate 'run' on 'sample'.")
        table = pd.DataFrame({name: runs[name].values for name in names})
        return table.groupby(names, dropna=False).ngroup().to_numpy()
    return np.unique(np.asarray(runs), return_inverse=True)[1]


def _score(decode: Callable, labels: np.ndarray) -> float:
    """Train and score once."""
    score = float(decode(labels))
    if not np.isfinite(score):
        raise DataError(f"decode returned {score}. It must return a finite score.")
    return score


def _settings(null: object, y: object, runs: np.ndarray, seed: int) -> dict:
    """Write down what was shuffled."""
    counts = {
        "n_samples": len(runs),
        "n_runs": len(np.unique(runs)),
        "n_classes": len(np.unique(y)),
    }
    return {"n_permutations": len(null), "seed": seed, **counts}
