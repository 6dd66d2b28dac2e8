"""The report: one page with its figures inside, which asks nothing of the network."""

import base64
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from nibabel import Cifti2Image

from neurosal.errors import DataError
from neurosal.reporting import figures, style, summary
from neurosal.reporting.results import Results


@dataclass(frozen=True)
class _Picture:
    """One figure of the page."""

    source: str
    alt: str
    width: int
    height: int

    @property
    def wide(self) -> bool:
        """Whether it needs scrolling rather than shrinking on a phone."""
        return self.width > 560


def write_report(results: Results, path: str | Path) -> Path:
    """Write the report as one self-contained page, and its figures beside it.

    Parameters
    ----------
    results : Results
        What the analysis found; sections without content are left out.
    path : str or pathlib.Path
        The page (``.html``), or the folder to write ``report.html`` into. Figures go to
        ``figures/`` in the same folder; the page holds copies of them.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    DataError
        If the folder cannot be written to.

    See Also
    --------
    write_figures : the figures alone.

    Examples
    --------
    >>> import tempfile
    >>> page = write_report(Results("Motor task"), tempfile.mkdtemp())
    >>> page.name, "<h1>Motor task</h1>" in page.read_text(encoding="utf-8")
    ('report.html', True)
    """
    path = Path(path)
    page = path if path.suffix in (".html", ".htm") else path / "report.html"
    written = write_figures(results, page.parent / "figures")
    text = _environment().get_template("report.html.j2").render(_context(results, written))
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"Cannot write {page}: {error}. Choose another folder.") from error
    return page


def write_figures(results: Results, folder: str | Path) -> dict[str, Path]:
    """Draw every figure there is content for and save it as PNG.

    Parameters
    ----------
    results : Results
        What the analysis found.
    folder : str or pathlib.Path
        Made if it is not there.

    Returns
    -------
    dict of str to pathlib.Path
        ``accuracy``, ``confusion``, ``region_time``, ``network_timecourses``, ``top_regions``,
        ``truth``, and ``brain:<condition>`` for each map.

    Raises
    ------
    DataError
        If the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> results = Results("Motor", metrics={"accuracy_per_fold": [0.8, 0.7], "chance": 0.5})
    >>> {name: path.name for name, path in write_figures(results, tempfile.mkdtemp()).items()}
    {'accuracy': 'accuracy.png'}
    """
    folder, written = Path(folder), {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (name, draw) in enumerate(_plots(results).items()):
            path = folder / _file_name(name, number)
            draw().savefig(path, dpi=style.DPI)
            written[name] = path
    except OSError as error:
        raise DataError(f"Cannot write to {folder}: {error}. Choose another folder.") from error
    return written


def _file_name(name: str, number: int) -> str:
    """Turn a figure's name into a file's; numbered where a condition is in it."""
    kind, _, condition = name.partition(":")
    plain = re.sub(r"[^0-9A-Za-z]+", "-", condition).strip("-")[:40]
    return f"{kind}-{number:02d}-{plain}.png" if condition else f"{kind}.png"


def _plots(results: Results) -> dict[str, Callable]:
    """Every figure there is content for, by name, not yet drawn."""
    metrics, maps, units = results.metrics, results.mean_importance, results.units
    plots: dict[str, Callable] = {}
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
    return plots | _brain_plots(results)


def _brain_plots(results: Results) -> dict[str, Callable]:
    """A mosaic for each condition, all on the colour scale of the region x time map."""
    options: dict = {"units": results.units, "space": str(results.data.get("space", ""))}
    maps = results.mean_importance
    if maps is not None:
        _, limits, _ = style.colour_scale(maps.values)
        options |= {"vmax": limits.vmax, "scale": "signed" if limits.vmin < 0 else "sequential"}
    plots = {}
    for condition, img in results.maps.items():
        if isinstance(img, Cifti2Image):
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


def _environment() -> Environment:
    """Templates with escaping always on and undefined names an error."""
    environment = Environment(
        loader=PackageLoader("neurosal.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": summary.percent, "plainly": _plainly, "seconds": _seconds}
    return environment


def _context(results: Results, written: dict[str, Path]) -> dict:
    """Everything the template needs."""
    metrics = results.metrics
    pictures = {name: _picture(path, _alt(name, results)) for name, path in written.items()}
    provenance = dict(results.provenance)
    return {
        "results": results,
        "data": results.data,
        "metrics": metrics,
        "pictures": pictures,
        "brains": {k.partition(":")[2]: v for k, v in pictures.items() if k.startswith("brain:")},
        "question": summary.question(results),
        "answer": summary.answer(results),
        "folds": summary.fold_rows(metrics),
        "interval": summary.fold_interval(metrics.get("accuracy_per_fold") or []),
        "top": summary.top_regions(results),
        "dropped": summary.dropped_counts(results.data.get("dropped") or []),
        "truth": summary.truth_rows(results),
        "versions": provenance.pop("versions", {}),
        "parameters": provenance.pop("parameters", {}),
        "provenance": provenance,
    }


def _picture(path: Path, alt: str) -> _Picture:
    """Read a PNG into the page; its size on the page is that in print at 100 dots an inch."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    scale = 100 / style.DPI
    return _Picture(source, alt, round(width * scale), round(height * scale))


def _alt(name: str, results: Results) -> str:
    """Say in words what a figure shows."""
    kind, _, condition = name.partition(":")
    metrics = results.metrics
    maps = results.mean_importance
    shape = "" if maps is None else " by ".join(f"{n} {d}s" for d, n in maps.sizes.items())
    per_fold = metrics.get("accuracy_per_fold") or [np.nan]
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
        "brain": f"Slices of the brain in rows of time: importance for {condition}.",
    }
    return words[kind]


def _seconds(value: object) -> str:
    """Write a time; a header's 0.7200000286 is 0.72 s."""
    return f"{value:.6g} s" if isinstance(value, int | float) else f"{value} s"


def _plainly(value: object) -> str:
    """Write a parameter's value on one line."""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)
