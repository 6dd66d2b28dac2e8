"""The trust card: true maps pass, false ones are flagged, and what cannot be done says why."""

import types
import warnings

import numpy as np
import pytest
import xarray as xr
from region_study import region_study

from neurosal.errors import ArgumentError
from neurosal.inference import prediction_test
from neurosal.models import InputCellClassifier, Training
from neurosal.reporting.check_figures import can_draw
from neurosal.saliency.window_decoder import WindowDecoder, cross_explain
from neurosal.validation.card import trust_card
from neurosal.validation.card_rows import ROWS
from neurosal.validation.check import Check
from neurosal.validation.parts import Parts, take_apart
from neurosal.validation.twins import shuffle_within

#: Without the two that train most.
MOST = {
    name: row.quick
    for name, row in ROWS.items()
    if name not in ("temporal bias", "remove and retrain")
}


def small(**training):
    """A decoder like the default one, in less time."""
    options = {"max_epochs": 25, "time_mask": (0.2, 0.5)} | training
    classifier = InputCellClassifier(
        24, hops=4, bidirectional=True, read="both-ends", training=Training(**options)
    )
    return WindowDecoder(classifier)


def fitted(study, decoder, y=None):
    """What SaliencyDecoder has after fit, of region series without images."""
    y = study.y.astype(str) if y is None else y
    windows = study.windows.assign_coords(condition=("sample", y))
    folds = study.folds()
    predictions, maps, fold_decoders = cross_explain(decoder, windows, y, folds)
    return types.SimpleNamespace(
        windows_=windows,
        folds_=folds,
        fold_decoders_=fold_decoders,
        decoder_=decoder.fit(windows, y),
        cv_predictions_=predictions,
        saliency_=maps,
    )


@pytest.fixture(scope="module")
def study():
    return region_study(seed=1, n_subjects=4)


@pytest.fixture(scope="module")
def true(study):
    return fitted(study, small())


@pytest.fixture(scope="module")
def untrained(study):
    return fitted(study, small(max_epochs=1, learning_rate=1e-12, weight_decay=0.0))


@pytest.fixture(scope="module")
def shuffled(study):
    groups = study.windows["subject"].to_numpy()
    labels = shuffle_within(study.y.astype(str), groups, rng=np.random.default_rng(7))
    return fitted(study, small(), labels)


def names(card):
    return {check.name for check in card.flagged}


@pytest.mark.slow
def test_the_true_map_passes_every_check(study, true):
    card = trust_card(true, checks=MOST, truth=study.truth)
    assert not card.flagged, card.table()[["check", "finding"]].to_string()
    verdicts = card.table().set_index("check")["verdict"]
    assert (verdicts.drop(["GLM contrast", "linear pattern"]) == "passed").all()
    assert card["GLM contrast"].verdict == "reported"
    assert all(check.cannot_show and can_draw(check) for check in card)


@pytest.mark.slow
def test_decoders_that_learnt_nothing_are_flagged(untrained, shuffled):
    # Without the truth, as with measured data.
    card = trust_card(untrained, checks=MOST)
    assert {"accuracy", "parameter randomisation", "label permutation"} <= names(card)
    assert trust_card(shuffled, checks=["accuracy"]).flagged


@pytest.mark.slow
def test_false_maps_are_flagged_beside_a_true_decoder(study, true, untrained, shuffled):
    sizes, rng = abs(study.windows), np.random.default_rng(0)
    edges = sizes.groupby("condition").mean()
    false = {
        "untrained": (untrained.saliency_, {"parameter randomisation", "label permutation"}),
        "shuffled": (shuffled.saliency_, {"parameter randomisation", "label permutation"}),
        "random": (rng.normal(size=sizes.shape), {"parameter randomisation", "label permutation"}),
        "absolute signal": (sizes, {"signal size"}),
        "its mean": (sizes.mean("sample").expand_dims(sample=len(sizes)), {"signal size"}),
        "of each condition": (edges, {"signal size"}),
    }
    for name, (maps, expected) in false.items():
        card = trust_card(true, checks=MOST, maps=maps)
        assert expected <= names(card), (name, card.table()[["check", "verdict"]])
        if name in ("untrained", "shuffled", "random"):
            assert "known truth" in names(
                trust_card(true, checks=["known truth"], maps=maps, truth=study.truth)
            )


@pytest.mark.slow
def test_all_checks_run_on_a_small_study(study, true):
    options = {name: dict(row.quick) for name, row in ROWS.items()}
    options["remove and retrain"] = {"fractions": (0.5,), "n_random": 1}
    card = trust_card(true, checks=options, truth=study.truth)
    assert "not run" not in set(card.table()["verdict"])


def test_what_does_not_apply_says_why(study, true):
    mean = true.saliency_.groupby("condition").mean()
    card = trust_card(true, maps=mean, checks=["known truth", "temporal bias", "reliability"])
    assert set(card.table()["verdict"]) == {"not run"}
    assert "truth is not known" in card["known truth"].finding
    assert "not the decoder's own" in card["temporal bias"].finding
    assert "a map of each window" in card["reliability"].finding
    quick = trust_card(true, checks={"remove and retrain": {"skip": True}})
    assert "checks='full'" in quick["remove and retrain"].finding
    assert not card.flagged


def test_short_windows_have_fewer_positions_for_a_signal():
    """The full card asks for more positions than a window of few frames has."""
    X, y = np.random.default_rng(0).normal(size=(12, 4, 3)), np.tile(["a", "b"], 6)
    most, found = {"temporal bias": ROWS["temporal bias"].full | {"n_draws": 1}}, []
    for steps in (4, 1):
        windows = xr.DataArray(X[:, :steps], dims=("sample", "time", "region"))
        decoder = small(max_epochs=1).fit(windows, y)
        parts = Parts(windows, y, [], [], decoder, y, windows)
        found.append(trust_card(parts, checks=most)["temporal bias"])
    assert found[0].data.sizes["position"] == 4
    assert "one time point only" in found[1].finding


def test_maps_are_taken_by_window_and_by_condition_and_by_name(true):
    whole = take_apart(true)
    order = np.random.default_rng(0).permutation(whole.windows.sizes["region"])
    again = take_apart(true, maps=true.saliency_[:, :, order])
    np.testing.assert_array_equal(again.maps, true.saliency_)
    mean = true.saliency_.groupby("condition").mean()
    for one in (mean[::-1], np.asarray(mean.sortby("condition"))):
        spread = take_apart(true, maps=one)
        assert (spread.averaged, spread.foreign) == (True, True)
        np.testing.assert_allclose(spread.importance, whole.importance, atol=1e-6)
    with pytest.raises(ArgumentError, match=r"lack the condition.* t\. Got"):
        take_apart(true, maps=mean[:2])
    for shape in [(3, 4), (5, 17, 38), (48, 17, 3)]:
        with pytest.raises(ArgumentError, match="maps must be"):
            take_apart(true, maps=np.zeros(shape))


def test_labels_are_shuffled_within_the_runs_of_each_task():
    """Run 1 of one task and run 1 of another are two runs, as for the test of the accuracy."""
    tasks, labels = np.repeat(["motor", "memory"], 40), np.tile([["lh", "rh"], ["0bk", "2bk"]], 20)
    y = np.random.default_rng(0).permuted(labels, axis=1).ravel()
    coords = {name: ("sample", np.full(80, "1")) for name in ("subject", "session", "run")}
    coords |= {"task": ("sample", tasks), "condition": ("sample", y)}
    windows = xr.DataArray(np.zeros((80, 1, 1)), dims=("sample", "time", "region"), coords=coords)
    guess = np.where(tasks == "motor", "lh", "0bk")
    parts = Parts(windows, y, [], [], None, guess, windows)
    found = trust_card(parts, checks=["accuracy"])["accuracy"].values
    test = prediction_test(guess, y, windows)
    assert found["p"] == test["p"].item() == 1.0
    assert found["chance"] == test["chance"].item() == 0.5
    assert set(Parts(windows, tasks, [], [], None, tasks, windows).groups) == {"1 1 1"}


def test_regions_that_a_run_does_not_cover_are_left_out(study, true):
    lost = xr.full_like(study.windows[:, :, :1], np.nan).assign_coords(region=["lost"])
    wider = types.SimpleNamespace(**vars(true))
    wider.windows_ = xr.concat([true.windows_, lost], "region", coords="minimal", compat="override")
    wider.saliency_ = xr.concat(
        [true.saliency_, lost], "region", coords="minimal", compat="override"
    )
    checks = {name: MOST[name] for name in ("signal size", "GLM contrast")}
    one, other = trust_card(true, checks=checks), trust_card(wider, checks=checks)
    assert one["signal size"].values == pytest.approx(other["signal size"].values)
    assert other["GLM contrast"].verdict == "reported"


def test_an_interruption_keeps_what_is_done(true, monkeypatch):
    def stopped(work, **options):
        raise KeyboardInterrupt

    def softly_stopped(work, **options):
        warnings.warn("Training was interrupted after 3 of 40 epochs; the", stacklevel=1)
        return Check("signal size", "?", "passed", "Half done.", "-")

    for stop in (stopped, softly_stopped):
        monkeypatch.setitem(ROWS, "signal size", ROWS["signal size"]._replace(run=stop))
        card = trust_card(true, checks=["accuracy", "signal size", "linear pattern"])
        assert card.interrupted
        verdicts = [check.verdict for check in card]
        assert verdicts == ["passed", "not run", "not run"]
        assert "interrupted" in card["linear pattern"].finding


def test_the_card_is_the_same_again_and_has_numbers(true):
    checks = {"parameter randomisation": {"n_networks": 2, "most_windows": 12}}
    one, other = (trust_card(true, checks=checks, seed=3) for _ in range(2))
    assert one.metrics() == other.metrics()
    row = one.metrics()["parameter randomisation"]
    assert row["verdict"] == "passed"
    assert 0 < row["learnt"] < 1.5


def test_unknown_checks_and_decoders_are_refused(true):
    for checks in ("quik", ["accuracies"], {"accuracies": {}}):
        with pytest.raises(ArgumentError, match="checks must be one of"):
            trust_card(true, checks=checks)
    with pytest.raises(ArgumentError, match="checks must name one or more"):
        trust_card(true, checks=[])
    with pytest.raises(ArgumentError, match="decoder must be fitted"):
        trust_card(small())
    card = trust_card(true, checks={"parameter randomisation": {"n_networks": 0}})
    assert card["parameter randomisation"].verdict == "not run"
