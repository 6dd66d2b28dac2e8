"""Windows of a large study on disk, run by run, for reading a piece at a time.

The folder holds ``data.zarr``, a Zarr group (format 3) that any Zarr reader opens: ``values``
(sample, time, region) with its coordinates, cut into chunks of some samples. Beside it
``runs.jsonl`` has a line for each run that is stored as a whole: what a killed process left after
the last of them does not count.
"""

import importlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.events import concat_windows
from neurosal.loaders.journal import (
    RUN_NAMES,
    add_line,
    joined_attributes,
    plain_attributes,
    read_journal,
)

DIMS = ("sample", "time", "region")
LOCK, DATA, MARK = ".lock", "data.zarr", "neurosal_windows"
INSTALL = {"zarr": '"zarr>=3.1.6"', "dask": '"dask[array]"', "filelock": "filelock"}
SETTINGS = ("t_r", "window", "lag", "merge", "label", "cleaned", "measured_from")
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError)


def save_windows(
    windows: Iterable[xr.DataArray],
    path: str | Path,
    *,
    chunk: int = 64,
    dtype: str | None = None,
) -> Path:
    """Store windows run by run; a run that is there already is skipped.

    Only the run at hand is in memory. A run that is there, but was made in another way (another
    atlas, window, lag, cleaning, ...), is refused. The work may be interrupted at any time, by
    whatever means, and called again: it goes on after the last run that was stored as a whole.

    Parameters
    ----------
    windows : iterable of xarray.DataArray
        (sample, time, region) of one run each, as
        :func:`~neurosal.loaders.events.make_windows` returns them; best a generator. A run is
        known by its ``subject``, ``session``, ``task`` and ``run``.
    path : str or pathlib.Path
        A folder; made if it is not there, added to if it is.
    chunk : int
        Samples that are stored, and later read, together.
    dtype : {None, 'float32', 'float64'}
        Type of the values in a new store; by default as they come.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    DataError
        If the windows do not fit each other or the store, a run is stored that was made in another
        way, the folder holds something else or cannot be written, or another process is writing
        to it.
    ArgumentError
        If an array is not the windows of one run, or Zarr is not installed.

    See Also
    --------
    stored_runs : what is there already, to spare making it.

    Examples
    --------
    >>> import tempfile
    >>> names = {name: ("sample", ["x", "x"]) for name in RUN_NAMES}
    >>> run = xr.DataArray(np.ones((2, 3, 1)), dims=DIMS, coords={
    ...     "time": [5.0, 7.0, 9.0], "region": ["V1"], **names})
    >>> path = save_windows([run, run], tempfile.mkdtemp() + "/windows.zarr")
    >>> open_windows(path).sizes["sample"]
    2
    """
    zarr = _need("zarr", "A store of windows")
    path = Path(path)
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ArgumentError(f"chunk must be a number of samples, 1 or more. Got {chunk!r}.")
    if isinstance(windows, xr.DataArray):
        windows = [windows]
    check_one_of("dtype", dtype, (None, "float32", "float64"))
    with _writing(path):
        store = _Store(zarr, path, chunk, dtype)
        for part in windows:
            store.add(part)
    return path


def stored_runs(path: str | Path) -> list[tuple[str, str, str, str]]:
    """List the runs that a store holds as a whole.

    Parameters
    ----------
    path : str or pathlib.Path
        The folder.

    Returns
    -------
    list of tuple of str
        ``(subject, session, task, run)`` in the order they were stored; empty if there is no store.

    Raises
    ------
    DataError
        If the list in the folder is damaged.

    Examples
    --------
    >>> stored_runs("nowhere.zarr")
    []
    """
    return [tuple(entry["run"]) for entry in read_journal(Path(path)) if entry["run"]]


def open_windows(path: str | Path, *, chunks: object = None) -> xr.DataArray:
    """Open a store of windows without reading them.

    Parameters
    ----------
    path : str or pathlib.Path
        The folder that :func:`save_windows` wrote.
    chunks : None, 'auto', int or dict, optional
        None reads what is asked for when it is asked for: ``windows[100:200].load()``. Anything
        else makes a dask array, for work on a cluster (``{}``: one task for each stored chunk).

    Returns
    -------
    xarray.DataArray
        (sample, time, region): values on disk; coordinates and attributes in memory, as
        :func:`~neurosal.loaders.events.concat_windows` of all runs would have them.

    Raises
    ------
    DataError
        If there is no store of windows or it is damaged.
    ArgumentError
        If Zarr, or dask where ``chunks`` is given, is not installed.

    Examples
    --------
    >>> open_windows("nowhere.zarr")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: There is no store of windows at nowhere.zarr. ...
    """
    _need("zarr", "A store of windows")
    if chunks is not None:
        _need("dask", f"chunks={chunks!r}")
    path = Path(path)
    entries = read_journal(path)
    if not entries or not entries[-1]["stop"]:
        raise DataError(
            f"There is no store of windows at {path}. Give a folder that save_windows wrote."
        )
    try:
        array = _open(path / DATA, chunks, entries[-1]["stop"])
    except _DAMAGE as error:
        raise DataError(
            f"{path} is no whole store of windows: {error}. Copy it again, or remove it and store "
            "the windows anew."
        ) from error
    array.attrs = joined_attributes(entries)
    return array


def _open(data: Path, chunks: object, length: int) -> xr.DataArray:
    """Open the stored samples lazily; only Zarr format 3, whose codecs hold data alone."""
    group = _need("zarr", "A store of windows").open_group(data, mode="r", zarr_format=3)
    coords = {name: array for name, array in group.arrays() if name != "values"}
    stored = xr.open_dataset(
        data,
        engine="zarr",
        chunks=chunks,
        cache=False,
        drop_variables=list(coords),
        decode_times=False,
        mask_and_scale=False,
        consolidated=False,
        zarr_format=3,
    )["values"]
    if stored.dims != DIMS or stored.sizes["sample"] < length:
        raise ValueError(f"it holds {dict(stored.sizes)}, but {length} samples were stored")
    array = stored.isel(sample=slice(length)).rename(json.loads(stored.attrs["name"]))
    array.encoding = {"chunks": stored.encoding["chunks"]}
    return array.assign_coords({name: _labels(coord, length) for name, coord in coords.items()})


def _labels(coord: object, length: int) -> tuple[tuple, np.ndarray]:
    """Read a coordinate of the stored samples."""
    dims = coord.metadata.dimension_names
    values = coord[tuple(slice(length) if dim == "sample" else slice(None) for dim in dims)]
    return dims, _plain(np.asarray(values))


class _Store:
    """A store that is being added to."""

    def __init__(self, zarr: ModuleType, path: Path, chunk: int, dtype: str | None):
        self.zarr, self.path, self.chunk, self.dtype = zarr, path, chunk, dtype
        entries = read_journal(path, repair=True)
        starts = [0, *(entry["stop"] for entry in entries)]
        self.known = {
            tuple(entry["run"]): (entry["attrs"], entry["stop"] - start)
            for entry, start in zip(entries, starts, strict=False)
            if entry["run"]
        }
        self.empty = [entry["attrs"] for entry in entries if not entry["run"]]
        self.length = entries[-1]["stop"] if entries else 0
        self.sample = open_windows(path)[:1].load() if self.length else None
        with _reported(path):
            self.group = zarr.open_group(path / DATA, mode="a", zarr_format=3)
            if MARK not in self.group.attrs and self.group.nmembers():
                raise DataError(f"{path / DATA} holds other data. Give a new or empty folder.")
            self.group.attrs[MARK] = 1
            if self.length:
                self._resize(self.length)

    def add(self, windows: xr.DataArray) -> None:
        """Store the windows of one run, unless they are there."""
        name = _run_of(windows)
        attrs = plain_attributes(windows.attrs)
        if name in self.known:
            self._check_same(name, attrs, windows)
        if name in self.known or (name is None and attrs in self.empty):
            return
        if name is None:
            self.empty.append(attrs)
        else:
            windows = windows.transpose(*DIMS)
            self._append(windows.astype(self.dtype) if self.dtype else windows)
            self.known[name] = attrs, windows.sizes["sample"]
        with _reported(self.path):
            add_line(self.path, name, self.length, attrs)

    def _check_same(self, name: tuple, attrs: dict, windows: xr.DataArray) -> None:
        """Refuse the windows of a run that is stored, but was made in another way."""
        before, n_samples = self.known[name]
        told = [
            f"{key} {before.get(key)!r} in the store, not {attrs.get(key)!r}"
            for key in SETTINGS
            if before.get(key) != attrs.get(key)
        ]
        if n_samples != windows.sizes["sample"]:
            told.append(f"{n_samples} windows in the store, not {windows.sizes['sample']}")
        if told:
            raise DataError(
                f"{self.path} holds {name} as it was made in another way: {'; '.join(told)}. Give "
                "another folder, or remove this one."
            )
        concat_windows([self.sample, windows.transpose(*DIMS)[:1]])

    def _append(self, windows: xr.DataArray) -> None:
        """Add samples after the last; counts of each region become their least over the runs."""
        if self.sample is None:
            with _reported(self.path):
                self._create(windows)
            self.sample = windows[:1]
        _check_coordinates(self.sample, windows)
        joined = concat_windows([self.sample, windows[:1]])
        stop = self.length + windows.sizes["sample"]
        with _reported(self.path):
            self._resize(stop)
            for name in _per_sample(windows):
                _write_rows(self.group[name], self.length, _plain(windows[name].values))
            _write_rows(self.group["values"], self.length, windows.to_numpy())
            for name, coord in joined.coords.items():
                if coord.dims == ("region",) and not coord.identical(self.sample[name]):
                    self.group[name][:] = _plain(coord.values)
        least = {name: coord for name, coord in joined.coords.items() if coord.dims == ("region",)}
        self.sample, self.length = self.sample.assign_coords(least), stop

    def _create(self, windows: xr.DataArray) -> None:
        """Make the arrays, without samples yet."""
        self._array("values", windows, windows.dtype, (self.chunk, *windows.shape[1:]))
        for name, coord in windows.coords.items():
            values = _plain(coord.values)
            kind = str if values.dtype.kind == "U" else values.dtype
            array = self._array(name, coord, kind, [max(size, self.chunk) for size in coord.shape])
            if "sample" not in coord.dims:
                array[...] = values
        others = [name for name in windows.coords if name not in DIMS]
        name = json.dumps(windows.name)
        self.group["values"].attrs.update({"coordinates": " ".join(others), "name": name})

    def _array(self, name: str, like: xr.DataArray, kind: object, chunks: Iterable[int]) -> object:
        """Make one array; it has no samples yet."""
        sizes = [0 if dim == "sample" else size for dim, size in like.sizes.items()]
        return self.group.create_array(
            name,
            shape=sizes,
            chunks=tuple(chunks),
            dtype=kind,
            dimension_names=list(like.dims),
            fill_value=np.nan if like.dtype.kind == "f" else None,
            overwrite=True,
        )

    def _resize(self, length: int) -> None:
        """Give every array of samples this many."""
        for name in ("values", *_per_sample(self.sample)):
            array = self.group[name]
            array.resize((length, *array.shape[1:]))


def _write_rows(array: object, start: int, values: np.ndarray) -> None:
    """Write samples chunk after chunk, so that if one fails no other is still on its way."""
    edges = range(start - start % array.chunks[0], start + len(values), array.chunks[0])
    for edge in edges:
        first, last = max(edge, start), min(edge + array.chunks[0], start + len(values))
        array[first:last] = values[first - start : last - start]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder and keep other processes from writing to it."""
    filelock = _need("filelock", "A store of windows")
    with _reported(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise DataError(
                f"Another process is writing to {path}. Wait for it, or give another folder."
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Name the store where it cannot be written."""
    try:
        yield
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            f"Cannot write to {path}: {error}. Give a folder with free space that you may write "
            "to; runs that were stored as a whole are safe."
        ) from error


def _run_of(windows: object) -> tuple[str, ...] | None:
    """Name the run that windows are of; None if there are no windows."""
    if not isinstance(windows, xr.DataArray) or set(windows.dims) != set(DIMS):
        raise ArgumentError(
            "windows must be an iterable of arrays (sample, time, region), one for each run. Got "
            f"{type(windows).__name__} {getattr(windows, 'dims', '')}."
        )
    missing = [name for name in RUN_NAMES if name not in windows.coords]
    if missing:
        raise ArgumentError(f"windows lack the coordinate(s) {', '.join(missing)} on 'sample'.")
    columns = (np.broadcast_to(windows[name].values, windows.sizes["sample"]) for name in RUN_NAMES)
    found = list(
        dict.fromkeys(zip(*(column.astype(str).tolist() for column in columns), strict=True))
    )
    if len(found) > 1:
        raise ArgumentError(
            f"windows must come run by run, but one array holds {len(found)} runs: {found[:3]}. "
            "Give a list with one array for each."
        )
    return found[0] if found else None


def _per_sample(windows: xr.DataArray) -> list[str]:
    """Names of the coordinates that each sample has."""
    return [name for name, coord in windows.coords.items() if "sample" in coord.dims]


def _check_coordinates(stored: xr.DataArray, windows: xr.DataArray) -> None:
    """Refuse a run that has other coordinates on its samples, or of another type."""
    ours, theirs = _per_sample(stored), _per_sample(windows)
    if set(ours) != set(theirs):
        raise DataError(
            f"The windows of {_run_of(windows)} have the coordinates {sorted(theirs)} on their "
            f"samples, but the stored runs have {sorted(ours)}."
        )
    for name in ours:
        if not np.can_cast(windows[name].dtype, stored[name].dtype, "same_kind"):
            raise DataError(
                f"The coordinate {name!r} of {_run_of(windows)} is {windows[name].dtype}, but that "
                f"of the stored runs {stored[name].dtype}."
            )


def _plain(values: np.ndarray) -> np.ndarray:
    """Make text of any kind numpy's text."""
    if values.dtype.kind in "biufcU":
        return values
    return np.array(values.tolist(), dtype=str).reshape(values.shape)


def _need(module: str, what: str) -> ModuleType:
    """Import what is not always installed, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ArgumentError(
            f"{what} needs {module}, which is not installed. Install it with: python -m pip "
            f"install {INSTALL[module]}"
        ) from error
