"""From runs to labelled windows: parcellate, clean and cut, in one call."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.blocks import REST, find_blocks
from neurosal.loaders.confounds import clean_series
from neurosal.loaders.events import (
    LABELS,
    check_lengths,
    concat_windows,
    default_window,
    make_windows,
)
from neurosal.loaders.rest import measure_from_rest
from neurosal.loaders.run_warnings import RunWarning, collected, warn_once
from neurosal.loaders.runs import Run
from neurosal.loaders.strategies import load_strategy
from neurosal.parcellation.grayordinate_runs import is_grayordinates
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.series import iterate_runs

#: How notes begin that are true of most studies.
_USUAL = ("empty event files", "repetition time from the header")


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

    Windows that are labelled by task are measured from the run's frames at rest, see
    :func:`~neurosal.loaders.rest.measure_from_rest`: a run is of one task, so that its own mean
    would take away what the task does throughout. What is odd about several runs is told in one
    warning.

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
    check_one_of("label", label, LABELS)
    check_lengths(1 if window is None else window, lag, merge)
    if window is None:
        window = default_window(runs, conditions, merge=merge)
    cut = {"window": window, "lag": lag, "conditions": conditions, "merge": merge, "label": label}
    parts, odd = [], _notes(runs) + _unplaced(runs, atlas)
    series = iterate_runs(runs, atlas, n_jobs=n_jobs, cache=cache, client=client, progress=verbose)
    try:
        _check_repetition_times([run for run in runs if find_blocks(run, conditions, merge=merge)])
        with collected(odd):
            nuisance = [_nuisance_of(run, confounds, scrub_mm) for run in runs]
        for run, own, found in zip(runs, nuisance, series, strict=True):
            with collected(odd), _naming(run):
                parts.append(_windows_of(found, run, own, high_pass, cut))
    finally:
        warn_once(odd, len(runs))
    parts = [part for part in parts if part.sizes["sample"]]
    if not parts:
        raise DataError(
            f"No window of {window:g} s fits into any of the {len(runs)} run(s). "
            "Choose a shorter window, a smaller lag, or other conditions."
        )
    windows = concat_windows(parts)
    _warn_without_windows(windows, conditions)
    return windows


def _notes(runs: Sequence[Run]) -> list[RunWarning]:
    """Gather what the loader noted, but for what is usual."""
    found = []
    for run in runs:
        notes = "; ".join(note for note in run.notes if not note.startswith(_USUAL))
        if notes:
            warning = RunWarning(
                run.label, "come with notes", notes, "neurosal inspect lists them all."
            )
            found.append(warning)
    return found


def _unplaced(runs: Sequence[Run], atlas: object) -> list[RunWarning]:
    """Gather the volumes of which nobody says that they are in the space of the atlas."""
    space = getattr(atlas, "space", "")
    if not space or isinstance(atlas, GrayordinateAtlas):
        return []
    remedy = (
        f"The atlas {atlas.name} is in {space}, and they are taken to be too. Raw images are not: "
        "its regions lie elsewhere in them. Take preprocessed runs (derivatives, space), or give "
        "Run(..., space=...) if you know better."
    )
    problem, detail = "do not say in which space they are", "{} has no space- in its name"
    return [
        RunWarning(run.label, problem, detail.format(run.image_name), remedy)
        for run in runs
        if not run.space and not is_grayordinates(run.img)
    ]


def _warn_without_windows(windows: xr.DataArray, conditions: Mapping | None) -> None:
    """Warn of conditions that were asked for and of which no run has a window."""
    own = windows["block" if "block" in windows.coords else "condition"].values
    lacking = [name for name in conditions or () if name not in own]
    if lacking:
        gaps = f"no gap between events lasts {windows.attrs['window']:g} s, or "
        warnings.warn(
            f"No run has a window of {', '.join(lacking)}: {gaps if REST in lacking else ''}there "
            "are no such events, or all were dropped. Choose a shorter window or other conditions.",
            stacklevel=3,
        )


def _check_repetition_times(runs: list[Run]) -> None:
    """Refuse runs whose windows could not be joined, before they are read."""
    for run in runs[1:]:
        if not math.isclose(run.t_r, runs[0].t_r, rel_tol=1e-6):
            raise DataError(
                f"The windows of {run.label} cannot join those of {runs[0].label}: t_r {run.t_r:g} "
                f"and {runs[0].t_r:g} s. Give runs of one repetition time."
            )


def _nuisance_of(run: Run, confounds: str | Sequence[str] | None, scrub_mm: float | None) -> tuple:
    """Find what to regress out of a run and which frames to keep, before it is read."""
    with _naming(run):
        return load_strategy(run, confounds, scrub_mm=scrub_mm)


def _windows_of(
    series: xr.DataArray, run: Run, nuisance: tuple, high_pass: float | None, cut: dict
) -> xr.DataArray:
    """Clean a run's series and cut it into windows."""
    confounds, kept = nuisance
    options = {"t_r": run.t_r, "high_pass": high_pass, "sample_mask": kept}
    series = clean_series(series, confounds, name=run.label, **options)
    if cut["label"] == "task":
        series = measure_from_rest(series, run, lag=cut["lag"])
    return make_windows(series, run, **cut)


@contextmanager
def _naming(run: Run) -> Iterator[None]:
    """Put the run's name and file into an error that has neither."""
    try:
        yield
    except DataError as error:
        text = str(error)
        if run.image_name in text:
            raise
        where = "" if run.label in text else f"{run.label}: "
        raise DataError(f"{where}{text} The run is {run.image_name}.") from error
