"""Denoising by strategy: which confounds to regress out, which frames to scrub.

fMRIPrep writes hundreds of confounds, from which nilearn's ``load_confounds_strategy`` picks those
of a strategy that the literature knows; the other words here need no fMRIPrep.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from nilearn.interfaces.fmriprep import load_confounds_strategy

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.confounds import choose_confounds
from neurosal.loaders.runs import Run
from neurosal.loaders.scrub import as_mask, scrub_mask

#: Strategies that need fMRIPrep's tables, and what each regresses out.
FMRIPREP_STRATEGIES = {
    "simple": "motion (24), white matter, CSF, slow cosines",
    "scrubbing": "the same, and frames by displacement and DVARS left out",
    "compcor": "motion (24), anatomical CompCor, slow cosines",
    "ica_aroma": "white matter, CSF, slow cosines, of images that ICA-AROMA denoised",
}
COLUMN_STRATEGIES = ("motion", "all")
_TABLES = ("desc-confounds_timeseries", "desc-confounds_regressors")


def load_strategy(
    run: Run,
    strategy: str | Sequence[str] | None = "motion",
    *,
    scrub_mm: float | None = None,
    rotations: str | None = None,
    **options,
) -> tuple[pd.DataFrame | None, np.ndarray | None]:
    """Load what a denoising strategy regresses out, and which frames it keeps.

    Both go to :func:`~neurosal.loaders.confounds.clean_series`. fMRIPrep's strategies bring slow
    cosines along, so that ``high_pass`` is not needed beside them (Ciric et al. 2017,
    doi:10.1016/j.neuroimage.2017.03.020; scrubbing: Power et al. 2014,
    doi:10.1016/j.neuroimage.2013.08.048).

    Parameters
    ----------
    run : Run
        The run.
    strategy : str, sequence of str or None
        For fMRIPrep's derivatives ``"simple"``, ``"scrubbing"``, ``"compcor"`` or ``"ica_aroma"``
        (find these runs with ``desc="smoothAROMAnonaggr"``); for any data ``"motion"``, ``"all"``
        or names of columns, see :func:`~neurosal.loaders.confounds.choose_confounds`; None
        regresses nothing.
    scrub_mm : float, optional
        Scrub frames to which the head moved by more than this (mm), see
        :func:`~neurosal.loaders.scrub.scrub_mask`; beside those that the strategy scrubs.
    rotations : {"radians", "degrees"}, optional
        Unit of the rotations; None takes ``run.rotations``.
    **options
        Further arguments of :func:`nilearn.interfaces.fmriprep.load_confounds_strategy`
        (``motion="basic"``, ``fd_threshold=0.2``, ``global_signal="basic"``, ...).

    Returns
    -------
    confounds : pandas.DataFrame of shape (n_volumes, n_confounds), or None
        What to regress out.
    sample_mask : numpy.ndarray of bool, shape (n_volumes,), or None
        True where a frame is kept; None where nothing was asked that could scrub one.

    Raises
    ------
    ArgumentError
        If there is no such strategy, or options are given to one that takes none.
    DataError
        If the files or columns that the strategy needs are not there; or every frame is scrubbed.

    See Also
    --------
    nilearn.interfaces.fmriprep.load_confounds_strategy : Does the work for fMRIPrep's data.

    Examples
    --------
    >>> table = pd.DataFrame({"rot_x": [0.0, 0.1, 0.0], "framewise_displacement": [None, 0.9, 0.2]})
    >>> run = Run("x.nii", pd.DataFrame(), 2.0, subject="1", task="t", confounds=table)
    >>> confounds, mask = load_strategy(run, "motion", scrub_mm=0.5)
    >>> list(confounds), mask.tolist()
    (['rot_x'], [True, False, True])
    """
    if isinstance(strategy, str):
        check_one_of("strategy", strategy, (*FMRIPREP_STRATEGIES, *COLUMN_STRATEGIES))
    if isinstance(strategy, str) and strategy in FMRIPREP_STRATEGIES:
        confounds, mask = _load_fmriprep(run, strategy, options)
    else:
        _refuse_options(strategy, options)
        confounds, mask = choose_confounds(run, strategy), None
    if scrub_mm is not None:
        kept = scrub_mask(run, scrub_mm, rotations=rotations)
        mask = as_mask(kept if mask is None else mask & kept, len(kept), run.label)
    return confounds, mask


def _refuse_options(strategy: object, options: dict) -> None:
    """Options are for nilearn's strategies only."""
    if options:
        raise ArgumentError(
            f"{', '.join(options)}: only the strategies {', '.join(FMRIPREP_STRATEGIES)} take "
            f"options. Got the strategy {strategy!r}."
        )


def _load_fmriprep(
    run: Run, strategy: str, options: dict
) -> tuple[pd.DataFrame | None, np.ndarray]:
    """Load a strategy's confounds by nilearn, with errors that say what to do."""
    files = _files(run, strategy)
    _check_description(run, Path(files[0]), strategy)
    _check_tables(run, Path(files[0]), strategy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=RuntimeWarning)
            table, indices = load_confounds_strategy(
                files if len(files) > 1 else files[0], denoise_strategy=strategy, **options
            )
    except (ValueError, TypeError, KeyError, OSError) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"{run.label}: the strategy {strategy!r} cannot be used with {run.image_name}: {said} "
            "Choose 'motion', 'all', names of columns, or another strategy."
        ) from error
    n_frames = len(table) if run.confounds is None else len(run.confounds)
    mask = np.ones(n_frames, dtype=bool) if indices is None else as_mask(indices, n_frames)
    return (table if table.shape[1] else None), mask


def _files(run: Run, strategy: str) -> list[str]:
    """The image's file, or both of a pair."""
    files = list(run.img.values()) if isinstance(run.img, dict) else [run.img]
    if not all(isinstance(one, str | Path) for one in files):
        raise DataError(
            f"{run.label}: the strategy {strategy!r} finds fMRIPrep's tables by the image's file, "
            "but the image is in memory. Choose 'motion', 'all' or names of columns."
        )
    return [str(one) for one in files]


def _check_description(run: Run, image: Path, strategy: str) -> None:
    """ICA-AROMA's strategy is for the images that it denoised, and for no others."""
    denoised = "desc-smoothAROMAnonaggr" in image.name
    if (strategy == "ica_aroma") != denoised:
        wanted = "desc-smoothAROMAnonaggr" if strategy == "ica_aroma" else "desc-preproc"
        raise DataError(
            f"{run.label}: the strategy {strategy!r} is for images with {wanted}, not for "
            f"{image.name}. Find the runs with desc={wanted.removeprefix('desc-')!r}, or choose "
            "another strategy."
        )


def _check_tables(run: Run, image: Path, strategy: str) -> None:
    """Say which of fMRIPrep's tables is not beside the image."""
    tables = [path for name in _TABLES for path in image.parent.glob(f"*_{name}.tsv")]
    if not tables:
        raise DataError(
            f"{run.label}: the strategy {strategy!r} needs fMRIPrep's *_{_TABLES[0]}.tsv in "
            f"{image.parent}, and there is none. Choose 'motion', 'all' or names of columns."
        )
    if strategy == "compcor" and not any(path.with_suffix(".json").is_file() for path in tables):
        raise DataError(
            f"{run.label}: the strategy 'compcor' needs fMRIPrep's *_{_TABLES[0]}.json in "
            f"{image.parent}, which tells the components apart. Copy it beside the .tsv."
        )
