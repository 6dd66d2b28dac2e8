import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosal.errors import ArgumentError
from neurosal.models.folds import make_folds


def windows_of(n_subjects, n_runs, conditions):
    """Zeros with the coordinates that folds are made of."""
    rows = [
        (f"{s:02d}", "", f"{r}", c, 30.0 * i)
        for s in range(n_subjects)
        for r in range(n_runs)
        for i, c in enumerate(conditions)
    ]
    names = ("subject", "session", "run", "condition", "onset")
    coords = {n: ("sample", list(v)) for n, v in zip(names, zip(*rows, strict=True), strict=True)}
    return xr.DataArray(
        np.zeros((len(rows), 2, 3)), dims=("sample", "time", "region"), coords=coords
    )


@settings(deadline=None)
@given(
    n_subjects=st.integers(2, 15), n_runs=st.integers(1, 3), cv=st.sampled_from(["subject", "run"])
)
def test_folds_hold_out_every_window_once_and_share_no_group(n_subjects, n_runs, cv):
    windows = windows_of(n_subjects, n_runs, ["lh", "rh"] * 8)
    group = windows["subject"].to_numpy()
    if cv == "run":
        group = np.char.add(group, windows["run"].to_numpy())
    folds = make_folds(windows, cv)
    assert len(folds) == min(12, len(set(group)))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(group)))
    for train, test in folds:
        assert not set(group[train]) & set(group[test])


def test_blocks_are_contiguous_in_time_and_come_with_a_warning():
    windows = windows_of(1, 2, ["on", "off"] * 10)
    with pytest.warns(UserWarning, match="not independent"):
        folds = make_folds(windows, "block")
    assert len(folds) == 5
    for _, test in folds:
        for run in ("0", "1"):
            onsets = np.sort(windows["onset"][test][windows["run"][test] == run])
            assert np.all(np.diff(onsets) == 30.0)


@pytest.mark.filterwarnings("ignore:cv='block'")
def test_runs_without_a_session_are_runs_of_their_own():
    windows = windows_of(2, 2, ["on", "off"] * 10)
    for sessions in ([np.nan] * 80, [np.nan] * 40 + ["1"] * 40):
        other = windows.assign_coords(session=("sample", np.array(sessions, dtype=object)))
        for cv in ("run", "block"):
            held_out = [
                sorted(tuple(test) for _, test in make_folds(one, cv)) for one in (windows, other)
            ]
            assert held_out[0] == held_out[1]


def test_folds_that_train_on_held_out_windows_are_refused():
    windows, every = windows_of(1, 1, ["on", "off"] * 4), np.arange(8)
    overlapping = [(every[2:], every[:4]), (every[:4], every[4:])]
    with pytest.raises(ArgumentError, match=r"Fold 1 of .* trains on 2 that it holds out"):
        make_folds(windows, overlapping)


@pytest.mark.parametrize(
    ("cv", "n_folds", "conditions", "message"),
    [
        ("week", None, ["a", "b"], "cv must be one of 'subject', 'run', 'block'. Got 'week'"),
        ("subject", 4, ["a", "b"], "3 group"),
        ("subject", 1, ["a", "b"], "at least 2 folds"),
        ("subject", None, ["a", "a"], "only one condition, 'a'"),
    ],
)
def test_folds_that_cannot_be_made_say_why(cv, n_folds, conditions, message):
    with pytest.raises(ArgumentError, match=message):
        make_folds(windows_of(3, 1, conditions), cv, n_folds=n_folds)


def test_a_condition_rarer_than_the_folds_is_named():
    windows = windows_of(3, 1, ["a", "b", "a"])
    windows["condition"][:] = ["a", "b", "a"] + ["a"] * 6
    with pytest.raises(ArgumentError, match=r"Fewer windows than the 3 folds .*'b' \(1\)"):
        make_folds(windows, "subject")
