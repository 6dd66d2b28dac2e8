"""Deletion and insertion curves against a plain loop, and maps that must be flagged."""

import numpy as np
import pytest
import xarray as xr
from region_study import decoded

from neurosal.errors import ArgumentError
from neurosal.validation.faithfulness import curve_areas, deletion_insertion
from neurosal.validation.removal import class_free_map, rank_cells, replace_cells

SHARES = (0.0, 0.25, 0.6, 1.0)


class LinearDecoder:
    """Softmax of a linear score of the given cells."""

    def __init__(self, weights, given):
        dims = ("time", "region")
        self.weights, self.classes_ = weights, np.array(["a", "b", "c"])
        self.screening_ = xr.DataArray(given, dims=dims)

    def predict_proba(self, windows):
        scores = np.einsum(
            "str,ctr->sc", np.asarray(windows) * self.screening_.values, self.weights
        )
        powers = np.exp(scores)
        return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def linear():
    rng = np.random.default_rng(0)
    given = rng.random((3, 5)) < 0.7
    X = rng.normal(size=(30, 3, 5)) + 0.5
    y = np.tile(["a", "b", "c"], 10)
    folds = [(np.arange(10, 30), np.arange(10)), (np.arange(10), np.arange(10, 30))]
    decoders = [LinearDecoder(rng.normal(size=(3, 3, 5)), given) for _ in folds]
    return {"maps": rng.normal(size=X.shape), "windows": X}, {
        "y": y,
        "folds": folds,
        "fold_decoders": decoders,
        "shares": SHARES,
    }


def plain_curves(maps, X, y, folds, decoders, order_of):
    """(measure, way, share): cells taken away one by one, window by window."""
    out = np.zeros((2, 2, len(SHARES)))
    for (train, test), decoder in zip(folds, decoders, strict=True):
        cells = [tuple(cell) for cell in np.argwhere(decoder.screening_.values)]
        for sample in test:
            importance = order_of(maps, X, y, train, sample)
            falling = sorted(cells, key=lambda cell: -importance[cell])
            for place, share in enumerate(SHARES):
                first = falling[: round(share * len(cells))]
                for way, removed in enumerate([first, [c for c in cells if c not in first]]):
                    window = X[sample].copy()
                    for cell in removed:
                        window[cell] = np.mean([X[other][cell] for other in train])
                    chances = decoder.predict_proba(window[None])[0]
                    truth = list(decoder.classes_).index(y[sample])
                    out[:, way, place] += [np.argmax(chances) == truth, chances[truth]]
    return out / sum(len(test) for _, test in folds)


def by_own_map(maps, X, y, train, sample):
    return np.abs(maps[sample])


def by_mean_map(maps, X, y, train, sample):
    means = [np.mean([maps[i] for i in train if y[i] == one], axis=0) for one in "abc"]
    return sum(np.abs(one) for one in means)


def by_signal(maps, X, y, train, sample):
    return np.var([X[i] for i in train], axis=0)


@pytest.mark.parametrize(("number", "order_of"), enumerate([by_own_map, by_mean_map, by_signal]))
def test_curves_equal_a_plain_loop(linear, number, order_of):
    arrays, options = linear
    check = deletion_insertion(**arrays, **options)
    expected = plain_curves(
        arrays["maps"],
        arrays["windows"],
        options["y"],
        options["folds"],
        options["fold_decoders"],
        order_of,
    )
    found = check.data.isel(ranking=number)
    np.testing.assert_allclose(found["accuracy"], expected[0], atol=1e-12)
    np.testing.assert_allclose(found["score"], expected[1], atol=1e-12)
    areas = [np.trapezoid(curve, SHARES) for curve in expected[1]]
    assert float(found["gap"]) == pytest.approx(areas[1] - areas[0], abs=1e-12)


def test_additive_maps_rank_by_value_others_by_size(linear):
    arrays, options = linear
    maps = xr.DataArray(arrays["maps"], dims=("sample", "time", "region"))
    of = {}
    for method in ("integrated_gradients", "gradient"):
        named = maps.assign_attrs(method=method)
        of[method] = deletion_insertion(named, arrays["windows"], **options).data["score"][:, 0]
    plain = deletion_insertion(**arrays, **options).data["score"][:, 0]
    exponential = deletion_insertion(np.exp(arrays["maps"]), arrays["windows"], **options).data
    np.testing.assert_array_equal(of["gradient"], plain)
    np.testing.assert_array_equal(of["integrated_gradients"], exponential["score"][:, 0])


def test_both_ways_start_and_end_alike(linear):
    arrays, options = linear
    data = deletion_insertion(**arrays, **options).data
    for name in ("score", "accuracy", "random_score", "random_accuracy"):
        values = data[name].to_numpy()
        np.testing.assert_allclose(values[0, :, 0], values[1, :, -1])
        np.testing.assert_allclose(values[0, :, -1], values[1, :, 0])
        assert np.ptp(values[0, :, 0]) < 1e-12


def test_same_seed_same_result_and_fewer_windows(linear):
    arrays, options = linear
    one, two = (deletion_insertion(**arrays, **options, seed=3) for _ in range(2))
    assert one.data.identical(two.data)
    fewer = deletion_insertion(**arrays, **options, most_windows=7)
    assert fewer.values["n_windows"] == 7


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2, 3))])
def test_true_maps_pass_and_random_maps_are_flagged(seed):
    found = decoded(seed)
    study, rng = found.study, np.random.default_rng(seed)
    options = {"y": found.y, "folds": study.folds(), "fold_decoders": found.fold_decoders}
    check = deletion_insertion(found.maps, study.windows, **options)
    assert check.verdict == "passed", check.finding
    assert check.values["gap_mean_map"] > check.values["gap_mean_signal"]
    for draw in (rng.normal(size=found.maps.shape), rng.random(found.maps.shape)):
        other = deletion_insertion(found.maps.copy(data=draw), study.windows, **options)
        assert other.verdict == "flagged", other.finding


def test_a_map_turned_round_is_worse_than_random():
    found = decoded(0)
    options = {"y": found.y, "folds": found.study.folds(), "fold_decoders": found.fold_decoders}
    check = deletion_insertion(-found.maps, found.study.windows, **options)
    assert check.values["gap_window_map"] < float(check.data["random_gap"].min()) < 0
    assert check.flagged


def test_regions_that_no_run_covers_do_not_matter():
    found = decoded(0)
    options = {"y": found.y, "folds": found.study.folds(), "fold_decoders": found.fold_decoders}
    expected = deletion_insertion(found.maps, found.study.windows, **options)
    wider = [
        one.pad(region=(0, 1)).assign_coords(region=[*one["region"].values, "outside"])
        for one in (found.maps, found.study.windows)
    ]
    assert deletion_insertion(*wider, **options).values == expected.values


def test_ties_are_broken_at_random():
    ranks = rank_cells(np.zeros((500, 4)), np.random.default_rng(0))
    assert (np.sort(ranks, axis=1) == np.arange(4)).all()
    assert np.abs(ranks.mean(axis=0) - 1.5).max() < 0.2


def test_parts():
    given = np.array([[True, False], [True, True]])
    X = np.arange(8.0).reshape(2, 2, 2)
    out = replace_cells(X, given, np.array([[True, False, False], [False, False, True]]), X[0] - 9)
    assert out.tolist() == [[[-9, 1], [2, 3]], [[4, 5], [6, -6]]]
    maps = np.array([[[2.0]], [[-4.0]], [[1.0]], [[2.0]]])
    assert class_free_map(maps, np.array([0, 0, 1, 1])).tolist() == [[(1 + 1.5) / 2]]
    assert curve_areas(np.array([0, 1.0, 1.0]), np.array([0, 0.5, 1])) == pytest.approx(0.75)


def test_bad_arguments(linear):
    arrays, options = linear
    wrong = [
        ({"shares": (0.0, 0.5)}, "begin at 0 and end at 1"),
        ({"shares": (0.0, 0.7, 0.2, 1.0)}, "shares must rise within 0 and 1"),
        ({"n_random": 0}, "n_random and most_windows be 1 or more"),
        ({"maps": arrays["maps"][:, :2]}, r"maps must be .* = \(30, 3, 5\)"),
        ({"windows": arrays["windows"] * np.nan}, "windows must be finite"),
    ]
    for change, message in wrong:
        with pytest.raises(ArgumentError, match=message):
            deletion_insertion(**{**arrays, **options, **change})
