"""The box experiment from plan to table: rows, references, resuming, what did not learn."""

import json

import numpy as np
import pandas as pd
import pytest

from neurosal.errors import ArgumentError, DataError
from neurosal.experiments import box_runs, runner
from neurosal.experiments.box_reports import (
    box_markdown,
    plot_box_maps,
    plot_comparison,
    plot_time_shares,
)
from neurosal.experiments.box_runs import (
    COLUMNS,
    KEYS,
    BoxRun,
    as_table,
    reference_rows,
    run_boxes,
)
from neurosal.experiments.boxes import BOXES, DATASETS, MOVING_BOX, make_boxes
from neurosal.experiments.plans import plan_boxes
from neurosal.experiments.resuming import runs_left
from neurosal.experiments.setups import (
    EVIDENCE,
    PUBLISHED,
    SETUPS,
    UPDATES,
    Setup,
    explain_arguments,
)
from neurosal.experiments.tables import append_rows, read_rows
from neurosal.models.networks import NETWORKS
from neurosal.models.training import PRESETS
from neurosal.saliency.methods import METHODS

SIZES = {"max_epochs": 1, "n_train": 40, "n_test": 6}
MEAN = Setup("lstm-mean", "published")
GRU = Setup("gru", "published")


@pytest.fixture
def plan():
    return [
        BoxRun("latter", MEAN, ("gradient", "lrp"), 0, **SIZES),
        BoxRun("latter", GRU, ("gradient",), 0, **SIZES),
    ]


def do(plan, out, **options):
    out.mkdir(exist_ok=True)
    return runner.reproduce_boxes("boxes", out=out, plan=plan, **options)


def test_a_row_for_each_method_and_references_in_each_table(plan, tmp_path, capsys):
    page = do(plan, tmp_path).read_text()
    table = pd.read_csv(tmp_path / "boxes.csv")
    assert tuple(table.columns) == COLUMNS
    named = set(table[["network", "method"]].itertuples(index=False, name=None))
    networks = {("lstm-mean", "gradient"), ("lstm-mean", "lrp"), ("gru", "gradient")}
    assert named == networks | {("-", "random"), ("-", "oracle")}
    oracle = table.set_index("method").loc["oracle"]
    assert (oracle["weighted_jaccard"], oracle["aupr"], oracle["euclidean"]) == (1, 1, 0)
    assert table["learned"].tolist()[2:] == [False] * 3
    shares = table[[f"share_{i}" for i in range(10)]].sum(axis=1)
    np.testing.assert_allclose(shares, 1)
    assert all(word in page for word in ("## latter", "random", "oracle", "0 of 1"))
    assert (tmp_path / "figures" / "maps_latter_published_gradient.png").stat().st_size > 1000
    assert (tmp_path / "figures" / "shares_latter_published_lrp.png").stat().st_size > 1000
    assert "torch" in json.loads((tmp_path / "provenance.json").read_text())["versions"]
    assert "take up to about" in capsys.readouterr().err


def test_a_stopped_run_goes_on_where_it_was(plan, tmp_path, monkeypatch):
    do(plan, tmp_path / "whole")
    calls = []

    def stop_at_second(run):
        calls.append((run.setup.network, run.methods))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_boxes(run)

    monkeypatch.setattr(runner, "run_boxes", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        do(plan, tmp_path / "parts")
    do(plan, tmp_path / "parts")
    do(plan, tmp_path / "parts")
    assert [network for network, _ in calls] == ["lstm-mean", "gru", "gru"]
    parts, whole = (pd.read_csv(tmp_path / n / "boxes.csv") for n in ("parts", "whole"))
    pd.testing.assert_frame_equal(parts.drop(columns="seconds"), whole.drop(columns="seconds"))
    plan[0] = BoxRun("latter", MEAN, ("gradient", "squared_gradient"), 0, **SIZES)
    do(plan, tmp_path / "parts")
    assert calls[3:] == [("lstm-mean", ("squared_gradient",))]


def test_results_of_other_settings_are_not_mixed(plan, tmp_path):
    do(plan[1:], tmp_path)
    with pytest.raises(DataError, match="quick"):
        do(plan[1:], tmp_path, quick=True)
    (tmp_path / "boxes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not written by this version"):
        do(plan[1:], tmp_path)


def test_networks_that_did_not_learn_are_counted_and_not_averaged(tmp_path):
    row = {"dataset": "earlier", "network": "lstm", "readout": "-", "training": "published"}
    row |= {"method": "gradient", "published_weighted_jaccard": 0.25}
    scores = [(0.5, 1.0, True), (0.25, 0.9, True), (0.0, 0.5, False)]
    rows = [
        row | {"seed": n, "weighted_jaccard": value, "accuracy": accuracy, "learned": learned}
        for n, (value, accuracy, learned) in enumerate(scores)
    ]
    append_rows(tmp_path / "a.csv", reference_rows("earlier", seed=0, n_test=2))
    for each in rows:
        append_rows(tmp_path / "a.csv", as_table([each]))
    page = box_markdown(read_rows(tmp_path / "a.csv", COLUMNS))
    lines = page.partition("## earlier")[2].splitlines()
    line = next(line for line in lines if line.startswith("| lstm"))
    assert "| 2 of 3 | 80.0 ± 26.5 | 0.375 ± 0.177 [0.250] |" in line
    lines = [line for line in lines if line.startswith("| ")]
    assert [line.split(" | ")[3] for line in lines] == ["method", "random", "oracle", "gradient"]
    assert box_markdown(as_table(rows[2:])).splitlines()[-1].endswith("| 0 of 1 | 50.0 | "
        "- [0.250] | - | - | - | - | - | - |")  # fmt: skip


def test_the_overview_sets_maps_beside_random_ones_of_the_same_sets():
    names = {"network": "lstm", "readout": "-", "training": "published", "method": "gradient"}
    random = {"network": "-", "readout": "-", "training": "-", "method": "random"}
    values = {"earlier": (0.5, 0.2, True), "middle": (0.7, 0.4, True), "latter": (0.9, 0.6, False)}
    rows = []
    for dataset, (ours, theirs, learned) in values.items():
        place = {"dataset": dataset, "seed": 0}
        rows.append(place | random | {"aupr": theirs, "weighted_jaccard": theirs / 2})
        rows.append(place | names | {"aupr": ours, "weighted_jaccard": ours / 2})
        rows[-1] |= {"learned": learned, "slope": -0.5, "share_9": 0.98}
    page = box_markdown(as_table(rows))
    assert (
        "| lstm | - | published | gradient | 2 of 3 | 0.600 (0.500) | 0.300 | 0.300 (0.250) "
        "| 0.150 | -0.500 | 98 |"
    ) in page


def test_a_method_that_a_network_cannot_take_is_noted(tmp_path):
    table, maps = run_boxes(BoxRun("latter", GRU, ("attention", "gradient"), 0, **SIZES))
    assert set(maps) == {"gradient"}
    assert "input-cell" in table.loc[0, "note"]
    assert np.isnan(table.loc[0, "aupr"])
    assert np.isfinite(table.loc[1, "aupr"])
    assert "cannot take" in box_markdown(table)


def test_maps_are_in_float64_and_of_the_true_class_probability(monkeypatch):
    seen = {}

    def spy(model, x, **arguments):
        seen.update(arguments, dtype=next(model.modules_[0].parameters()).dtype)
        return explain(model, x, **arguments)

    explain = box_runs.explain
    monkeypatch.setattr(box_runs, "explain", spy)
    run = BoxRun("earlier", Setup("lstm", "published"), ("gradient",), 1, **SIZES)
    table, _ = run_boxes(run)
    assert (str(seen["dtype"]), seen["output"]) == ("torch.float64", "probability")
    np.testing.assert_array_equal(
        seen["y"], make_boxes("earlier", seed=1, n_train=40, n_test=6)[1].y
    )
    # An untrained LSTM of five units forgets half of its state with each step.
    assert table.loc[0, "slope"] < -0.3
    assert table.loc[0, "share_9"] > 0.99


def test_evidence_is_the_mean_of_smoothgrad_times_input_around_a_cell():
    train, test = make_boxes("latter", n_train=20, n_test=2)
    fitted = MEAN.classifier(seed=0, max_epochs=1).fit(train.x, train.y)
    plain = box_runs._explain(fitted, test, MEAN, "smoothgrad", 0, {})
    found = box_runs._explain(fitted, test, MEAN, EVIDENCE, 0, {})
    around = [(t, n) for t in range(46, 55) for n in range(16, 25)]
    expected = sum(float(plain[1, t, n]) * float(test.x[1, t, n]) for t, n in around) / 81
    assert found[1, 50, 20] == pytest.approx(expected, rel=1e-3)


def test_the_setups_can_be_built_and_noise_is_that_of_training():
    assert {setup.network for setup in SETUPS} <= set(NETWORKS)
    assert {setup.training for setup in SETUPS} == {"published", "localizing"}
    assert len({(s.network, s.readout, s.training) for s in SETUPS}) == len(SETUPS)
    train, _ = make_boxes("earlier", n_train=4, n_test=2)
    for setup in SETUPS:
        fitted = setup.classifier(seed=0, max_epochs=1).fit(train.x, train.y)
        assert fitted.predict(train.x).shape == (4,)
        for method in METHODS:
            arguments = explain_arguments(method, setup)
            noise = PRESETS[setup.training].get("input_noise")
            assert arguments.get("sd") in (None, noise)
            assert ("sd" in arguments) == ("smoothgrad" in method or method == "vargrad") * (
                setup.training == "localizing"
            )


def test_the_published_table_is_complete():
    assert PUBLISHED["earlier", "input-cell-lstm"]["published_weighted_jaccard"] == 0.103
    assert PUBLISHED["three-middle", "lstm-self-attention"] == {
        "published_weighted_jaccard": 0.075,
        "published_euclidean": 0.939,
        "published_accuracy": 0.999,
    }
    assert PUBLISHED["moving-30", "input-cell-lstm"]["published_weighted_jaccard"] == 0.128
    assert len(PUBLISHED) == 4 * len(BOXES) + 2 * 5


def rows_of(plan):
    return [(run.name, method) for run in plan for method in run.methods]


def test_full_plan_has_every_network_set_and_method_once():
    plan = plan_boxes("boxes", seeds=5)
    rows = rows_of(plan)
    assert len(rows) == len(set(rows))
    trained = {(run.dataset, run.setup, run.seed) for run in plan}
    assert len(trained) == 5 * len(BOXES) * len(SETUPS)
    for chosen in ("input-cell-lstm_mean_published", "input-cell-bi-rnn_mean_localizing"):
        methods = {method for name, method in rows if name == f"mixed_{chosen}_4"}
        assert methods == {*METHODS, EVIDENCE}
    assert {run.dataset for run in plan_boxes("moving-box")} == set(MOVING_BOX)


def test_the_plan_begins_with_the_papers_comparison_then_with_what_finds_the_boxes():
    plan = plan_boxes("boxes", seeds=5)
    first, second = plan[:60], plan[60:90]
    assert {run.setup.network for run in first} == {"lstm", "input-cell-lstm"}
    assert {(r.setup.training, r.setup.readout) for r in first} == {
        ("published", "-"),
        ("published", "mean"),
    }
    assert {run.methods for run in first} == {("gradient",)}
    assert {run.dataset for run in first[:12]} == set(BOXES)
    assert [run.seed for run in first] == sorted(run.seed for run in first)
    assert {(r.setup.network, r.setup.training) for r in second} == {
        ("input-cell-bi-rnn", "localizing")
    }
    assert {run.methods for run in second} == {("gradient", "smoothgrad", EVIDENCE)}
    slow = [number for number, run in enumerate(plan) if "occlusion" in run.methods]
    assert min(slow) == len(plan) - len(slow)


def test_a_plan_that_was_stopped_goes_on_in_its_order():
    plan = plan_boxes("moving-box", seeds=2)
    done = [run.row(method) for run in plan[:30] for method in run.methods]
    half = plan[30].row(plan[30].methods[0])
    left = runs_left(as_table([*done, half]), plan, KEYS)
    wanted = rows_of(plan)[len(done) :]
    assert rows_of(left) == wanted[1:]
    fewer_seeds = {(run.name, run.methods) for run in plan_boxes("moving-box", seeds=1)}
    assert fewer_seeds < {(run.name, run.methods) for run in plan}


def test_more_samples_mean_fewer_epochs_not_more_steps():
    for setup in (MEAN, SETUPS[-1]):
        steps = []
        for n_train in (1000, 8000):
            training = setup.fitting(n_train)
            per_epoch = -(-n_train // training.batch_size)
            steps.append(per_epoch * training.max_epochs)
            assert 0 <= steps[-1] - UPDATES[setup.training] < per_epoch
        assert setup.fitting(1000, max_epochs=2).max_epochs == 2


def test_two_methods_share_the_maps_that_both_rest_on(monkeypatch):
    calls = []

    def spy(*args, **arguments):
        calls.append(arguments["method"])
        return explain(*args, **arguments)

    explain = box_runs.explain
    monkeypatch.setattr(box_runs, "explain", spy)
    run = BoxRun("latter", MEAN, ("smoothgrad", EVIDENCE, "gradient"), 0, **SIZES)
    table, _ = run_boxes(run)
    assert calls == ["smoothgrad", "gradient"]
    alone, _ = run_boxes(BoxRun("latter", MEAN, (EVIDENCE,), 0, **SIZES))
    assert table.loc[1, "aupr"] == alone.loc[0, "aupr"]


def test_appending_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    append_rows(path, pd.DataFrame({"seed": [0], "aupr": [0.5]}))

    def fail(self, target, **options):
        target.write_text("seed,au")
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="No space"):
        append_rows(path, pd.DataFrame({"seed": [1], "aupr": [0.6]}))
    assert read_rows(path, ["seed", "aupr"])["seed"].tolist() == [0]


def test_figures_outline_the_box_and_leave_out_what_did_not_learn():
    figure = plot_box_maps({"lstm": np.ones((100, 100)), "tcn": np.eye(100)}, "three-earlier")
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in shown] == ["lstm", "tcn"]
    outlines = [path for c in shown[0].collections for path in c.get_paths()]
    corners = np.concatenate([path.vertices for path in outlines])
    assert corners[:, 0].max() == 39.5
    assert DATASETS["three-earlier"].masks()[0][39].any()
    with pytest.raises(ArgumentError, match="at least one map"):
        plot_box_maps({}, "earlier")
    maps = {"earlier": {"lstm": np.ones((100, 100))}, "latter": {"tcn": np.ones((100, 100))}}
    grid = plot_comparison(maps)
    assert [len(panel.images) for panel in grid.axes] == [1, 0, 0, 1]
    row = {"network": "lstm", "readout": "-", "training": "published", "learned": False}
    table = pd.concat([reference_rows("earlier", seed=0, n_test=2), as_table([row])])
    assert len(plot_time_shares(table).axes[0].lines) == 2


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="'boxes', 'moving-box'"):
        runner.reproduce("majorty", out=tmp_path)
    with pytest.raises(ArgumentError, match="seeds must be at least 1"):
        runner.reproduce("boxes", out=tmp_path, seeds=0)


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "late"), [("boxes", "latter"), ("moving-box", "moving-40")])
def test_quick_boxes_show_what_the_paper_claims(experiment, late, tmp_path):
    page = runner.reproduce(experiment, out=tmp_path, quick=True)
    table = pd.read_csv(tmp_path / "boxes.csv")
    assert page.exists()
    plain = table[(table["training"] == "published") & (table["method"] == "gradient")]
    slopes = plain.set_index(["dataset", "network"])["slope"]
    assert slopes[late, "lstm"] < -0.05 < -0.02 < slopes[late, "input-cell-lstm"]
    found = table[(table["training"] == "localizing") & (table["method"] == EVIDENCE)]
    assert len(found) == 2
    assert found["learned"].all()
    assert (found["aupr"] > 0.95).all()
    assert (found["weighted_jaccard"] > 0.35).all()
