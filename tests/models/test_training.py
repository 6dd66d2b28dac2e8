import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended import pretended_device
from rich.console import Console
from sklearn.metrics import log_loss
from skorch.callbacks import Callback

from neurosal.errors import ArgumentError
from neurosal.models import fitting
from neurosal.models.callbacks import TrainingProgress
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.fitting import class_logits, train_network
from neurosal.models.networks import build_network
from neurosal.models.samples import WindowDataset
from neurosal.models.scopes import flushed_denormals
from neurosal.models.training import PRESETS, Training, resolve_training
from neurosal.models.window_net import disturb

ROOT = Path(__file__).parents[2]


def problem(n=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, 6, 4, generator=generator) + y[:, None, None]
    return WindowDataset(x, y)


def train(training, *, seed=0, valid=None, data=None):
    torch.manual_seed(0)
    module = build_network("gru", n_features=4, n_classes=2, hidden_size=5, dropout=0.2)
    data = problem() if data is None else data
    return train_network(module, data, training, valid=valid, n_classes=2, seed=seed)


class Break(Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch and len(net.history[-1, "batches"]) > 1:
            raise KeyboardInterrupt


@pytest.fixture
def interrupt(monkeypatch):
    """Let a training be broken off in the given epoch."""
    original = fitting._add_callbacks

    def set_epoch(epoch):
        def add(net, *args):
            original(net, *args)
            if epoch is not None:
                net.callbacks.append(("break", Break(epoch)))

        monkeypatch.setattr(fitting, "_add_callbacks", add)

    return set_epoch


def weights(net):
    return torch.cat([value.flatten() for value in net.module_.state_dict().values()])


SETTINGS = {
    "one-cycle": {},
    "early stopping": {"schedule": "constant", "validation": 0.2, "patience": 4},
    "masked, float64": {"time_mask": (0.2, 0.5), "precision": "float64"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_training_ends_where_an_unbroken_one_does(name, tmp_path, interrupt):
    settings = {"max_epochs": 9, "batch_size": 8, **SETTINGS[name]}
    valid = problem(20, seed=1) if "validation" in settings else None
    data = problem()
    if "float64" in name:
        data = WindowDataset(data.x.double(), data.y)
    unbroken = train(Training(**settings), valid=valid, data=data)
    with_folder = Training(checkpoint=tmp_path, **settings)
    interrupt(5)
    broken = train(with_folder, valid=valid, data=data)
    assert fitting.was_interrupted(broken)
    assert len(fitting.history_table(broken)) == 4
    assert not torch.equal(weights(broken), weights(unbroken))
    interrupt(None)
    resumed = train(with_folder, valid=valid, data=data)
    assert torch.equal(weights(resumed), weights(unbroken))
    columns = ["epoch", "train_loss", "train_accuracy"]
    tables = [fitting.history_table(net)[columns] for net in (resumed, unbroken)]
    assert tables[0].equals(tables[1])
    again = train(with_folder, valid=valid, data=data)
    assert torch.equal(weights(again), weights(unbroken))


def test_checkpoints_of_different_trainings_do_not_mix(tmp_path):
    training = Training(max_epochs=2, checkpoint=tmp_path)
    expected = {seed: weights(train(Training(max_epochs=2), seed=seed)) for seed in (0, 1)}
    for seed in (0, 1, 0):
        assert torch.equal(weights(train(training, seed=seed)), expected[seed])
    train(training, data=problem(seed=3))
    train(Training(max_epochs=2, checkpoint=tmp_path, weight_decay=0.5))
    assert len(list(tmp_path.iterdir())) == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_interrupted_ensemble_keeps_what_was_trained(interrupt):
    interrupt(3)
    data = problem()
    classifier = NetworkClassifier("gru", n_ensembles=3, training=Training(batch_size=8))
    with pytest.warns(UserWarning, match="interrupted after 2 of 40 epochs"):
        classifier.fit(data.x.numpy(), data.y.numpy())
    assert len(classifier.modules_) == 1
    assert len(classifier.history_) == 2
    assert np.isfinite(classifier.logits(data.x.numpy())).all()


def test_early_stopping_takes_the_best_weights():
    settings = {"max_epochs": 60, "learning_rate": 0.05, "schedule": "constant", "patience": 3}
    valid = problem(20, seed=1)
    net = train(Training(validation=0.2, input_noise=2.0, **settings), valid=valid)
    table = fitting.history_table(net)
    best = table["valid_loss"].idxmin()
    assert len(table) == best + 4 < 60
    assert not fitting.was_interrupted(net)
    logits = torch.from_numpy(class_logits(net.module_, valid.x))
    found = log_loss(valid.y.numpy(), logits.softmax(dim=1).numpy())
    assert found == pytest.approx(table["valid_loss"][best], rel=1e-5)
    assert found < table["valid_loss"].iloc[-1]


def test_stops_at_the_wanted_accuracy():
    net = train(Training(input_noise=0.0, stop_accuracy=0.95))
    accuracy = fitting.history_table(net)["train_accuracy"]
    assert accuracy.iloc[-1] >= 0.95
    assert (accuracy.iloc[:-1] < 0.95).all()
    assert len(accuracy) < 40
    assert not fitting.was_interrupted(net)


def test_learning_rate_follows_the_schedule():
    class Watch(Callback):
        rates: list = []  # noqa: RUF012

        def on_batch_begin(self, net, **kwargs):
            self.rates.append(net.optimizer_.param_groups[0]["lr"])

    for schedule in ("one-cycle", "constant"):
        training = Training(max_epochs=10, schedule=schedule, learning_rate=0.02)
        net = fitting._make_net(
            build_network("rnn", n_features=4, n_classes=2), problem(), training, None, 2, "cpu"
        )
        fitting._add_callbacks(net, training, 40, False, None)
        watch = Watch()
        watch.rates = []
        net.callbacks.append(("watch", watch))
        net.fit(problem(), None)
        rates = np.array(watch.rates)
        assert len(rates) == 20
        if schedule == "constant":
            assert (rates == 0.02).all()
        else:
            assert rates[0] == pytest.approx(0.02 / 25)
            assert rates.max() == pytest.approx(0.02, rel=0.05)
            assert rates.argmax() in (5, 6)
            assert rates[-1] < 1e-3


def test_disturbance_is_a_block_within_the_valid_steps():
    lengths = torch.tensor([20, 10, 5] * 50)
    out = disturb(torch.ones(150, 20, 3), lengths, time_mask=(0.2, 0.6))
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    starts = set()
    for row, length in zip(out[:, :, 0], lengths.tolist(), strict=True):
        hidden = torch.nonzero(row == 0).flatten()
        assert round(0.2 * length) <= len(hidden) <= round(0.6 * length)
        assert hidden.max() < length
        assert len(hidden) == hidden.max() - hidden.min() + 1
        starts.add(int(hidden.min()))
    assert {0, 1, 2} <= starts


def test_noise_has_the_wanted_spread():
    torch.manual_seed(0)
    noise = disturb(torch.zeros(50, 40, 30), noise=3.0)
    assert noise.std().item() == pytest.approx(3.0, rel=0.01)
    x = torch.randn(2, 3, 4)
    assert torch.equal(disturb(x), x)


def test_validation_and_prediction_are_not_disturbed():
    data = problem()
    quiet = Training(max_epochs=1, learning_rate=1e-12, input_noise=50.0)
    net = train(quiet, valid=data, data=data)
    logits = torch.from_numpy(class_logits(net.module_, data.x))
    clean = torch.nn.functional.cross_entropy(logits, data.y).item()
    row = fitting.history_table(net).iloc[0]
    assert row["valid_loss"] == pytest.approx(clean, rel=1e-4)
    assert abs(row["train_loss"] - clean) > 0.01


def test_class_weights():
    y = np.array([0, 0, 0, 1])
    assert fitting._class_weight(None, y, 2) is None
    np.testing.assert_allclose(fitting._class_weight("balanced", y, 2), [4 / 6, 2])
    np.testing.assert_allclose(fitting._class_weight({0: 1, 1: 5}, y, 3), [1, 5, 0])


def test_class_weights_by_the_names_of_the_classes():
    X = np.random.default_rng(0).normal(size=(40, 3, 2))
    y = np.array(["a", "b"] * 20)
    heavy = Training(max_epochs=30, class_weight={"a": 100.0, "b": 1.0})
    assert set(NetworkClassifier("rnn", training=heavy).fit(X, y).predict(X)) == {"a"}


@pytest.mark.parametrize("network", ["gru", "input-cell-lstm", "input-cell-gru"])
@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_precision(precision, network):
    X, y = problem().x.numpy(), problem().y.numpy()
    training = Training(max_epochs=10, precision=precision)
    classifier = NetworkClassifier(network, training=training).fit(X, y)
    expected = torch.float64 if precision == "float64" else torch.float32
    assert {parameter.dtype for parameter in classifier.modules_[0].parameters()} == {expected}
    assert classifier.score(X, y) > 0.8


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_or_plain_lines(terminal, tmp_path):
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        progress = TrainingProgress(20, label="network 1", console=Console(file=log))
        progress.console = Console(file=log, force_terminal=terminal, width=100)
        training = Training(max_epochs=20)
        net = fitting._make_net(
            build_network("rnn", n_features=4, n_classes=2), problem(), training, None, 2, "cpu"
        )
        fitting._add_callbacks(net, training, 40, False, None)
        net.callbacks.append(("progress", progress))
        net.fit(problem(), None)
        log.seek(0)
        text = log.read()
    assert "network 1 epoch 20/20 loss" in text
    assert ("\x1b[" in text) is terminal
    if not terminal:
        assert len(text.splitlines()) == 10


def test_denormals_are_as_before():
    tiny = torch.full((1,), 1e-310, dtype=torch.float64)
    before = (tiny * 1.0).item()
    with flushed_denormals():
        assert (tiny * 1.0).item() == 0.0
    assert (tiny * 1.0).item() == before


def test_presets_and_copies():
    for name in PRESETS:
        assert resolve_training(name).get_params() == Training(**PRESETS[name]).get_params()
    mine = Training(max_epochs=3)
    assert resolve_training(mine) is not mine
    with pytest.raises(ArgumentError, match="training must be one of 'standard'"):
        resolve_training("fast")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be a whole number of at least 1. Got 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"schedule": "cosine"}, "schedule must be one of 'one-cycle', 'constant'"),
        ({"precision": "float16"}, "precision must be one of"),
        ({"validation": 1.0}, "validation must be a finite number of at least 0 and below 1"),
        ({"patience": 3}, "validation must be above 0 where patience is set"),
        ({"patience": 0, "validation": 0.1}, "patience must be None or a whole number"),
        ({"time_mask": (0.5, 0.2)}, "time_mask"),
        ({"input_noise": -0.1}, "input_noise"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ArgumentError, match=message):
        resolve_training(Training(**settings))


@pytest.mark.slow
def test_two_processes_end_with_equal_weights():
    pytest.importorskip("accelerate", reason="accelerate is an optional dependency")
    script = ROOT / "benchmarks" / "accelerate_two_processes.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "processes 2, largest difference of weights 0" in done.stdout


@pytest.mark.parametrize(
    "name", ["input-cell-bi-lstm", "lstm-self-attention", "transformer", "deep"]
)
def test_training_on_another_device_is_that_on_the_cpu(name, monkeypatch):
    # The fused optimizer knows which kinds of devices there are; the pretended one is none of them.
    adam = sys.modules["torch.optim.adam"]
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_: None)
    data = problem(16)
    x = [sample[: 6 - k % 3].numpy() for k, sample in enumerate(data.x)]
    y, groups = data.y.numpy(), np.arange(16) // 2
    training = Training(
        max_epochs=2, batch_size=6, validation=0.25, class_weight="balanced", time_mask=(0.2, 0.4)
    )
    options = {"training": training, "random_state": 0}
    ours = NetworkClassifier(name, device="meta", **options)
    with pretended_device():
        logits = ours.fit(x, y, groups=groups).decision_function(x)
    assert next(ours.nets_[0].module_.parameters()).device.type == "meta"
    known = NetworkClassifier(name, **options).fit(x, y, groups=groups).decision_function(x)
    np.testing.assert_allclose(logits, known, atol=2e-5)
