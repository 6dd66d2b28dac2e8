"""Event tables as they come: unsorted, with gaps, outside the run, with other columns."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.blocks import default_window, find_blocks
from neurosal.loaders.events import concat_windows, make_windows, parse_conditions
from neurosal.loaders.rest import rest_frames
from neurosal.loaders.runs import Run, tidy_events


def test_events_outside_the_run_are_noted_and_their_windows_told():
    table = pd.DataFrame(
        {
            "onset": [70, -4, 10, 40.0],
            "duration": [8, 8, None, 8],
            "trial_type": [*"bab", None],
        }
    )
    events, notes = tidy_events(table, "events.tsv", run_length=60.0)
    assert events.onset.tolist() == [-4, 10, 70]
    assert list(notes) == [
        "events.tsv: 1 of 4 rows dropped for want of a trial_type",
        "events.tsv: 1 events without a duration taken as 0 s long",
        "events.tsv: 1 events begin before the run",
        "events.tsv: 1 events begin after the run's end at 60 s, the last at 70 s",
    ]
    series = xr.DataArray(np.zeros((30, 1)), dims=("time", "region"))
    run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces", notes=notes)
    with pytest.warns(
        UserWarning, match="a at -4 s begins before the run, b at 70 s ends 10 frames"
    ):
        windows = make_windows(series, run, window=8, lag=2)
    assert windows.onset.values.tolist() == [10]


def test_a_table_without_rows_is_noted_and_asked_for_in_vain():
    table = pd.DataFrame(columns=["onset", "duration", "trial_type"])
    events, notes = tidy_events(table, "events.tsv")
    assert notes == ("events.tsv: no event, so that the run gives no window",)
    run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces", notes=notes)
    with pytest.raises(ArgumentError, match=r"does not have\. It has no event\."):
        find_blocks(run, {"face": ["face"]})
    with pytest.raises(DataError, match="correct the event tables if they have no rows"):
        default_window([run])


def test_types_may_come_from_any_column_and_others_be_kept():
    table = pd.DataFrame(
        {"onset": [5, 1], "duration": 2, "stim": ["x", "y"], "rt": ["0.5", None], "who": ["A", "B"]}
    )
    events, _ = tidy_events(table, "events.tsv", event_column="stim", keep=["rt", "who"])
    assert events.columns.tolist() == ["onset", "duration", "trial_type", "rt", "who"]
    assert events.trial_type.tolist() == ["y", "x"]
    assert events.rt.iloc[1] == 0.5
    assert np.isnan(events.rt.iloc[0])
    assert events.who.tolist() == ["B", "A"]
    with pytest.raises(DataError, match=r"no column 'kind', 'w'. Columns found: 'onset'.*'stim'"):
        tidy_events(table, "events.tsv", event_column="kind", keep=["w"])


def test_a_kept_column_does_not_take_the_types_place():
    table = pd.DataFrame(
        {"onset": [5, 1], "duration": 2, "trial_type": ["1", "2"], "stim": [*"xy"]}
    )
    for name in ("trial_type", "onset", "duration"):
        with pytest.raises(ArgumentError, match=f"keep .* other than onset.*Got '{name}'"):
            tidy_events(table, "events.tsv", event_column="stim", keep=[name])


def test_blanks_around_a_type_make_no_other_type():
    table = pd.DataFrame({"onset": [5, 1, 9], "duration": 2, "trial_type": ["x ", "x", " "]})
    events, notes = tidy_events(table, "events.tsv")
    assert events.trial_type.tolist() == ["x", "x"]
    assert notes == ("events.tsv: 1 of 3 rows dropped for want of a trial_type",)


def of_events(**columns):
    """A run whose events nobody has put in order."""
    return Run("x.nii", pd.DataFrame(columns), 2.0, subject="01", task="t")


def test_events_of_ones_own_are_put_in_order():
    run = of_events(onset=["10", "4", 20], duration=["2", None, 2], trial_type=[1, 2, np.nan])
    series = xr.DataArray(np.zeros((20, 1)), dims=("time", "region"))
    for conditions in (None, {"1": [1], "2": [2.0]}, {"1": "1", "2": ["2"]}):
        windows = make_windows(series, run, window=4, lag=0, conditions=conditions)
        assert windows.onset.values.tolist() == [4, 10]
    assert windows.condition.values.tolist() == ["2", "1"]
    assert default_window([of_events(onset=[1, 9], duration=[2, 4], trial_type=[1, 2])], {"b": 2})
    assert rest_frames(run, np.arange(0.0, 24, 2), lag=0).sum() == 7


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"onset": [1], "trial_type": ["a"]}, "events of sub-01 task-t has no column 'duration'"),
        (
            {"onset": [np.nan], "duration": 1, "trial_type": ["a"]},
            "sub-01 task-t: column 'onset' holds .*nan",
        ),
        ({"onset": [1], "duration": -1, "trial_type": ["a"]}, "negative duration"),
    ],
)
def test_events_of_ones_own_that_cannot_be_used_are_named(columns, message):
    with pytest.raises(DataError, match=message):
        find_blocks(of_events(**columns))


def test_what_is_no_table_and_no_mapping_is_named():
    with pytest.raises(DataError, match=r"sub-01 task-t: events must be a table .*Got 'e.tsv'"):
        find_blocks(Run("x.nii", "e.tsv", 2.0, subject="01", task="t"))
    run = of_events(onset=[1], duration=[2], trial_type=["a"])
    for conditions in (["a"], "a"):
        with pytest.raises(ArgumentError, match=r"conditions must be a dict .*Got .*'a'"):
            find_blocks(run, conditions)
    assert parse_conditions("face") == {"face": ["face"]}
    windows = make_windows(xr.DataArray(np.zeros((9, 1)), dims=("time", "region")), run, window=2)
    assert concat_windows(windows).sizes["sample"] == 1
