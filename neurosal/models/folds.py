"""Cross-validation folds that keep dependent windows together, and the plain baseline."""

import warnings

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, check_cv
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurosal.errors import ArgumentError, check_one_of

SCHEMES = ("subject", "run", "block")
MOST_FOLDS = 12
BLOCK_FOLDS = 5


def check_scheme(cv: object, *, n_folds: int | None = None) -> None:
    """Refuse a cross-validation that there is not, before any time is spent.

    Parameters
    ----------
    cv : {'subject', 'run', 'block'} or splitter
        What is held out together.
    n_folds : int, optional
        Number of folds.

    Raises
    ------
    ArgumentError
        If ``cv`` is another name, or a splitter and ``n_folds`` is given.

    Examples
    --------
    >>> check_scheme("runs")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: cv must be one of 'subject', 'run', 'block'. Got 'runs'.
    """
    if isinstance(cv, str):
        check_one_of("cv", cv, SCHEMES)
    elif n_folds is not None:
        raise ArgumentError(f"n_folds={n_folds} and cv={cv!r} exclude each other.")


def make_folds(
    windows: xr.DataArray, cv: object = "run", *, n_folds: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split windows into training and held-out sets for cross-validation.

    Parameters
    ----------
    windows : xarray.DataArray
        (sample, time, region) with ``subject``, ``session``, ``run``, ``condition`` and ``onset``
        on ``sample``.
    cv : {'subject', 'run', 'block'}, int or scikit-learn splitter
        What is held out together: whole subjects, whole runs, or contiguous stretches of time
        within each run. Stretches of one run share its noise, so their accuracy is no estimate
        for a new run: a warning says so. A number makes so many stratified folds of single
        windows, for windows that are independent; a splitter is given runs as groups.
    n_folds : int, optional
        How many folds; by default one for each subject or run up to 12, and 5 stretches.

    Returns
    -------
    list of (train, test)
        Index arrays into ``sample``; every sample is held out exactly once.

    Raises
    ------
    ArgumentError
        If there are fewer groups than folds, a condition has fewer windows than there are folds,
        or a training set would miss a condition.

    Examples
    --------
    >>> coordinates = {name: ("sample", values) for name, values in {
    ...     "subject": ["1", "1", "2", "2"], "session": [""] * 4, "run": ["01"] * 4,
    ...     "condition": ["rh", "lh"] * 2, "onset": [0.0, 20.0] * 2}.items()}
    >>> windows = xr.DataArray(
    ...     np.zeros((4, 3, 2)), dims=("sample", "time", "region"), coords=coordinates)
    >>> make_folds(windows, "subject")[0]
    (array([2, 3]), array([0, 1]))
    """
    samples = _sample_table(windows)
    check_scheme(cv, n_folds=n_folds)
    if not isinstance(cv, str):
        return _split_by(cv, samples)
    groups = _groups(samples, cv, n_folds or BLOCK_FOLDS)
    n_groups = len(np.unique(groups))
    n_folds = n_folds or min(n_groups, MOST_FOLDS)
    if n_folds < 2 or n_folds > n_groups:
        raise ArgumentError(
            f"cv='{cv}' with {n_folds} fold(s) needs at least 2 folds and as many groups as folds, "
            f"but the data has {n_groups} group(s). Use another cv "
            f"({', '.join(SCHEMES)}), fewer folds, or more data."
        )
    conditions = samples["condition"].to_numpy()
    _check_counts(conditions, n_folds)
    splitter = LeaveOneGroupOut() if n_folds == n_groups else GroupKFold(n_folds)
    folds = list(splitter.split(conditions, conditions, groups))
    _check_training_sets(conditions, folds)
    if cv == "block":
        warnings.warn(
            "cv='block' holds out stretches of the same runs that the classifier is trained on: "
            "the folds are not independent, and the accuracy does not tell how well a new run or "
            "subject would be decoded.",
            stacklevel=2,
        )
    return folds


def baseline_classifier() -> object:
    """Return the plain peer: logistic regression on the flattened, standardised windows.

    Returns
    -------
    sklearn.pipeline.Pipeline
        An unfitted estimator for (sample, time * region) arrays.

    Examples
    --------
    >>> baseline_classifier().fit([[0.0], [1.0]], ["rest", "task"]).predict([[2.0]])
    array(['task'], dtype='<U4')
    """
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _sample_table(windows: xr.DataArray) -> pd.DataFrame:
    """Lay the coordinates that folds are made of side by side."""
    names = ("subject", "session", "run", "condition", "onset")
    missing = [name for name in names if name not in windows.coords]
    if missing:
        raise ArgumentError(
            f"windows lack the coordinate(s) {', '.join(missing)} on 'sample'. "
            "Make them with make_windows."
        )
    return pd.DataFrame({name: windows[name].to_numpy() for name in names})


def _split_by(cv: object, samples: pd.DataFrame) -> list:
    """Split as scikit-learn does, every window once."""
    y, runs = samples["condition"].to_numpy(), _groups(samples, "run", 0)
    runs = runs if len(np.unique(runs)) > 1 else None
    if isinstance(cv, int | np.integer):
        _check_counts(y, int(cv))
        runs = None
    try:
        folds = list(check_cv(cv, y, classifier=True).split(y, y, runs))
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"cv={cv!r} cannot split the windows: {error}") from error
    held_out = np.sort(np.concatenate([test for _, test in folds]))
    if not np.array_equal(held_out, np.arange(len(y))):
        raise ArgumentError(
            f"cv must hold out every window once. {cv!r} holds out {len(np.unique(held_out))} of "
            f"{len(y)}, in {len(held_out)} places. Use GroupKFold, LeaveOneGroupOut or the like."
        )
    seen = [len(np.intersect1d(train, test)) for train, test in folds]
    if any(seen):
        raise ArgumentError(
            f"cv must train on other windows than those held out. Fold {np.argmax(seen) + 1} of "
            f"{cv!r} trains on {max(seen)} that it holds out. Leave them out of its training set."
        )
    _check_training_sets(y, folds)
    return folds


def baseline_predictions(
    windows: xr.DataArray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Predict held-out windows by the plain peer.

    Parameters
    ----------
    windows : xarray.DataArray or array of shape (sample, time, region)
        Without missing values.
    y : numpy.ndarray of shape (sample,)
        Their classes.
    folds : list of (train, test)
        What :func:`make_folds` returns.

    Returns
    -------
    numpy.ndarray of shape (sample,)
        The class that :func:`baseline_classifier` predicts for each window.

    Examples
    --------
    >>> X, y = np.array([0.0, 1, 0, 1]).reshape(4, 1, 1), np.array(["rest", "task"] * 2)
    >>> baseline_predictions(X, y, [([0, 1], [2, 3]), ([2, 3], [0, 1])])
    array(['rest', 'task', 'rest', 'task'], dtype='<U4')
    """
    flat, predicted = np.asarray(windows).reshape(len(y), -1), np.empty_like(y)
    for train, test in folds:
        predicted[test] = baseline_classifier().fit(flat[train], y[train]).predict(flat[test])
    return predicted


def fold_accuracy(
    predicted: np.ndarray, y: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Accuracy in each fold.

    Parameters
    ----------
    predicted, y : numpy.ndarray of shape (sample,)
        The classes predicted for held-out windows, and the true ones.
    folds : list of (train, test)
        What :func:`make_folds` returns.

    Returns
    -------
    numpy.ndarray of shape (fold,)
        Shares of windows predicted right.

    Examples
    --------
    >>> y = np.array(["rest", "task", "rest"])
    >>> fold_accuracy(np.array(["rest", "rest", "rest"]), y, [([2], [0, 1]), ([0, 1], [2])])
    array([0.5, 1. ])
    """
    return np.array([np.mean(predicted[test] == y[test]) for _, test in folds])


def _groups(samples: pd.DataFrame, cv: str, n_stretches: int) -> np.ndarray:
    """Number the samples that must stay together."""
    runs = samples.groupby(["subject", "session", "run"], dropna=False).ngroup().to_numpy()
    if cv == "subject":
        return samples.groupby("subject", dropna=False).ngroup().to_numpy()
    if cv == "run":
        return runs
    if samples["onset"].isna().any():
        raise ArgumentError("cv='block' needs the onset of every window; use another cv.")
    ranks = samples.groupby(runs)["onset"].rank(method="first").to_numpy() - 1
    sizes = samples.groupby(runs)["onset"].transform("size").to_numpy()
    return (ranks * n_stretches // sizes).astype(int)


def _check_counts(conditions: np.ndarray, n_folds: int) -> None:
    """Refuse conditions too rare to be held out in every fold."""
    counts = pd.Series(conditions).value_counts()
    if len(counts) < 2:
        raise ArgumentError(
            f"There is only one condition, {counts.index[0]!r}: nothing to tell apart. "
            "Choose at least two conditions."
        )
    rare = counts[counts < n_folds]
    if len(rare):
        listing = ", ".join(f"{name!r} ({count})" for name, count in rare.items())
        raise ArgumentError(
            f"Fewer windows than the {n_folds} folds in condition(s) {listing}. Use fewer folds, "
            "pool the condition with another, or leave it out."
        )


def _check_training_sets(conditions: np.ndarray, folds: list) -> None:
    """Refuse folds whose training set never shows a condition that is tested."""
    for number, (train, test) in enumerate(folds, start=1):
        unseen = sorted(set(conditions[test]) - set(conditions[train]))
        if unseen:
            raise ArgumentError(
                f"Fold {number} would test condition(s) {', '.join(map(repr, unseen))} that its "
                "training windows never show. Use another cv or fewer folds."
            )
