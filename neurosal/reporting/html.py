"""The report: one page with its figures inside, which asks nothing of the network."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from markupsafe import Markup
from PIL import Image, features

from neurosal.errors import DataError
from neurosal.reporting import parameters, slider, style, summary, trust
from neurosal.reporting import significance_text as tests
from neurosal.reporting.check_figures import can_draw, check_caption
from neurosal.reporting.methods_text import methods_section
from neurosal.reporting.network_text import attention_words, method_words
from neurosal.reporting.references import cited
from neurosal.reporting.report_figures import (
    can_turn,
    report_figures,
    shared_scale,
    why_no_brain,
    words_for,
)
from neurosal.reporting.results import Results

_LARGE = 250_000
_ALWAYS = "[@haufe2014; @ismail2019; @chormai2018; @nichols2017; @abraham2014]"


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
    environment = slider.environment()
    timed = _timed(results)
    environment.filters |= {
        "at": "{:.1f}".format if timed else "{:g}".format,
        "percent": summary.percent,
        "p_value": summary.p_value,
        "seconds": _seconds,
    }
    text = environment.get_template("report.html.j2").render(
        _context(results, written), timed=timed
    )
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
        By the names of :func:`~neurosal.reporting.report_figures.report_figures`.

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
        for number, (name, draw) in enumerate(report_figures(results).items()):
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


def _context(results: Results, written: dict[str, Path]) -> dict:
    """Everything the template needs."""
    pictures = {name: _picture(path, words_for(name, results)) for name, path in written.items()}
    provenance = dict(results.provenance)
    for name in ("parameters", "network", "atlas"):
        provenance.pop(name, None)
    methods = methods_section(results)
    script = slider.slider_script()
    return {
        "results": results,
        "data": results.data,
        "metrics": results.metrics,
        "pictures": pictures,
        "brains": _brains(results, pictures),
        "slider": Markup(_slider(results)),
        "no_brain": why_no_brain(results),
        "style": Markup(slider.slider_style()),
        "script": Markup(script),
        "hash": slider.script_hash(script),
        "question": summary.question(results),
        "answer": summary.answer(results),
        "folds": summary.fold_rows(results.metrics),
        "interval": summary.fold_interval(results.metrics.get("accuracy_per_fold") or []),
        "top": summary.top_regions(results),
        "dropped": summary.dropped_counts(results.data.get("dropped") or []),
        "truth": summary.truth_rows(results),
        "signs": summary.SIGNS[results.kind_of_map],
        "counts": tests.significant_counts(results),
        "significant": tests.significant_rows(results),
        "tested": tests.statistics_words(results),
        "corrected": any(
            one.attrs.get("correction") != "none" for one in results.statistics.values()
        ),
        "checks": trust.trust_rows(results),
        "check_captions": {c.name: check_caption(c) for c in results.trust if can_draw(c)},
        "attention": attention_words(results),
        "compared": method_words(results),
        "trusted": trust.trust_words(results),
        "methods": methods,
        "groups": parameters.parameter_groups(results),
        "works": _works(methods.references),
        "screening": (results.provenance.get("parameters") or {}).get("screening_percentile"),
        "versions": provenance.pop("versions", {}),
        "provenance": {k: parameters.plainly(v) for k, v in provenance.items()},
    }


def _timed(results: Results) -> bool:
    """Tell whether the maps' times are seconds, not steps."""
    maps = results.mean_importance if results.mean_importance is not None else results.importance
    return maps is None or style.time_label(maps["time"].values) == style.TIME_LABEL


def _works(mentioned: list) -> list:
    """The works of the methods text, and those that the page itself rests on."""
    works = {work.full: work for work in [*mentioned, *cited(_ALWAYS)]}
    return [works[full] for full in sorted(works, key=str.casefold)]


def _brains(results: Results, pictures: dict[str, _Picture]) -> dict[str, list[tuple]]:
    """Each condition's mosaics with their captions."""
    captions = {"surface": "Cortical surfaces", "brain": "Slices"}
    found: dict[str, list[tuple]] = {}
    for name, picture in pictures.items():
        kind, _, condition = name.partition(":")
        if kind in captions:
            told = f"{captions[kind]}: importance over time for {condition}."
            found.setdefault(condition, []).append((picture, told))
    return found


def _slider(results: Results) -> str:
    """The turning brain, on the colours of the other pictures."""
    if not can_turn(results):
        return ""
    options = {"units": results.units, **shared_scale(results)}
    flags = _flags(results)
    maps, atlas = results.mean_importance, results.atlas
    return slider.brain_slider(maps, atlas, significant=flags, **options).fragment


def _flags(results: Results) -> xr.DataArray | None:
    """Which cells are significant, if every condition was tested on the same cells."""
    maps = results.mean_importance
    names = [str(name) for name in maps["condition"].values]
    joined = tests.joint_test(results)
    if joined is None or not set(names) <= set(results.statistics):
        return None
    flags = joined["significant"].sel(condition=names)
    if flags.sizes["time"] != maps.sizes["time"]:
        return None
    flags = flags.reindex(region=maps["region"].values, fill_value=False)
    return flags.transpose("condition", "time", "region")


def _picture(path: Path, alt: str) -> _Picture:
    """Put a figure into the page, at its size in print at 100 dots an inch.

    Pictures are stored as WebP: without loss, or, where that is large, without a loss that shows.
    """
    content, kind = path.read_bytes(), "png"
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        if features.check("webp"):
            content, kind = _as_webp(image.convert("RGB")), "webp"
    source = f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
    scale = 100 / style.DPI
    return _Picture(source, alt, round(width * scale), round(height * scale))


def _as_webp(image: Image.Image) -> bytes:
    """Store a picture as WebP."""
    out = io.BytesIO()
    image.save(out, "webp", lossless=True, method=4)
    if out.tell() > _LARGE:
        out = io.BytesIO()
        image.save(out, "webp", quality=92, method=4)
    return out.getvalue()


def _seconds(value: object) -> str:
    """Write a time; a header's 0.7200000286 is 0.72 s."""
    return f"{value:.6g} s" if isinstance(value, int | float) else f"{value} s"
