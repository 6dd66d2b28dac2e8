"""Windows in, predictions and maps out: screening, classifier and explanation as one estimator."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from neurosal.errors import check_one_of
from neurosal.models.classifier import InputCellClassifier
from neurosal.models.samples import DIMENSIONS
from neurosal.models.screening import check_percentile, screening_mask
from neurosal.models.training import Training
from neurosal.progress import track
from neurosal.saliency.explain import explain
from neurosal.saliency.methods import METHODS

#: Least and most share of each training window that is hidden.
TIME_MASK = (0.2, 0.5)


class WindowDecoder(ClassifierMixin, BaseEstimator):
    """Screen cells, train a classifier on them, explain what it looks at.

    Everything that shapes a map is in one estimator, so that a check of the map can train and
    explain again in exactly the same way.

    Parameters
    ----------
    classifier : scikit-learn classifier, optional
        By default :class:`neurosal.InputCellClassifier` with ``random_state``, made for maps: it
        reads each window from both ends, for a cell that only reads forwards favours early
        inputs, and is trained with a random stretch of each window hidden.
    method : str
        A method of :func:`neurosal.explain`.
    method_arguments : dict, optional
        Further arguments of :func:`neurosal.explain`.
    screening_percentile : float
        Percent of the cells (time, region) that the classifier is given: those that differ most
        between the classes of its training windows. The others are set to zero and have no
        importance. 100 keeps all.
    checkpoint : path, optional
        Folder from which interrupted training goes on; for the default classifier.
    random_state : int
        Seed of training and explaining.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The classes.
    screening_ : xarray.DataArray of bool
        (time, region): the cells that the classifier is given.
    classifier_ : estimator
        Fitted on the screened windows.

    See Also
    --------
    neurosal.SaliencyDecoder : The same from images, cross-validated, with maps on the brain.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 6, 5)), np.repeat(["rest", "task"], 20)
    >>> X[20:, 3, 2] += 4
    >>> maps = WindowDecoder(screening_percentile=50).fit(X, y).explain(X, y)
    >>> int(np.abs(maps).mean("sample").to_numpy().argmax()) == 3 * 5 + 2
    True
    """

    def __init__(
        self,
        classifier: object = None,
        *,
        method: str = "integrated_gradients",
        method_arguments: dict | None = None,
        screening_percentile: float = 20.0,
        checkpoint: str | Path | None = None,
        random_state: int = 0,
    ):
        self.classifier = classifier
        self.method = method
        self.method_arguments = method_arguments
        self.screening_percentile = screening_percentile
        self.checkpoint = checkpoint
        self.random_state = random_state

    def fit(self, X: object, y: object) -> "WindowDecoder":
        """Choose the cells and train on them.

        Parameters
        ----------
        X : xarray.DataArray or array of shape (sample, time, region)
            Windows without missing values.
        y : array-like of shape (sample,)
            Their classes.

        Returns
        -------
        WindowDecoder
            Itself, fitted.

        Raises
        ------
        ArgumentError
            If an argument does not fit the windows.
        """
        windows, y = _labelled(X), np.asarray(y)
        self.check_settings()
        mask = screening_mask(windows, y, percentile=self.screening_percentile)
        self.screening_ = windows[0].reset_coords(drop=True).copy(data=mask)
        self.classifier_ = self._new_classifier().fit(windows * self.screening_, y)
        self.classes_ = self.classifier_.classes_
        return self

    def check_settings(self) -> None:
        """Refuse a method or a share of cells that cannot work, before any time is spent.

        Raises
        ------
        ArgumentError
            If there is no such method, or no cell would be kept.
        """
        check_one_of("method", self.method, METHODS)
        check_percentile(self.screening_percentile)

    def screen(self, X: object) -> xr.DataArray:
        """Set the cells to zero that the classifier is not given.

        Parameters
        ----------
        X : xarray.DataArray or array of shape (sample, time, region)
            Windows.

        Returns
        -------
        xarray.DataArray
            What the classifier sees.
        """
        check_is_fitted(self, "screening_")
        windows = _labelled(X)
        return windows.copy(data=windows.to_numpy() * self.screening_.to_numpy())

    def predict(self, X: object) -> np.ndarray:
        """Predict the class of each window.

        Parameters
        ----------
        X : xarray.DataArray or array of shape (sample, time, region)
            Windows.

        Returns
        -------
        numpy.ndarray of shape (sample,)
            The classes.
        """
        return self.classifier_.predict(self.screen(X))

    def predict_proba(self, X: object) -> np.ndarray:
        """Give the probability of each class.

        Parameters
        ----------
        X : xarray.DataArray or array of shape (sample, time, region)
            Windows.

        Returns
        -------
        numpy.ndarray of shape (sample, class)
            In the order of ``classes_``.
        """
        return self.classifier_.predict_proba(self.screen(X))

    def explain(self, X: object, y: object = None, *, target: object = "true") -> xr.DataArray:
        """Map what the classifier looks at in each window.

        Parameters
        ----------
        X : xarray.DataArray or array of shape (sample, time, region)
            Windows.
        y : array-like of shape (sample,), optional
            Their classes; by default the coordinate ``condition`` of ``X``.
        target : "true", "predicted", class or array of classes
            The class whose score is explained.

        Returns
        -------
        xarray.DataArray
            Importance (sample, time, region), zero in the cells that were screened out.
        """
        options = {"target": target, "y": y, "seed": self.random_state, "method": self.method}
        maps = explain(self.classifier_, self.screen(X), **options | (self.method_arguments or {}))
        return maps.copy(data=maps.to_numpy() * self.screening_.to_numpy())

    def _new_classifier(self) -> object:
        """Return an unfitted copy of the classifier."""
        if self.classifier is not None:
            return clone(self.classifier)
        return InputCellClassifier(
            bidirectional=True,
            read="both-ends",
            training=Training(time_mask=TIME_MASK, checkpoint=self.checkpoint),
            random_state=self.random_state,
        )


def cross_explain(
    decoder: WindowDecoder,
    X: object,
    y: object,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    progress: bool = False,
) -> tuple[np.ndarray, xr.DataArray, list[WindowDecoder]]:
    """Predict and explain each window by a decoder that did not train on it.

    Parameters
    ----------
    decoder : WindowDecoder
        Unfitted; a copy is fitted in each fold.
    X : xarray.DataArray or array of shape (sample, time, region)
        Windows.
    y : array-like of shape (sample,)
        Their classes.
    folds : sequence of (train, test)
        Index arrays; every window is held out once.
    progress : bool
        Show how far the work is on standard error.

    Returns
    -------
    predictions : numpy.ndarray of shape (sample,)
        The classes predicted for held-out windows.
    maps : xarray.DataArray
        Importance (sample, time, region) for the true class.
    fitted : list of WindowDecoder
        The decoder of each fold.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> halves = [(np.arange(4), np.arange(4, 8)), (np.arange(4, 8), np.arange(4))]
    >>> predictions, maps, fitted = cross_explain(WindowDecoder(), X, y, halves)
    >>> predictions.shape, maps.shape, len(fitted)
    ((8,), (8, 4, 3), 2)
    """
    windows, y = _labelled(X), np.asarray(y)
    predictions, maps, fitted = np.empty_like(y), [], []
    for train, test in track(folds, "cross-validating", total=len(folds), show=progress):
        twin = clone(decoder).fit(windows[train], y[train])
        predictions[test] = twin.predict(windows[test])
        maps.append(twin.explain(windows[test], y[test]))
        fitted.append(twin)
    order = np.argsort(np.concatenate([test for _, test in folds]))
    joined = xr.concat(maps, "sample", coords="minimal", compat="override", join="override")
    return predictions, joined.isel(sample=order).assign_attrs(maps[0].attrs), fitted


def _labelled(X: object) -> xr.DataArray:
    """See windows as a labelled array."""
    if isinstance(X, xr.DataArray):
        return X.transpose(*DIMENSIONS)
    return xr.DataArray(np.asarray(X), dims=DIMENSIONS)
