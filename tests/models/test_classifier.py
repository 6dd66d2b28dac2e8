import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from neurosal.errors import ArgumentError, DataError
from neurosal.models.classifier import InputCellClassifier, NetworkClassifier, as_tensors
from neurosal.models.networks import NETWORKS
from neurosal.models.samples import split_validation
from neurosal.models.training import Training

QUICK = Training(max_epochs=4, batch_size=8)
CLASSES = np.array(["face", "house", "shoe"])


def windows(n=36, n_steps=7, n_regions=5, seed=0):
    generator = np.random.default_rng(seed)
    y = CLASSES[np.arange(n) % 3]
    X = generator.normal(size=(n, n_steps, n_regions))
    for number, name in enumerate(CLASSES):
        X[y == name, :, number] += 1.5
    return X, y


def labelled(X, y, prefix="V"):
    coordinates = {
        "condition": ("sample", y),
        "region": [f"{prefix}{number}" for number in range(X.shape[2])],
    }
    return xr.DataArray(X, dims=("sample", "time", "region"), coords=coordinates)


@pytest.mark.parametrize("network", ["lstm", "tcn", "feed-forward", "shallow"])
def test_learns_what_is_there(network):
    X, y = windows(90)
    classifier = NetworkClassifier(network, training=Training(max_epochs=15)).fit(X[:60], y[:60])
    assert classifier.score(X[60:], y[60:]) > 0.8
    assert list(classifier.classes_) == list(CLASSES)
    assert classifier.n_features_in_ == 5


def test_input_cell_classifier_learns_with_its_defaults():
    X, y = windows(90)
    classifier = InputCellClassifier().fit(X[:60], y[:60])
    assert classifier.score(X[60:], y[60:]) > 0.8
    assert not any(module.training for module in classifier.modules_)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_options_reach_the_network(cell):
    X, y = windows(9)
    classifier = InputCellClassifier(
        6,
        hops=3,
        cell=cell,
        readout="flatten",
        positional=True,
        bidirectional=True,
        read="both-ends",
        dropout=0.3,
        training=QUICK,
    ).fit(X, y)
    (module,) = classifier.modules_
    assert type(module.rnn).__name__ == f"InputCell{cell.upper()}"
    assert (module.read, module.dropout.p, module.output.in_features) == ("both-ends", 0.3, 12)
    assert module.rnn.attention.hops == 3


def test_scores_agree_with_each_other():
    X, y = windows(30)
    classifier = NetworkClassifier("gru", training=QUICK).fit(X, y)
    logits = classifier.logits(X)
    exponential = np.exp(logits)
    expected = exponential / exponential.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-9)
    np.testing.assert_array_equal(classifier.decision_function(X), logits)
    np.testing.assert_array_equal(classifier.predict(X), CLASSES[logits.argmax(axis=1)])
    two = y != "shoe"
    classifier.fit(X[two], y[two])
    logits = classifier.logits(X)
    assert logits.shape == (30, 2)
    np.testing.assert_array_equal(classifier.decision_function(X), logits[:, 1] - logits[:, 0])


def test_ensemble_averages_the_logits_of_its_members():
    X, y = windows(18)
    three = NetworkClassifier("rnn", training=QUICK, n_ensembles=3).fit(X, y)
    x = torch.as_tensor(X, dtype=torch.float32)
    with torch.no_grad():
        members = [module(x).double().numpy() for module in three.modules_]
    np.testing.assert_allclose(three.logits(X), np.mean(members, axis=0), atol=1e-6)
    assert np.abs(members[0] - members[1]).max() > 1e-3
    one = NetworkClassifier("rnn", training=QUICK).fit(X, y)
    np.testing.assert_allclose(one.logits(X), members[0], atol=1e-6)
    assert three.history_.groupby("member").size().tolist() == [4, 4, 4]


def test_same_seed_same_result_and_global_state_untouched():
    X, y = windows(18)
    make = lambda seed: InputCellClassifier(4, training=QUICK, random_state=seed)  # noqa: E731
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = make(1).fit(X, y).logits(X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.manual_seed(6)
    assert np.array_equal(first, make(1).fit(X, y).logits(X))
    assert not np.array_equal(first, make(2).fit(X, y).logits(X))
    unseeded = [make(None).fit(X, y).logits(X) for _ in range(2)]
    assert not np.array_equal(*unseeded)


def test_every_form_of_the_same_windows_gives_the_same_scores():
    X, y = windows(12)
    lengths = np.array([7, 3, 5, 1] * 3)
    padded = X.copy()
    for sample, length in zip(padded, lengths, strict=True):
        sample[length:] = np.nan
    ragged = [sample[:length] for sample, length in zip(X, lengths, strict=True)]
    objects = np.empty(12, dtype=object)
    objects[:] = ragged
    fits = [
        InputCellClassifier(4, training=QUICK, bidirectional=True, read="mean").fit(form, y)
        for form in (padded, ragged, objects, labelled(padded, y).transpose("region", ...))
    ]
    scores = [fit.logits(form) for fit in fits for form in (padded, ragged)]
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-9)
    alone = np.concatenate([fits[0].logits([sample]) for sample in ragged])
    np.testing.assert_allclose(alone, scores[0], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), width=st.integers(1, 3))
def test_tensors_keep_every_value(lengths, width):
    samples = [np.random.default_rng(n).normal(size=(n, width)) for n in lengths]
    x, found = as_tensors(samples, dtype=torch.float64)
    assert x.shape == (len(lengths), max(lengths), width)
    assert (found is None) == (len(set(lengths)) == 1)
    for row, sample in zip(x.numpy(), samples, strict=True):
        np.testing.assert_array_equal(row[: len(sample)], sample)
        assert not row[len(sample) :].any()


def test_works_with_scikit_learn():
    X, y = windows(36)
    groups = np.repeat([1, 2, 3], 12)
    classifier = NetworkClassifier("gru", training=QUICK)
    copy = clone(classifier)
    assert copy.get_params()["training__batch_size"] == 8
    folds = LeaveOneGroupOut()
    for form in (X, labelled(X, y), list(X)):
        scores = cross_val_score(classifier, form, y, groups=groups, cv=folds)
        assert scores.shape == (3,)
    grid = {"training__learning_rate": [1e-6, 1e-2], "hidden_size": [8]}
    search = GridSearchCV(classifier, grid, cv=folds).fit(X, y, groups=groups)
    assert search.best_params_["training__learning_rate"] == 1e-2
    assert QUICK.learning_rate == 1e-2
    pipeline = make_pipeline(FunctionTransformer(np.negative), classifier).fit(X, y)
    direct = NetworkClassifier("gru", training=QUICK).fit(-X, y)
    np.testing.assert_array_equal(pipeline.predict_proba(X), direct.predict_proba(-X))
    two = y != "shoe"
    area = cross_val_score(classifier, X[two], y[two], scoring="roc_auc", cv=3)
    assert (area > 0.5).all()


def test_fitted_classifiers_travel_between_processes(capfd):
    X, y = windows(18)
    classifier = NetworkClassifier("gru", training=QUICK, verbose=True).fit(X, y)
    assert "network 1 of 1 epoch 4/4 loss" in capfd.readouterr().err
    sent = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(sent.logits(X), classifier.logits(X))


def test_numbers_and_flags_as_classes():
    X, _ = windows(12)
    for y in (np.arange(12) % 2 == 0, (np.arange(12) % 2) * 7, ["a", "b"] * 6):
        predicted = NetworkClassifier("rnn", training=QUICK).fit(X, y).predict(X)
        assert set(predicted) <= set(y)
        assert predicted.dtype == np.asarray(y).dtype


@pytest.mark.parametrize("estimator", ["input-cell", "thesis", "strings"])
def test_saved_and_loaded_is_the_same(tmp_path, estimator):
    X, y = windows(12, n_regions=6)
    data = labelled(X, y)
    classifier = {
        "input-cell": InputCellClassifier(4, training=QUICK, n_ensembles=2, positional=True),
        "thesis": NetworkClassifier(
            "conv-r-lstm",
            network_options={"image_shape": (3, 2)},
            training=Training(max_epochs=1, class_weight={"face": 2.0, "house": 1, "shoe": 1}),
        ),
        "strings": NetworkClassifier("rnn", training="early-stopping").set_params(
            training=Training(max_epochs=2, precision="float64")
        ),
    }[estimator].fit(data, y)
    folder = classifier.save(tmp_path / "model")
    loaded = type(classifier).load(folder)
    assert np.array_equal(loaded.logits(data), classifier.logits(data))
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert str(loaded.get_params()) == str(classifier.get_params())
    pd.testing.assert_frame_equal(loaded.history_, classifier.history_)
    assert not loaded.modules_[0].training
    assert NetworkClassifier.load(folder).predict(data).tolist() == loaded.predict(data).tolist()
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def test_own_modules_can_be_trained_and_loaded(tmp_path):
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(5, 3)

        def forward(self, x):
            return self.output(x.mean(dim=1))

    X, y = windows(30)
    module = Mean()
    before = module.output.weight.detach().clone()
    classifier = NetworkClassifier(module, training=Training(learning_rate=0.2)).fit(X, y)
    assert classifier.score(X, y) > 0.8
    assert torch.equal(module.output.weight, before)
    classifier.save(tmp_path)
    with pytest.raises(ArgumentError, match=r"module of class 'Mean'.*network="):
        NetworkClassifier.load(tmp_path)
    loaded = NetworkClassifier.load(tmp_path, network=Mean())
    assert np.array_equal(loaded.logits(X), classifier.logits(X))


def test_damaged_folders_are_named(tmp_path):
    X, y = windows(9)
    with pytest.raises(DataError, match="Cannot read"):
        NetworkClassifier.load(tmp_path)
    InputCellClassifier(4, training=QUICK).fit(X, y).save(tmp_path)
    member = tmp_path / "member-0.safetensors"
    whole = member.read_bytes()
    member.write_bytes(whole[:100])
    with pytest.raises(DataError, match="Cannot read"):
        InputCellClassifier.load(tmp_path)
    member.write_bytes(whole)
    path = tmp_path / "classifier.json"
    description = json.loads(path.read_text())
    description["parameters"]["hidden_size"] = 5
    path.write_text(json.dumps(description))
    with pytest.raises(DataError, match="do not fit"):
        InputCellClassifier.load(tmp_path)
    description["estimator"] = "NetworkClassifier"
    path.write_text(json.dumps(description))
    with pytest.raises(ArgumentError, match=r"Use NetworkClassifier\.load"):
        InputCellClassifier.load(tmp_path)


def broken(position, value):
    X, _ = windows(9)
    X[position] = value
    return X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((9, 5)), r"Got shape \(9, 5\)"),
        (np.zeros((9, 0, 5)), "none of them empty"),
        (broken((2, 3, 1), np.nan), r"X\[2\] is nan at step 3 in region 1"),
        (broken((2, 3), np.nan), r"X\[2\] is nan at step 3"),
        (broken((8, 6, 4), np.inf), r"X\[8\] is inf at step 6 in region 4"),
        (broken((5, -1, 0), np.nan), r"X\[5\] is nan at step 6"),
        (broken(4, np.nan), r"X\[4\] has no step"),
        ([np.zeros((3, 5))] * 8 + [np.zeros((3, 4))], "same regions"),
        ([np.zeros(5)] * 9, "must hold"),
        (windows(6)[0], "y has 9 entries for 6"),
    ],
)
def test_unusable_windows_are_refused(X, message):
    with pytest.raises(ArgumentError, match=message):
        NetworkClassifier("rnn", training=QUICK).fit(X, windows(9)[1])


def test_other_refusals():
    X, y = windows(9)
    fitted = NetworkClassifier("rnn", training=QUICK).fit(labelled(X, y), y)
    with pytest.raises(ArgumentError, match="4 regions, but 5"):
        fitted.predict(X[:, :, :4])
    with pytest.raises(ArgumentError, match="region 0 is 'W0', but 'V0'"):
        fitted.predict(labelled(X, y, "W"))
    for arguments, message in [
        ({"network": "lstmm"}, "network must be one of"),
        ({"training": "quick"}, "training must be one of 'standard'"),
        ({"training": Training(patience=3)}, "validation must be above 0"),
        ({"n_ensembles": 0}, "n_ensembles must be a whole number of at least 1"),
        ({"device": "cuda:99"}, "CUDA device"),
        ({"device": "gpu"}, "device must be"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            NetworkClassifier(**arguments).fit(X, y)
    with pytest.raises(ArgumentError, match="one class only, 'face'"):
        NetworkClassifier("rnn").fit(X, ["face"] * 9)
    with pytest.raises(ArgumentError, match="groups has 3 entries"):
        NetworkClassifier("rnn").fit(X, y, groups=[1, 2, 3])
    weighted = NetworkClassifier("rnn", training=Training(class_weight={"face": 2.0}))
    with pytest.raises(ArgumentError, match="class_weight must name every class"):
        weighted.fit(X, y)
    halved = NetworkClassifier("rnn", training=Training(validation=0.5))
    with pytest.raises(ArgumentError, match="Use validation=0"):
        halved.fit(X, y, groups=[1] * 9)


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.integers(0, 5), min_size=4, max_size=40).filter(lambda g: len(set(g)) > 1),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_validation_never_shares_a_group(groups, share, seed):
    groups = np.array(groups)
    train, valid = split_validation(np.zeros(len(groups), int), share, groups=groups, seed=seed)
    assert len(train)
    assert len(valid)
    assert not set(groups[train]) & set(groups[valid])
    np.testing.assert_array_equal(np.sort(np.r_[train, valid]), np.arange(len(groups)))


def test_validation_without_groups_keeps_the_proportions():
    classes = np.repeat([0, 1, 2], [60, 30, 10])
    _, valid = split_validation(classes, 0.2)
    assert np.bincount(classes[valid]).tolist() == [12, 6, 2]


def test_validation_loss_is_that_of_the_held_out_groups():
    X, y = windows(36)
    groups = np.repeat([1, 2, 3, 4], 9)
    training = Training(max_epochs=3, validation=0.25, precision="float64")
    classifier = NetworkClassifier("rnn", training=training).fit(X, y, groups=groups)
    losses = [
        log_loss(y[groups == g], classifier.predict_proba(X[groups == g])) for g in range(1, 5)
    ]
    last = classifier.history_["valid_loss"].iloc[-1]
    assert np.abs(np.array(losses) - last).min() < 1e-9


@pytest.mark.parametrize("name", [name for name in NETWORKS if "conv" not in name])
def test_every_network_trains_on_padded_windows(name):
    X, y = windows(12)
    X[::2, 5:] = np.nan
    training = Training(max_epochs=1)
    classifier = NetworkClassifier(name, hidden_size=8, training=training).fit(X, y)
    assert np.isfinite(classifier.logits(X)).all()
