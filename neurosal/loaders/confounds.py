"""Cleaning region series: drifts, nuisance regressors and scale, run by run."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import xarray as xr
from nilearn.signal import clean, create_cosine_drift

from neurosal.errors import ArgumentError, DataError, check_number, check_one_of
from neurosal.loaders.run_warnings import RunWarning
from neurosal.loaders.runs import DISPLACEMENTS, Run, shorten
from neurosal.loaders.scrub import as_mask, fill_scrubbed

_MOTION = re.compile(r"(trans|rot)_[xyz](_derivative1)?$")
_FLAT = 1e-10  # of a region's largest value: what is less than this is rounding error
_SPANNED = 1e-8  # of a cosine's variance: with less left, the confounds hold it already


def select_motion(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the motion parameters of a table of confounds: six, and their first derivatives.

    Parameters
    ----------
    table : pandas.DataFrame of shape (n_volumes, n_confounds)
        Confounds with fMRIPrep's names (``trans_x``, ``rot_z_derivative1``, ...).

    Returns
    -------
    pandas.DataFrame of shape (n_volumes, 6 or 12)
        The columns of motion.

    Raises
    ------
    DataError
        If there is none.

    Examples
    --------
    >>> list(select_motion(pd.DataFrame({"csf": [1.0], "rot_x": [0.1]})))
    ['rot_x']
    """
    names = [name for name in table if _MOTION.match(str(name))]
    if not names:
        raise DataError(
            "The confounds hold no motion parameters (trans_x, ..., rot_z). Columns found: "
            f"{shorten(table.columns)}. Choose columns, and give these as confounds."
        )
    return table[names]


def choose_confounds(run: Run, names: str | Sequence[str] | None) -> pd.DataFrame | None:
    """Pick the confounds of a run that are to be regressed out.

    Parameters
    ----------
    run : Run
        The run.
    names : {'motion', 'all'}, sequence of str or None
        The motion parameters; every column but the measures of displacement
        (``framewise_displacement``, ``rmsd``), which tell frames to scrub; the columns named; or
        nothing. :func:`~neurosal.loaders.strategies.load_strategy` knows fMRIPrep's by strategy.

    Returns
    -------
    pandas.DataFrame of shape (n_volumes, n_confounds), or None
        The table for :func:`clean_series`.

    Raises
    ------
    DataError
        If the run has no confounds, or not those named.

    Examples
    --------
    >>> run = Run("bold.nii.gz", pd.DataFrame(), 2.0, subject="01", task="faces",
    ...           confounds=pd.DataFrame({"csf": [1.0, 2.0], "rot_x": [0.1, 0.0]}))
    >>> list(choose_confounds(run, "motion")), list(choose_confounds(run, ["csf"]))
    (['rot_x'], ['csf'])
    """
    if names is None:
        return None
    if run.confounds is None:
        raise DataError(
            f"{run.label}: no confounds were found beside {run.image_name}. Regress none, or put "
            "the table beside the run."
        )
    if isinstance(names, str):
        check_one_of("confounds", names, ("motion", "all"))
        if names == "motion":
            return select_motion(run.confounds)
        return run.confounds.drop(columns=list(DISPLACEMENTS), errors="ignore")
    missing = [name for name in names if name not in run.confounds]
    if missing:
        raise DataError(
            f"{run.label}: the confounds have no column {', '.join(map(repr, missing))}. Columns "
            f"found: {shorten(run.confounds.columns)}."
        )
    return run.confounds[list(names)]


def clean_series(
    series: xr.DataArray,
    confounds: Run | pd.DataFrame | np.ndarray | None = None,
    *,
    t_r: float | None = None,
    high_pass: float | None = None,
    standardize: str | bool | None = "zscore_sample",
    detrend: bool = True,
    sample_mask: np.ndarray | Sequence | None = None,
    name: str = "",
) -> xr.DataArray:
    """Remove drifts and nuisance from the region series of one run, and bring them to one scale.

    With a mask, trend, drifts, confounds and scale are estimated from the frames kept, at their
    own times; the scrubbed frames are then bridged by straight lines, so that time stays even.

    Parameters
    ----------
    series : xarray.DataArray of shape (time, region)
        One run's region series. A region that is NaN throughout stays so.
    confounds : Run, pandas.DataFrame, numpy.ndarray of shape (n_volumes, n_confounds), optional
        What to regress out: all columns of a table, the motion parameters of a run (see
        :func:`select_motion`; nothing where it has no confounds). Missing values in the first
        rows, which derivatives have, are replaced by the first value there is, as nilearn's
        confound loader does.
    t_r : float, optional
        Repetition time in seconds; needed with ``high_pass`` unless ``confounds`` is a run.
    high_pass : float, optional
        Slower drifts than this (Hz) are removed with cosines; 0.008 means 125 s.
    standardize : {"zscore_sample", "psc"}, bool or None
        ``"zscore_sample"`` or True: mean 0 and sample standard deviation 1 in this run;
        ``"psc"``: percent of the mean; False or None: as it comes.
    detrend : bool
        Whether mean and linear trend are removed.
    sample_mask : array of bool, shape (time,), or of int, optional
        True where a frame is kept, or the indices of those kept, from
        :func:`~neurosal.loaders.scrub.scrub_mask` or
        :func:`~neurosal.loaders.strategies.load_strategy`.
    name : str
        The run, for warnings and errors.

    Returns
    -------
    xarray.DataArray of shape (time, region)
        With the coordinates and attributes of ``series`` and an attribute ``cleaned`` that says
        what was done. A region that is constant, or that the confounds explain wholly, is 0 and
        warned of by name. With a mask, a boolean coordinate ``scrubbed`` on ``time``, which
        :func:`~neurosal.loaders.events.make_windows` heeds.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    DataError
        If a region has some missing values, or the confounds or the mask do not fit.

    See Also
    --------
    nilearn.signal.clean : Does the work.

    Examples
    --------
    >>> series = xr.DataArray(
    ...     [[1.0], [2.0], [4.0], [3.0]], dims=("time", "region"), coords={"region": ["V1"]})
    >>> float(clean_series(series, detrend=False).std(ddof=1).round(6))
    1.0
    """
    table = _as_table(confounds)
    if t_r is None and isinstance(confounds, Run):
        t_r = confounds.t_r
    _check_arguments(series, t_r, high_pass)
    if isinstance(standardize, bool):
        standardize = "zscore_sample" if standardize else None
    check_one_of("standardize", standardize, ("zscore_sample", "psc", None))
    values = np.asarray(series.values, dtype=np.float64)
    cleaned = np.full(values.shape, np.nan)
    with _named(name):
        present = _present(values, series)
        mask = as_mask(sample_mask, len(values), "series")
        regressors = None if table is None else _fill(table, len(values), mask)
        if high_pass is not None:
            regressors = _with_cosines(regressors, len(values), t_r, high_pass, name)
        _check_freedom(regressors, 0 if table is None else table.shape[1], detrend, mask)
        options = {"detrend": detrend, "confounds": regressors, "filter": False}
        cleaned[:, present] = _clean_present(values[:, present], standardize, options, mask)
    kept = slice(None) if mask is None else mask
    _warn_flat(series, present, cleaned[kept], name)
    out = series.copy(data=cleaned)
    if mask is not None:
        out = fill_scrubbed(out, mask)
    out.attrs["cleaned"] = {
        "high_pass": high_pass,
        "standardize": standardize,
        "detrend": detrend,
        "confounds": [] if table is None else [str(name) for name in table],
        "scrubbed": 0 if mask is None else int((~mask).sum()),
    }
    return out


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the run's name before what is said of its data."""
    try:
        yield
    except DataError as error:
        if name in str(error):
            raise
        raise DataError(f"{name}: {error}") from error


def _as_table(confounds: object) -> pd.DataFrame | None:
    """Confounds as a table, whatever they came as."""
    if isinstance(confounds, Run):
        return None if confounds.confounds is None else select_motion(confounds.confounds)
    if confounds is None:
        return None
    if isinstance(confounds, str):
        raise ArgumentError(
            "confounds must be a run, a table or an array, such as choose_confounds(run, 'motion') "
            f"gives. Got {confounds!r}."
        )
    table = pd.DataFrame(confounds)
    return table if table.shape[1] else None


def _check_arguments(series: xr.DataArray, t_r: float | None, high_pass: float | None) -> None:
    """Refuse series and frequencies that cannot be."""
    dims = getattr(series, "dims", type(series).__name__)
    if dims != ("time", "region"):
        raise DataError(f"series must have the dimensions ('time', 'region'). Got {dims}.")
    if len(series) < 3:
        raise DataError(f"series has {len(series)} frames; cleaning needs 3 or more.")
    check_number("t_r", t_r, above=0, optional=True)
    if check_number("high_pass", high_pass, optional=True) is None:
        return
    if t_r is None:
        raise ArgumentError("high_pass needs t_r, the repetition time in seconds.")
    if not 0 < high_pass < 0.5 / t_r:
        raise ArgumentError(
            f"high_pass must be above 0 and below {0.5 / t_r:g} Hz, half the sampling rate. "
            f"Got {high_pass!r}."
        )


def _present(values: np.ndarray, series: xr.DataArray) -> np.ndarray:
    """Which regions have values; an error if one has gaps."""
    finite = np.isfinite(values)
    broken = ~finite.all(axis=0) & ~np.isnan(values).all(axis=0)
    if broken.any():
        names = shorten(series["region"].values[broken])
        raise DataError(
            f"{broken.sum()} regions have missing or infinite values at some frames: {names}. "
            "Leave these regions out, or look for broken volumes."
        )
    return finite.all(axis=0)


def _fill(table: pd.DataFrame, n_volumes: int, mask: np.ndarray | None = None) -> np.ndarray:
    """Confounds as numbers, the missing values of the first rows filled."""
    n_kept = n_volumes if mask is None else int(mask.sum())
    if len(table) != n_volumes:
        raise DataError(
            f"The confounds have {len(table)} rows but the series {n_volumes} frames. Give the "
            "confounds of this run, one row a frame."
        )
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if words:
        raise DataError(f"Confounds must be numbers; these are not: {shorten(words)}.")
    if table.shape[1] >= n_kept - 1:
        raise DataError(
            f"{table.shape[1]} confounds leave nothing of {n_kept} frames. Choose fewer columns"
            f"{'' if mask is None else ', or scrub less'}."
        )
    leading = table.isna() & table.isna().cummin()
    filled = table.astype(float).where(~leading, table.astype(float).bfill())
    broken = [name for name in filled if not np.isfinite(filled[name]).all()]
    if broken:
        raise DataError(
            f"Confounds with missing or infinite values after their first: {shorten(broken)}. "
            "Leave these columns out."
        )
    return filled.to_numpy()


def _with_cosines(
    regressors: np.ndarray | None, n_volumes: int, t_r: float, high_pass: float, name: str
) -> np.ndarray | None:
    """Add the cosines slower than a cut-off to the confounds, but for those they span already.

    nilearn's own filter adds none at all if but one of them is much like a confound.
    """
    cosines = create_cosine_drift(high_pass, t_r * np.arange(n_volumes))[:, :-1]
    if not cosines.shape[1]:
        warning = RunWarning(
            name,
            "are too short for the high-pass filter",
            f"high_pass {high_pass:g} Hz removes nothing from a run of {n_volumes * t_r:g} s, "
            "which is too short for so slow a drift",
        )
        warnings.warn(warning, stacklevel=3)
        return regressors
    if regressors is None:
        return cosines
    known = np.column_stack([np.ones(n_volumes), regressors])
    known /= np.maximum(np.linalg.norm(known, axis=0), np.finfo(float).tiny)
    left = cosines - known @ np.linalg.lstsq(known, cosines, rcond=None)[0]
    new = (left**2).sum(axis=0) > _SPANNED * (cosines**2).sum(axis=0)
    return np.ascontiguousarray(np.hstack([regressors, cosines[:, new]]))


def _check_freedom(
    regressors: np.ndarray | None, n_confounds: int, detrend: bool, mask: np.ndarray | None
) -> None:
    """Refuse to remove so much that nothing can be left."""
    if regressors is None:
        return
    n_frames, n_columns = regressors.shape
    design = np.column_stack([np.ones(n_frames), np.linspace(-1, 1, n_frames), regressors])
    design = design if detrend else np.delete(design, 1, axis=1)
    kept = design if mask is None else design[mask]
    scale = np.linalg.norm(kept, axis=0)
    if np.linalg.matrix_rank(kept / np.where(scale > 0, scale, 1)) < len(kept):
        return
    left = "" if mask is None else f" that are left of {n_frames} after scrubbing"
    cosines = n_columns - n_confounds
    slow = f" and {cosines} slow cosines" if cosines else ""
    raise DataError(
        f"{n_confounds} confounds{slow} leave nothing of {len(kept)} frames{left}. Choose fewer "
        "columns, a lower high_pass, or scrub less."
    )


def _clean_present(
    values: np.ndarray, standardize: str | None, options: dict, mask: np.ndarray | None
) -> np.ndarray:
    """Clean series without missing values; what is rounding error becomes 0."""
    if not values.shape[1]:
        return values
    if mask is not None:
        return _clean_kept(values, standardize, options, mask)
    if standardize is None and not options["detrend"]:
        return clean(values, standardize=None, **options)
    residual = clean(values, standardize=None, **options)
    alive = _alive(values, residual)
    cleaned = np.zeros_like(values)
    if alive.any():
        cleaned[:, alive] = clean(values[:, alive], standardize=standardize, **options)
    return cleaned


def _clean_kept(
    values: np.ndarray, standardize: str | None, options: dict, mask: np.ndarray
) -> np.ndarray:
    """Clean by the kept frames alone; the others stay 0.

    The trend goes in as a regressor: nilearn's own would number the kept frames without gaps.
    """
    if mask.sum() < 3:
        raise DataError(f"{mask.sum()} frames are left after scrubbing; cleaning needs 3 or more.")
    mean, regressors = values[mask].mean(axis=0), options["confounds"]
    centred = values
    if options["detrend"]:
        centred, trend = values - mean, np.linspace(-1, 1, len(values))[:, None]
        regressors = trend if regressors is None else np.hstack([trend, regressors])
    frames = {"sample_mask": np.flatnonzero(mask)}
    changed = options | {"detrend": False, "confounds": regressors} | frames
    residual = clean(centred, standardize=None, **changed)
    if standardize is not None or options["detrend"]:
        alive = _alive(values[mask], residual)
        residual = np.where(alive, _scale(residual, mean, standardize), 0.0)
    cleaned = np.zeros_like(values)
    cleaned[mask] = residual
    return cleaned


def _alive(values: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Which series vary by more than rounding error, before and after cleaning."""
    scale = _FLAT * np.abs(values).max(axis=0)
    return np.minimum(np.ptp(values, axis=0), np.ptp(residual, axis=0)) > scale


def _scale(residual: np.ndarray, mean: np.ndarray, standardize: str | None) -> np.ndarray:
    """Bring the kept frames of a scrubbed run to scale."""
    if standardize is None:
        return residual
    centred = residual - residual.mean(axis=0)
    divisor = np.abs(mean) / 100 if standardize == "psc" else residual.std(axis=0, ddof=1)
    return centred / np.where(divisor > 0, divisor, 1.0)


def _warn_flat(series: xr.DataArray, present: np.ndarray, cleaned: np.ndarray, name: str) -> None:
    """Warn of regions of which nothing is left."""
    flat = present & (np.nan_to_num(cleaned) == 0).all(axis=0)
    if flat.any():
        warning = RunWarning(
            name,
            "have regions that are 0 after cleaning",
            f"{flat.sum()} regions are constant, or nothing is left of them after cleaning, and "
            f"are 0: {shorten(series['region'].values[flat])}",
        )
        warnings.warn(warning, stacklevel=3)
