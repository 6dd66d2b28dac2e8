"""The nilearn-style door: runs in; accuracy, importance, images and a report out."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from nibabel import Nifti1Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from neurosal.errors import DataError
from neurosal.loaders.runs import Run
from neurosal.models.folds import baseline_classifier, make_folds
from neurosal.parcellation.atlas import load_atlas
from neurosal.pipeline import extract_windows
from neurosal.progress import say
from neurosal.projection.images import to_image

if TYPE_CHECKING:
    from neurosal.saliency.window_decoder import WindowDecoder

_VOLUMES = (str, Path, Nifti1Image)


class SaliencyDecoder(ClassifierMixin, BaseEstimator):
    """Decode conditions from task fMRI and map what the decoder looks at, when and where.

    Each run is parcellated, cleaned and cut into windows that follow the events. A classifier is
    cross-validated on the windows; every window is explained by the classifier that did not see
    it in training; the explanations are averaged within each condition and put on the brain.

    Parameters
    ----------
    atlas : str, path or Atlas
        What :func:`neurosal.load_atlas` takes.
    conditions : dict of str to list of str, optional
        New name to the trial types pooled under it; ``{"rest": []}`` are gaps between events. By
        default every trial type is a condition.
    window : float, optional
        Length of a window in seconds; by default the shortest block of the conditions.
    lag : float
        Seconds from an event's onset to its window's start: the haemodynamic delay.
    merge : float, optional
        Largest gap in seconds over which events of one condition are joined into a block.
    cv : {'run', 'subject', 'block'}
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
        Cut-off in Hz for removing slow drifts from the region series.
    confounds : str or list of str, optional
        What to regress out, see :func:`neurosal.loaders.load_strategy`; by default nothing.
    extraction : dict, optional
        Further arguments of :func:`neurosal.extract_windows`: ``scrub_mm``, ``label``, ``n_jobs``,
        ``cache``, ``client``. With a folder as ``cache``, training too goes on where it stopped.
    random_state : int
        Seed of training and explaining.
    verbose : bool
        Tell on standard error how far the work is.

    Attributes
    ----------
    atlas_ : Atlas
        The atlas in use.
    windows_ : xarray.DataArray
        (sample, time, region): the labelled windows.
    classes_ : numpy.ndarray
        The conditions.
    decoder_ : WindowDecoder
        Fitted on all windows; what ``predict`` uses.
    fold_decoders_ : list of WindowDecoder
        The decoder of each fold.
    classifier_ : estimator
        The classifier of ``decoder_``.
    screening_ : xarray.DataArray of bool
        (time, region): the cells that ``classifier_`` is given.
    cv_scores_ : numpy.ndarray
        Accuracy in each fold.
    baseline_scores_ : numpy.ndarray
        The same of logistic regression on the flattened windows.
    cv_predictions_ : numpy.ndarray
        The condition predicted for each window when it was held out.
    saliency_ : xarray.DataArray
        (sample, time, region): each window explained by the classifier that did not train on it.
    mean_saliency_ : xarray.DataArray
        (condition, time, region): the mean over each condition's windows.
    space_ : str
        The space of the runs, or of the atlas where the runs' names do not say.
    notes_ : list of str
        The warnings of ``fit``.
    saliency_img_ : dict of str to nibabel image
        Condition to image of its mean importance over time: 4D NIfTI on the grid of the first run,
        or CIFTI for an atlas of grayordinates.

    References
    ----------
    Ismail et al. (2019), Input-cell attention reduces vanishing saliency of recurrent neural
    networks. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> decoder = SaliencyDecoder("dosenbach160", window=12.0, cv="subject")
    >>> decoder.get_params()["lag"]
    5.0
    """

    def __init__(
        self,
        atlas="dosenbach160",
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

    def fit(self, runs: Sequence[Run], y: None = None) -> "SaliencyDecoder":
        """Cross-validate, explain and map.

        Parameters
        ----------
        runs : sequence of Run
            What :func:`neurosal.find_hcp_runs` or :func:`neurosal.find_bids_runs` returns.
        y : None
            Ignored: the labels come from the runs' events.

        Returns
        -------
        SaliencyDecoder
            Itself, fitted.

        Raises
        ------
        ArgumentError
            If an argument does not fit the data.
        DataError
            If a run cannot be used.
        """
        with _noting() as self.notes_:
            self._fit(runs)
        return self

    def _fit(self, runs: Sequence[Run]) -> None:
        """Do what ``fit`` says."""
        self.windows_ = self.transform(runs)
        self.classes_ = np.unique(self.windows_["condition"].to_numpy())
        self.n_runs_ = len(runs)
        self.space_ = runs[0].space or self.atlas_.space
        known = _measured(self.windows_)
        self._cross_validate(known)
        say("fitting on all windows", show=self.verbose)
        y = known["condition"].to_numpy()
        self.decoder_ = self._window_decoder().fit(known, y)
        self.classifier_, self.screening_ = self.decoder_.classifier_, self.decoder_.screening_
        self.mean_saliency_ = _mean_over_windows(self.saliency_, self.classes_)
        grid = runs[0].img if isinstance(runs[0].img, _VOLUMES) else None
        self.saliency_img_ = {
            str(name): to_image(self.mean_saliency_.sel(condition=name), self.atlas_, grid)
            for name in self.classes_
        }

    def transform(self, runs: Sequence[Run]) -> xr.DataArray:
        """Turn runs into labelled windows.

        Parameters
        ----------
        runs : sequence of Run
            The runs.

        Returns
        -------
        xarray.DataArray
            (sample, time, region), z-scored within each run.
        """
        return self._windows(runs, self.window)

    def _windows(self, runs: Sequence[Run], window: float | None) -> xr.DataArray:
        """Cut windows of a length; None takes the shortest block."""
        self.atlas_ = load_atlas(self.atlas)
        return extract_windows(
            runs,
            self.atlas_,
            window=window,
            lag=self.lag,
            conditions=self.conditions,
            merge=self.merge,
            high_pass=self.high_pass,
            confounds=self.confounds,
            verbose=self.verbose,
            **(self.extraction or {}),
        )

    def predict(self, runs: Sequence[Run]) -> np.ndarray:
        """Predict the condition of every window of new runs.

        Parameters
        ----------
        runs : sequence of Run
            Runs that were not in ``fit``.

        Returns
        -------
        numpy.ndarray
            One condition a window, in the order of the runs and their events.
        """
        check_is_fitted(self, "classifier_")
        return self.decoder_.predict(self._known_windows(runs))

    def score(self, runs: Sequence[Run], y: None = None) -> float:
        """Accuracy over the windows of new runs.

        Parameters
        ----------
        runs : sequence of Run
            Runs that were not in ``fit``.
        y : None
            Ignored: the labels come from the runs' events.

        Returns
        -------
        float
            The share of windows predicted right.
        """
        check_is_fitted(self, "classifier_")
        windows = self._known_windows(runs)
        predicted = self.decoder_.predict(windows)
        return float(np.mean(predicted == windows["condition"].to_numpy()))

    def generate_report(
        self, out_dir: str | Path, *, truth: xr.DataArray | None = None, title: str | None = None
    ) -> Path:
        """Write the report and everything in it as files.

        Parameters
        ----------
        out_dir : str or pathlib.Path
            A folder; made if it is not there.
        truth : xarray.DataArray of bool, optional
            (condition, time, region): the true cells, where they are known.
        title : str, optional
            The report's title.

        Returns
        -------
        pathlib.Path
            ``report.html``; beside it ``importance.tsv``, ``importance.nc``, ``metrics.json``,
            ``provenance.json``, a ``*_saliency.nii.gz`` a condition, figures, the windows and the
            classifier.
        """
        from neurosal.reporting.outputs import collect_results, write_outputs

        check_is_fitted(self, "saliency_")
        return write_outputs(collect_results(self, truth=truth, title=title), out_dir, decoder=self)

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

    def _cross_validate(self, known: xr.DataArray) -> None:
        """Fit, predict and explain fold by fold."""
        from neurosal.saliency.window_decoder import cross_explain

        folds = make_folds(known, self.cv, n_folds=self.n_folds)
        y = known["condition"].to_numpy()
        self.folds_ = folds
        self.cv_predictions_, maps, self.fold_decoders_ = cross_explain(
            self._window_decoder(), known, y, folds, progress=self.verbose
        )
        self.baseline_predictions_ = _baseline_predictions(known, y, folds)
        self.cv_scores_ = _scores(self.cv_predictions_, y, folds)
        self.baseline_scores_ = _scores(self.baseline_predictions_, y, folds)
        self.saliency_ = _on_all_regions(maps, self.windows_)

    def _known_windows(self, runs: Sequence[Run]) -> xr.DataArray:
        """Cut windows as long as those fitted on, of the regions fitted on."""
        windows = self._windows(runs, self.windows_.attrs["window"])
        trained_on = _measured(self.windows_)["region"].to_numpy()
        picked = windows.sel(region=trained_on)
        lost = trained_on[np.isnan(picked).any(("sample", "time")).to_numpy()]
        if len(lost):
            raise DataError(
                f"Region(s) {', '.join(lost[:5])} are outside the field of view of a new run, but "
                "the decoder was fitted with them. Fit again without these regions."
            )
        return picked


@contextmanager
def _noting() -> Iterator[list[str]]:
    """Collect the warnings of a piece of work, for the report, and still show them."""
    notes = []
    shown = warnings.showwarning

    def note(message, category, *args, **kwargs):
        if issubclass(category, UserWarning) and str(message) not in notes:
            notes.append(str(message))
        shown(message, category, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = note
        yield notes


def _measured(windows: xr.DataArray) -> xr.DataArray:
    """Drop the regions that some run does not cover, with a word about it."""
    missing = np.isnan(windows).any(("sample", "time")).to_numpy()
    names = windows["region"].to_numpy()[missing]
    if missing.all():
        raise DataError("No region is covered by every run. Check the atlas and the runs' space.")
    if len(names):
        warnings.warn(
            f"{len(names)} region(s) are not covered by every run and are left out of decoding; "
            f"their importance is NaN: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}.",
            stacklevel=3,
        )
    return windows[:, :, ~missing]


def _scores(predicted: np.ndarray, y: np.ndarray, folds: list) -> np.ndarray:
    """Accuracy in each fold."""
    return np.array([np.mean(predicted[test] == y[test]) for _, test in folds])


def _baseline_predictions(known: xr.DataArray, y: np.ndarray, folds: list) -> np.ndarray:
    """Predict held-out windows by the plain peer."""
    flat, predicted = known.to_numpy().reshape(len(y), -1), np.empty_like(y)
    for train, test in folds:
        predicted[test] = baseline_classifier().fit(flat[train], y[train]).predict(flat[test])
    return predicted


def _on_all_regions(maps: xr.DataArray, windows: xr.DataArray) -> xr.DataArray:
    """Give the regions left out their place, as NaN, and the windows' labels."""
    whole = maps.reindex(region=windows["region"].to_numpy())
    whole = whole.assign_coords({name: windows[name] for name in windows.coords})
    whole.attrs = {**windows.attrs, **maps.attrs}
    return whole.transpose("sample", "time", "region")


def _mean_over_windows(saliency: xr.DataArray, classes: np.ndarray) -> xr.DataArray:
    """Average the maps of each condition's windows."""
    means = [saliency[saliency["condition"].to_numpy() == name].mean("sample") for name in classes]
    joined = xr.concat(
        means,
        pd.Index(classes.astype(str), name="condition"),
        coords="minimal",
        compat="override",
        join="override",
    )
    joined.attrs = dict(saliency.attrs)
    return joined
