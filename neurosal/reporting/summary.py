"""The sentences and tables of the report: what was found, said plainly and no further."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy import stats

from neurosal.reporting.results import Results
from neurosal.reporting.significance_text import significant_counts
from neurosal.reporting.style import networks_of
from neurosal.reporting.trust import trust_words


def percent(value: float | None) -> str:
    """Write a share as a percentage with one decimal.

    Parameters
    ----------
    value : float or None
        0 to 1.

    Returns
    -------
    str
        "not stated" for None.

    Examples
    --------
    >>> percent(0.8125)
    '81.2 %'
    """
    return "not stated" if value is None else f"{100 * value:.1f} %"


def p_value(value: float) -> str:
    """Write a p-value with two digits.

    Parameters
    ----------
    value : float
        0 to 1.

    Returns
    -------
    str
        "< 0.0001" for less than that.

    Examples
    --------
    >>> p_value(0.0123), p_value(1e-6), p_value(0.5)
    ('0.012', '< 0.0001', '0.50')
    """
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def question(results: Results) -> str:
    """Say in one sentence what the analysis asks.

    Parameters
    ----------
    results : Results
        The analysis.

    Returns
    -------
    str
        A question that names the conditions.

    Examples
    --------
    >>> question(Results("Motor", data={"windows_per_condition": {"rh": 4, "lh": 4}}))
    'Which brain regions, and when, does a network look at to tell rh and lh apart?'
    """
    names = [str(name) for name in results.data.get("windows_per_condition", {})]
    if not names and results.mean_importance is not None:
        names = [str(name) for name in results.mean_importance["condition"].values]
    told = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "the conditions"
    return f"Which brain regions, and when, does a network look at to tell {told} apart?"


def answer(results: Results) -> list[str]:
    """Say what was found and how far to trust it, in a few sentences.

    Parameters
    ----------
    results : Results
        The analysis.

    Returns
    -------
    list of str
        Accuracy beside chance and baseline, what follows from it, the leading regions, how many
        cells are significant, and what the trust card says.

    Examples
    --------
    >>> answer(Results("Motor", metrics={"accuracy": 0.2, "chance": 0.25}))[1]
    'That is not above chance: the maps below describe a network that has not learned...'
    """
    metrics, sentences = results.metrics, []
    accuracy, chance = metrics.get("accuracy"), metrics.get("chance")
    baseline = metrics.get("baseline_accuracy")
    if accuracy is not None:
        beside = [f"chance is {percent(chance)}"] if chance is not None else []
        beside += [f"a baseline reaches {percent(baseline)}"] if baseline is not None else []
        if metrics.get("accuracy_p") is not None:
            told = p_value(metrics["accuracy_p"])
            equal = "" if told.startswith("<") else "= "
            beside.append(f"p {equal}{told} by permutation of labels")
        tail = f"; {', '.join(beside)}" if beside else ""
        sentences.append(f"The network names {percent(accuracy)} of held-out windows right{tail}.")
    if accuracy is not None and chance is not None:
        sentences += _caution(accuracy, chance, metrics)
    if accuracy is not None and baseline is not None and baseline >= accuracy:
        sentences.append(
            "The baseline is at least as accurate: these data give no reason to prefer the network."
        )
    return [
        *sentences,
        *_leading(results),
        *_tested(results),
        *filter(None, [trust_words(results)]),
    ]


def fold_interval(per_fold: list[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean over folds.

    Folds share training data, so the interval is an approximation, and rather too narrow.

    Parameters
    ----------
    per_fold : list of float
        Accuracy of each fold.

    Returns
    -------
    tuple of float or None
        Lower and upper end; None below three folds.

    Examples
    --------
    >>> fold_interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    if len(per_fold) < 3:
        return None
    half = stats.t.ppf(0.975, len(per_fold) - 1) * stats.sem(per_fold)
    return float(np.mean(per_fold) - half), float(np.mean(per_fold) + half)


def fold_rows(metrics: Mapping) -> list[tuple[int, float, float | None]]:
    """Number, accuracy and baseline accuracy of each fold.

    Parameters
    ----------
    metrics : mapping
        With ``accuracy_per_fold`` and, if known, ``baseline_per_fold``.

    Returns
    -------
    list of tuple
        One row a fold.

    Examples
    --------
    >>> fold_rows({"accuracy_per_fold": [0.5, 0.75], "baseline_per_fold": [0.5, 0.25]})
    [(1, 0.5, 0.5), (2, 0.75, 0.25)]
    """
    ours = list(metrics.get("accuracy_per_fold") or [])
    theirs = list(metrics.get("baseline_per_fold") or []) or [None] * len(ours)
    return [(i + 1, a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=False))]


def top_regions(results: Results, *, n: int = 5) -> list[dict]:
    """Find each condition's regions of largest absolute importance, averaged over the window.

    Parameters
    ----------
    results : Results
        With ``mean_importance`` and, for intervals over subjects, ``importance``.
    n : int, default=5
        Regions a condition, but none without importance at any time.

    Returns
    -------
    list of dict
        ``condition``, ``region``, ``network``, ``mean`` (in the importance's unit), ``low`` and
        ``high`` (95 % interval over subjects, or None) and ``peak`` (time of the largest absolute
        value, in s from event onset).

    Examples
    --------
    >>> array = xr.DataArray([[[0.5, 1.0]]], dims=("condition", "time", "region"),
    ...     coords={"condition": ["rh"], "time": [5.0], "region": ["M1", "V1"]})
    >>> [(row["region"], row["peak"]) for row in top_regions(Results("", mean_importance=array))]
    [('V1', 5.0), ('M1', 5.0)]
    """
    maps, rows = results.mean_importance, []
    if maps is None:
        return rows
    networks = networks_of(maps)
    for name, values in zip(maps["condition"].values, maps.values, strict=True):
        means = values.mean(axis=0)
        order = np.argsort(-np.abs(np.nan_to_num(means)), kind="stable")[:n]
        ends = _subject_interval(results.importance, name, order)
        for place, low_high in zip(order, ends, strict=True):
            if np.isfinite(means[place]) and values[:, place].any():
                peak = maps["time"].values[np.argmax(np.abs(values[:, place]))]
                rows.append(
                    {
                        "condition": str(name),
                        "region": str(maps["region"].values[place]),
                        "network": str(networks[place]),
                        "mean": float(means[place]),
                        "low": low_high[0],
                        "high": low_high[1],
                        "peak": float(peak),
                    }
                )
    return rows


def dropped_counts(dropped: list[dict]) -> list[tuple[str, str, int]]:
    """Count dropped windows by condition and reason.

    Parameters
    ----------
    dropped : list of dict
        With ``condition`` and ``reason``.

    Returns
    -------
    list of tuple
        Condition, reason, count; most first.

    Examples
    --------
    >>> dropped_counts([{"condition": "rh", "reason": "runs past the end"}] * 2)
    [('rh', 'runs past the end', 2)]
    """
    keys = ((str(d.get("condition", "")), str(d.get("reason", "not stated"))) for d in dropped)
    return [(*key, count) for key, count in Counter(keys).most_common()]


#: Kind of map to what its sign says, and to what bars to the left of zero are.
SIGNS = {
    "evidence": (
        "Positive importance speaks for the condition, negative importance against it.",
        "Bars to the left are regions that speak against the condition.",
    ),
    "slope": (
        "Positive importance says that more signal would speak for the condition, negative "
        "importance that it would speak against it; neither says how much signal there was.",
        "Bars to the left are regions whose signal, if it rose, would speak against the condition.",
    ),
    "size": (
        "This importance has no sign: it says how much a cell counts, not whether for the "
        "condition or against it.",
        "",
    ),
}


def truth_rows(results: Results) -> list[tuple[str, float, float | None]]:
    """Area under the precision-recall curve beside a random map's.

    Parameters
    ----------
    results : Results
        With ``truth`` and, in ``metrics``, ``truth_aupr`` and ``truth_aupr_random``, numbers or
        dicts of condition to number, and, if known, ``truth_aupr_per_condition``.

    Returns
    -------
    list of tuple
        Name, area, and a random map's area; for a condition of which none was given, that is the
        share of true entries among those with data.

    Examples
    --------
    >>> maps = xr.DataArray([[[0.0, 1.0]]], dims=("condition", "time", "region"))
    >>> metrics = {"truth_aupr": 0.9, "truth_aupr_random": 0.6}
    >>> truth_rows(Results("", metrics=metrics, mean_importance=maps, truth=maps > 0))
    [('all conditions', 0.9, 0.6)]
    """
    if not results.has_truth:
        return []
    area, random = (results.metrics.get(f"truth_aupr{end}") for end in ("", "_random"))
    each = results.metrics.get("truth_aupr_per_condition") or {}
    if isinstance(area, Mapping):
        each, area = area, None
    beside = random if isinstance(random, Mapping) else _true_shares(results)
    rows = [(str(name), float(value), beside.get(name)) for name, value in each.items()]
    if area is not None:
        total = None if isinstance(random, Mapping) else random
        rows.insert(0, ("all conditions", float(area), total))
    return rows


def _true_shares(results: Results) -> dict:
    """Share of true entries among those with data, by condition."""
    if "condition" not in results.truth.coords:
        return {}
    known = np.isfinite(results.mean_importance.values)
    flags = results.truth.values.astype(bool)
    names = results.truth["condition"].values.tolist()
    return {name: float(f[k].mean()) for name, f, k in zip(names, flags, known, strict=True)}


def _caution(accuracy: float, chance: float, metrics: Mapping) -> list[str]:
    """Warn where the accuracy does not carry the maps."""
    ends = fold_interval(metrics.get("accuracy_per_fold") or [])
    p = metrics.get("accuracy_p")
    if accuracy <= chance:
        return [
            "That is not above chance: the maps below describe a network that has not "
            "learned the conditions, and should not be interpreted."
        ]
    if p is not None and p > 0.05:
        return [
            "The permutation test does not tell that accuracy from chance: the maps below should "
            "not be interpreted."
        ]
    if ends is not None and ends[0] <= chance:
        return [
            f"Over folds the 95 % interval, {percent(max(ends[0], 0))} to "
            f"{percent(min(ends[1], 1))}, includes chance: read the maps with caution."
        ]
    return []


def _leading(results: Results) -> list[str]:
    """Name each condition's first region."""
    rows = top_regions(results, n=1)
    if not rows:
        return []
    named = "; ".join(f"{row['condition']}: {row['region']} ({row['network']})" for row in rows)
    return [f"Largest mean importance by condition: {named}."]


def _tested(results: Results) -> list[str]:
    """Count the significant cells of each condition."""
    counts = significant_counts(results)
    if not counts:
        return []
    told = "; ".join(f"{name}: {some} of {tested} cells" for name, some, tested, _ in counts)
    return [f"Significant over subjects: {told}."]


def _subject_interval(
    importance: xr.DataArray | None, condition: object, places: np.ndarray
) -> list[tuple[float | None, float | None]]:
    """Student's 95 % interval over subjects of some regions' mean importance."""
    unknown = [(None, None)] * len(places)
    if importance is None or not {"condition", "subject"} <= set(importance.coords):
        return unknown
    rows = importance["condition"].values == condition
    subjects = importance["subject"].values[rows]
    if len(set(subjects.tolist())) < 3:
        return unknown
    values = importance.values[rows][:, :, places].mean(axis=1)
    means = np.stack([values[subjects == name].mean(axis=0) for name in np.unique(subjects)])
    half = stats.t.ppf(0.975, len(means) - 1) * stats.sem(means, axis=0)
    return [(float(m - h), float(m + h)) for m, h in zip(means.mean(axis=0), half, strict=True)]
