"""The simulated tasks: data, truth, removal against a plain one, and the whole experiment."""

import numpy as np
import pandas as pd
import pytest

from neurosal.errors import ArgumentError, DataError
from neurosal.experiments import hcp_like
from neurosal.experiments.hcp_like_data import BEFORE, DELAY, N_STEPS, make_hcp_like
from neurosal.experiments.hcp_like_reports import hcp_like_markdown, plot_task_maps
from neurosal.experiments.hcp_like_runs import (
    COLUMNS,
    LOST,
    NETWORKS,
    OTHER,
    PERCENTS,
    HcpRun,
    importance,
    recovery,
    removal_curve,
    run_hcp_like,
    shares_on,
    training_of,
)
from neurosal.loaders.simulate_tasks import T_R, TASKS, block_events
from neurosal.validation.localization_metrics import average_precision

SIZES = {"n_train": 1, "n_test": 1, "max_epochs": 1}


@pytest.fixture(scope="module")
def windows():
    return make_hcp_like(seed=1, n_train=2, n_test=1)


def test_subjects_are_held_out_and_regions_standardised(windows):
    train, test = windows
    assert not set(train.x["subject"].values) & set(test.x["subject"].values)
    assert set(train.x["condition"].values) == set(TASKS) == set(test.x["condition"].values)
    np.testing.assert_allclose(train.x.mean(("sample", "time")), 0, atol=1e-4)
    np.testing.assert_allclose(train.x.std(("sample", "time")), 1, atol=1e-3)
    assert train.x.shape == train.truth.shape == (*train.on.shape, 160)
    again, other = (make_hcp_like(seed=s, n_train=1, n_test=1)[0].x for s in (1, 2))
    assert not np.allclose(again, other)
    # The first subject is the same whoever else is simulated, up to the standardisation.
    ours, theirs = (w[: len(again)].isel(region=3).values.ravel() for w in (train.x, again))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


def test_steps_on_are_those_of_blocks_later_by_the_delay(windows):
    test = windows[1]
    for number in range(0, len(test.x), 7):
        task, run = (str(test.x[name].values[number]) for name in ("condition", "run"))
        blocks = block_events(task, run).query("kind == 'block'")
        spans = [(o, o + d) for o, d in blocks[["onset", "duration"]].to_numpy()]
        matches = []
        for onset, _ in spans:
            first = round((onset - BEFORE) / T_R)
            times = (first + np.arange(N_STEPS)) * T_R
            slow = [any(start <= t - DELAY < end for start, end in spans) for t in times]
            matches.append(np.array_equal(slow, test.on[number]))
        assert any(matches)
        assert test.on[number][int((BEFORE + DELAY) / T_R) + 2]


def test_truth_is_where_the_mean_over_noisy_windows_differs_from_other_tasks():
    train, _ = make_hcp_like(seed=3, n_train=5, n_test=1)
    tasks = train.x["condition"].values
    means = np.stack([train.x.values[tasks == t].mean(axis=0) for t in sorted(TASKS)])
    truth = np.stack([train.truth[tasks == t].mean(axis=0) > 0.5 for t in sorted(TASKS)])
    apart = np.abs(means - means.mean(axis=0))
    assert 0.003 < truth.mean() < 0.1
    assert average_precision(apart, truth).min() > 5 * truth.mean()


def test_removal_is_what_a_plain_loop_does(windows):
    test = windows[1]
    x, y = test.x.values[:9], test.x["condition"].values[:9]
    rng = np.random.default_rng(0)
    maps, weights = rng.random(x.shape), rng.normal(size=(x[0].size, 7))

    class Linear:
        def predict(self, x):
            return np.array(sorted(TASKS))[(x.reshape(len(x), -1) @ weights).argmax(axis=1)]

    slow = []
    for percent in PERCENTS:
        right = 0
        for window, own, task in zip(x, maps, y, strict=True):
            left = {(t, r): v for (t, r), v in np.ndenumerate(window)}
            falling = sorted(left, key=lambda cell: -own[cell])
            for cell in falling[: round(len(falling) * percent / 100)]:
                left[cell] = 0.0
            again = np.array(list(left.values())).reshape(1, *window.shape)
            right += Linear().predict(again)[0] == task
        slow.append(right / len(x))
    np.testing.assert_allclose(removal_curve(Linear(), x, y, maps), slow)
    assert len(set(slow)) > 1


def test_shares_on_count_cells_on_steps():
    maps, on = np.arange(12.0).reshape(1, 4, 3), np.array([[True, True, False, True]])
    np.testing.assert_allclose(shares_on(maps, on, percents=[25, 50, 100]), [1, 0.5, 0.75])


def test_references_are_chance_and_the_truth(windows):
    test = windows[1]
    oracle = recovery(importance(None, test, "oracle", training=None), test)
    assert oracle["aupr_cell"] == oracle["aupr_region"] == oracle["aupr_time"] == 1
    random = recovery(importance(None, test, "random", training=None, seed=4), test)
    assert random["aupr_cell"] == pytest.approx(test.truth.mean(), abs=0.01)


def test_a_run_has_a_row_for_each_network_and_method():
    table, maps = run_hcp_like(HcpRun("localizing", ("gradient", "random"), 0, **SIZES))
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 2 * len(NETWORKS)
    assert set(OTHER) == set(NETWORKS) >= set(OTHER.values())
    random = table[table["method"] == "random"].set_index("network")
    # Every network's random cells are the same: the other's curve is its own.
    own = random.loc["lstm", list(LOST)].to_numpy(dtype=float)
    other = random.loc["lstm", [f"lost_other_{p}" for p in PERCENTS]].to_numpy(dtype=float)
    np.testing.assert_array_equal(own, other)
    assert set(maps) == {"truth", *(f"{n}_{m}" for n in NETWORKS for m in ("gradient", "random"))}
    assert training_of("localizing").input_noise > training_of("standard").input_noise


def test_a_stopped_experiment_goes_on(tmp_path, monkeypatch):
    plan = [HcpRun(t, ("gradient", "oracle"), 0, **SIZES) for t in ("standard", "localizing")]
    calls = []

    def stop_at_second(run):
        calls.append(run.training)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_hcp_like(run)

    monkeypatch.setattr(hcp_like, "run_hcp_like", stop_at_second)
    monkeypatch.setattr(hcp_like, "estimate_seconds", len)
    with pytest.raises(KeyboardInterrupt):
        hcp_like.reproduce_hcp_like(out=tmp_path, plan=plan)
    assert "standard" in (tmp_path / "hcp_like.md").read_text()
    page = hcp_like.reproduce_hcp_like(out=tmp_path, plan=plan).read_text()
    assert calls == ["standard", "localizing", "localizing"]
    assert len(pd.read_csv(tmp_path / "hcp_like.csv")) == 4 * len(NETWORKS)
    assert "| standard | lstm | gradient |" in page
    assert "[33.6]" in page
    for name in ("removal_standard", "maps_localizing_gradient"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 1000
    assert not (tmp_path / "figures" / "maps_standard_oracle.png").exists()
    with pytest.raises(DataError, match="quick"):
        hcp_like.reproduce_hcp_like(out=tmp_path, plan=plan, quick=True)


def test_page_and_figure_say_what_is_shown():
    row = dict.fromkeys(COLUMNS, 0.25) | {"training": "standard", "network": "input-cell-lstm"}
    rows = [row | {"method": "gradient", "seed": seed, "lost_10": 0.1 * seed} for seed in (1, 2)]
    page = hcp_like_markdown(pd.DataFrame(rows))
    assert "| 15.0 ± 7.1 [8.9] |" in page
    figure = plot_task_maps(
        {"truth": np.ones((7, N_STEPS, 160)), "lstm": np.ones((7, N_STEPS, 160))}
    )
    assert [panel.get_ylabel() for panel in figure.axes[::7]] == ["truth", "lstm"]
    assert [panel.get_title() for panel in figure.axes[:7]] == sorted(TASKS)


def test_wrong_arguments_are_refused():
    with pytest.raises(ArgumentError, match="at least 1"):
        make_hcp_like(n_test=0)


@pytest.mark.slow
def test_quick_hcp_like_ends_with_tables_and_beats_chance(tmp_path):
    page = hcp_like.reproduce_hcp_like(out=tmp_path, quick=True)
    table = pd.read_csv(tmp_path / "hcp_like.csv")
    assert page.exists()
    learned = table.groupby("network")["accuracy"].max()
    assert learned["input-cell-bi-rnn"] > 3 / 7
    found = table.set_index(["training", "network", "method"])["aupr_cell"]
    random = found["localizing", "input-cell-bi-rnn", "random"]
    assert found["localizing", "input-cell-bi-rnn", "integrated_gradients"] > 3 * random
