"""Region series kept on disk, so that no run is read twice for nothing.

A series is stored as NetCDF under a key made of everything that shapes it: the run's files (path,
size and time of change, or their content), the atlas, the repetition time, the space. If any of
these changes, so does the key. A file appears under its name only when it is whole, carries a
checksum, and is data alone: reading it executes nothing.
"""

import builtins
import functools
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xarray as xr

from neurosal.errors import DataError, check_one_of
from neurosal.labelled import load_array, write_whole
from neurosal.loaders.runs import Run
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.beside import read_sidecar
from neurosal.parcellation.signals import MissingRegions

FORMAT = 1
BY = ("mtime", "hash")
_PREFIX, _PARTIAL = "series-", ".partial"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError)


class CacheError(DataError):
    """The cache cannot be written to, which is no fault of the run at hand."""


class SeriesCache:
    """A folder of region series, safe to use from many processes at once.

    Parameters
    ----------
    folder : str or pathlib.Path
        Made if it is not there. Workers on other machines must reach it under the same name.
    by : {'mtime', 'hash'}
        How a changed file is noticed: by path, size and time of change, or by its content (slower:
        every file is read to be compared; right where times of change cannot be trusted).

    Raises
    ------
    CacheError
        If the folder cannot be made or written to.
    ArgumentError
        If ``by`` is neither.

    See Also
    --------
    neurosal.parcellation.series.extract_runs : fills it.

    Examples
    --------
    >>> import pandas as pd
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas, folder = load_atlas("dosenbach160"), Path(tempfile.mkdtemp())
    >>> _ = (folder / "bold.nii").write_bytes(b"any")
    >>> run = Run(folder / "bold.nii", pd.DataFrame(), 2.0, subject="01", task="rest")
    >>> cache = SeriesCache(folder / "cache")
    >>> cache.get(run, atlas) is None
    True
    >>> series = xr.DataArray(np.ones((3, 1)), dims=("time", "region"), coords={"region": ["V1"]})
    >>> path = cache.put(run, atlas, series)
    >>> cache.get(run, atlas).identical(series.rename("values"))
    True
    """

    def __init__(self, folder: str | Path, *, by: str = "mtime"):
        self.folder = Path(os.path.abspath(folder))
        self.by = check_one_of("by", by, BY)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def key(self, run: object, atlas: RegionAtlas, **parameters: object) -> str | None:
        """Name a series by all that shapes it.

        Parameters
        ----------
        run : Run, or what else :func:`~neurosal.parcellation.extract.extract_regions` takes
            The source.
        atlas : RegionAtlas
            The regions.
        **parameters
            Further arguments of the extraction.

        Returns
        -------
        str or None
            SHA-256 in hexadecimal; None for an image in memory or a file that is not there:
            nothing is kept of these.

        Examples
        --------
        >>> SeriesCache(tempfile.mkdtemp()).key("nowhere.nii", None) is None
        True
        """
        material = self._material(run, atlas, parameters)
        return material and hashlib.sha256(material.encode()).hexdigest()

    def has(self, run: object, atlas: RegionAtlas, **parameters: object) -> bool:
        """Tell whether there is a file for a run, without reading it.

        Parameters
        ----------
        run, atlas, **parameters
            As in :meth:`key`.

        Returns
        -------
        bool
            True even if the file turns out to be damaged.

        Examples
        --------
        >>> SeriesCache(tempfile.mkdtemp()).has("nowhere.nii", None)
        False
        """
        key = self.key(run, atlas, **parameters)
        return key is not None and self._path(key).exists()

    def get(self, run: object, atlas: RegionAtlas, **parameters: object) -> xr.DataArray | None:
        """Return a series that was kept, with the warnings that came with it.

        Parameters
        ----------
        run, atlas, **parameters
            As in :meth:`key`.

        Returns
        -------
        xarray.DataArray or None
            (time, region), equal to the last bit to what was put in; None if there is none. A
            damaged file counts as none, with a warning.
        """
        material = self._material(run, atlas, parameters)
        path = material and self._path(hashlib.sha256(material.encode()).hexdigest())
        if path is None or not path.exists():
            return None
        try:
            series, notes = _opened(load_array(path), material)
        except _DAMAGE as error:
            warnings.warn(
                f"{path} in the cache is damaged and its run is read again: {error}", stacklevel=2
            )
            return None
        for category, text in notes:
            warnings.warn(text, _category(category), stacklevel=2)
        return series

    def put(
        self,
        run: object,
        atlas: RegionAtlas,
        series: xr.DataArray,
        *,
        notes: Iterable[tuple[str, str]] = (),
        key: str | None = None,
        **parameters: object,
    ) -> Path | None:
        """Keep a series; the file is there as a whole or not at all.

        Parameters
        ----------
        run, atlas, **parameters
            As in :meth:`key`.
        series : xarray.DataArray
            (time, region).
        notes : iterable of (str, str)
            Category and text of each warning that came with the series; :meth:`get` repeats them.
        key : str, optional
            The key from before the run was read. If it differs now, the run has changed meanwhile
            and nothing is kept.

        Returns
        -------
        pathlib.Path or None
            The file; None if nothing is kept.

        Raises
        ------
        CacheError
            If the file cannot be written: no space, no permission.
        """
        material = self._material(run, atlas, parameters)
        now = material and hashlib.sha256(material.encode()).hexdigest()
        if now is None or key not in (None, now):
            return None
        path = self._path(now)
        try:
            write_whole(_sealed(series, material, list(notes)), path)
        except OSError as error:
            raise _cannot_write(path, error) from error
        return path

    def clear(self) -> int:
        """Remove every series that was kept, and what killed processes left half written.

        Returns
        -------
        int
            How many files were removed; other files in the folder stay.

        Examples
        --------
        >>> SeriesCache(tempfile.mkdtemp()).clear()
        0
        """
        paths = [*self.folder.glob(f"{_PREFIX}*.nc"), *self.folder.glob(f".{_PREFIX}*{_PARTIAL}")]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(set(paths))

    def _path(self, key: str) -> Path:
        """Where a series is kept."""
        return self.folder / f"{_PREFIX}{key}.nc"

    def _material(self, run: object, atlas: RegionAtlas, parameters: dict) -> str | None:
        """Write down all that shapes a series."""
        try:
            files = [self._file(path) for path in source_files(run)]
        except OSError:
            return None
        if not files:
            return None
        regions = [atlas.hash, atlas.name, atlas.space]
        shaping = {"format": FORMAT, "files": files, "atlas": regions, "parameters": parameters}
        img = run.img if isinstance(run, Run) else run
        if isinstance(img, dict):
            shaping["sides"] = sorted(img)
        if isinstance(run, Run):
            shaping |= {"t_r": run.t_r, "space": run.space, "start_time": run.start_time}
        else:
            shaping["sidecars"] = [read_sidecar(path) for path in source_files(run)]
        return json.dumps(shaping, sort_keys=True, default=str)

    def _file(self, path: Path) -> list:
        """Describe a file so that a change shows."""
        status = path.stat()
        if self.by == "mtime":
            return [str(path), status.st_size, status.st_mtime_ns]
        return [str(path), _content_hash(path, status.st_size, status.st_mtime_ns)]


def source_files(run: object) -> list[Path]:
    """List the files that a run's values come from.

    Parameters
    ----------
    run : Run, path, or dict of paths
        The source.

    Returns
    -------
    list of pathlib.Path
        Absolute; empty if any part of the source is an image in memory.

    Examples
    --------
    >>> [path.name for path in source_files({"left": "l.func.gii", "right": "r.func.gii"})]
    ['l.func.gii', 'r.func.gii']
    """
    img = run.img if isinstance(run, Run) else run
    parts = [img[side] for side in sorted(img)] if isinstance(img, dict) else [img]
    if not all(isinstance(part, str | Path) for part in parts):
        return []
    paths = [Path(os.path.abspath(part)) for part in parts]
    pairs = {".hdr": ".img", ".img": ".hdr"}
    twins = [path.with_suffix(pairs[path.suffix]) for path in paths if path.suffix in pairs]
    return [*paths, *(twin for twin in twins if twin.exists())]


@functools.lru_cache(maxsize=4096)
def _content_hash(path: Path, size: int, mtime_ns: int) -> str:
    """Hash a file; once for as long as its size and time of change stay."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sealed(series: xr.DataArray, material: str, notes: list) -> xr.DataArray:
    """Put key, notes and checksum where the attributes were."""
    attributes = {
        "series": json.dumps(series.attrs, default=str),
        "notes": json.dumps(notes),
        "key": material,
    }
    sealed = series.copy(deep=False)
    attributes["checksum"] = _checksum(series, attributes)
    sealed.attrs = {"attributes_json": json.dumps(attributes)}
    sealed.name = series.name or "values"
    return sealed


def _opened(sealed: xr.DataArray, material: str) -> tuple[xr.DataArray, list]:
    """Undo _sealed, after seeing that all is as it was written."""
    attributes = {name: sealed.attrs[name] for name in ("series", "notes", "key")}
    if attributes["key"] != material:
        raise DataError("it belongs to another run or atlas.")
    if sealed.attrs["checksum"] != _checksum(sealed, attributes):
        raise DataError("its checksum does not fit its content.")
    sealed.attrs = json.loads(attributes["series"])
    return sealed, json.loads(attributes["notes"])


def _checksum(array: xr.DataArray, attributes: dict) -> str:
    """Hash the values, the labels and the attributes of a series."""
    digest = hashlib.sha256(json.dumps(attributes, sort_keys=True).encode())
    for name, part in [("", array.variable), *sorted(array.coords.items())]:
        values = np.asarray(part.values)
        text = values.dtype.kind not in "biufc"
        values = values.astype(str) if text else values.astype(values.dtype.newbyteorder("<"))
        digest.update(f"{name} {part.dims} {part.shape} {'' if text else values.dtype}".encode())
        digest.update("\0".join(values.flat).encode() if text else values.tobytes())
    return digest.hexdigest()


def _category(name: str) -> type[Warning]:
    """Find a category of warnings by its name."""
    kind = MissingRegions if name == MissingRegions.__name__ else getattr(builtins, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Warning) else UserWarning


def _cannot_write(path: Path, reason: object) -> CacheError:
    """Say which file of the cache cannot be written, why, and what to do."""
    return CacheError(
        f"Cannot write {path}: {reason}. Give the cache a folder with free space that you may "
        "write to."
    )
