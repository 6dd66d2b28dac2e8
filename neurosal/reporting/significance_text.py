"""The sentences and the table of the tests over subjects."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from neurosal.reporting.results import Results
from neurosal.reporting.style import networks_of

#: Settings of a test that are told.
_TOLD = (
    "test", "null_hypothesis", "contrast", "correction", "family", "tail", "alpha", "threshold",
    "center", "n_subjects", "n_flips", "exact", "smallest_p", "seed",
)  # fmt: skip
_OF_FLIPS = ("n_flips", "exact", "smallest_p")
_CORRECTIONS = {
    "max-t": "family-wise error (largest t of each sign flip)",
    "cluster": "family-wise error of clusters",
    "fdr": "false discovery rate",
    "none": "no correction for the number of cells",
}


def significant_rows(results: Results, *, n: int = 10) -> list[dict]:
    """List each condition's regions with a significant cell, largest absolute t first.

    Parameters
    ----------
    results : Results
        With ``statistics``.
    n : int, default=10
        Regions a condition.

    Returns
    -------
    list of dict
        ``condition``, ``region``, ``network``, ``cells`` (significant times), ``peak`` (s from
        event onset, where |t| is largest among the significant cells), and there ``mean``, ``t``,
        ``p`` and ``dz`` (None if not given).

    Examples
    --------
    >>> cells = xr.DataArray([[0.0, 4.0]], dims=("time", "region"), coords={"time": [5.0]})
    >>> test = xr.Dataset({"mean": cells, "t": cells, "p": 1 - cells, "significant": cells > 3})
    >>> rows = significant_rows(Results("", statistics={"rh": test}))
    >>> [(row["region"], row["peak"], row["t"]) for row in rows]
    [('1', 5.0, 4.0)]
    """
    rows = []
    for condition, test in results.statistics.items():
        found = [_region_row(condition, test, place) for place in _places(test)]
        rows += sorted(found, key=lambda row: -abs(row["t"]))[:n]
    return rows


def significant_counts(results: Results) -> list[tuple[str, int, int, int]]:
    """Count significant and tested cells, and significant regions.

    Parameters
    ----------
    results : Results
        With ``statistics``.

    Returns
    -------
    list of tuple
        Condition, significant cells, tested cells, regions with a significant cell.

    Examples
    --------
    >>> cells = xr.DataArray([[0.0, 4.0]], dims=("time", "region"), coords={"time": [5.0]})
    >>> test = xr.Dataset({"mean": cells, "t": cells, "p": 1 - cells, "significant": cells > 3})
    >>> significant_counts(Results("", statistics={"rh": test}))
    [('rh', 1, 2, 1)]
    """
    return [
        (name, int(flags.sum()), int(np.isfinite(test["t"].values).sum()), len(_places(test)))
        for name, test in results.statistics.items()
        for flags in [test["significant"].values.astype(bool)]
    ]


def joint_test(results: Results) -> xr.Dataset | None:
    """Put the tests of all conditions into one, if they are of the same times and regions.

    Parameters
    ----------
    results : Results
        With ``statistics``.

    Returns
    -------
    xarray.Dataset or None
        With the dimension ``condition``; None if there is none or they differ.

    Examples
    --------
    >>> joint_test(Results("")) is None
    True
    """
    tests = list(results.statistics.values())
    if not tests:
        return None
    wanted = [name for name in tests[0] if all(name in test for test in tests)]
    wanted = [name for name in wanted if set(tests[0][name].dims) == {"time", "region"}]
    same = all(
        test.sizes["time"] == tests[0].sizes["time"]
        and np.array_equal(test["region"].values, tests[0]["region"].values)
        for test in tests
    )
    if not same:
        return None
    plain = [test[wanted].drop_vars("condition", errors="ignore") for test in tests]
    options = {"coords": "minimal", "compat": "override", "join": "override"}
    joined = xr.concat(plain, "condition", data_vars="all", **options)
    return joined.assign_coords(condition=list(results.statistics)).assign_attrs(tests[0].attrs)


def settings_of_tests(results: Results) -> list[tuple[list[str], Mapping]]:
    """Put tests of the same settings together.

    Parameters
    ----------
    results : Results
        With ``statistics``.

    Returns
    -------
    list of tuple
        Conditions and contrasts, and the settings of their test; number and kind of the sign flips
        only where the corrected p-values come from them.

    Examples
    --------
    >>> settings_of_tests(Results(""))
    []
    """
    found: list[tuple[list[str], Mapping]] = []
    for name, test in results.statistics.items():
        flipped = test.attrs.get("correction") != "fdr"
        told = {
            key: test.attrs[key]
            for key in _TOLD
            if key in test.attrs and (flipped or key not in _OF_FLIPS)
        }
        names = next((names for names, known in found if known == told), None)
        if names is None:
            found.append(([name], told))
        else:
            names.append(name)
    return found


def statistics_words(results: Results) -> list[str]:
    """Say what was tested, how, and what a p-value here means.

    Parameters
    ----------
    results : Results
        With ``statistics``.

    Returns
    -------
    list of str
        Sentences.

    Examples
    --------
    >>> statistics_words(Results(""))
    []
    """
    if not results.statistics:
        return []
    words, alike = [], settings_of_tests(results)
    for names, attrs in alike:
        words += [f"{', '.join(names)}:"] if alike[1:] else []
        if "n_subjects" in attrs:
            words.append(f"Subjects are the unit: {attrs['n_subjects']} mean maps were tested.")
        if attrs.get("correction") in _CORRECTIONS:
            level = f" at {attrs['alpha']:g}" if "alpha" in attrs else ""
            words.append(f"Controlled{level}: {_CORRECTIONS[attrs['correction']]}.")
        if attrs.get("smallest_p"):
            words.append(
                f"The smallest p-value that these sign flips can give is {attrs['smallest_p']:.2g}."
            )
    words.append(
        "A small p-value says that the importance of a cell is consistent over subjects, given the "
        "networks that made the maps. It does not say that the region is needed for the task, nor "
        "that the decoder is better than chance."
    )
    return words


def _places(test: xr.Dataset) -> np.ndarray:
    """Positions of the regions with a significant cell."""
    flags = test["significant"].transpose("time", "region").values.astype(bool)
    return np.flatnonzero(flags.any(axis=0))


def _region_row(condition: str, test: xr.Dataset, place: int) -> dict:
    """One region's row: its peak among the significant cells."""
    here = test.isel(region=place)
    flags = here["significant"].values.astype(bool)
    size = np.where(flags, np.abs(np.nan_to_num(here["t"].values)), -1)
    peak = int(size.argmax())
    row = {name: float(here[name].values[peak]) for name in ("mean", "t", "p")}
    row["dz"] = float(here["dz"].values[peak]) if "dz" in here else None
    return row | {
        "condition": condition,
        "region": str(test["region"].values[place]),
        "network": str(networks_of(test["mean"])[place]),
        "cells": int(flags.sum()),
        "peak": float(test["time"].values[peak]),
    }
