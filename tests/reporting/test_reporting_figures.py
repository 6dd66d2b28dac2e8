"""Do the figures show the numbers they were given?"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from reporting_cases import brain_image, make_importance
from scipy import stats

from neurosal.errors import ArgumentError
from neurosal.reporting import figures, style

CONFUSION = np.array([[6, 1, 1], [0, 8, 0], [0, 0, 0]])


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_confusion_shows_row_shares_and_counts():
    axes = figures.plot_confusion(CONFUSION, ["a", "b", "c"]).axes[0]
    shown = axes.images[0].get_array()
    for row in range(2):
        for column in range(3):
            assert shown[row, column] == CONFUSION[row, column] / CONFUSION[row].sum()
    assert np.isnan(np.asarray(shown.filled(np.nan))[2]).all()
    assert texts(axes)[:6] == ["75%", "6", "12%", "1", "12%", "1"]
    assert texts(axes)[-3:] == ["0", "0", "0"]


def test_confusion_takes_names_from_the_array_and_refuses_wrong_shapes():
    array = xr.DataArray(np.eye(2), dims=("true", "predicted"), coords={"true": ["rh", "lh"]})
    labels = figures.plot_confusion(array).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["rh", "lh"]
    with pytest.raises(ArgumentError, match=r"shape \(2, 3\)"):
        figures.plot_confusion(np.ones((2, 3)))
    with pytest.raises(ArgumentError, match="3 classes"):
        figures.plot_confusion(np.ones((2, 2)), ["a", "b", "c"])


def test_accuracy_shows_every_fold_mean_and_chance():
    ours, theirs = [0.8, 0.7, 0.9], [0.6, 0.7, 0.65]
    axes = figures.plot_accuracy(ours, baseline_per_fold=theirs, chance=0.25).axes[0]
    dots = [c.get_offsets()[:, 1].tolist() for c in axes.collections if len(c.get_offsets()) == 3]
    assert dots == [ours, theirs]
    assert texts(axes) == ["80.0%", "65.0%", "chance 25.0%"]
    assert axes.lines[-1].get_ydata()[0] == 0.25
    joined = [line.get_ydata().tolist() for line in axes.lines[:-1]]
    assert joined == [list(pair) for pair in zip(ours, theirs, strict=True)]


@pytest.mark.parametrize(("ours", "theirs"), [([], None), ([0.5, 0.6], [0.5])])
def test_accuracy_refuses_folds_that_do_not_match(ours, theirs):
    with pytest.raises(ArgumentError, match="one number a fold"):
        figures.plot_accuracy(ours, baseline_per_fold=theirs, chance=0.5)


def slow_network_mean(windows, condition, network, step):
    """Mean and half width over subjects, one window at a time."""
    by_subject = {}
    for i in range(windows.sizes["sample"]):
        if windows["condition"].values[i] != condition:
            continue
        members = [
            float(windows.values[i, step, r])
            for r in range(windows.sizes["region"])
            if windows["network"].values[r] == network and not np.isnan(windows.values[i, step, r])
        ]
        by_subject.setdefault(windows["subject"].values[i], []).append(sum(members) / len(members))
    means = [sum(values) / len(values) for values in by_subject.values()]
    mean = sum(means) / len(means)
    spread = (sum((m - mean) ** 2 for m in means) / (len(means) - 1)) ** 0.5
    return mean, stats.t.interval(0.95, len(means) - 1)[1] * spread / len(means) ** 0.5


def test_network_means_equal_the_slow_way_with_gaps_and_uneven_subjects():
    windows, _, _ = make_importance(n_regions=9, n_conditions=2, networks=3)
    windows[:, :, 4] = np.nan
    windows = windows.isel(sample=[0, 1, 2, 3, 5, 8, 9, 10, 12, 13, 14, 15])
    table = figures.network_means(windows)
    assert len(table) == 2 * len(set(windows["network"].values)) * 6
    for row in table.itertuples():
        step = int(np.flatnonzero(windows["time"].values == row.time)[0])
        mean, half = slow_network_mean(windows, row.condition, row.network, step)
        assert row.mean == pytest.approx(mean, rel=1e-12)
        assert row.half_width == pytest.approx(half, rel=1e-9)


def test_time_courses_have_bands_from_three_subjects_on():
    windows, _, _ = make_importance(n_regions=9, n_conditions=2, networks=2)
    figure = figures.plot_network_timecourses(windows)
    assert all(len(axes.collections) == 2 for axes in figure.axes)
    two = windows.isel(sample=np.isin(windows["subject"].values, ["sub-0", "sub-1"]))
    assert not any(axes.collections for axes in figures.plot_network_timecourses(two).axes)
    assert figures.network_means(two)["half_width"].isna().all()
    assert "logit" in figure.get_supylabel()
    assert {axes.get_xlabel() for axes in figure.axes} == {"", "Time from event onset (s)"}


def test_one_frame_is_drawn_as_marks():
    windows, _, _ = make_importance(n_regions=4, n_conditions=2, networks=1, n_times=1)
    (panel,) = figures.plot_network_timecourses(windows).axes
    table = figures.network_means(windows)
    marked = [line for line in panel.lines if line.get_marker() == "o"]
    assert [line.get_ydata().item() for line in marked] == table["mean"].tolist()
    assert len(panel.collections) == 2


def test_maps_without_a_number_are_refused():
    windows, _, _ = make_importance(n_regions=4, n_conditions=2)
    with pytest.raises(ArgumentError, match="a value that is not NaN"):
        figures.plot_network_timecourses(windows * np.nan)


def test_time_courses_need_conditions():
    windows, _, _ = make_importance(n_regions=4, n_conditions=2)
    with pytest.raises(ArgumentError, match="'condition'"):
        figures.plot_network_timecourses(windows.drop_vars("condition"))


def test_top_regions_are_the_largest_by_absolute_value_in_their_networks_colours():
    _, mean, _ = make_importance(n_regions=40, n_conditions=2)
    flat = mean.mean("time")
    flat[:, 3] = np.nan
    flat[0, 7] = -9.0
    colours = style.colour_of(flat["network"].values.tolist())
    for axes, values in zip(figures.plot_top_regions(flat, n=6).axes, flat, strict=True):
        best = values[np.argsort(np.where(np.isnan(values), 0, -np.abs(values)))][:6]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == best["region"].values.tolist()
        assert [bar.get_width() for bar in axes.patches] == best.values.tolist()
        shown = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches]
        assert shown == [colours[name] for name in best["network"].values.tolist()]
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
    with pytest.raises(ArgumentError, match="average over time first"):
        figures.plot_top_regions(mean)


def test_colours_stay_distinct_for_as_many_networks_as_atlases_have():
    names = [f"network {i}" for i in range(28)]
    assert len(set(style.colour_of(names).values())) == 28


def test_no_figure_is_left_open_and_no_setting_is_changed():
    windows, mean, truth = make_importance(n_regions=12, n_conditions=2)
    before, settings = plt.get_fignums(), dict(mpl.rcParams)
    drawn = [
        figures.plot_region_time(mean),
        figures.plot_confusion(CONFUSION),
        figures.plot_accuracy([0.5], chance=0.5),
        figures.plot_network_timecourses(windows),
        figures.plot_top_regions(mean.mean("time")),
        figures.plot_truth_recovery(mean, truth),
        figures.plot_brain_mosaic(brain_image([1.0])),
    ]
    for figure in drawn:
        FigureCanvasAgg(figure).draw()
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == settings
