"""Checks of every kind, with data laid out as the functions of validation lay them out."""

import numpy as np
import xarray as xr

from neurosal.validation.check import Check

CONDITIONS = ["lf", "rf", "lh", "rh", "t"]
TIMES = 5.0 + 0.72 * np.arange(17)
MEASURES = ["size", "signed", "rank"]


def make_check(name, data, coords, *, verdict="passed", values=None):
    """A check of such data."""
    texts = ("Is it so?", verdict, f"The finding of {name}.", "All else.")
    return Check(name, *texts, values=values or {}, data=xr.Dataset(data, coords=coords))


def checks_of_every_kind(seed=0):
    """Every kind of check by its name, as the trust card names them."""
    rng = np.random.default_rng(seed)
    return {one.name: one for make in (_networks, _curves, _numbers) for one in make(rng)}


def _networks(rng):
    """What compares the map with those of other networks."""
    layers = ["output", "cell.reverse", "cell.forward", "attention.first", "attention.second"]
    maps = rng.gamma(1, size=(5, 17, 40))
    yield make_check(
        "parameter randomisation",
        {
            "retrained": ("measure", [0.9, 0.88, 0.8]),
            "cascade": (("layer", "measure"), rng.uniform(-0.1, 0.5, (5, 3))),
            "randomised": (("draw", "measure"), rng.uniform(-0.1, 0.3, (4, 3))),
            "among_randomised": (("pair", "measure"), rng.uniform(0, 1, (6, 3))),
        },
        {"measure": MEASURES, "layer": layers},
    )
    yield make_check(
        "label permutation",
        {
            "retrained": ("measure", [0.9, 0.88, 0.8]),
            "permuted": (("draw", "measure"), rng.uniform(-0.2, 0.3, (3, 3))),
            "among_permuted": (("pair", "measure"), rng.uniform(0, 1, (3, 3))),
            "own_map": (("class", "time", "region"), maps * rng.choice([-1, 1], maps.shape)),
            "permuted_map": (("class", "time", "region"), maps / 2),
        },
        {"measure": MEASURES, "class": CONDITIONS},
    )


def _curves(rng):
    """What changes something step by step."""
    starts, shares = np.array([0, 7, 14]), np.array([0.0, 0.1, 0.3, 0.5, 1.0])
    profile = rng.dirichlet(np.ones(17), size=3)
    yield make_check(
        "temporal bias",
        {
            "recovery": (("draw", "position"), rng.uniform(0.4, 0.9, (2, 3))),
            "accuracy": (("draw", "position"), rng.uniform(0.8, 1, (2, 3))),
            "profile": (("position", "time"), profile),
            "start": ("position", TIMES[starts]),
            "end": ("position", TIMES[starts + 2]),
        },
        {"time": TIMES, "position": TIMES[starts + 1]},
        values={"random": 0.05},
    )
    curves = np.sort(rng.uniform(0.2, 1, (2, 3, 5)), axis=-1)
    curves[0] = curves[0, :, ::-1]
    random = np.sort(rng.uniform(0.2, 1, (2, 9, 5)), axis=-1)
    random[0] = random[0, :, ::-1]
    yield make_check(
        "deletion and insertion",
        {
            "score": (("way", "ranking", "share"), curves),
            "random_score": (("way", "draw", "share"), random),
            "gap": ("ranking", [0.4, 0.3, 0.1]),
            "random_gap": ("draw", rng.normal(0, 0.05, 9)),
        },
        {
            "way": ["deletion", "insertion"],
            "ranking": ["each window's map", "mean map", "variance of the signal"],
            "share": shares,
        },
    )
    yield make_check(
        "remove and retrain",
        {
            "accuracy": (("ranking", "fraction", "fold"), rng.uniform(0.2, 0.6, (2, 3, 8))),
            "random_accuracy": (("draw", "fraction", "fold"), rng.uniform(0.6, 0.8, (2, 3, 8))),
            "intact_accuracy": ("fold", rng.uniform(0.7, 0.9, 8)),
        },
        {"ranking": ["map", "variance of the signal"], "fraction": [0.3, 0.5, 0.7]},
    )


def _numbers(rng):
    """What compares numbers."""
    level, halves = ["run", "subject", "fold"], ["of the maps", "retrained"]
    known = {name: ("level", rng.uniform(0.3, 0.9, 3)) for name in ("icc", "icc_agreement")}
    yield make_check(
        "reliability",
        known
        | {
            "rank_correlation": ("level", rng.uniform(0.3, 0.9, 3)),
            "n_units": ("level", [2, 8, 8]),
            "half_agreement": ("halves", [0.5, 0.3]),
            "null": (("halves", "draw"), rng.normal(0, 0.08, (2, 99))),
            "leave_one_out": ("subject", rng.uniform(0.4, 0.8, 8)),
        },
        {"level": level, "halves": halves},
    )
    sizes = rng.gamma(1, size=(2, 5, 40))
    yield make_check(
        "GLM contrast",
        {
            "importance": (("condition", "region"), sizes[0]),
            "contrast": (("condition", "region"), sizes[1]),
            "correlation": ("condition", rng.uniform(0, 1, 5)),
        },
        {"condition": CONDITIONS},
        verdict="reported",
    )
    cells = rng.normal(size=(2, 5, 17, 40))
    yield make_check(
        "linear pattern",
        {
            "importance": (("condition", "time", "region"), cells[0]),
            "pattern": (("condition", "time", "region"), cells[1]),
            "correlation": ("condition", rng.uniform(0, 1, 5)),
        },
        {"condition": CONDITIONS},
        verdict="reported",
    )
    rows = ["map", "signal of each class", "signal", "best for all classes"]
    yield make_check(
        "known truth",
        {
            "aupr": (("map", "condition"), rng.uniform(0.1, 1, (4, 5))),
            "importance": (("condition", "time", "region"), cells[0]),
            "truth": (("condition", "time", "region"), cells[0] > 1),
        },
        {"map": rows, "condition": CONDITIONS},
        values={"aupr_random": 0.08},
    )
    pictures = [
        "mean absolute signal of the class",
        "mean absolute signal",
        "absolute mean signal of the class",
        "standard deviation",
        "absolute signal of each window",
    ]
    yield make_check(
        "signal size",
        {
            "correlation": (("picture", "class"), rng.uniform(0, 0.7, (5, 5))),
            "importance": (("class", "time", "region"), abs(cells[0])),
            "signal": (("class", "time", "region"), abs(cells[1])),
        },
        {"picture": pictures, "class": CONDITIONS},
    )
    yield make_check(
        "accuracy",
        {
            "null": ("permutation", rng.binomial(80, 0.2, 500) / 80),
            "accuracy": ("group", rng.uniform(0.6, 1, 16)),
        },
        {"group": [f"run {k}" for k in range(16)]},
        values={"accuracy": 0.8, "chance": 0.2, "p": 0.002},
    )
