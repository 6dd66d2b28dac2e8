"""The experiment on digits: strokes against slow sums, rows, resuming, the quick version."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_cases import draw_images, write_set

from neurosal.errors import DataError
from neurosal.experiments import mnist, mnist_runs, runner
from neurosal.experiments.image_sets import Images
from neurosal.experiments.mnist import plan_mnist, reproduce_mnist
from neurosal.experiments.mnist_reports import mnist_markdown, plot_stroke_shares
from neurosal.experiments.mnist_runs import explain_digits, run_digits, train_phases
from neurosal.experiments.mnist_setups import COLUMNS, METHODS, NETWORKS, DigitRun
from neurosal.experiments.mnist_strokes import as_series, reference_rows, score_strokes, strokes_of
from neurosal.experiments.tables import as_columns
from neurosal.models.networks import build_network
from neurosal.saliency.explain import explain

SIZES = {"n_train": 60, "n_test": 20, "phases": ((2e-3, 1), (2e-4, 1))}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a small set."""
    folder = tmp_path_factory.mktemp("digits")
    write_set(folder / "mnist")
    return folder


def slow_strokes(sample, strokes):
    """All importance and that on strokes by tenth of time, in per cent of all, step by step."""
    tenths = np.array_split(np.arange(len(sample)), 10)
    total = float(np.abs(sample).sum())
    anywhere, on = [], []
    for tenth in tenths:
        cells = [(t, k) for t in tenth for k in range(sample.shape[1])]
        anywhere.append(sum(abs(float(sample[cell])) for cell in cells) / total)
        on.append(sum(abs(float(sample[cell])) for cell in cells if strokes[cell]) / total)
    return np.array(anywhere), np.array(on)


def test_shares_on_strokes_against_slow_sums():
    images, _ = draw_images(6, 3)
    strokes = strokes_of(images, "columns")
    maps = np.random.default_rng(0).normal(size=strokes.shape)
    found = score_strokes(maps, strokes)
    slow = [slow_strokes(*each) for each in zip(maps, strokes, strict=True)]
    anywhere, on = np.mean(slow, axis=0)
    np.testing.assert_allclose([found[f"share_{i}"] for i in range(10)], anywhere)
    np.testing.assert_allclose([found[f"strokes_{i}"] for i in range(10)], on)
    assert found["strokes"] == pytest.approx(on.sum())


def test_the_oracle_lies_on_strokes_and_random_maps_as_often_as_pixels_do(data):
    rows = reference_rows("rows", seed=0, data=data).set_index("method")
    _, test = mnist_runs.digits(data)
    share = (test.x >= 128).mean(axis=(1, 2)).mean()
    assert rows.loc["random", "strokes"] == pytest.approx(share, abs=0.003)
    oracle = rows.loc["oracle"]
    assert (oracle["strokes"], oracle["aupr"]) == (1, 1)
    for i in range(10):
        assert oracle[f"strokes_{i}"] == oracle[f"share_{i}"]


def test_rows_and_columns_are_steps():
    images = np.zeros((1, 28, 28), dtype=np.uint8)
    images[0, 3, 20] = 255
    assert as_series(images, "rows")[0, 3, 20] == as_series(images, "columns")[0, 20, 3] == 1
    assert strokes_of(images, "columns").sum() == 1


def test_smoothgrad_is_run_on_fewer_digits(data):
    run = DigitRun("rows", "lstm", "-", ("smoothgrad", "gradient"), 0, data, 40, 12, ((2e-3, 1),))
    table, maps = run_digits(run)
    assert table["n_samples"].tolist() == [12, 12]
    assert maps["smoothgrad"].shape == maps["input"].shape == maps["gradient"].shape
    assert mnist_runs.N_SAMPLES["smoothgrad"] < mnist_runs.N_SAMPLES["gradient"]


def test_maps_are_upright_and_of_the_true_class_probability(monkeypatch):
    images = Images(*draw_images(12, 5))
    run = DigitRun("rows", "lstm", "-", (), 0, phases=((1e-3, 1),))
    classifier, _ = train_phases(run, images)
    asked = {}

    def spy(model, x, **arguments):
        asked.update(arguments, x=x)
        return explain(model, x, **arguments)

    monkeypatch.setattr(mnist_runs, "explain", spy)
    _, maps = explain_digits(classifier, images, "columns", "gradient")
    assert asked["output"] == "probability"
    np.testing.assert_array_equal(asked["y"], images.y)
    expected = explain(classifier, asked["x"], method="gradient", output="probability", y=images.y)
    first = int(np.argmax(images.y == 4))
    np.testing.assert_allclose(maps[4], np.abs(expected[first].to_numpy()).T, rtol=1e-5)


def test_phases_go_on_from_each_other(data):
    images = Images(*draw_images(60, 2))
    run = DigitRun("rows", "lstm", "-", (), 0, phases=((2e-3, 2), (1e-9, 1)))
    one, _ = train_phases(DigitRun("rows", "lstm", "-", (), 0, phases=((2e-3, 2),)), images)
    two, history = train_phases(run, images)
    assert len(history) == 3
    for before, after in zip(
        one.modules_[0].parameters(), two.modules_[0].parameters(), strict=True
    ):
        np.testing.assert_allclose(before.detach(), after.detach(), atol=1e-6)
    start = build_network("lstm", n_features=28, n_classes=10, hidden_size=25).output.weight
    assert not np.allclose(start.detach(), two.modules_[0].output.weight.detach(), atol=1e-3)
    assert not two.modules_[0].training


def test_a_stopped_run_goes_on_where_it_was(data, tmp_path, monkeypatch, capsys):
    plan = [
        DigitRun("rows", network, readout, ("gradient",), 0, data, **SIZES)
        for network, readout in (("lstm", "-"), ("input-cell-lstm", "mean"))
    ]
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    page = reproduce_mnist(out=tmp_path / "whole", plan=plan).read_text()
    assert "take up to about" in capsys.readouterr().err
    assert all(word in page for word in ("## rows as steps", "random", "oracle", "0 of 1"))
    assert (tmp_path / "whole" / "figures" / "maps_rows_gradient.png").stat().st_size > 1000
    calls = []

    def stop_at_second(run, **options):
        calls.append(run.network)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_digits(run, **options)

    monkeypatch.setattr(mnist, "run_digits", stop_at_second)
    monkeypatch.setattr(mnist, "estimate_seconds", len)
    with pytest.raises(KeyboardInterrupt):
        reproduce_mnist(out=tmp_path / "parts", plan=plan)
    reproduce_mnist(out=tmp_path / "parts", plan=plan)
    assert calls == ["lstm", "input-cell-lstm", "input-cell-lstm"]
    parts, whole = (pd.read_csv(tmp_path / n / "mnist.csv") for n in ("parts", "whole"))
    assert tuple(whole.columns) == COLUMNS
    assert len(whole) == 4
    pd.testing.assert_frame_equal(parts.drop(columns="seconds"), whole.drop(columns="seconds"))


def test_a_lacking_folder_is_told_before_anything_is_written(tmp_path):
    for experiment in ("mnist", "majority"):
        with pytest.raises(DataError, match="nowhere is no folder"):
            runner.reproduce(experiment, out=tmp_path, quick=True, data="nowhere")
    assert not list(tmp_path.iterdir())


def test_the_full_plan_reads_both_ways_with_every_network():
    plan = plan_mnist(seeds=3)
    assert {(run.steps, run.network, run.readout) for run in plan if run.seed == 2} == {
        (steps, *network) for steps in ("rows", "columns") for network in NETWORKS
    }
    assert {(run.n_train, run.n_test, run.phases) for run in plan} == {
        (None, None, ((2e-3, 10), (2e-4, 10)))
    }
    assert {run.methods for run in plan} == {tuple(METHODS)}


def test_what_did_not_learn_is_counted_and_left_out(data):
    row = {"steps": "rows", "network": "lstm", "readout": "-", "method": "gradient"}
    rows = [
        row
        | {"seed": n, "strokes": strokes, "accuracy": accuracy, "learned": accuracy > 0.8}
        | {"epochs": 20 - 10 * n}
        for n, (strokes, accuracy) in enumerate([(0.25, 0.97), (0.75, 0.5)])
    ]
    table = as_columns(rows, COLUMNS, flags=("learned",))
    line = mnist_markdown(table).splitlines()[-1]
    assert line.startswith("| lstm | - | gradient | 1 of 2 | 10, 20 | 73.5 ± 33.2 | 25.0 |")
    known = pd.concat([reference_rows("rows", seed=0, data=data), table])
    assert [len(panel.lines) for panel in plot_stroke_shares(known).axes] == [3, 3]


@pytest.mark.slow
@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no real images"
)
def test_quick_mnist_shows_what_the_paper_shows(tmp_path):
    folder = Path(os.environ["NEUROSAL_TEST_DATA"])
    page = runner.reproduce("mnist", out=tmp_path, quick=True, data=folder)
    table = pd.read_csv(tmp_path / "mnist.csv")
    trained = table[table["network"] != "-"]
    assert len(trained) == 2 * 2 * len(METHODS)
    assert trained["learned"].astype(bool).all()
    assert trained["accuracy"].min() > 0.9
    for name in ("shares_rows_gradient", "maps_columns_smoothgrad"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 1000
    assert "## columns as steps" in page.read_text()
    plain = table[table["method"] == "gradient"].set_index(["steps", "network", "readout"])
    for steps in ("rows", "columns"):
        lstm, cell = plain.loc[steps, "lstm", "-"], plain.loc[steps, "input-cell-lstm", "mean"]
        assert lstm["slope"] < cell["slope"] - 0.05
