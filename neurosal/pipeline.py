"""From runs to labelled windows: parcellate, clean and cut, in one call."""

from collections.abc import Mapping, Sequence

import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.confounds import clean_series
from neurosal.loaders.events import concat_windows, default_window, make_windows
from neurosal.loaders.runs import Run
from neurosal.loaders.strategies import load_strategy
from neurosal.parcellation.series import iterate_runs


def extract_windows(
    runs: Sequence[Run],
    atlas: object,
    *,
    window: float | None = None,
    lag: float = 5.0,
    conditions: Mapping[str, Sequence[str] | None] | None = None,
    merge: float | None = None,
    label: str = "condition",
    high_pass: float | None = None,
    confounds: str | Sequence[str] | None = None,
    scrub_mm: float | None = None,
    n_jobs: int = 1,
    cache: object = None,
    client: object = None,
    verbose: bool = False,
) -> xr.DataArray:
    """Turn runs into labelled windows, z-scored within each run.

    Parameters
    ----------
    runs : sequence of Run
        The runs.
    atlas : Atlas, GrayordinateAtlas or MapsAtlas
        The regions.
    window : float, optional
        Length of a window in seconds; by default the shortest block of the conditions.
    lag : float
        Seconds from an event's onset to its window's start.
    conditions, merge, label
        See :func:`~neurosal.loaders.events.make_windows`.
    high_pass : float, optional
        Cut-off in Hz for removing slow drifts.
    confounds : str or sequence of str, optional
        A strategy of :func:`~neurosal.loaders.strategies.load_strategy`; by default none.
    scrub_mm : float, optional
        Frames at which the head moved by more than this (mm) are not used.
    n_jobs, cache, client
        See :func:`~neurosal.parcellation.series.extract_runs`.
    verbose : bool
        Tell on standard error how far the work is.

    Returns
    -------
    xarray.DataArray of shape (sample, time, region)
        The windows of all runs, in their order.

    Raises
    ------
    ArgumentError
        If there are no runs, or an argument does not fit.
    DataError
        If a run cannot be used, or no window fits into any.

    Examples
    --------
    >>> import nibabel, numpy, pandas
    >>> from neurosal.parcellation.atlas import Atlas
    >>> labels = nibabel.Nifti1Image(numpy.array([[[0, 1, 2, 2]]], dtype="int16"), numpy.eye(4))
    >>> atlas = Atlas(labels, pandas.DataFrame({"index": [1, 2], "name": ["V1", "V2"]}))
    >>> noise = numpy.random.default_rng(0).normal(100, 1, (1, 1, 4, 20))
    >>> events = pandas.DataFrame({"onset": [0.0, 20.0], "duration": 8.0, "trial_type": "face"})
    >>> bold = nibabel.Nifti1Image(noise, numpy.eye(4))
    >>> run = Run(bold, events, 2.0, subject="01", task="faces")
    >>> extract_windows([run], atlas).shape
    (2, 4, 2)
    """
    runs = list(runs)
    if not runs:
        raise ArgumentError("runs is empty: there is nothing to decode. Give at least one run.")
    window = window or default_window(runs, conditions, merge=merge)
    cut = {"window": window, "lag": lag, "conditions": conditions, "merge": merge, "label": label}
    parts = []
    series = iterate_runs(runs, atlas, n_jobs=n_jobs, cache=cache, client=client, progress=verbose)
    for run, found in zip(runs, series, strict=True):
        regressors, kept = load_strategy(run, confounds, scrub_mm=scrub_mm)
        options = {"t_r": run.t_r, "high_pass": high_pass, "sample_mask": kept}
        clean = clean_series(found, regressors, name=run.label, **options)
        parts.append(make_windows(clean, run, **cut))
    parts = [part for part in parts if part.sizes["sample"]]
    if not parts:
        raise DataError(
            f"No window of {window:g} s fits into any of the {len(runs)} run(s). "
            "Choose a shorter window, a smaller lag, or other conditions."
        )
    return concat_windows(parts)
