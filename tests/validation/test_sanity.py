"""Randomised parameters, shuffled labels, the signal's size, accuracy and known truth."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from neurosal.errors import ArgumentError, DataError, NeurosalError
from neurosal.inference import prediction_test
from neurosal.models import InputCellClassifier, NetworkClassifier, Training
from neurosal.saliency.network import as_network
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.chance import above_chance
from neurosal.validation.known_truth import known_truth
from neurosal.validation.likeness import likeness
from neurosal.validation.sanity import label_permutation, parameter_randomisation
from neurosal.validation.signal_size import signal_size
from neurosal.validation.twins import (
    balanced_sample,
    changed_parameters,
    layers_of,
    randomised,
    shuffle_labels,
)

CLASSES = np.array(["left", "rest", "right"])


class Painter(WindowDecoder):
    """A decoder whose maps are a picture of its input, whatever its network has learnt."""

    def explain(self, X, y=None, *, target="true"):
        windows = xr.DataArray(np.asarray(X), dims=("sample", "time", "region"))
        return abs(windows) * self.screening_


@pytest.fixture(scope="module")
def data():
    """Windows whose classes differ in three cells each, in autocorrelated noise."""
    rng = np.random.default_rng(4)
    y = np.tile(CLASSES, 16)
    X = rng.normal(size=(48, 8, 20))
    X[:, 1:] += X[:, :-1]
    for number, name in enumerate(CLASSES):
        X[np.flatnonzero(y == name), 2 + 2 * number, 5 * number : 5 * number + 3] += 2.5
    return X, y


@pytest.fixture(scope="module")
def decoder(data):
    small = InputCellClassifier(
        16, hops=3, bidirectional=True, read="both-ends", training=Training(max_epochs=25)
    )
    return WindowDecoder(small, screening_percentile=40).fit(*data)


@pytest.fixture(scope="module")
def maps(decoder, data):
    return decoder.explain(*data)


def weights(decoder):
    modules = as_network(decoder.classifier_).modules
    return {name: p.detach().clone() for name, p in modules[0].named_parameters()}


def test_likeness_is_the_mean_correlation_over_classes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 7))
    flat = [(one.ravel(), other.ravel()) for one, other in zip(a, b, strict=True)]
    found = likeness(a, b)
    assert found.signed == pytest.approx(np.mean([np.corrcoef(*pair)[0, 1] for pair in flat]))
    sizes = [(abs(one), abs(other)) for one, other in flat]
    assert found.size == pytest.approx(np.mean([np.corrcoef(*pair)[0, 1] for pair in sizes]))
    assert found.rank == pytest.approx(np.mean([spearmanr(*pair)[0] for pair in sizes]))
    a[0] = 0.1
    assert likeness(a, b).signed == pytest.approx(
        np.mean([0, *[np.corrcoef(*pair)[0, 1] for pair in flat[1:]]])
    )


def test_every_parameter_is_drawn_anew_at_its_scale_and_the_decoder_stays(decoder):
    before = weights(decoder)
    layers = layers_of(as_network(decoder.classifier_))
    assert layers[0][0] == "output"
    names = [name for _, own in layers for name in own]
    assert sorted(names) == sorted(before)
    twin = randomised(decoder, names, seed=0)
    assert sorted(changed_parameters(decoder, twin)) == sorted(before)
    for name, values in weights(twin).items():
        assert (values != before[name]).all()
        if values.numel() > 100:
            old, new = (one.square().mean().sqrt() for one in (before[name], values))
            assert float(new / old) == pytest.approx(1, abs=0.3)
    assert all(torch.equal(values, before[name]) for name, values in weights(decoder).items())


def test_the_cascade_keeps_what_was_drawn_and_leaves_the_rest(decoder):
    first, second = layers_of(as_network(decoder.classifier_))[:2]
    one = randomised(decoder, first[1], seed=3)
    two = randomised(decoder, first[1] + second[1], seed=3)
    assert changed_parameters(decoder, one) == first[1]
    assert set(changed_parameters(one, two)) == set(second[1])


def test_parameters_that_come_back_are_refused(data, maps):
    class Stubborn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.kept = torch.nn.Parameter(torch.ones(3))
            self.output = torch.nn.Linear(20, 3)

        def forward(self, x):
            with torch.no_grad():
                self.kept.fill_(1.0)
            return self.output(x.mean(dim=1)) * self.kept

    X, y = data
    training = Training(max_epochs=2, weight_decay=0.0, learning_rate=1e-9)
    stubborn = WindowDecoder(NetworkClassifier(Stubborn(), training=training)).fit(X, y)
    with pytest.raises(NeurosalError, match=r"1 parameter.* did not change .*: kept"):
        parameter_randomisation(maps, X, y=y, decoder=stubborn, retrained=maps[:3])


def test_a_trained_map_passes_and_a_picture_of_the_input_does_not(data, decoder, maps):
    X, y = data
    options = {"y": y, "n_networks": 3}
    check = parameter_randomisation(maps, X, decoder=decoder, **options)
    assert check.verdict == "passed", check.finding
    assert check.data["cascade"].sizes == {"layer": 7, "measure": 3}
    np.testing.assert_allclose(check.data["cascade"][-1], check.data["randomised"][0])
    painter = Painter(decoder.classifier, screening_percentile=40).fit(X, y)
    check = parameter_randomisation(painter.explain(X), X, decoder=painter, **options)
    assert check.verdict == "flagged"
    assert check.values["kept"] == pytest.approx(1, abs=1e-6)
    noise = np.random.default_rng(0).normal(size=X.shape)
    assert parameter_randomisation(noise, X, decoder=decoder, **options).flagged


def test_maps_of_shuffled_labels_are_told_from_the_true_one(data, decoder, maps):
    X, y = data
    groups = np.repeat(np.arange(4), 12)
    options = {"y": y, "decoder": decoder, "groups": groups, "n_permutations": 2}
    check = label_permutation(maps, X, **options)
    assert check.verdict == "passed", check.finding
    assert check.values["retrained_signed"] > 0.7 > abs(check.values["permuted_signed"])
    labels = shuffle_labels(y, groups=groups, rng=np.random.default_rng(9))
    false = WindowDecoder(decoder.classifier, screening_percentile=40).fit(X, labels)
    assert label_permutation(false.explain(X, labels), X, **options).flagged


def test_labels_stay_in_their_groups_and_tell_little_of_the_true_ones(data):
    y, groups = np.tile(["a", "b"], 10), np.repeat(np.arange(5), 4)
    for seed in range(5):
        labels = shuffle_labels(y, groups=groups, rng=np.random.default_rng(seed))
        assert all(sorted(labels[groups == g]) == sorted(y[groups == g]) for g in range(5))
        assert abs(np.mean(labels == y) - 0.5) <= 0.1
    with pytest.raises(DataError, match="each has one class only"):
        shuffle_labels(y, groups=y, rng=np.random.default_rng(0))


def test_each_class_is_drawn_as_often():
    y = np.array(["a"] * 30 + ["b"] * 3 + ["c"] * 10)
    chosen = balanced_sample(y, most=15, rng=np.random.default_rng(0))
    assert {name: int((y[chosen] == name).sum()) for name in "abc"} == {"a": 5, "b": 3, "c": 5}


def test_pictures_of_the_signal_are_flagged_and_correlations_are_spearmans(data, decoder, maps):
    X, y = data
    check = signal_size(maps, X, y=y, decoder=decoder)
    assert check.verdict == "passed", check.finding
    given, own = decoder.screening_.to_numpy(), abs(maps.to_numpy()[y == "rest"].mean(axis=0))
    expected = spearmanr(own[given], abs(X[y == "rest"]).mean(axis=0)[given])[0]
    found = check.data["correlation"].sel({"class": "rest"})
    assert float(found[0]) == pytest.approx(expected)
    means = [abs(X)[y == name].mean(axis=0) for name in np.sort(y)]
    for picture in (abs(X), X**2, np.array(means)[np.argsort(np.argsort(y, kind="stable"))]):
        assert signal_size(picture, X, y=y, decoder=decoder).flagged


def test_the_p_value_counts_shuffles_within_groups():
    y = np.array(["a", "b", "c", "a", "b", "c"])
    groups = np.array([1, 1, 1, 2, 2, 2])
    predictions = np.array(["a", "b", "c", "a", "c", "b"])
    orders = [np.array(order) for order in itertools.permutations(range(3))]
    hits = [
        np.mean(np.concatenate([y[:3][one], y[3:][two]]) == predictions)
        for one, two in itertools.product(orders, orders)
    ]
    exact = np.mean(np.array(hits) >= 4 / 6 - 1e-9)
    options = {"groups": groups, "n_permutations": 4000}
    check = above_chance(predictions, y, cross_validated=False, **options)
    assert check.values["p"] == pytest.approx(exact, abs=0.03)
    assert check.values["chance"] == pytest.approx(np.mean(hits), abs=0.02)
    np.testing.assert_allclose(check.data["accuracy"], [1, 1 / 3])
    test = prediction_test(predictions, y, groups, n_permutations=4000, seed=5)
    widened = above_chance(predictions, y, seed=5, **options)
    assert widened.values["p"] == test["p"].item()
    assert widened.data["null"].std() > 1.3 * check.data["null"].std()
    np.testing.assert_array_equal(widened.data["null"], test["null"])


def test_accuracy_holds_its_level_on_chance_predictions():
    rng, y = np.random.default_rng(0), np.tile(CLASSES, 20)
    groups = np.repeat(np.arange(6), 10)
    options = {"groups": groups, "cross_validated": False, "n_permutations": 99}
    flags = [above_chance(rng.permutation(y), y, seed=k, **options).flagged for k in range(200)]
    assert 0.90 <= np.mean(flags) <= 0.99
    with pytest.raises(ArgumentError, match="one value for each sample"):
        above_chance(y[1:], y)


def test_known_truth_scores_every_reference(data):
    X, y = data
    coords = {"condition": CLASSES, "region": [f"r{k}" for k in range(20)]}
    truth = xr.DataArray(
        np.zeros((3, 8, 20), dtype=bool), dims=("condition", "time", "region"), coords=coords
    )
    for number in range(3):
        truth[number, 2 + 2 * number, 5 * number : 5 * number + 3] = True
    windows = xr.DataArray(
        X, dims=("sample", "time", "region"), coords={"region": coords["region"]}
    )
    rng = np.random.default_rng(1)
    good = windows.copy(data=truth.sel(condition=y) + 0.2 * rng.normal(size=X.shape))
    check = known_truth(good, windows, y=y, truth=truth[::-1])
    assert check.verdict == "passed", check.finding
    flags = truth.to_numpy().reshape(3, -1)
    signal = np.array([abs(X)[y == name].mean(axis=0).ravel() for name in CLASSES])
    expected = np.mean([average_precision_score(f, s) for f, s in zip(flags, signal, strict=True)])
    assert check.values["aupr_signal_of_each_class"] == pytest.approx(expected)
    best = np.mean([average_precision_score(f, flags.mean(axis=0)) for f in flags])
    assert check.values["aupr_best_for_all_classes"] == pytest.approx(best)
    mean = windows.copy(data=np.broadcast_to(abs(X).mean(axis=0), X.shape))
    for false in (mean, windows.copy(data=rng.normal(size=X.shape)), good[:, ::-1]):
        assert known_truth(false, windows, y=y, truth=truth).flagged
    with pytest.raises(ArgumentError, match="truth must have the classes"):
        known_truth(good, windows, y=y, truth=truth[:2])
    with pytest.raises(ArgumentError, match="truth lacks the region"):
        known_truth(good, windows, y=y, truth=truth[:, :, 1:])
