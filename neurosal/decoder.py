"""The nilearn-style door: runs, images or arrays in; accuracy, importance, images, a report out."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from nibabel.spatialimages import SpatialImage
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from neurosal.errors import ArgumentError
from neurosal.examined import Examined
from neurosal.inputs import (
    ImageTags,
    atlas_for,
    check_classes,
    first_image,
    kind_of,
    read_windows,
)
from neurosal.loaders.runs import Run
from neurosal.models.folds import baseline_predictions, check_scheme, fold_accuracy, make_folds
from neurosal.notes import noting
from neurosal.parcellation.coverage import measured, on_all_regions, region_scales, scaled
from neurosal.progress import say
from neurosal.projection.averages import mean_by_condition
from neurosal.projection.images import to_image

if TYPE_CHECKING:
    from neurosal.saliency.window_decoder import WindowDecoder

_VOLUMES = (str, Path, SpatialImage)


class SaliencyDecoder(Examined, ClassifierMixin, BaseEstimator):
    """Decode conditions from task fMRI and map what the decoder looks at, when and where.

    Runs are parcellated, cleaned and cut into windows that follow the events; images are
    parcellated; arrays of regions are taken as they are (see :mod:`neurosal.inputs`). A classifier
    is cross-validated on the windows; every window is explained by the classifier that did not see
    it in training; the explanations are averaged within each condition and put on the brain.

    Parameters
    ----------
    atlas : str, path, Atlas or nilearn masker, optional
        What :func:`neurosal.load_atlas` takes; by default ``"dosenbach160"``, and nothing for
        arrays. A masker extracts the region series, and paints the maps; if it is not fitted, a
        copy is, on the first image.
    conditions : dict of str to list of str, optional
        Of runs: new name to the trial types pooled under it; ``{"rest": []}`` are gaps between
        events. By default every trial type is a condition.
    window : float, optional
        Of runs: length of a window in seconds; by default the shortest block of the conditions.
    lag : float
        Of runs: seconds from an event's onset to its window's start, the haemodynamic delay.
    merge : float, optional
        Of runs: largest gap in seconds over which events of one condition are joined into a block.
    cv : {'run', 'subject', 'block'}, int or scikit-learn splitter
        What is held out together, see :func:`neurosal.models.folds.make_folds`.
    n_folds : int, optional
        How many folds; by default one for each subject or run, up to 12, and 5 blocks.
    classifier : scikit-learn classifier, optional
        By default :class:`neurosal.InputCellClassifier` with ``random_state``, made for maps: it
        reads each window from both ends, for a cell that only reads forwards favours early
        inputs, and is trained with a random stretch of each window hidden.
    method : str
        A method of :func:`neurosal.explain`.
    screening_percentile : float
        Percent of the cells (time, region) that the classifier is given: those that differ most
        between the conditions in its training windows, as nilearn's ``Decoder`` does. The others
        are set to zero and have no importance. 100 keeps all.
    high_pass : float, optional
        Of runs: cut-off in Hz for removing slow drifts from the region series.
    confounds : str or list of str, optional
        Of runs: what to regress out, see :func:`neurosal.loaders.load_strategy`; by default
        nothing.
    extraction : dict, optional
        Of runs: further arguments of :func:`neurosal.extract_windows`: ``scrub_mm``, ``label``,
        ``n_jobs``, ``cache``, ``client``. With a folder as ``cache``, training too goes on where
        it stopped.
    random_state : int
        Seed of training and explaining.
    verbose : bool
        Tell on standard error how far the work is.

    Attributes
    ----------
    atlas_ : Atlas, GrayordinateAtlas, MapsAtlas, MaskerAtlas or None
        The atlas in use.
    windows_ : xarray.DataArray
        (sample, time, region): the labelled windows.
    scales_ : xarray.Dataset or None
        Of images: what was subtracted from each region and divided by, see
        :func:`~neurosal.parcellation.coverage.region_scales`.
    classes_ : numpy.ndarray
        The conditions.
    n_features_in_ : int
        The number of regions.
    feature_names_in_ : numpy.ndarray
        Their names; not there for plain arrays without an atlas.
    folds_ : list of (train, test)
        Index arrays into the windows.
    decoder_ : WindowDecoder
        Fitted on all windows; what ``predict`` and ``explain`` use.
    fold_decoders_ : list of WindowDecoder
        The decoder of each fold.
    classifier_ : estimator
        The classifier of ``decoder_``.
    screening_ : xarray.DataArray of bool
        (time, region): the cells that ``classifier_`` is given.
    cv_scores_ : numpy.ndarray
        Accuracy in each fold.
    cv_predictions_ : numpy.ndarray
        The condition predicted for each window when it was held out.
    baseline_scores_ : numpy.ndarray
        Accuracy of logistic regression on the flattened windows in each fold.
    baseline_predictions_ : numpy.ndarray
        What it predicts.
    saliency_ : xarray.DataArray
        (sample, time, region): each window explained by the classifier that did not train on it.
    mean_saliency_ : xarray.DataArray
        (condition, time, region): the mean over each condition's windows.
    saliency_img_ : dict of str to image
        Condition to the image of its mean importance over time: 4D NIfTI on the grid of the first
        image (3D for windows of one frame), CIFTI for an atlas of grayordinates, what a masker
        makes of it; empty without an atlas.
    space_ : str
        The space of the runs, or of the atlas where the runs' names do not say.
    n_runs_ : int
        How many runs the windows come from.
    notes_ : list of str
        The warnings of ``fit``.
    trust_ : TrustCard
        What :meth:`trust_card` found.
    statistics_ : dict of str to xarray.Dataset
        What :meth:`group_test` found.
    accuracy_test_ : xarray.Dataset
        What :meth:`accuracy_test` found.
    comparison_ : Comparison
        What :meth:`compare_methods` found.

    See Also
    --------
    nilearn.decoding.Decoder : decodes single volumes by linear models.

    References
    ----------
    Ismail et al. (2019), Input-cell attention reduces vanishing saliency of recurrent neural
    networks. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(24, 6, 5)), np.tile(["rest", "task"], 12)
    >>> X[1::2, 3, 2] += 4
    >>> decoder = SaliencyDecoder(screening_percentile=50).fit(X, y, groups=np.repeat([1, 2], 12))
    >>> task = decoder.mean_saliency_.sel(condition="task")
    >>> task.isel(abs(task).argmax(...))["region"].item()
    'region 3'
    """

    def __init__(
        self,
        atlas=None,
        *,
        conditions=None,
        window=None,
        lag=5.0,
        merge=None,
        cv="run",
        n_folds=None,
        classifier=None,
        method="integrated_gradients",
        screening_percentile=20.0,
        high_pass=None,
        confounds=None,
        extraction=None,
        random_state=0,
        verbose=False,
    ):
        self.atlas = atlas
        self.conditions = conditions
        self.window = window
        self.lag = lag
        self.merge = merge
        self.cv = cv
        self.n_folds = n_folds
        self.classifier = classifier
        self.method = method
        self.screening_percentile = screening_percentile
        self.high_pass = high_pass
        self.confounds = confounds
        self.extraction = extraction
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: object, y: object = None, groups: object = None) -> "SaliencyDecoder":
        """Cross-validate, explain and map.

        Parameters
        ----------
        X : list of Run, image, list of images, or array
            Runs as :func:`neurosal.find_hcp_runs` and :func:`neurosal.find_bids_runs` return them;
            a list of images, each a window, or one 4D image, each volume a window; or windows of
            shape (sample, time, region).
        y : array-like of shape (sample,), optional
            The class of each window of images and arrays; runs have their events.
        groups : array-like of shape (sample,), optional
            The run, or with ``cv="subject"`` the subject, of each window of images and arrays:
            what must be held out together.

        Returns
        -------
        SaliencyDecoder
            Itself, fitted.

        Raises
        ------
        ArgumentError
            If an argument does not fit the data.
        DataError
            If a run or an image cannot be used.
        """
        with noting() as self.notes_:
            self._fit(X, y, groups)
        return self

    def windows(self, X: object, y: object = None, groups: object = None) -> xr.DataArray:
        """Turn runs, images or arrays into the windows that ``fit`` would decode.

        Parameters
        ----------
        X, y, groups
            As in :meth:`fit`.

        Returns
        -------
        xarray.DataArray
            (sample, time, region); of runs, z-scored within each run; of images, as they were
            measured.
        """
        return self._read(X, y, groups, atlas=atlas_for(self.atlas, X))

    def predict(self, X: object) -> np.ndarray:
        """Predict the condition of every window of new data.

        Parameters
        ----------
        X : list of Run, image, list of images, or array
            As in :meth:`fit`; not what was fitted.

        Returns
        -------
        numpy.ndarray
            One condition a window; of runs, in the order of the runs and their events.
        """
        windows = self._new_windows(X)
        return self.decoder_.predict(windows)

    def predict_proba(self, X: object) -> np.ndarray:
        """Give the probability of each condition for every window of new data.

        Parameters
        ----------
        X : list of Run, image, list of images, or array
            As in :meth:`fit`; not what was fitted.

        Returns
        -------
        numpy.ndarray of shape (sample, class)
            In the order of ``classes_``.
        """
        windows = self._new_windows(X)
        return self.decoder_.predict_proba(windows)

    def score(self, X: object, y: object = None) -> float:
        """Accuracy over the windows of new data.

        Parameters
        ----------
        X : list of Run, image, list of images, or array
            As in :meth:`fit`; not what was fitted.
        y : array-like of shape (sample,), optional
            The class of each window of images and arrays.

        Returns
        -------
        float
            The share of windows predicted right.
        """
        windows = self._new_windows(X, y)
        true = check_classes(windows, least=1)
        return float(np.mean(self.decoder_.predict(windows) == true))

    def explain(self, X: object, y: object = None) -> xr.DataArray:
        """Map what the decoder looks at in every window of new data.

        Parameters
        ----------
        X : list of Run, image, list of images, or array
            As in :meth:`fit`; not what was fitted.
        y : array-like of shape (sample,), optional
            The class of each window of images and arrays.

        Returns
        -------
        xarray.DataArray
            Importance (sample, time, region) for the true condition, or the predicted one where
            the true one is not known; NaN for regions that were not fitted.
        """
        windows = self._new_windows(X, y)
        target = "true" if "condition" in windows.coords else "predicted"
        return on_all_regions(self.decoder_.explain(windows, target=target), self.windows_)

    def __sklearn_tags__(self) -> object:
        tags = super().__sklearn_tags__()
        tags.input_tags = ImageTags()
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "saliency_img_")

    @property
    def _group_name(self) -> str:
        """What the groups of images and arrays say."""
        return "subject" if self.cv == "subject" else "run"

    def _fit(self, X: object, y: object, groups: object) -> None:
        """Do what ``fit`` says."""
        kind, decoder = kind_of(X), self._window_decoder()
        decoder.check_settings()  # Before runs are read, which may take hours.
        check_scheme(self.cv, n_folds=self.n_folds)
        X = [X] if isinstance(X, Run) else X
        self._forget_answers()
        self._check_table(X, reset=True)
        self.atlas_ = atlas_for(self.atlas, X)
        windows = self._read(X, y, groups, atlas=self.atlas_)
        self.scales_ = region_scales(windows) if kind == "images" else None
        self.windows_ = scaled(windows, self.scales_)
        y = check_classes(self.windows_)
        self._note_regions(X)
        self.classes_ = np.unique(y)
        self.n_runs_ = self._count_runs(named=kind == "runs")
        self.space_ = (kind == "runs" and X[0].space) or getattr(self.atlas_, "space", "")
        known = measured(self.windows_)
        self._cross_validate(decoder, known, y)
        say("fitting on all windows", show=self.verbose)
        self.decoder_ = decoder.fit(known, y)
        self.classifier_, self.screening_ = self.decoder_.classifier_, self.decoder_.screening_
        self.mean_saliency_ = mean_by_condition(self.saliency_, self.classes_)
        self.saliency_img_ = self._images(first_image(X))

    def _read(
        self, X: object, y: object, groups: object, *, atlas: object, like: object = None
    ) -> xr.DataArray:
        """Read windows as the settings say, or as those fitted on."""
        cutting = {
            "window": self.window if like is None else like.attrs.get("window"),
            "lag": self.lag,
            "conditions": self.conditions,
            "merge": self.merge,
            "high_pass": self.high_pass,
            "confounds": self.confounds,
            **(self.extraction or {}),
        }
        options = {"group_name": self._group_name, "progress": self.verbose, "like": like}
        return read_windows(X, y, groups, atlas=atlas, cutting=cutting, **options)

    def _new_windows(self, X: object, y: object = None) -> xr.DataArray:
        """Read windows as long as those fitted on, of the regions fitted on."""
        check_is_fitted(self)
        self._check_table(X, reset=False)
        windows = self._read(X, y, None, atlas=self.atlas_, like=self.windows_)
        return scaled(windows, self.scales_ if kind_of(X) == "images" else None)

    def _check_table(self, X: object, *, reset: bool) -> None:
        """Let scikit-learn remember and compare the columns of a table."""
        if getattr(X, "ndim", 0) == 2 and not isinstance(X, xr.DataArray):
            validate_data(self, X, reset=reset, skip_check_array=True)

    def _note_regions(self, X: object) -> None:
        """Remember how many regions there are, and their names if they have any."""
        self.n_features_in_ = self.windows_.sizes["region"]
        if kind_of(X) != "arrays" or isinstance(X, xr.DataArray):
            self.feature_names_in_ = self.windows_["region"].to_numpy()
        elif getattr(X, "ndim", 0) != 2:
            vars(self).pop("feature_names_in_", None)

    def _count_runs(self, *, named: bool) -> int:
        """Count the runs that windows come from; refuse to hold out what is not known."""
        groups = self.windows_[self._group_name].to_numpy()
        if not named and isinstance(self.cv, str) and (groups == "").any():
            raise ArgumentError(
                f"cv={self.cv!r} needs groups: the {self._group_name} of each window. Give groups, "
                "or cv=5 for folds of single windows if these are independent of each other."
            )
        names = ("subject", "session", "task", "run")
        return len(set(zip(*(self.windows_[name].to_numpy() for name in names), strict=True)))

    def _window_decoder(self) -> "WindowDecoder":
        """Return what is trained and explained in each fold, unfitted."""
        from neurosal.saliency.window_decoder import WindowDecoder

        cache = (self.extraction or {}).get("cache")
        return WindowDecoder(
            self.classifier,
            method=self.method,
            screening_percentile=self.screening_percentile,
            checkpoint=Path(cache) / "training" if isinstance(cache, str | Path) else None,
            random_state=self.random_state,
        )

    def _cross_validate(self, decoder: "WindowDecoder", known: xr.DataArray, y: np.ndarray) -> None:
        """Fit, predict and explain fold by fold."""
        from neurosal.saliency.window_decoder import cross_explain

        folds = make_folds(known, self.cv, n_folds=self.n_folds)
        self.folds_ = folds
        self.cv_predictions_, maps, self.fold_decoders_ = cross_explain(
            decoder, known, y, folds, progress=self.verbose
        )
        self.baseline_predictions_ = baseline_predictions(known, y, folds)
        self.cv_scores_ = fold_accuracy(self.cv_predictions_, y, folds)
        self.baseline_scores_ = fold_accuracy(self.baseline_predictions_, y, folds)
        self.saliency_ = on_all_regions(maps, self.windows_)

    def _images(self, reference: object) -> dict:
        """Put the mean map of each condition on the brain."""
        if self.atlas_ is None:
            return {}
        grid = reference if isinstance(reference, _VOLUMES) else None
        maps = self.mean_saliency_
        maps = maps.isel(time=0) if maps.sizes["time"] == 1 else maps
        names = [str(name) for name in self.classes_]
        return {name: to_image(maps.sel(condition=name), self.atlas_, grid) for name in names}
