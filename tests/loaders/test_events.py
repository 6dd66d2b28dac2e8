"""Windows against a slow re-implementation, by property, and on real event tables."""

import os
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import load_array, save_array
from neurosal.loaders.bids import find_bids_runs
from neurosal.loaders.events import concat_windows, make_windows, parse_conditions
from neurosal.loaders.runs import Run, tidy_events

needs_data = pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is not set"
)


def make_run(rows, *, t_r=2.0, **names):
    table = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
    events, _ = tidy_events(table, "events.tsv")
    return Run("bold.nii.gz", events, t_r, **{"subject": "01", "task": "faces"} | names)


def make_series(n_frames, *, t_r=2.0, start=0.0, n_regions=3):
    """Each value tells its frame and its region."""
    values = np.arange(n_frames)[:, None] * 10.0 + np.arange(n_regions)
    coords = {
        "time": start + t_r * np.arange(n_frames),
        "region": [f"R{k}" for k in range(n_regions)],
        "network": ("region", ["N"] * n_regions),
        "label_id": ("region", np.arange(1, n_regions + 1)),
        "n_voxels": ("region", np.full(n_regions, 7)),
    }
    attrs = {"atlas": "toy"}
    return xr.DataArray(values, dims=("time", "region"), coords=coords, attrs=attrs)


def frames_of(windows):
    return (windows.isel(region=0).values / 10).astype(int).tolist()


def slow_windows(rows, *, n_frames, t_r, window, lag, groups, rest, merge):
    """(condition, onset, frames) of each window kept, and how many were not; exact arithmetic."""
    chosen = []
    for onset, duration, kind in sorted(rows, key=lambda row: row[0]):
        for name, kinds in groups.items():
            if kind in kinds:
                chosen.append([name, onset, onset + duration])
    joined = True
    while merge is not None and joined:
        joined = False
        for k in range(len(chosen) - 1):
            a, b = chosen[k], chosen[k + 1]
            if a[0] == b[0] and b[1] - a[2] <= merge:
                chosen[k : k + 2] = [[a[0], a[1], max(a[2], b[2])]]
                joined = True
                break
    if rest:
        spans = [(on, on + dur) for on, dur, _ in rows] + [(on, end) for _, on, end in chosen]
        for end in sorted({e for _, e in spans}):
            later = [on for on, _ in spans if on > end]
            if any(on <= end < off for on, off in spans) or not later:
                continue
            if min(later) - end >= window:
                chosen.append(["rest", end, min(later)])
    kept, lost = [], 0
    count = max(1, (window / t_r + Fraction(1, 2)).__floor__())
    for name, onset, _ in chosen:
        first = ((onset + lag) / t_r + Fraction(1, 2)).__floor__()
        frames = list(range(first, first + count))
        if first < 0 or frames[-1] >= n_frames:
            lost += 1
        else:
            kept.append((name, float(onset), frames))
    return sorted(kept), lost


def tenths(low, high):
    return st.integers(low, high).map(lambda k: Fraction(k, 10))


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(tenths(-30, 900), tenths(0, 120), st.sampled_from("abc")), min_size=1, max_size=12
    ),
    t_r=st.sampled_from([Fraction(72, 100), Fraction(2), Fraction(5, 2)]),
    window=tenths(1, 200),
    lag=tenths(0, 80),
    merge=st.none() | tenths(0, 60),
    rest=st.booleans(),
)
def test_windows_equal_a_slow_reimplementation(rows, t_r, window, lag, merge, rest):
    groups = {"pool": ["a", "b"]} if any(kind in "ab" for *_, kind in rows) else {"pool": ["c"]}
    run = make_run([(float(on), float(dur), kind) for on, dur, kind in rows], t_r=float(t_r))
    run = Run(run.img, run.events, run.t_r, subject="1", task="t", trial_types=("a", "b", "c"))
    expected, lost = slow_windows(
        rows, n_frames=40, t_r=t_r, window=window, lag=lag, groups=groups, rest=rest, merge=merge
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        windows = make_windows(
            make_series(40, t_r=float(t_r)),
            run,
            window=float(window),
            lag=float(lag),
            conditions=groups | ({"rest": []} if rest else {}),
            merge=None if merge is None else float(merge),
        )
    got = sorted(
        zip(windows.condition.values, windows.onset.values, frames_of(windows), strict=True)
    )
    assert [(c, f) for c, _, f in got] == [(c, f) for c, _, f in expected]
    np.testing.assert_allclose([o for _, o, _ in got], [o for _, o, _ in expected], atol=1e-9)
    assert len(windows.attrs["dropped"]) == lost
    assert (np.diff(windows.onset.values) >= 0).all()


def test_labels_and_coordinates_travel_with_the_windows(tmp_path):
    run = make_run([(4, 8, "face")], run="LR", session="a")
    windows = make_windows(make_series(20), run, window=8, lag=5)
    assert windows.dims == ("sample", "time", "region")
    assert windows.time.values.tolist() == [5, 7, 9, 11]
    assert frames_of(windows) == [[5, 6, 7, 8]]  # (4 + 5) / 2 = 4.5, which goes up
    sample = {
        name: windows[name].item() for name in windows.coords if windows[name].dims == ("sample",)
    }
    assert sample == {
        "subject": "01", "session": "a", "task": "faces", "run": "LR",
        "condition": "face", "onset": 4.0,
    }  # fmt: skip
    assert windows.n_voxels.values.tolist() == [7, 7, 7]
    assert windows.attrs["atlas"] == "toy"
    stored = load_array(save_array(windows, tmp_path / "w.nc"))
    xr.testing.assert_identical(stored.rename(None).drop_attrs(), windows.drop_attrs())
    assert stored.attrs == windows.attrs


def test_halves_always_go_up():
    run = make_run([(k, 1, "x") for k in (1, 3, 5, 7)])
    windows = make_windows(make_series(10), run, window=2, lag=0)
    assert frames_of(windows) == [[1], [2], [3], [4]]


def test_series_that_lost_its_first_volumes_keeps_its_clock():
    run = make_run([(10, 8, "face")])
    whole = make_windows(make_series(20), run, window=8)
    later = make_windows(make_series(16, start=8.0), run, window=8)
    assert np.subtract(frames_of(whole), frames_of(later)).tolist() == [[4, 4, 4, 4]]


def test_pooling_comes_before_joining_and_others_break_a_block():
    rows = [(0, 2, "face"), (3, 2, "house"), (6, 2, "face"), (8.5, 0.1, "press")]
    series = make_series(30)

    def onsets(run, conditions):
        windows = make_windows(series, run, window=4, conditions=conditions, merge=1)
        return list(zip(windows.condition.values, windows.onset.values, strict=True))

    run = make_run(rows)
    assert onsets(run, {"stimulus": ["face", "house"]}) == [("stimulus", 0)]
    assert onsets(run, {"f": ["face"], "h": ["house"]}) == [("f", 0), ("h", 3), ("f", 6)]
    nested = make_run([(0, 20, "face"), (5, 2, "face"), (21, 2, "face")])
    assert onsets(nested, {"face": ["face"]}) == [("face", 0)]
    chosen = make_run([(0, 2, "face"), (2.5, 0.1, "press"), (3, 2, "face")])
    assert onsets(chosen, {"face": ["face"]}) == [("face", 0)]  # an unchosen one breaks nothing


def test_rest_is_the_gaps_between_all_events():
    run = make_run(
        [(10, 5, "face"), (20, 1, "press"), (30, 20, "face"), (32, 1, "press"), (60, 1, "face")]
    )
    windows = make_windows(make_series(40), run, window=9, conditions={"rest": None})
    assert windows.onset.values.tolist() == [21, 50]  # not before 10, not after 61, not at 33
    named = make_run([(0, 10, "rest"), (20, 10, "face")])
    windows = make_windows(make_series(40), named, window=9, conditions=parse_conditions(["rest"]))
    assert windows.onset.values.tolist() == [0]  # the type of that name, not the gap at 10


def test_gaps_within_a_joined_block_are_no_rest():
    run = make_run([(0, 2, "face"), (12, 2, "face"), (34, 2, "face")])
    conditions = {"face": ["face"], "rest": []}
    windows = make_windows(make_series(40), run, window=8, conditions=conditions, merge=10)
    assert windows.condition.values.tolist() == ["face", "rest", "face"]


def test_windows_that_leave_the_run_are_dropped_and_told():
    run = make_run([(-8, 2, "early"), (10, 2, "fine"), (36, 2, "late")])
    with pytest.warns(
        UserWarning, match="2 windows dropped: early at -8 s begins before the run, late"
    ):
        windows = make_windows(make_series(20), run, window=8)
    assert windows.condition.values.tolist() == ["fine"]
    assert [d["onset"] for d in windows.attrs["dropped"]] == [-8, 36]
    assert windows.attrs["dropped"][1]["reason"] == "ends 5 frames after the run"
    assert windows.attrs["short_blocks"] == 1
    with pytest.warns(UserWarning, match="3 windows dropped"):
        none = make_windows(make_series(3), run, window=8)
    assert none.sizes == {"sample": 0, "time": 4, "region": 3}
    assert concat_windows([none, windows]).sizes["sample"] == 1


def test_a_type_that_only_other_runs_have_gives_no_window():
    run = make_run([(0, 4, "face")])
    run = Run(run.img, run.events, 2.0, subject="01", task="t", trial_types=("error",))
    windows = make_windows(make_series(20), run, window=4, conditions=parse_conditions(["error"]))
    assert windows.sizes["sample"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be a number of seconds, greater than 0. Got 0"),
        ({"window": float("nan")}, "window must be"),
        ({"window": "8"}, "window must be .* Got '8'"),
        ({"lag": -1}, "lag must be a number of seconds, 0 or more. Got -1"),
        ({"merge": float("inf")}, "merge must be"),
        ({"conditions": {"x": ["hose"]}}, "'hose', which sub-01 .* It has 'face', 'house'"),
        ({"conditions": {"x": []}}, "'x' names no trial type; only 'rest' may"),
        ({"conditions": {"a": ["face"], "b": ["face"]}}, "'face' is in both 'a' and 'b'"),
        ({"conditions": {}}, "at least one condition"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_named(options, message):
    run = make_run([(0, 4, "face"), (10, 4, "house")])
    with pytest.raises(ArgumentError, match=message):
        make_windows(make_series(20), run, **{"window": 8} | options)


def test_series_that_is_not_the_runs_is_refused():
    run = make_run([(0, 4, "face")])
    with pytest.raises(
        DataError, match=r"sub-01 task-faces: the frames of series are 0.72 s apart"
    ):
        make_windows(make_series(20, t_r=0.72), run, window=8)
    with pytest.raises(DataError, match="dimensions"):
        make_windows(make_series(20).T, run, window=8)


def test_concatenation_keeps_samples_and_sums_the_account():
    series = make_series(20).assign_attrs(ids=np.arange(3), mean=1.0)
    one = make_windows(series, make_run([(0, 9, "face")], run="1"), window=8)
    other = series.assign_attrs(mean=2.0).assign_coords(n_voxels=("region", [9, 2, 7]))
    with pytest.warns(UserWarning, match="1 windows dropped"):
        two = make_windows(other, make_run([(2, 2, "house"), (36, 1, "face")], run="2"), window=8)
    both = concat_windows([one, two])
    assert list(zip(both.run.values, both.condition.values, strict=True)) == [
        ("1", "face"),
        ("2", "house"),
    ]
    np.testing.assert_array_equal(both.values, np.concatenate([one.values, two.values]))
    assert both.n_voxels.values.tolist() == [7, 2, 7]
    assert both.attrs["dropped"] == two.attrs["dropped"]
    assert both.attrs["short_blocks"] == 1
    assert both.attrs["t_r"] == 2.0
    assert both.attrs["ids"].tolist() == [0, 1, 2]
    assert "mean" not in both.attrs


def test_cleaning_that_differs_in_part_is_kept_for_the_rest():
    run, done = make_run([(0, 9, "face")]), {"detrend": True, "high_pass": 0.01, "scrubbed": 3}
    one, two = (
        make_windows(make_series(20).assign_attrs(cleaned=done | own), run, window=8)
        for own in ({"confounds": ["a_comp_cor_00"]}, {"confounds": [], "scrubbed": 4})
    )
    expected = {"detrend": True, "high_pass": 0.01, "scrubbed": 7}
    assert concat_windows([one, two]).attrs["cleaned"] == expected
    assert concat_windows([concat_windows([one, two]), one]).attrs["cleaned"]["scrubbed"] == 10


def test_runs_that_cannot_be_joined_are_named():
    run = make_run([(0, 8, "face")], run="1")
    other = make_run([(0, 8, "face")], subject="02")
    windows = make_windows(make_series(20), run, window=8)
    renamed = make_series(20).assign_coords(region=["R0", "R1", "X"])
    with pytest.raises(DataError, match=r"sub-02 task-faces cannot join .* region labels differ"):
        concat_windows([windows, make_windows(renamed, other, window=8)])
    with pytest.raises(DataError, match=r"sub-02 task-faces cannot join .* 4 and 5 frames"):
        concat_windows([windows, make_windows(make_series(20), other, window=10)])
    with pytest.raises(DataError, match=r"t_r 2.0 and 2.0001 s"):
        concat_windows([windows, windows.assign_attrs(t_r=2.0001)])
    with pytest.raises(ArgumentError, match="at least one"):
        concat_windows([])


@pytest.mark.parametrize("words", [["=face"], ["a="], ["a=b,,c"], [""], ["a", "a=b"]])
def test_words_that_are_no_conditions_are_refused(words):
    with pytest.raises(ArgumentError, match="conditions must"):
        parse_conditions(words)


def cut(run, n_frames, **options):
    return make_windows(make_series(n_frames, t_r=run.t_r), run, **options)


@needs_data
def test_haxby_gives_one_window_a_block():
    root = Path(os.environ["NEUROSAL_TEST_DATA"]) / "haxby2001-slice"
    runs = find_bids_runs(root, task="objectviewing")
    windows = concat_windows([cut(run, 121, window=27.5, lag=2.5) for run in runs])
    assert windows.sizes == {"sample": 96, "time": 11, "region": 3}
    counts = pd.crosstab(windows.run.values, windows.condition.values)
    assert counts.shape == (12, 8)
    assert (counts == 1).all(axis=None)
    assert windows.attrs["dropped"] == []


@needs_data
def test_studyforrest_images_join_in_twelve_blocks_with_rest_between():
    root = Path(os.environ["NEUROSAL_TEST_DATA"]) / "studyforrest-localizer"
    (run,) = find_bids_runs(root, task="oneback")
    conditions = {"stimulus": list(run.trial_types), "rest": []}
    windows = cut(run, 156, window=8, lag=5, conditions=conditions, merge=1)
    names = windows.condition.values.tolist()
    assert names == ["stimulus", "rest"] * 11 + ["stimulus"]
    single = cut(run, 156, window=8, lag=5, conditions=conditions)
    assert (single.condition == "stimulus").sum() == 12 * 16
    per_category = cut(run, 156, window=8, lag=5, merge=1)
    assert pd.Series(per_category.condition).value_counts().to_dict() == dict.fromkeys(
        run.trial_types, 2
    )


def test_windows_may_be_labelled_by_task():
    motor = make_run([(0, 8, "lh"), (20, 8, "rh")], task="MOTOR")
    memory = make_run([(0, 8, "0bk"), (30, 8, "2bk")], task="WM")
    types = ("lh", "rh", "0bk", "2bk")
    runs = [
        Run(r.img, r.events, 2.0, subject="1", task=r.task, trial_types=types)
        for r in (motor, memory)
    ]
    options = {"window": 8, "label": "task", "lag": 4}
    conditions = {"hand": ["lh", "rh"], "back": ["0bk", "2bk"], "rest": []}
    parts = [make_windows(make_series(30), r, conditions=conditions, **options) for r in runs]
    both = concat_windows(parts)
    assert both.condition.values.tolist() == ["MOTOR", "rest", "MOTOR", "WM", "rest", "WM"]
    assert both.block.values.tolist() == ["hand", "rest", "hand", "back", "rest", "back"]
    assert both.attrs["label"] == "task"
    plain = make_windows(make_series(30), runs[0], window=8, lag=4, conditions=conditions)
    np.testing.assert_array_equal(plain, parts[0])
    assert "block" not in plain.coords
    with pytest.raises(DataError, match="labelled by condition, not by task"):
        concat_windows([parts[0], plain])
    with pytest.raises(ArgumentError, match=r"label must be one of 'condition', 'task'. Got 'run'"):
        make_windows(make_series(30), runs[0], window=8, label="run")


def test_windows_in_common_with_another_condition_are_told():
    run = make_run([(0, 8, "face"), (2, 8, "house"), (20, 8, "face"), (24, 8, "house")])
    with pytest.warns(
        UserWarning, match="2 windows share more than half .*: face at 0 s, house at 2 s. Choose"
    ):
        windows = make_windows(make_series(30), run, window=8)
    assert windows.attrs["overlapping"] == 2  # those at 20 and 24 s have half in common, not more
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pooled = make_windows(
            make_series(30), run, window=8, conditions={"stimulus": ["face", "house"]}
        )
    assert pooled.attrs["overlapping"] == 0
    assert concat_windows([windows, pooled]).attrs["overlapping"] == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab")), min_size=1, max_size=8),
    st.integers(1, 6),
)
def test_overlap_equals_counting_frames(rows, n_frames):
    run = make_run([(2.0 * first, 2, kind) for first, kind in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        windows = make_windows(make_series(80), run, window=2 * n_frames, lag=0)
    frames = [set(row) for row in frames_of(windows)]
    kinds = windows.condition.values
    expected = sum(
        any(k != kinds[i] and 2 * len(frames[i] & other) > n_frames
            for k, other in zip(kinds, frames, strict=True))
        for i in range(len(frames))
    )  # fmt: skip
    assert windows.attrs["overlapping"] == expected
