"""A small study that every test of the report starts from."""

import numpy as np
import pytest
import xarray as xr
from check_cases import checks_of_every_kind
from reporting_cases import (
    NASTY,
    brain_image,
    make_attention,
    make_comparison,
    make_importance,
    make_test,
    named_atlas,
)

from neurosal.reporting.results import Results
from neurosal.validation.check import Check


@pytest.fixture(scope="session")
def results():
    """A whole study: names that would break a careless page, a missing region, known truth.

    The 24 regions are spheres of an atlas that ships with the package, under other names.
    """
    windows, mean, truth = make_importance(n_regions=24, n_conditions=3)
    names = [NASTY, *windows["region"].values[1:]]
    windows, mean, truth = (a.assign_coords(region=names) for a in (windows, mean, truth))
    windows[:, :, 1], mean[:, :, 1] = np.nan, np.nan
    conditions = mean["condition"].values.tolist()
    frames = zip(conditions, mean.mean("region").values, strict=True)
    maps = {name: brain_image(values) for name, values in frames}
    return Results(
        title="Motor task",
        data={
            "task": "MOTOR",
            "n_subjects": 4,
            "n_runs": 8,
            "n_windows": 24,
            "windows_per_condition": dict.fromkeys(conditions, 8),
            "dropped": [{"condition": "rh", "onset": 190.0, "reason": "runs past the end"}] * 3,
            "warnings": [f"region {NASTY} is small"],
            "missing_regions": ["region 1"],
            "t_r": float(np.float32(0.72)),
            "window": 4.32,
            "lag": 5.0,
            "atlas": "spheres",
            "source": "a simulated study",
        },
        metrics={
            "accuracy": 19 / 24,
            "chance": 1 / 3,
            "baseline_accuracy": 0.625,
            "accuracy_per_fold": [0.75, 0.8125, 0.8125],
            "baseline_per_fold": [0.5, 0.6875, 0.6875],
            "baseline": "logistic regression",
            "n_windows": 24,
            "n_folds": 3,
            "cv": "leave subjects out",
            "truth_aupr": 0.4321,
            "truth_aupr_random": 0.1234,
            "truth_aupr_per_condition": dict.fromkeys(conditions, 0.5),
        },
        confusion=xr.DataArray(
            [[6, 1, 1], [0, 8, 0], [2, 1, 5]],
            dims=("true", "predicted"),
            coords={"true": conditions, "predicted": conditions},
        ),
        importance=windows,
        mean_importance=mean,
        maps=maps,
        truth=truth,
        provenance={
            "versions": {"neurosal": "0.1.0"},
            "parameters": {"hidden_size": 32, "note": NASTY},
            "seed": 7,
            "command": "neurosal run data",
            "date": "2026-01-01T00:00:00+00:00",
        },
        atlas=named_atlas(names),
        statistics=make_test(mean),
        trust=[
            Check("recovery", "Does it?", "passed", "Area .90, random map .10.", "Real data."),
            Check(NASTY, "Is it?", "flagged", "Correlation .91.", "Everything else."),
            checks_of_every_kind()["temporal bias"],
        ],
        comparison=make_comparison(windows),
        attention=make_attention(windows),
        files={"importance.tsv": "mean importance"},
    )
