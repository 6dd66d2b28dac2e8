"""Every parameter of an analysis in one table, grouped as COBIDAS asks (Nichols et al. 2017).

Best practices in data analysis and sharing in neuroimaging using MRI, doi:10.1038/nn.4500.
"""

import json
from collections.abc import Mapping

from neurosal.reporting.results import Results
from neurosal.reporting.significance_text import settings_of_tests

_DATA = {
    "task": "task",
    "source": "source",
    "n_subjects": "subjects",
    "n_runs": "runs",
    "n_windows": "windows",
    "t_r": "repetition time (s)",
    "space": "space",
}
_WINDOWS = {
    "window": "window length (s)",
    "lag": "lag after event onset (s)",
    "merge": "events joined over gaps up to (s)",
    "conditions": "conditions",
    "label": "label",
}
_MADE_ELSEWHERE = ("classifier", "verbose", "random_state", "extraction", "lag", "window")
_CLEANING = ("detrend", "standardize", "high_pass", "confounds", "scrubbed")
_EXPLAINING = ("method", "target", "output", "baseline", "at", "seed")


def parameter_groups(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """List all parameters by the step of the analysis they belong to.

    Parameters
    ----------
    results : Results
        With ``data``, ``metrics``, ``provenance`` and attributes of ``importance``.

    Returns
    -------
    list of tuple
        Step, and pairs of name and value; steps of which nothing is known are left out.

    Examples
    --------
    >>> parameter_groups(Results("", data={"n_subjects": 8, "lag": 5.0}))
    [('Data', [('subjects', '8')]), ('Windows', [('lag after event onset (s)', '5')])]
    """
    attrs = {} if results.importance is None else dict(results.importance.attrs)
    parameters = dict(results.provenance.get("parameters") or {})
    cleaned = attrs.get("cleaned") if isinstance(attrs.get("cleaned"), Mapping) else {}
    cleaning = {key: cleaned[key] for key in _CLEANING if key in cleaned}
    limit = (parameters.get("extraction") or {}).get("scrub_mm")
    cleaning |= {"frames scrubbed above (mm)": limit} if limit else {}
    groups = [
        ("Data", _named(results.data, _DATA)),
        ("Regions", _atlas(results)),
        ("Cleaning of the series", _rows(cleaning)),
        ("Windows", _windows(results, parameters | attrs)),
        ("Decoder", _decoder(results, parameters)),
        ("Cross-validation", _folds(results)),
        ("Explanation", _explanation(attrs)),
        *((f"Statistics over subjects{of}", _rows(test)) for of, test in _tests(results)),
    ]
    return [(name, rows) for name, rows in groups if rows]


def plainly(value: object) -> str:
    """Write a parameter's value on one line.

    Parameters
    ----------
    value : object
        Text, number, list, dict or None.

    Returns
    -------
    str
        Text as it is, the rest as JSON.

    Examples
    --------
    >>> plainly(None), plainly(0.7200000286), plainly({"a": (1, 2)})
    ('none', '0.72', '{"a": [1, 2]}')
    """
    if value is None:
        return "none"
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, default=str, ensure_ascii=False)


def _rows(values: Mapping) -> list[tuple[str, str]]:
    """Names with spaces, and values on one line."""
    return [(str(key).replace("_", " "), plainly(value)) for key, value in values.items()]


def _named(values: Mapping, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The values that are there, by their names in words."""
    return [(name, plainly(values[key])) for key, name in names.items() if key in values]


def _atlas(results: Results) -> list[tuple[str, str]]:
    """What the atlas is, and what of it is missing."""
    told = results.provenance.get("atlas")
    told = dict(told) if isinstance(told, Mapping) else {"name": results.data.get("atlas")}
    if results.data.get("n_regions") is not None:
        told["regions"] = results.data["n_regions"]
    told["regions without data"] = len(results.data.get("missing_regions") or [])
    for key in ("licence", "source"):
        told[key] = getattr(results.atlas, key, "")
    return (
        []
        if not told.get("name")
        else _rows({k: v for k, v in told.items() if v not in ("", None)})
    )


def _decoder(results: Results, parameters: dict) -> list[tuple[str, str]]:
    """What the decoder was told, and the network's own parameters."""
    elsewhere = (*_MADE_ELSEWHERE, *_WINDOWS, *_CLEANING)
    own = {key: value for key, value in parameters.items() if key not in elsewhere}
    network = dict(results.provenance.get("network") or {})
    if not network and "classifier" in parameters:
        network = {"classifier": parameters["classifier"]}
    skipped = ("training", "verbose", "device")
    network = {k.replace("__", " "): v for k, v in network.items() if k not in skipped}
    return _rows(own | network)


def _windows(results: Results, known: Mapping) -> list[tuple[str, str]]:
    """How windows were cut; arrays and images are windows as they come."""
    cut = dict(known) if "window" in results.data else {}
    return _named(cut | results.data, _WINDOWS)


def _explanation(attrs: Mapping) -> list[tuple[str, str]]:
    """What was explained, and the method's own arguments."""
    from neurosal.saliency.methods import METHODS

    method = METHODS.get(attrs.get("method"))
    own = method.arguments() if method else ()
    return _rows({key: attrs[key] for key in (*_EXPLAINING, *own) if key in attrs})


def _tests(results: Results) -> list[tuple[str, Mapping]]:
    """The settings of the tests over subjects; where they differ, with what was tested so."""
    alike = settings_of_tests(results)
    return [(f": {', '.join(names)}" if alike[1:] else "", told) for names, told in alike]


def _folds(results: Results) -> list[tuple[str, str]]:
    """How the folds were made and what they are compared with."""
    names = {"cv": "held out together", "n_folds": "folds", "baseline": "baseline"}
    return _named(results.metrics, names)
