"""Which figures a report has, and what each shows in words."""

from collections.abc import Callable
from functools import partial

import numpy as np
from nibabel.spatialimages import SpatialImage

from neurosal.errors import NeurosalError
from neurosal.reporting import figures, style, summary
from neurosal.reporting.brain_mesh import brain_mesh
from neurosal.reporting.check_figures import can_draw, plot_check
from neurosal.reporting.comparisons import plot_attention, plot_method_comparison
from neurosal.reporting.results import Results
from neurosal.reporting.significance_map import plot_significant
from neurosal.reporting.significance_text import joint_test
from neurosal.reporting.surface_mosaic import plot_surface_mosaic


def report_figures(results: Results) -> dict[str, Callable]:
    """Gather every figure there is content for, not yet drawn.

    Parameters
    ----------
    results : Results
        What the analysis found.

    Returns
    -------
    dict of str to callable
        ``accuracy``, ``confusion``, ``region_time``, ``network_timecourses``, ``top_regions``,
        ``surface:<condition>``, ``brain:<condition>``, ``significant``, ``truth``, ``attention``,
        ``methods`` and ``trust:<check>``, each to a function that draws it.

    Examples
    --------
    >>> list(report_figures(Results("", metrics={"accuracy_per_fold": [0.7], "chance": 0.5})))
    ['accuracy']
    """
    return {
        **_decoding(results),
        **_importance(results),
        **_surfaces(results),
        **_slices(results),
        **_tests(results),
        **_network(results),
        **{f"trust:{c.name}": partial(plot_check, c) for c in results.trust if can_draw(c)},
    }


def why_no_brain(results: Results) -> str:
    """Say why the turning brain cannot be drawn.

    Parameters
    ----------
    results : Results
        With ``mean_importance`` and ``atlas``.

    Returns
    -------
    str
        Empty if it can be drawn, or if there is nothing to draw.

    Examples
    --------
    >>> why_no_brain(Results(""))
    ''
    """
    if results.mean_importance is None or results.atlas is None:
        return ""
    try:
        brain_mesh(results.atlas)
    except NeurosalError as error:
        return str(error)
    return ""


def can_turn(results: Results) -> bool:
    """Tell whether there are maps and surfaces to draw them on.

    Parameters
    ----------
    results : Results
        With ``mean_importance`` and ``atlas``.

    Returns
    -------
    bool
        Whether the turning brain can be drawn.

    Examples
    --------
    >>> can_turn(Results(""))
    False
    """
    there = results.mean_importance is not None and results.atlas is not None
    return there and not why_no_brain(results)


def shared_scale(results: Results) -> dict:
    """Give all pictures of the maps the colours of the region x time map.

    Parameters
    ----------
    results : Results
        With ``mean_importance``.

    Returns
    -------
    dict
        ``vmax`` and ``scale`` for the functions that draw; empty without maps.

    Examples
    --------
    >>> shared_scale(Results(""))
    {}
    """
    if results.mean_importance is None:
        return {}
    _, limits, _ = style.colour_scale(results.mean_importance.values)
    return {"vmax": limits.vmax, "scale": "signed" if limits.vmin < 0 else "sequential"}


def words_for(name: str, results: Results) -> str:
    """Say in words what a figure shows.

    Parameters
    ----------
    name : str
        Of :func:`report_figures`.
    results : Results
        What the analysis found.

    Returns
    -------
    str
        For readers who do not see it.

    Examples
    --------
    >>> words_for("brain:rh", Results(""))
    'Slices of the brain in rows of time: importance for rh.'
    """
    kind, _, condition = name.partition(":")
    maps = results.mean_importance
    shape = "" if maps is None else " by ".join(f"{n} {d}s" for d, n in maps.sizes.items())
    per_fold = results.metrics.get("accuracy_per_fold") or [np.nan]
    words = {
        "accuracy": f"Accuracy of {len(per_fold)} folds, from {summary.percent(min(per_fold))} to "
        f"{summary.percent(max(per_fold))}, beside chance and baseline.",
        "confusion": "Confusion matrix: share and count of windows, true by predicted condition.",
        "region_time": f"Heat maps of importance, {shape}; the table of top regions lists the "
        "largest values.",
        "network_timecourses": "Mean importance over time, one panel a network, one line a "
        "condition.",
        "top_regions": "Bars of the ten regions of largest absolute mean importance of each "
        "condition.",
        "truth": f"Importance and simulated truth, {shape}, and precision-recall curves.",
        "surface": f"Cortical surfaces in rows of time: importance for {condition}.",
        "brain": f"Slices of the brain in rows of time: importance for {condition}.",
        "significant": "Heat maps of the mean over subjects with significant cells framed; the "
        "table of significant regions lists them.",
        "attention": "Share of attention of each hop over time, and the mean over hops.",
        "methods": "Maps of several explanation methods side by side, and how far they agree.",
        "trust": f"Figure of the check {condition}: {_finding(results, condition)}",
    }
    return words[kind]


def _decoding(results: Results) -> dict[str, Callable]:
    """Accuracy by fold, and the confusion matrix."""
    metrics, plots = results.metrics, {}
    if metrics.get("accuracy_per_fold") and metrics.get("chance") is not None:
        plots["accuracy"] = partial(
            figures.plot_accuracy,
            metrics["accuracy_per_fold"],
            baseline_per_fold=metrics.get("baseline_per_fold"),
            chance=metrics["chance"],
            baseline=metrics.get("baseline", "baseline"),
        )
    if results.confusion is not None:
        plots["confusion"] = partial(figures.plot_confusion, results.confusion)
    return plots


def _importance(results: Results) -> dict[str, Callable]:
    """Region x time maps, time courses, top regions, and recovery of a known truth."""
    maps, units, plots = results.mean_importance, results.units, {}
    if maps is not None:
        plots["region_time"] = partial(figures.plot_region_time, maps, units=units)
    if results.importance is not None and "condition" in results.importance.coords:
        plots["network_timecourses"] = partial(
            figures.plot_network_timecourses, results.importance, units=units
        )
    if maps is not None:
        plots["top_regions"] = partial(figures.plot_top_regions, maps.mean("time"), units=units)
    if results.has_truth:
        plots["truth"] = partial(
            figures.plot_truth_recovery,
            maps,
            results.truth,
            units=units,
            scores={name: area for name, area, _ in summary.truth_rows(results)},
        )
    return plots


def _surfaces(results: Results) -> dict[str, Callable]:
    """A mosaic of cortical surfaces for each condition, if the atlas can be put on them."""
    if not can_turn(results):
        return {}
    options = {"units": results.units, **shared_scale(results)}
    return {
        f"surface:{one['condition'].item()}": partial(
            plot_surface_mosaic,
            one,
            results.atlas,
            title=str(one["condition"].item()),
            **options,
        )
        for one in results.mean_importance
    }


def _slices(results: Results) -> dict[str, Callable]:
    """A mosaic of slices for each condition whose map is a volume."""
    options: dict = {"units": results.units, "space": str(results.data.get("space", ""))}
    options |= shared_scale(results)
    maps, plots = results.mean_importance, {}
    for condition, img in results.maps.items():
        if not isinstance(img, SpatialImage) or len(img.shape) not in (3, 4):
            continue
        frames = img.shape[3] if len(img.shape) == 4 else 1
        timed = maps is not None and maps.sizes["time"] == frames
        plots[f"brain:{condition}"] = partial(
            figures.plot_brain_mosaic,
            img,
            times_s=maps["time"].values if timed else None,
            title=str(condition),
            **options,
        )
    return plots


def _network(results: Results) -> dict[str, Callable]:
    """What the network attends to, and what other methods say that it looks at."""
    plots, found = {}, results.comparison
    if results.attention is not None:
        times = results.attention["time"].to_numpy()
        plots["attention"] = partial(plot_attention, results.attention, times=times)
    if found is not None:
        plots["methods"] = partial(plot_method_comparison, found.maps, found.agreement)
    return plots


def _finding(results: Results, name: str) -> str:
    """Say what a check found."""
    return next((check.finding for check in results.trust if check.name == name), "")


def _tests(results: Results) -> dict[str, Callable]:
    """The significant cells of all conditions."""
    joined = joint_test(results)
    return {} if joined is None else {"significant": partial(plot_significant, joined)}
