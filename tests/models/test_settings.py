"""Settings and data that cannot work are refused by name, and those that differ do not mix."""

import json

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from torch import nn

from neurosal.errors import ArgumentError, DataError
from neurosal.models import fitting
from neurosal.models.checks import draw_seeds, resolve_device
from neurosal.models.classifier import InputCellClassifier, NetworkClassifier
from neurosal.models.networks import build_network
from neurosal.models.nonrecurrent import TemporalConvolutionNetwork
from neurosal.models.relu_cells import SequenceDropout
from neurosal.models.samples import as_tensors, split_dataset
from neurosal.models.streaming import StreamedWindows
from neurosal.models.training import Training

QUICK = Training(max_epochs=2, batch_size=8)


def windows(n=12, n_steps=4, n_regions=12):
    X = np.random.default_rng(0).normal(size=(n, n_steps, n_regions))
    return X, np.array(["left", "right"])[np.arange(n) % 2]


class Own(nn.Module):
    """A network with a normalisation, which counts its batches in whole numbers."""

    def __init__(self, n_outputs=2, scale=1.0):
        super().__init__()
        self.norm, self.output, self.scale = nn.BatchNorm1d(12), nn.Linear(12, n_outputs), scale

    def forward(self, x):
        return self.output(self.norm(x.mean(dim=1))) * self.scale


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("transformer", [{"n_heads": 2}, {"n_heads": 4}]),
        ("input-cell-lstm", [{"readout": "flatten", "normalize": flag} for flag in (False, True)]),
        ("conv-deep", [{"image_shape": (4, 3)}, {"image_shape": (3, 4)}]),
        ("lstm", [{"read": "mean"}, {"read": "max"}]),
    ],
)
def test_checkpoints_of_different_networks_do_not_mix(network, options, tmp_path):
    X, y = windows()

    def fit(chosen, folder):
        training = Training(max_epochs=2, checkpoint=folder)
        arguments = {"network_options": chosen, "hidden_size": 8, "training": training}
        return NetworkClassifier(network, **arguments).fit(X, y).logits(X)

    for chosen in options:
        assert np.array_equal(fit(chosen, tmp_path), fit(chosen, None))
    assert len(list(tmp_path.iterdir())) == 2
    fit(options[0], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_own_networks_are_told_apart_by_their_attributes():
    known = fitting._attributes(Own())
    assert known == fitting._attributes(Own().eval())
    for other in (0.5, np.float32(2), np.arange(3), torch.relu, Own):
        assert fitting._attributes(Own(scale=other)) == fitting._attributes(Own(scale=other))
        assert fitting._attributes(Own(scale=other)) != known


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 2.5}, "max_epochs must be a whole number of at least 1. Got 2.5"),
        ({"batch_size": "8"}, "batch_size must be a whole number"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"learning_rate": np.inf}, "learning_rate must be a finite number above 0. Got inf"),
        ({"learning_rate": None}, "learning_rate must be a finite number"),
        ({"weight_decay": np.inf}, "weight_decay must be a finite number"),
        ({"input_noise": np.nan}, "input_noise must be a finite number"),
        ({"patience": 1.5, "validation": 0.1}, "patience must be None or a whole number"),
        ({"clip_norm": -1}, "clip_norm must be None or a finite number above 0. Got -1"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"stop_accuracy": 95}, "above 0 and of at most 1. Got 95"),
        ({"stop_accuracy": -1}, "stop_accuracy"),
        ({"time_mask": 0.3}, r"time_mask must be None or \(least, most\) .* Got 0.3"),
        ({"time_mask": (0.3,)}, "time_mask"),
        ({"time_mask": ("a", "b")}, "time_mask"),
        ({"checkpoint": 5}, "checkpoint must be a folder's path. Got 5"),
        ({"class_weight": "balance"}, "class_weight must be one of None, 'balanced'"),
        (
            {"class_weight": {"a": -1, "b": 1}},
            "of 'a' must be a finite number of at least",
        ),
        ({"class_weight": {"a": np.nan, "b": 1}}, "class_weight of 'a' must be a finite number"),
        ({"class_weight": {"a": 0, "b": 0}}, "class_weight must be above 0 for a class"),
    ],
)
def test_settings_that_would_train_wrong_are_named(settings, message):
    with pytest.raises(ArgumentError, match=message):
        Training(**settings).check()


def test_numbers_of_numpy_are_settings():
    settings = {"max_epochs": np.int64(2), "learning_rate": np.float32(0.1), "stop_accuracy": 1}
    Training(**settings, clip_norm=np.float64(2), time_mask=[0, 1]).check()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tcn", {"kernel_size": 1}, "kernel_size must be a whole number of at least 2. Got 1"),
        ("tcn", {"kernel_size": 0}, "kernel_size must be a whole number of at least 2. Got 0"),
        ("tcn", {"kernel_size": 2.5}, "kernel_size must be a whole number"),
        ("lstm", {"dropout": 1.5}, "dropout must be a finite number from 0 to 1. Got 1.5"),
        ("deep", {"dropout": -0.5}, "dropout must be"),
        ("feed-forward", {"hidden_size": 0}, "hidden_size must be a whole number of at least"),
        ("gru", {"hidden_size": "8"}, "hidden_size must be a whole number"),
        ("lstm-self-attention", {"state_hops": 0}, "state_hops must be a whole number"),
        ("transformer", {"n_heads": 0}, "n_heads must be a whole number of at least 1"),
        ("transformer", {"num_layers": 0}, "num_layers must be a whole number of at least 1"),
        ("deep", {"inputs": ()}, r"inputs must be the units .* Got \(\)"),
        ("deep", {"inputs": 4}, "inputs must be the units .* Got 4"),
        ("deep", {"out": 0}, "out must be a whole number of at least 1"),
        ("r-lstm", {"inputs": 0}, "units of a layer must be a whole number of at least 1"),
        ("conv-deep", {"image_shape": 6}, "image_shape must be .* Got 6"),
        ("conv-deep", {"image_shape": (-4, -3)}, "image_shape must be"),
    ],
)
def test_sizes_that_cannot_be_are_named(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        build_network(name, n_features=12, n_classes=2, n_steps=4, **options)


def test_layers_by_themselves_refuse_what_they_cannot_do():
    with pytest.raises(ArgumentError, match="kernel_size must be a whole number of at least 2"):
        TemporalConvolutionNetwork(2, 2, kernel_size=1)
    with pytest.raises(ArgumentError, match="dropout must be a finite number from 0"):
        SequenceDropout(-0.5)


@pytest.mark.parametrize("kind", [NetworkClassifier, InputCellClassifier])
def test_sizes_may_be_numbers_of_numpy(kind):
    X, y = windows()
    search = GridSearchCV(kind(training=QUICK), {"hidden_size": np.array([3, 4])}, cv=2)
    best = search.fit(X, y).best_estimator_
    plain = kind(hidden_size=int(best.hidden_size), training=QUICK).fit(X, y)
    assert np.array_equal(best.logits(X), plain.logits(X))


def test_training_stops_when_the_loss_is_no_number(tmp_path):
    X, y = windows()
    wild = Training(max_epochs=5, learning_rate=1e30, schedule="constant", checkpoint=tmp_path)
    with pytest.raises(ArgumentError, match=r"loss became (nan|inf) in epoch \d.*learning_rate"):
        NetworkClassifier("tcn", training=wild).fit(X, y)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_networks_need_one_output_for_each_class(n_outputs):
    with pytest.raises(ArgumentError, match=rf"\(batch, 2\), one .* Got \(8, {n_outputs}\)"):
        NetworkClassifier(Own(n_outputs), training=QUICK).fit(*windows(8))


def test_own_networks_with_whole_numbers_in_their_state_are_loaded(tmp_path):
    X, y = windows()
    for precision in ("float32", "float64"):
        training = Training(max_epochs=2, precision=precision)
        fitted = NetworkClassifier(Own(), training=training).fit(X, y)
        loaded = NetworkClassifier.load(fitted.save(tmp_path), network=Own())
        assert np.array_equal(loaded.logits(X), fitted.logits(X))


def test_unfitted_classifiers_say_so():
    for method in ("predict", "predict_proba", "logits", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(NetworkClassifier(), method)(windows()[0])


def test_a_refit_leaves_no_mixture():
    X, y = windows()
    fitted = NetworkClassifier("rnn", training=QUICK).fit(X, y)
    known = fitted.logits(X)
    with pytest.raises(ArgumentError, match="n_ensembles"):
        fitted.set_params(n_ensembles=1.5).fit(X[:, :, :5], np.arange(12) % 3)
    assert np.array_equal(fitted.logits(X), known)
    assert fitted.classes_.tolist() == ["left", "right"]
    fitted.set_params(n_ensembles=1, network_options={"hop": 2})
    with pytest.raises(ArgumentError, match="option of network"):
        fitted.fit(X[:, :, :5], np.arange(12) % 3)
    with pytest.raises(NotFittedError):
        fitted.predict(X)


def test_settings_of_a_preset_are_tuned():
    X, y = windows()
    grid = {"training__max_epochs": [1, 2]}
    search = GridSearchCV(NetworkClassifier("rnn", training="published"), grid, cv=2).fit(X, y)
    assert search.best_estimator_.training.batch_size == 50
    classifier = InputCellClassifier()
    classifier.set_params(training="early-stopping", training__patience=3, hops=2)
    assert (classifier.training.patience, classifier.training.max_epochs) == (3, 200)
    assert classifier.hops == 2
    assert classifier.set_params(training="standard").training == "standard"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_ensembles": 1.5}, "n_ensembles must be a whole number of at least 1. Got 1.5"),
        ({"n_ensembles": "2"}, "n_ensembles must be a whole number"),
        ({"n_ensembles": True}, "n_ensembles must be a whole number"),
        ({"random_state": -1}, "random_state must be None, a whole number"),
        ({"random_state": 1.5}, "random_state must be"),
        ({"random_state": "x"}, "random_state must be"),
        ({"network_options": "x"}, "network_options must be None or a dict"),
        ({"network_options": {1: 2}}, "network_options must be None or a dict"),
        ({"network_options": {"hidden_size": 3}}, "network_options must not hold hidden_size"),
        ({"network_options": {"n_steps": 3}}, "network_options must not hold n_steps"),
        ({"network_options": {"n_features": 3}}, "network_options must not hold n_features"),
        ({"device": None}, "device must be"),
        ({"device": "hpu"}, "device='hpu', but torch cannot use it here"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        NetworkClassifier("rnn", training=QUICK, **arguments).fit(*windows())


def test_groups_are_one_for_each_sample():
    with pytest.raises(ArgumentError, match="groups must hold one group for each sample"):
        NetworkClassifier("rnn", training=QUICK).fit(*windows(), groups=5)


def test_devices_that_are_not_there_are_named():
    for device in ("mps", "xpu"):
        if not torch.get_device_module(device).is_available():
            with pytest.raises(ArgumentError, match=f"device='{device}', but torch cannot"):
                resolve_device(device)


def test_generators_of_numpy_are_random_states(tmp_path):
    seeds = [draw_seeds(np.random.default_rng(seed), 3) for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]
    X, y = windows()
    fitted = NetworkClassifier("rnn", training=QUICK, random_state=np.random.default_rng(0))
    loaded = NetworkClassifier.load(fitted.fit(X, y).save(tmp_path))
    assert loaded.random_state is None


def masked():
    X = np.ma.masked_array(windows()[0])
    X[0, 0, 0] = np.ma.masked
    return X


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (masked, r"masked array.*X\.filled"),
        (lambda: list(masked()), "masked array"),
        (lambda: windows()[0] + 1j, r"X is complex.*X\.real"),
        (lambda: list(windows()[0] + 1j), "X is complex"),
        (lambda: windows()[0] * 1e39, r"X holds .*e\+39, too large for torch.float32. Scale X"),
        (lambda: iter(windows()[0]), "X must hold numbers .* Got generator|Got .*iterator"),
        (lambda: {"a": windows()[0]}, "X must hold numbers .* Got dict"),
        (lambda: {1.0}, "X must hold numbers .* Got set"),
        (lambda: "abc", "X must hold numbers .* Got str"),
        (lambda: [[[1.0, 2.0], [1.0]]], "X must hold numbers"),
    ],
)
def test_no_data_are_changed_silently(make, message):
    with pytest.raises(ArgumentError, match=message):
        as_tensors(make())


def test_streamed_windows_keep_masks_and_sizes_too():
    with pytest.raises(ArgumentError, match="samples from 0 on: X is a masked array"):
        StreamedWindows(masked())
    large = StreamedWindows(windows()[0] * 1e39)
    assert large.as_tensors(dtype=torch.float64)[0][[0]].isfinite().all()
    with pytest.raises(ArgumentError, match="too large for torch"):
        large.as_tensors()[0][[0]]


def test_windows_too_large_to_predict_are_refused():
    X, y = windows()
    fitted = NetworkClassifier("rnn", training=QUICK).fit(X, y)
    with pytest.raises(ArgumentError, match="too large for torch"):
        fitted.predict(X * 1e39)


def test_tensors_and_unmasked_arrays_are_taken():
    X = torch.as_tensor(windows()[0], dtype=torch.float32)
    for form in (X.clone().requires_grad_(), np.ma.masked_array(X.numpy()), list(X)):
        assert torch.equal(as_tensors(form)[0], X)
    half = X.bfloat16()
    assert torch.equal(as_tensors(half)[0], half.float())
    assert torch.equal(as_tensors(list(half.requires_grad_()))[0], half.float())


def test_validation_that_takes_a_whole_class_is_told():
    X, y = windows()
    training = Training(max_epochs=1, validation=0.5)
    with pytest.warns(UserWarning, match=r"takes all windows of class\(es\) '(left|right)'"):
        NetworkClassifier("rnn", training=training).fit(X, y, groups=y)
    data = fitting.WindowDataset(torch.zeros(4, 1, 1), torch.tensor([0, 1] * 2))
    assert split_dataset(data, 0.0) == (data, None)


@pytest.mark.parametrize("early", [True, False])
def test_what_is_kept_after_an_interrupt_is_told(early, monkeypatch):
    original = fitting._add_callbacks

    class Break(fitting.StopAtAccuracy):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    def add(net, *args):
        original(net, *args)
        net.callbacks.append(("break", Break(2.0)))

    monkeypatch.setattr(fitting, "_add_callbacks", add)
    training = Training(max_epochs=9, validation=0.5, patience=3 if early else None)
    kept = "is kept as it was after the best of them" if early else "is kept as it was then"
    with pytest.warns(UserWarning, match=f"after 2 of 9 epochs; the network {kept}"):
        NetworkClassifier("rnn", training=training).fit(*windows())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("parameters", 5, "Cannot read"),
        ("history", 5, "Cannot read"),
        ("history", "x", "Cannot read"),
        ("n_members", 0, "Cannot read .*n_members is 0"),
        ("n_members", -1, "Cannot read"),
        ("n_members", "1", "Cannot read"),
        ("classes_dtype", "strange", "Cannot read"),
    ],
)
def test_damaged_descriptions_are_named(key, value, message, tmp_path):
    NetworkClassifier("rnn", training=QUICK).fit(*windows()).save(tmp_path)
    path = tmp_path / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match=message) as caught:
        NetworkClassifier.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_descriptions_of_no_network_and_empty_members_are_named(tmp_path):
    NetworkClassifier("rnn", training=QUICK).fit(*windows()).save(tmp_path)
    path, member = tmp_path / "classifier.json", tmp_path / "member-0.safetensors"
    whole, weights = path.read_text(), member.read_bytes()
    member.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(DataError, match="do not fit the network"):
        NetworkClassifier.load(tmp_path)
    member.write_bytes(weights)
    description = json.loads(whole)
    description["parameters"]["network_options"] = {"pairs": [["dropout", 7]]}
    path.write_text(json.dumps(description))
    with pytest.raises(DataError, match=r"classifier\.json describes no network: dropout must be"):
        NetworkClassifier.load(tmp_path)


def test_dates_as_classes_are_not_saved(tmp_path):
    X, _ = windows()
    y = np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[s]")[np.arange(12) % 2]
    fitted = NetworkClassifier("rnn", training=QUICK).fit(X, y)
    with pytest.raises(ArgumentError, match=r"classes must be text.*datetime64\[s\].*astype"):
        fitted.save(tmp_path)
