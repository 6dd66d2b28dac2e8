"""Rest between blocks, and series measured from it; warnings of many runs in one."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosal.errors import DataError
from neurosal.loaders.rest import measure_from_rest, rest_frames
from neurosal.loaders.run_warnings import RunWarning, collected, warn_once
from neurosal.loaders.runs import Run

seconds = st.integers(-10, 90).map(float)


def make_run(rows, t_r=2.0):
    events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
    return Run("bold.nii.gz", events, t_r, subject="01", task="faces")


def make_series(values, t_r=2.0):
    coords = {"time": t_r * np.arange(len(values)), "region": [f"r{k}" for k in range(2)]}
    return xr.DataArray(values, dims=("time", "region"), coords=coords, attrs={"t_r": t_r})


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(seconds, st.sampled_from([0.0, 3.0, 12.0]), st.sampled_from(["a", "b", "Rest"])),
        max_size=6,
    ),
    lag=st.sampled_from([0.0, 2.5, 5.0]),
)
def test_a_frame_at_rest_is_one_that_no_event_reaches(rows, lag):
    times = 2.0 * np.arange(45)
    expected = [
        not any(
            onset <= time < onset + length + lag + 3
            for onset, length, kind in rows
            if kind != "Rest"
        )
        for time in times
    ]
    assert rest_frames(make_run(rows), times, lag=lag).tolist() == expected


def test_what_a_task_does_throughout_is_seen_from_rest_and_not_from_the_mean():
    """A region that is active in every block has no mean over the run, but one over rest."""
    run = make_run([(20.0 + 40 * k, 20.0, "ab"[k % 2]) for k in range(4)])
    times = 2.0 * np.arange(95)
    rng = np.random.default_rng(0)
    active = np.zeros((len(times), 2))
    for onset in run.events["onset"]:
        active[(times >= onset + 5) & (times < onset + 25), 0] = 2.0
    series = make_series(active - active.mean(axis=0) + rng.normal(0, 0.1, active.shape))
    found = measure_from_rest(series, run)
    resting = rest_frames(run, times)
    np.testing.assert_allclose(found[resting].mean("time"), 0, atol=1e-12)
    np.testing.assert_allclose(found.values[active[:, 0] > 0].mean(axis=0), [2, 0], atol=0.1)
    np.testing.assert_allclose(np.ptp((found - series).values, axis=0), 0, atol=1e-12)
    assert found.attrs == series.attrs | {"measured_from": "rest"}


def test_scrubbed_frames_do_not_count_as_rest():
    run = make_run([(40.0, 10.0, "a")])
    values = np.ones((40, 2))
    values[:5] = 100.0
    lost = np.arange(40) < 5
    series = make_series(values).assign_coords(scrubbed=("time", lost))
    assert (measure_from_rest(series, run).values[5:] == 0).all()


def test_a_run_with_hardly_any_rest_stays_as_it_was_and_is_told():
    run = make_run([(4.0, 70.0, "story")])
    series = make_series(np.random.default_rng(0).normal(size=(40, 2)))
    with pytest.warns(RunWarning, match=r"sub-01 task-faces: 4 s of rest\. Their windows"):
        found = measure_from_rest(series, run)
    xr.testing.assert_identical(found, series.assign_attrs(measured_from="run mean"))
    with pytest.raises(DataError, match=r"sub-01.*'time'"):
        measure_from_rest(series.drop_vars("time"), run)


# ------------------------------------------------------------------------- warnings of many runs


def caught(kept, n_runs):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_once(kept, n_runs)
    return [str(one.message) for one in found]


def test_what_many_runs_have_in_common_is_told_once_and_counted():
    kept = [RunWarning(f"sub-{n}", "are odd", f"{n} frames", "Look.") for n in range(7)]
    kept += [UserWarning("of none"), RunWarning("sub-1", "are even", "2 frames")]
    kept += [UserWarning("of none")]
    assert caught(kept, 9) == [
        "7 of 9 runs are odd. Look. sub-0: 0 frames; sub-1: 1 frames; and 5 more.",
        "of none",
        "sub-1: 2 frames.",
    ]


def test_warnings_before_an_error_are_kept():
    def work():
        with collected(kept):
            warnings.warn(RunWarning("", "are odd", "one"))
            raise DataError("stop")

    kept = []
    with pytest.raises(DataError):
        work()
    assert caught(kept, 1) == ["one."]
