"""Whether a map comes out again: agreement over runs, subjects, folds, seeds and halves."""

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.parcellation.coverage import covered
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.agreement import intraclass_correlation, leave_one_out, rank_correlations
from neurosal.validation.check import Check
from neurosal.validation.halves import (
    HalfTest,
    compare_halves,
    halve,
    mean_maps,
    retrained_halves,
    retrained_seeds,
)
from neurosal.validation.removal import Folds

LEVEL = 0.05
N_SPLITS = 20
QUESTION = "Does the map come out again from other runs, subjects, seeds and halves of the data?"
CANNOT_SHOW = (
    "A map can be reliable and wrong: a bias comes out again each time. Maps of different folds, "
    "runs and subjects come from decoders that share most of their training windows, so they "
    "agree more than those of separate studies would; only the retrained halves share nothing."
)


def reliability(
    maps: xr.DataArray,
    *,
    y: object,
    folds: Folds,
    decoder: WindowDecoder | None = None,
    windows: xr.DataArray | None = None,
    n_halvings: int = 3,
    n_seeds: int = 0,
    n_flips: int = 999,
    seed: int = 0,
    progress: bool = False,
) -> Check:
    """See how far mean maps (condition, time, region) agree between parts of the data.

    Maps are averaged within each condition of each run, subject, fold or seed; those are compared
    by ICC(3,1), ICC(2,1) and Spearman's rank correlation (mean over pairs), and each subject's map
    with the mean of the others'. Runs of one name count together over subjects. Only cells that
    every fold's decoder was given are compared, for zeros that screening puts in all maps alike
    would pass for agreement; and only conditions that each part has.

    Halves are tested against chance: the subjects (or runs, or folds, if there is one only) are
    split, and the two mean maps compared. By chance each region's share in their correlation is as
    often negative as positive, so the regions' shares change sign at random, each as a whole,
    which keeps the course within a region; what all regions of a time point have in common does
    not count. Regions are taken as independent of each other; where neighbours are not, p is too
    small.

    With a ``decoder``, twins of it with other seeds are trained on each half alone and explain
    their own half: these maps share nothing. Halves of the maps given do not: each was made by a
    decoder that was trained on the other, so that they agree even where there is nothing to
    decode. The check is flagged if either kind of halves agrees no more than chance (p > 0.05).
    Without a decoder, or where no two halves have all classes, it cannot be passed, only reported.

    Parameters
    ----------
    maps : xarray.DataArray of shape (sample, time, region)
        Each window explained by the decoder that did not train on it; ``subject``, ``session`` and
        ``run`` on ``sample``, as far as known.
    y : array-like of shape (sample,)
        The windows' classes.
    folds : sequence of (train, test)
        Index arrays.
    decoder : WindowDecoder, optional
        Unfitted; retrained on halves and with other seeds.
    windows : xarray.DataArray or array of shape (sample, time, region), optional
        The windows, to retrain on.
    n_halvings : int
        How often to halve and retrain: two trainings on half of the windows each time.
    n_seeds : int
        How many further seeds to cross-validate with: as many trainings as folds each time.
    n_flips : int
        Random changes of sign.
    seed : int
        Of the halves, the signs and the decoders trained.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    Check
        ``data`` holds ``icc``, ``icc_agreement``, ``rank_correlation`` and ``n_units`` (level),
        ``leave_one_out`` (subject), ``half_correlation``, ``half_agreement`` (what is tested) and
        ``p`` (halves), and ``null`` (halves, draw).

    Raises
    ------
    ArgumentError
        If shapes do not fit, or retraining is asked for without windows.

    References
    ----------
    Shrout & Fleiss (1979), Intraclass correlations: uses in assessing rater reliability.
    https://doi.org/10.1037/0033-2909.86.2.420

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y, subjects = np.tile(["rest", "task"], 20), np.repeat(list("abcd"), 10)
    >>> truth = {name: rng.normal(size=(3, 30)) for name in ("rest", "task")}
    >>> maps = xr.DataArray(
    ...     [truth[name] + rng.normal(size=(3, 30)) for name in y],
    ...     dims=("sample", "time", "region"), coords={"subject": ("sample", subjects)})
    >>> folds = [(np.flatnonzero(subjects != s), np.flatnonzero(subjects == s)) for s in "abcd"]
    >>> check = reliability(maps, y=y, folds=folds)
    >>> check.verdict, round(check.values["icc_subject"], 1)
    ('reported', 0.8)
    """
    values, y = _values(maps, y), np.asarray(y)
    _check_windows(decoder, windows, values.shape)
    known = _units(maps, folds, len(y))
    given = np.all([(values[test] != 0).any(axis=0) for _, test in folds], axis=0)
    levels = {name: mean_maps(values, y, units) for name, units in known.items()}
    if decoder is not None and n_seeds:
        own = mean_maps(values, y, np.zeros(len(y)))
        others = retrained_seeds(decoder, windows, y, folds, n=n_seeds, seed=seed, show=progress)
        levels["seed"] = np.concatenate([own, others])
    table = {name: found for name, one in levels.items() if (found := _agree(one, given))}
    groups = next((known[name] for name in ("subject", "run", "fold") if name in known), None)
    if groups is None or not table:
        return _nothing("there is only one run and fold, or no cell that every decoder was given")
    rng = np.random.default_rng(seed)
    pairs = [
        mean_maps(np.where(given, values, np.nan), y, half)
        for half in halve(groups, y, n=N_SPLITS, rng=rng)
    ]
    tests = {"of the maps": compare_halves(pairs, n_flips=n_flips, rng=rng)}
    if decoder is not None and n_halvings:
        options = {"n": n_halvings, "rng": rng, "show": progress}
        pairs = retrained_halves(decoder, windows, y, groups, **options)
        if pairs:
            tests["retrained"] = compare_halves(pairs, n_flips=n_flips, rng=rng)
    return _judge(table, levels, given, tests)


def _values(maps: object, y: object) -> np.ndarray:
    """Maps as an array, without the regions that some run does not cover."""
    if isinstance(maps, xr.DataArray):
        maps = maps.transpose("sample", "time", "region")
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 3 or len(values) != len(np.asarray(y)):
        raise ArgumentError(
            f"maps must be (sample, time, region), one a class in y. Got {values.shape} for "
            f"{len(np.asarray(y))} classes."
        )
    return values[:, :, np.isfinite(values).all(axis=(0, 1))]


def _check_windows(decoder: object, windows: object, shape: tuple) -> None:
    """Refuse half of what retraining needs, or windows other than those of the maps."""
    if (decoder is None) != (windows is None):
        raise ArgumentError("decoder and windows must be given together, to retrain.")
    if windows is not None and covered(windows).shape != shape:
        raise ArgumentError(
            f"windows must be those of the maps, {shape} without the regions that some run does "
            f"not cover. Got {covered(windows).shape}."
        )


def _units(maps: object, folds: Folds, n: int) -> dict[str, np.ndarray]:
    """Number the run, the subject and the fold of each sample, where there are two or more."""
    coords = getattr(maps, "coords", {})
    units = {}
    if "run" in coords:
        names = [
            coords[name].to_numpy().astype(str) for name in ("session", "run") if name in coords
        ]
        units["run"] = np.unique(np.stack(names), axis=1, return_inverse=True)[1].ravel()
    if "subject" in coords:
        units["subject"] = np.unique(coords["subject"].to_numpy(), return_inverse=True)[1]
    units["fold"] = np.empty(n, dtype=int)
    for number, (_, test) in enumerate(folds):
        units["fold"][test] = number
    return {name: one for name, one in units.items() if len(np.unique(one)) > 1}


def _agree(units: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Intraclass and mean rank correlation of units' mean maps (unit, condition, time, region)."""
    flat = _flat(units, given)
    if flat.shape[1] < 2:
        return {}
    pairs = rank_correlations(flat)[np.triu_indices(len(flat), 1)]
    intraclass = intraclass_correlation(flat.T)
    return {
        "icc": intraclass.consistency,
        "icc_agreement": intraclass.agreement,
        "rank_correlation": float(pairs.mean()),
        "n_units": len(flat),
    }


def _flat(units: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Values (unit, cell) of the cells given, in the conditions that all units have."""
    shared = np.isfinite(units).all(axis=(0, 2, 3))
    return units[:, shared][:, :, given].reshape(len(units), -1)


def _nothing(why: str) -> Check:
    """Say why nothing can be compared."""
    finding = f"Not run: {why}."
    return Check("reliability", QUESTION, "not run", finding, CANNOT_SHOW)


def _judge(
    table: dict[str, dict],
    levels: dict[str, np.ndarray],
    given: np.ndarray,
    tests: dict[str, HalfTest],
) -> Check:
    """Put numbers and verdict together."""
    names = ("icc", "icc_agreement", "rank_correlation", "n_units")
    data = {name: ("level", [row[name] for row in table.values()]) for name in names}
    data |= {
        "half_correlation": ("halves", [one.correlation for one in tests.values()]),
        "half_agreement": ("halves", [one.agreement for one in tests.values()]),
        "p": ("halves", [one.p for one in tests.values()]),
        "null": (("halves", "draw"), [one.null for one in tests.values()]),
    }
    coords = {"level": list(table), "halves": list(tests)}
    values = {f"{name}_{level}": row[name] for level, row in table.items() for name in names[:3]}
    if "subject" in table:
        each = leave_one_out(_flat(levels["subject"], given))
        data["leave_one_out"] = ("subject", each)
        values |= {"leave_one_out_mean": each.mean(), "leave_one_out_least": each.min()}
    for name, one in tests.items():
        key = "retrained_halves" if name == "retrained" else "halves"
        values |= {key: one.correlation, f"p_{key}": one.p}
    failed = [one for one in tests.values() if not one.p <= LEVEL]
    verdict = "flagged" if failed else "passed" if "retrained" in tests else "reported"
    return Check(
        name="reliability",
        question=QUESTION,
        verdict=verdict,
        finding=_say(table, values, tests, given),
        cannot_show=CANNOT_SHOW,
        values={name: float(value) for name, value in values.items()},
        data=xr.Dataset(data, coords=coords),
    )


def _say(table: dict, values: dict, tests: dict[str, HalfTest], given: np.ndarray) -> str:
    """Put the numbers into words."""
    parts = [
        f"{row['n_units']} {level}s: ICC(3,1) {row['icc']:.2f}, mean rank correlation "
        f"{row['rank_correlation']:.2f}"
        for level, row in table.items()
    ]
    if "subject" in table:
        parts.append(
            f"a subject's map with the mean of the others': {values['leave_one_out_mean']:.2f} "
            f"(least {values['leave_one_out_least']:.2f})"
        )
    parts += [
        f"halves {name}{' apart' if name == 'retrained' else ''}: rank correlation "
        f"{one.correlation:.2f} over {one.n_cells} values (chance: p = {one.p:.2g})"
        for name, one in tests.items()
    ]
    return f"Mean maps over {given.sum()} cells agree thus: " + "; ".join(parts) + "."
