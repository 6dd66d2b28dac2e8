"""The methods section, written from the parameters that were used, ready to be pasted.

Each paragraph is built from what the results say was done; what they do not say is left out.
Citations are marks such as ``[@ismail2019]`` until :mod:`neurosal.reporting.references` turns them
into author and year.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from neurosal.loaders.rest import SHORTEST
from neurosal.parcellation.maps import MapsAtlas
from neurosal.reporting.methods_model import decoder_text, explanation_text
from neurosal.reporting.references import Reference, as_read, cited, reference_of
from neurosal.reporting.results import Results
from neurosal.reporting.significance_text import settings_of_tests

_STRATEGIES = ("simple", "scrubbing", "compcor", "ica_aroma")
_CORRECTIONS = {
    "max-t": "family-wise over {cells} by the largest absolute t of each flip",
    "cluster": "family-wise for clusters of neighbours in atlas and time [@maris2007]",
    "fdr": "to control the false discovery rate over {cells} [@benjamini1995]",
    "none": "not at all for the number of cells",
}


@dataclass(frozen=True)
class MethodsText:
    """A methods section.

    Parameters
    ----------
    paragraphs : list of tuple of str, str
        Heading and text of each, citations as author and year.
    references : list of Reference
        The works cited, by author.

    Examples
    --------
    >>> print(MethodsText([("Data", "One run.")], []).plain)
    Data. One run.
    """

    paragraphs: list[tuple[str, str]]
    references: list[Reference]

    @property
    def plain(self) -> str:
        """Text and references, to be pasted into a manuscript."""
        lines = [f"{heading}. {text}" for heading, text in self.paragraphs]
        works = [f"{work.full} {work.link}".strip() for work in self.references]
        return "\n\n".join([*lines, *(["References\n" + "\n".join(works)] if works else [])])


def methods_section(results: Results) -> MethodsText:
    """Write the methods section of an analysis.

    Parameters
    ----------
    results : Results
        With ``data``, ``provenance`` and the attributes of ``importance``.

    Returns
    -------
    MethodsText
        Paragraphs on data, regions, windows, decoder, cross-validation, explanation, statistics,
        checks and software; those of which nothing is known are left out.

    Examples
    --------
    >>> text = methods_section(Results("", data={"n_subjects": 8, "task": "MOTOR", "t_r": 0.72}))
    >>> text.paragraphs[0]
    ('Data', 'Data of the task MOTOR of 8 subjects (repetition time 0.72 s) were analysed.')
    """
    more = {}
    citation = getattr(results.atlas, "citation", "")
    if citation:
        more["atlas"] = reference_of(citation)
    written = [
        ("Data", _data(results)),
        ("Regions", _regions(results)),
        ("Windows", _windows(results)),
        ("Decoder", decoder_text(results)),
        ("Cross-validation", _validation(results)),
        ("Explanation", explanation_text(results)),
        ("Statistics over subjects", _statistics(results)),
        ("Checks of the maps", _checks(results)),
        ("Software", _software(results)),
    ]
    kept = [(heading, text) for heading, text in written if text]
    joined = " ".join(text for _, text in kept)
    return MethodsText([(h, as_read(text, more)) for h, text in kept], cited(joined, more))


def _number(value: float) -> str:
    """Write a number without a float's tail."""
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def _data(results: Results) -> str:
    """Task, subjects, runs, and what was left out."""
    data = results.data
    if data.get("n_subjects") is None:
        return ""
    n, runs = data["n_subjects"], data.get("n_runs")
    of = f" of the task {data['task']}" if data.get("task") else ""
    held = [f"{runs} run{'s' if runs != 1 else ''}"] if runs is not None else []
    held += [f"repetition time {_number(data['t_r'])} s"] if data.get("t_r") else []
    held += [f"read from {data['source']}"] if data.get("source") else []
    words = f"Data{of} of {n} subject{'s' if n != 1 else ''}"
    words += f" ({', '.join(held)})" if held else ""
    words += (
        f" were analysed in the space {data['space']}."
        if data.get("space")
        else (" were analysed.")
    )
    return words


def _regions(results: Results) -> str:
    """The atlas, and how the series were cleaned."""
    data = results.data
    if not data.get("atlas"):
        return ""
    n = f"{data['n_regions']} " if data.get("n_regions") else ""
    mark = " [@atlas]" if getattr(results.atlas, "citation", "") else ""
    means = (
        "weighted by least squares with the maps of"
        if isinstance(results.atlas, MapsAtlas)
        else "averaged within"
    )
    words = f"Signals were {means} the {n}regions of the atlas {data['atlas']}{mark}."
    missing = len(data.get("missing_regions") or [])
    if missing:
        words += (
            f" {missing} region{'s' if missing > 1 else ''} that some run does not cover "
            f"{'were' if missing > 1 else 'was'} left out."
        )
    if data.get("scaled"):
        words += " Each was brought to mean 0 and standard deviation 1 over all windows."
    steps = _cleaning(results)
    return f"{words} {steps}" if steps else words


def _cleaning(results: Results) -> str:
    """What was done to each region's series, in its order."""
    attrs = {} if results.importance is None else results.importance.attrs
    cleaned = attrs.get("cleaned")
    if not isinstance(cleaned, dict):
        return ""
    parameters = results.provenance.get("parameters") or {}
    extraction = parameters.get("extraction") or {}
    asked = parameters.get("confounds")
    steps = ["linearly detrended"] if cleaned.get("detrend") else []
    if cleaned.get("high_pass"):
        steps.append(f"high-pass filtered at {_number(cleaned['high_pass'])} Hz")
    if cleaned.get("confounds", asked):
        told = f"the strategy {asked!r}" if isinstance(asked, str) else "the confounds chosen"
        mark = " [@ciric2017]" if asked in _STRATEGIES else ""
        told += f" ({_regressors(cleaned.get('confounds'))})"
        steps.append(f"cleaned of {told} by regression{mark}")
    if cleaned.get("standardize"):
        steps.append("brought to mean 0 and standard deviation 1 within each run")
    listed = ", ".join(steps[:-1]) + " and " + steps[-1] if len(steps) > 1 else "".join(steps)
    words = f"Each region's series was {listed} [@abraham2014]." if steps else ""
    words += _from_rest(attrs)
    limit = extraction.get("scrub_mm")
    if limit or cleaned.get("scrubbed"):
        above = f" to which the head moved by more than {_number(limit)} mm" if limit else ""
        words += f" Frames{above} were not used [@power2014]."
    return words.strip()


def _regressors(names: list | None) -> str:
    """Name the regressors, if they are few and those of every run."""
    if names is None:
        return "regressors that differ between runs"
    return ", ".join(map(str, names)) if len(names) <= 12 else f"{len(names)} regressors"


def _from_rest(attrs: dict) -> str:
    """What windows that are labelled by task are measured from."""
    measured = attrs.get("measured_from")
    if attrs.get("label") != "task" or measured == "run mean":
        return ""
    some = "" if measured == "rest" else f", if it has {SHORTEST:g} s of them"
    return f" Each run was then measured from its frames at rest, whose mean was subtracted{some}."


def _windows(results: Results) -> str:
    """How windows were cut, how many there are, and why some were dropped."""
    data = results.data
    if data.get("window") is None or data.get("lag") is None:
        return ""
    words = (
        f"Windows of {_number(data['window'])} s that begin {_number(data['lag'])} s after an "
        "event's onset were cut from the series"
    )
    counts = data.get("windows_per_condition") or {}
    words += f": {', '.join(f'{name} {n}' for name, n in counts.items())}." if counts else "."
    merge = results.provenance.get("parameters", {}).get("merge")
    if merge:
        words += f" Events of one condition up to {_number(merge)} s apart were joined."
    dropped = Counter(str(one.get("reason", "not stated")) for one in data.get("dropped") or [])
    if dropped:
        told = "; ".join(f"{reason}: {n}" for reason, n in dropped.most_common())
        total = sum(dropped.values())
        words += f" {total} window{'s were' if total > 1 else ' was'} dropped ({told})."
    return words


def _validation(results: Results) -> str:
    """What was held out, and what the accuracy is compared with."""
    metrics = results.metrics
    kinds = {
        "subject": "whole subjects",
        "run": "whole runs",
        "block": "contiguous stretches of time within runs",
    }
    if metrics.get("n_folds") is None:
        return ""
    held = kinds.get(str(metrics.get("cv")), "windows")
    words = (
        f"Accuracy is that of windows held out in {metrics['n_folds']} folds that hold out {held} "
        "together; everything that sees labels was fitted on the other folds' windows."
    )
    if metrics.get("baseline"):
        words += f" The same folds were decoded by {metrics['baseline']} [@pedregosa2011]."
    if metrics.get("chance") is not None:
        words += " Chance is the share of the most frequent condition."
    if metrics.get("accuracy_p") is not None:
        words += (
            " The accuracy was compared with that of labels permuted within runs [@noirhomme2014]."
        )
    return words


def _statistics(results: Results) -> str:
    """The tests over subjects, from their own attributes."""
    alike = settings_of_tests(results)
    told = [_test(attrs, names if alike[1:] else []) for names, attrs in alike]
    maps = results.mean_importance
    known = [] if maps is None else [str(name) for name in maps["condition"].values]
    pairs = [name for name in results.statistics if known and " - " in name and name not in known]
    told += [f"{', '.join(pairs)}: first minus second, within subjects."] if pairs else []
    return " ".join(told)


def _test(attrs: Mapping, names: list[str]) -> str:
    """One test, of what is named if there are others."""
    of = f" of {attrs['n_subjects']} subjects" if "n_subjects" in attrs else ""
    flips = f"{attrs['n_flips']} flips" if "n_flips" in attrs else "flips"
    flips += ", all there are," if attrs.get("exact") == "yes" else ""
    by = f"{flips} of the signs of whole subjects [@nichols2002]"
    by = "Student's t" if attrs.get("correction") == "fdr" else by
    tail = {"two-sided": ", two-sided", None: ""}.get(attrs.get("tail"), ", one-sided")
    maps = f"The maps of {', '.join(names)}" if names else "Maps"
    words = (
        f"{maps} were averaged within subjects, and their means over the maps{of} tested against "
        f"zero{tail}, by {by}."
    )
    if attrs.get("correction") in _CORRECTIONS:
        cells = "all cells (time, region) of "
        cells += "all conditions" if attrs.get("family") == "all" else "a condition"
        words += f" P-values were corrected {_CORRECTIONS[attrs['correction']].format(cells=cells)}"
        tfce = attrs.get("threshold") == "tfce"
        words += ", with threshold-free cluster enhancement [@smith2009]" if tfce else ""
        words += f"; the level is {_number(attrs['alpha'])}." if "alpha" in attrs else "."
    if attrs.get("center"):
        words += " Each subject's map was centred first, so that cells are compared with the mean."
    return words


def _checks(results: Results) -> str:
    """Which checks were run."""
    run = [check.name for check in results.trust if check.verdict != "not run"]
    if not run:
        return ""
    return f"The maps were checked by: {', '.join(run)}. Each outcome is reported."


def _software(results: Results) -> str:
    """Packages and versions."""
    versions = dict(results.provenance.get("versions") or {})
    if not versions:
        return ""
    marks = {
        "nilearn": " [@abraham2014]",
        "scikit-learn": " [@pedregosa2011]",
        "torch": " [@paszke2019]",
    }
    own = versions.pop("neurosal", "")
    others = ", ".join(f"{name} {number}{marks.get(name, '')}" for name, number in versions.items())
    words = f"The analysis was done with neurosal {own}".rstrip()
    words += f", which uses {others}." if others else "."
    if results.atlas is not None:
        words += " Maps are drawn on the fsaverage5 surfaces [@fischl1999]."
    return words
