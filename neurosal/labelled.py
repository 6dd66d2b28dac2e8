"""Labelled arrays: the one data model that every stage reads and writes.

Dimensions are ``sample``, ``time``, ``region``, in this order. ``region`` carries unique names
with ``network``, ``hemisphere`` and ``label_id`` beside them; ``time`` is seconds from the event's
onset; ``sample`` carries ``subject``, ``session``, ``task``, ``run``, ``condition`` and ``onset``.
A map can so never lose which region is which.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import DataError

REGION_COLUMNS = ("network", "hemisphere", "label_id")
SAMPLE_COLUMNS = ("subject", "session", "task", "run", "condition", "onset")


def region_coordinates(regions: pd.DataFrame) -> dict:
    """Turn an atlas's region table into xarray coordinates on ``region``.

    Parameters
    ----------
    regions : pandas.DataFrame
        Columns ``name`` (unique), ``network``, ``hemisphere``, ``label_id``; one row a region.

    Returns
    -------
    dict
        Coordinates for :class:`xarray.DataArray`.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"label_id": [1], "name": ["V1"], "network": ["Visual"], "hemisphere": ["L"]})
    >>> region_coordinates(table)["network"]
    ('region', array(['Visual'], dtype='<U6'))
    """
    coordinates = {"region": np.asarray(regions["name"].astype(str), dtype=str)}
    for column in REGION_COLUMNS:
        kind = int if column == "label_id" else str
        coordinates[column] = ("region", regions[column].to_numpy().astype(kind))
    return coordinates


def save_array(array: xr.DataArray, path: str | Path) -> Path:
    """Write a labelled array to NetCDF; nested attributes become JSON text.

    Parameters
    ----------
    array : xarray.DataArray
        Any labelled array.
    path : str or pathlib.Path
        The file to write (``.nc``).

    Returns
    -------
    pathlib.Path
        The file written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> array = xr.DataArray([1.0], dims="region", coords={"region": ["V1"]}, attrs={"seed": 0})
    >>> load_array(save_array(array, folder + "/a.nc")).attrs["seed"]
    0
    """
    path = Path(path)
    out = array.copy(deep=False)
    out.attrs = {"attributes_json": json.dumps(dict(array.attrs), default=_plain)}
    out.name = array.name or "values"
    with writing(path):
        write_whole(out, path)
    return path


@contextmanager
def writing(path: str | Path, *errors: type[Exception]) -> Iterator[None]:
    """Name the file if it cannot be written.

    Parameters
    ----------
    path : str or pathlib.Path
        The file or folder that is written within the ``with`` block.
    *errors : type
        What a library raises in place of the system's error.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    DataError
        If the disk is full, or the file may not be written.

    Examples
    --------
    >>> with writing("/dev/null/a.txt"):
    ...     Path("/dev/null/a.txt").write_text("")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot write /dev/null/a.txt: Not a directory. ...
    """
    try:
        yield
    except (OSError, *errors) as error:
        raise DataError(
            f"Cannot write {path}: {getattr(error, 'strerror', None) or error}. Choose a folder "
            "with room where you may write."
        ) from error


def write_whole(array: xr.DataArray, path: Path) -> None:
    """Write a NetCDF file beside its place and move it there: no reader ever sees half of it.

    HDF5 never sees the disk, for it may crash the process later if the disk is full.

    Parameters
    ----------
    array : xarray.DataArray
        What to write, as it is.
    path : pathlib.Path
        The file.

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.nc"
    >>> write_whole(xr.DataArray([1.0], dims="region", name="values"), path)
    >>> path.exists()
    True
    """
    with _without_cluster():
        content = array.to_netcdf(engine="h5netcdf")
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _without_cluster() -> AbstractContextManager:
    """Keep xarray on a dask worker from asking the cluster for a lock on what is no file."""
    if "dask" not in sys.modules:
        return nullcontext()
    return sys.modules["dask"].config.set(scheduler="synchronous")


def load_array(path: str | Path) -> xr.DataArray:
    """Read what :func:`save_array` wrote.

    Parameters
    ----------
    path : str or pathlib.Path
        A NetCDF file.

    Returns
    -------
    xarray.DataArray
        The array in memory, with its attributes as they were.

    Raises
    ------
    DataError
        If the file is missing or is no NetCDF file of one array.

    Examples
    --------
    >>> load_array("nowhere.nc")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot read nowhere.nc as a NetCDF array: ...
    """
    try:
        with xr.open_dataarray(path, engine="h5netcdf") as stored:
            array = stored.load()
        attributes = json.loads(array.attrs.get("attributes_json", "{}"))
        if not isinstance(attributes, dict):
            raise ValueError("its attributes are no JSON object")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
        raise DataError(
            f"Cannot read {path} as a NetCDF array: {error}. Give a file written by neurosal."
        ) from error
    array.attrs = attributes
    return array


def _plain(value: object) -> object:
    """Make numpy scalars, arrays and paths fit for JSON."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
