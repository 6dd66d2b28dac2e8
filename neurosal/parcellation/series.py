"""The region series of many runs: in parallel, on a cluster, and never the same run twice.

Every finished run goes to the cache at once, from the process that did it. Whatever ends the work
before its time, the next call goes on where it stopped.
"""

import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError, NeurosalError, check_one_of
from neurosal.loaders.runs import Run
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.cache import CacheError, SeriesCache, source_files
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.files import shown
from neurosal.parcellation.signals import MissingRegions
from neurosal.progress import track

ON_ERROR = ("raise", "warn")
_RECORDING = threading.Lock()
_RESIDENT: dict[tuple, RegionAtlas] = {}


class Outcome(NamedTuple):
    """What became of one run.

    Attributes
    ----------
    series : xarray.DataArray or None
        (time, region); None if the run cannot be used.
    notes : list of (type, str)
        Category and text of the warnings that came up.
    error : NeurosalError or None
        Why the run cannot be used.
    """

    series: xr.DataArray | None
    notes: list
    error: NeurosalError | None = None


def extract_runs(
    runs: Sequence[Run],
    atlas: RegionAtlas,
    *,
    n_jobs: int = 1,
    cache: SeriesCache | str | Path | None = None,
    client: object = None,
    progress: bool | None = None,
    on_error: str = "raise",
) -> list[xr.DataArray]:
    """Average many runs over the regions of an atlas.

    Parameters
    ----------
    runs : sequence of Run
        The runs, or whatever else :func:`~neurosal.parcellation.extract.extract_regions` takes.
    atlas : Atlas, GrayordinateAtlas or MapsAtlas
        The regions.
    n_jobs : int
        Processes on this machine; -1 for one a core.
    cache : SeriesCache or path, optional
        Where finished runs are kept and looked for.
    client : distributed.Client or str, optional
        A dask cluster to work on, or its address: ``"tcp://host:8786"`` (``"dask://"`` means the
        same). Its workers must reach the runs' files and the cache under the same names; they
        are best given one thread each, as each process extracts one run at a time.
    progress : bool, optional
        Tell on standard error how far the work is; by default not.
    on_error : {'raise', 'warn'}
        What to do about a run that cannot be used: stop, or warn and put None in its place.

    Returns
    -------
    list of xarray.DataArray
        (time, region) of each run, in the order of ``runs``; the same to the last bit whatever
        ``n_jobs``, ``client`` and ``cache`` are. Each warning is given once, and one warning counts
        the regions that runs lack.

    Raises
    ------
    DataError
        If a run cannot be used (it is named), or the cache cannot be written.
    ArgumentError
        If an argument does not fit, or dask is asked for but not installed.

    See Also
    --------
    iterate_runs : the same one by one, for more runs than fit in memory.

    Examples
    --------
    >>> import nibabel, numpy, pandas
    >>> from neurosal.parcellation.atlas import Atlas
    >>> labels = nibabel.Nifti1Image(numpy.array([[[0, 1, 2, 2]]], dtype="int16"), numpy.eye(4))
    >>> atlas = Atlas(labels, pandas.DataFrame({"index": [1, 2], "name": ["V1", "V2"]}))
    >>> bold = nibabel.Nifti1Image(numpy.arange(12.0).reshape(1, 1, 4, 3), numpy.eye(4))
    >>> run = Run(bold, pandas.DataFrame(), 2.0, subject="01", task="rest")
    >>> [series.sizes["region"] for series in extract_runs([run, run], atlas)]
    [2, 2]
    """
    options = {"n_jobs": n_jobs, "cache": cache, "client": client}
    return list(iterate_runs(runs, atlas, progress=progress, on_error=on_error, **options))


def iterate_runs(
    runs: Sequence[Run],
    atlas: RegionAtlas,
    *,
    n_jobs: int = 1,
    cache: SeriesCache | str | Path | None = None,
    client: object = None,
    progress: bool | None = None,
    on_error: str = "raise",
) -> Iterator[xr.DataArray | None]:
    """Yield the region series of many runs one by one, in order.

    Parameters
    ----------
    runs, atlas, n_jobs, cache, client, progress, on_error
        As in :func:`extract_runs`.

    Returns
    -------
    iterator of xarray.DataArray
        (time, region); None for a run that was warned of. If the iterator is closed early, what
        is still to be done is cancelled.

    Raises
    ------
    DataError
        If a run cannot be used (it is named), or the cache cannot be written.
    ArgumentError
        If an argument does not fit, or dask is asked for but not installed.

    Examples
    --------
    >>> list(iterate_runs([], None))
    []
    """
    runs = list(runs)
    check_one_of("on_error", on_error, ON_ERROR)
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0:
        raise ArgumentError(f"n_jobs must be a number of processes, or -1 for all. Got {n_jobs!r}.")
    if client is not None and n_jobs != 1:
        raise ArgumentError(f"n_jobs={n_jobs} and client exclude each other. Give one of them.")
    if cache is not None and not isinstance(cache, SeriesCache):
        cache = SeriesCache(cache)
    todo = _Todo(runs, atlas, cache)
    if client is None:
        outcomes = _here(todo) if n_jobs == 1 else _in_processes(todo, n_jobs)
    else:
        outcomes = _on_cluster(todo, client)
    return _yield_runs(todo, outcomes, progress=bool(progress), on_error=on_error)


class _Todo:
    """The runs, and which of them the cache does not have."""

    def __init__(self, runs: list, atlas: RegionAtlas, cache: SeriesCache | None):
        self.runs, self.atlas, self.cache = runs, atlas, cache
        self.kept = [self._is_kept(run) for run in runs]
        unkept = sum(cache is not None and not source_files(run) for run in runs)
        if unkept:
            warnings.warn(
                f"{unkept} of {len(runs)} runs are images in memory; the cache keeps only runs "
                "that are files.",
                stacklevel=4,
            )

    def _is_kept(self, run: object) -> bool:
        """Look whether the cache has a run."""
        return self.cache is not None and self.cache.has(run, self.atlas)

    @property
    def missing(self) -> list:
        """The runs to extract."""
        return [run for run, kept in zip(self.runs, self.kept, strict=True) if not kept]


def _yield_runs(
    todo: _Todo, outcomes: Iterator[Outcome], *, progress: bool, on_error: str
) -> Iterator[xr.DataArray | None]:
    """Take each run from the cache or from the work, and pass on what it has to say."""
    told: set = set()
    missing = _Missing(todo)
    pairs = enumerate(zip(todo.runs, todo.kept, strict=True), start=1)
    with closing(outcomes):
        for number, (run, kept) in track(
            pairs, "parcellating runs", total=len(todo.runs), show=progress
        ):
            outcome = extract_one(run, todo.atlas, todo.cache) if kept else next(outcomes)
            missing.add(outcome)
            for note in outcome.notes:
                if note not in told and note[0] is not MissingRegions:
                    told.add(note)
                    warnings.warn(note[1], note[0], stacklevel=2)
            if outcome.error is not None:
                if on_error == "raise" or isinstance(outcome.error, CacheError):
                    raise outcome.error
                warnings.warn(f"{outcome.error} The run is left out.", stacklevel=2)
            if number == len(todo.runs):
                missing.tell()
            yield outcome.series


class _Missing:
    """Which regions are missing in how many runs, to be told once."""

    def __init__(self, todo: _Todo):
        self.total, self.atlas = len(todo.runs), todo.atlas
        self.texts: list[str] = []
        self.first = ""
        self.runs_without: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Look at one run."""
        texts = [text for category, text in outcome.notes if category is MissingRegions]
        if texts and outcome.series is not None:
            self.first = self.first or outcome.series.attrs.get("source", "")
            self.texts += texts
            nowhere = np.isnan(outcome.series.values).all(axis=0)
            self.runs_without.update(outcome.series["region"].values[nowhere].tolist())

    def tell(self) -> None:
        """Warn of all of them."""
        if len(self.texts) == 1:
            warnings.warn(self.texts[0], MissingRegions, stacklevel=3)
        elif self.texts:
            counts = self.runs_without.most_common()
            alike = {count for _, count in counts} == {len(self.texts)}
            each = (region if alike else f"{region} (in {count})" for region, count in counts)
            warnings.warn(
                f"{len(self.texts)} of {self.total} runs lack regions of {self.atlas.name}, which "
                "are NaN there, for they have no voxel or vertex in the run or only zeros: "
                f"{shown(each)}. The first is {self.first}.",
                MissingRegions,
                stacklevel=3,
            )


def extract_one(run: object, atlas: RegionAtlas, cache: SeriesCache | None = None) -> Outcome:
    """Extract one run, wherever this is called; nothing is raised that speaks of the data.

    Parameters
    ----------
    run : Run or what else is extracted
        The source.
    atlas : RegionAtlas
        The regions.
    cache : SeriesCache, optional
        Looked at first; the series goes there at once.

    Returns
    -------
    Outcome
        Series, warnings and error.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> extract_one("nowhere.nii.gz", load_atlas("dosenbach160")).error
    DataError('There is no file nowhere.nii.gz.')
    """
    with _RECORDING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        series, error = None, None
        try:
            series = _extract_or_get(run, atlas, cache, caught)
        except (NeurosalError, OSError, MemoryError) as reason:
            error = _named(run, reason)
        notes = [(note.category, str(note.message)) for note in caught]
    return Outcome(series, list(dict.fromkeys(notes)), error)


def _extract_or_get(
    run: object, atlas: RegionAtlas, cache: SeriesCache | None, caught: list
) -> xr.DataArray:
    """Get a run from the cache, or extract it and put it there."""
    if cache is None:
        return extract_regions(run, atlas)
    key = cache.key(run, atlas)
    series = cache.get(run, atlas)
    if series is None:
        before = len(caught)
        series = extract_regions(run, atlas)
        notes = [(note.category.__name__, str(note.message)) for note in caught[before:]]
        cache.put(run, atlas, series, notes=notes, key=key)
    return series


def _resident(atlas: RegionAtlas) -> RegionAtlas:
    """Keep one copy of the atlas in a process, so that what is known of it serves every run."""
    name = (atlas.hash, atlas.name, atlas.space)
    if name not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[name] = atlas
    return _RESIDENT[name]


def _extract_away(run: object, atlas: RegionAtlas, cache: SeriesCache | None) -> Outcome:
    """Extract one run in a worker."""
    return extract_one(run, _resident(atlas), cache)


def _named(run: object, error: Exception) -> NeurosalError:
    """Give an error the name of its run, if it does not have it."""
    label = _label(run)
    if not isinstance(error, NeurosalError):
        return DataError(f"{label}: {type(error).__name__}: {error}")
    return error if label in str(error) else type(error)(f"{label}: {error}")


def _label(run: object) -> str:
    """Name a run in a message."""
    return run.label if isinstance(run, Run) else str(run)


def _here(todo: _Todo) -> Iterator[Outcome]:
    """Extract run after run in this process."""
    for run in todo.missing:
        yield extract_one(run, todo.atlas, todo.cache)


def _in_processes(todo: _Todo, n_jobs: int) -> Iterator[Outcome]:
    """Extract in processes of this machine."""
    work = joblib.Parallel(n_jobs=n_jobs, return_as="generator", batch_size=1)
    task = joblib.delayed(_extract_away)
    outcomes = work(task(run, todo.atlas, todo.cache) for run in todo.missing)
    try:
        yield from map(_as_is, outcomes)
    except BrokenProcessPool as error:
        raise DataError(
            f"A process that extracted runs was killed, most likely for want of memory: {error} "
            f"Use a smaller n_jobs than {n_jobs}; with a cache, finished runs are not lost."
        ) from error
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*tasks")
            outcomes.close()


def _as_is(outcome: Outcome) -> Outcome:
    """Keep closing from reaching joblib's generator, which would warn of it."""
    return outcome


def _on_cluster(todo: _Todo, client: object) -> Iterator[Outcome]:
    """Extract on the workers of a dask cluster."""
    client, own = _connect(client)
    futures: list = []
    try:
        missing = todo.missing
        atlas = client.scatter(todo.atlas, broadcast=True, hash=False)
        futures = [
            client.submit(_extract_away, run, atlas, todo.cache, pure=False) for run in missing
        ]
        for run in missing:
            error = futures[0].exception()
            if error is not None:
                raise DataError(
                    f"{_label(run)}: the cluster did not extract it: {error!r}. See the log of "
                    "its workers; with a cache, finished runs are not lost."
                ) from error
            yield futures.pop(0).result()
    finally:
        client.cancel(futures)
        if own:
            client.close()


def _connect(client: object) -> tuple[object, bool]:
    """Return a dask client, and whether it was made here."""
    if not isinstance(client, str):
        if not callable(getattr(client, "submit", None)):
            raise ArgumentError(
                "client must be a distributed.Client or an address such as 'tcp://host:8786'. "
                f"Got {type(client).__name__}."
            )
        return client, False
    try:
        from distributed import Client
    except ImportError as error:
        raise ArgumentError(
            f"client={client!r} needs dask, which is not installed. Install it with: "
            'python -m pip install "dask[distributed]"'
        ) from error
    address = client.replace("dask://", "tcp://", 1)
    try:
        return Client(address, set_as_default=False, timeout=10), True
    except (OSError, ValueError, TypeError) as error:
        raise ArgumentError(
            f"client={client!r}: no dask scheduler answers there ({error}). Give the address that "
            "'dask scheduler' prints, such as 'tcp://host:8786'."
        ) from error
