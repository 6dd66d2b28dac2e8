"""The maps of a study as images, thresholded and not."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

import xarray as xr

from neurosal.inference.group import thresholded
from neurosal.parcellation.base import RegionAtlas
from neurosal.projection.gifti import save_surface_map
from neurosal.projection.images import map_extension, save_map
from neurosal.projection.names import bids_name
from neurosal.reporting.results import Results

_THRESHOLDED = "Thresholded"
_TOLD = ("test", "correction", "alpha", "tail", "family", "n_subjects", "n_flips", "seed")


def write_maps(results: Results, out_dir: str | Path) -> dict[str, str]:
    """Write the mean map of each condition as an image, if there is an atlas.

    Parameters
    ----------
    results : Results
        With ``mean_importance``, ``atlas`` and ``maps``.
    out_dir : str or pathlib.Path
        The folder.

    Returns
    -------
    dict of str to str
        File name to what it holds.

    Examples
    --------
    >>> write_maps(Results(""), "anywhere")
    {}
    """
    if results.atlas is None or not results.maps:
        return {}
    maps = results.mean_importance
    names = map_names(_entities(results), list(results.maps), ending="")
    written = {}
    for condition, name in names.items():
        files = _write(maps.sel(condition=condition), name, results, out_dir)
        written |= dict.fromkeys(files, f"mean importance for {condition} over time")
    return written


def write_significant(results: Results, name: str, out_dir: str | Path) -> dict[str, str]:
    """Write what a test over subjects found significant as an image, the rest as zero.

    Parameters
    ----------
    results : Results
        With ``statistics`` and ``atlas``.
    name : str
        The condition or contrast, one of ``statistics``.
    out_dir : str or pathlib.Path
        The folder.

    Returns
    -------
    dict of str to str
        File name to what it holds. The JSON file beside each image tells the correction, the
        level and the number of subjects.

    Examples
    --------
    >>> write_significant(Results(""), "rh", "anywhere")
    {}
    """
    tested = results.statistics.get(name)
    if results.atlas is None or tested is None or "status" not in tested:
        return {}
    names = map_names(_entities(results), list(results.statistics), ending="")
    file = names[name].replace("_saliency", f"{_THRESHOLDED}_saliency")
    if not name:
        file = bids_name({**_entities(results), "desc": _THRESHOLDED}, ending="")
    kept = thresholded(tested).assign_coords(condition=name)
    count = int(tested["significant"].sum())
    test = {key: tested.attrs[key] for key in _TOLD if key in tested.attrs}
    test |= {"n_significant_cells": count, "other_cells": "0; NaN if missing in some subject"}
    files = _write(kept, file, results, out_dir, more={"statistics": test})
    what = f"mean importance over subjects for {name or 'all windows'} where significant"
    return dict.fromkeys(files, f"{what} ({count} cells), else 0")


def map_names(
    entities: Mapping[str, str], conditions: Sequence[str], *, ending: str = ".nii.gz"
) -> dict[str, str]:
    """Name the maps' files as BIDS derivatives are named.

    Parameters
    ----------
    entities : mapping of str to str
        What all names have, such as task, space and atlas (``seg``); characters that BIDS does not
        allow, and what is empty, are left out.
    conditions : sequence of str
        The conditions; where two would get one name, or names that differ in case alone, the later
        ones are numbered, and so are those without a letter or digit of A to Z and 0 to 9.
    ending : str
        Of the files' names.

    Returns
    -------
    dict of str to str
        Condition to file name.

    Examples
    --------
    >>> map_names({"task": "MOTOR", "seg": "dosenbach160"}, ["left hand"])
    {'left hand': 'task-MOTOR_seg-dosenbach160_desc-lefthand_saliency.nii.gz'}
    """
    return own_names(
        conditions, lambda condition: bids_name({**entities, "desc": condition}, ending=ending)
    )


def own_names(conditions: Sequence[str], name_of: Callable[[str], str]) -> dict[str, str]:
    """Give each condition a file name of its own, which may leave out some of its characters.

    Parameters
    ----------
    conditions : sequence of str
        The conditions.
    name_of : callable
        Maps a condition to a file name, digits as they are.

    Returns
    -------
    dict of str to str
        Condition to file name; numbered where another has the name, whatever the case of its
        letters, or where nothing is left of the condition.

    Examples
    --------
    >>> own_names(["a-b", "ab", "-"], lambda name: name.replace("-", "") + ".tsv")
    {'a-b': 'ab.tsv', 'ab': 'ab2.tsv', '-': '3.tsv'}
    """
    names: dict[str, str] = {}
    taken = {name_of("").casefold()} if any(conditions) else set()
    for number, condition in enumerate(conditions, start=1):
        tried = chain([condition], (f"{condition}{more}" for more in count(number)))
        names[condition] = next(n for n in map(name_of, tried) if n.casefold() not in taken)
        taken.add(names[condition].casefold())
    return names


def _entities(results: Results) -> dict[str, str]:
    """Name task, space and atlas for the files' names."""
    told = {name: str(results.data.get(name) or "") for name in ("task", "space")}
    return told | {"seg": results.atlas.name}


def _write(
    values: xr.DataArray,
    name: str,
    results: Results,
    out_dir: str | Path,
    *,
    more: dict | None = None,
) -> list[str]:
    """Write a map (time, region) as the image that fits the atlas; return the files' names."""
    values = values.isel(time=0) if values.sizes["time"] == 1 else values
    atlas: RegionAtlas = results.atlas
    ending = map_extension(atlas, timed="time" in values.dims)
    path, provenance = Path(out_dir) / f"{name}{ending}", results.provenance | (more or {})
    if ending.endswith(".gii"):
        files = save_surface_map(values, atlas, path, provenance=provenance).values()
        return [file.name for file in files]
    reference = next(iter(results.maps.values()), None)
    return [save_map(values, atlas, path, reference=reference, provenance=provenance).name]
