"""Are the region x time maps the numbers, in the order that the labels say, and legible?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from reporting_cases import make_importance
from sklearn.metrics import average_precision_score

from neurosal.errors import ArgumentError
from neurosal.reporting import lettering, style
from neurosal.reporting.heatmaps import plot_region_time, plot_truth_recovery


def image_of(axes):
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def test_each_panel_holds_its_condition_under_its_regions_names():
    _, mean, _ = make_importance(n_regions=20, n_conditions=3)
    mean[:, :, 5] = np.nan
    figure = plot_region_time(mean)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(names) == sorted(mean["region"].values)
    for axes, condition in zip(figure.axes, mean["condition"].values, strict=False):
        assert axes.get_title(loc="left") == condition
        wanted = mean.sel(condition=condition, region=names).values.T
        np.testing.assert_array_equal(image_of(axes), wanted)
    networks = mean["network"].sel(region=names).values
    assert (networks[1:] != networks[:-1]).sum() == len(set(networks)) - 1


def test_scale_is_shared_signed_around_zero_and_labelled():
    _, mean, _ = make_importance(n_regions=20, n_conditions=3)
    figure = plot_region_time(mean, units="relevance (logit)")
    limits = {axes.images[0].get_clim() for axes in figure.axes[:3]}
    limit = np.quantile(np.abs(mean.values), 0.995)
    assert limits == {(-limit, limit)}
    assert {axes.images[0].cmap.name for axes in figure.axes[:3]} == {"RdBu_r"}
    assert figure.axes[-1].get_ylabel() == "relevance (logit)"
    unsigned = plot_region_time(np.abs(mean)).axes[0].images[0]
    assert unsigned.cmap.name == "viridis"
    assert unsigned.get_clim() == (0, limit)


@pytest.mark.parametrize(
    ("lag", "wanted"),
    [
        (5.0, ["window start and expected HRF peak (5 s)"]),
        (-2.0, ["event onset (0 s)", "window start (-2 s)"]),
        (0.0, ["event onset and window start (0 s)"]),
        (2.5, ["event onset (0 s)", "window start (2.5 s)", "expected HRF peak (5 s)"]),
        (12.0, ["window start (12 s)"]),
    ],
)
def test_marks_are_those_inside_the_window(lag, wanted):
    _, mean, _ = make_importance(n_regions=10, n_conditions=2, lag=lag)
    figure = plot_region_time(mean)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == wanted
    left, right, _, _ = figure.axes[0].images[0].get_extent()
    assert (left, right) == pytest.approx((lag - 0.36, lag + 5.5 * 0.72))


@pytest.mark.parametrize(("n_regions", "n_conditions"), [(20, 2), (60, 7), (160, 5), (400, 8)])
def test_no_label_overlaps_another_or_leaves_the_figure(n_regions, n_conditions):
    _, mean, _ = make_importance(n_regions=n_regions, n_conditions=n_conditions, networks=17)
    figure = plot_region_time(mean)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = figure.legends[0].get_texts()
    for axes in figure.axes[:-1]:
        shown += [*axes.texts, *axes.get_yticklabels(), *axes.get_xticklabels(), axes.xaxis.label]
    shown = [text for text in shown if text.get_visible() and text.get_text()]
    boxes = [text.get_window_extent(canvas.get_renderer()).padded(-0.5) for text in shown]
    page = Bbox.union([figure.bbox, *boxes])
    np.testing.assert_allclose(page.bounds, figure.bbox.bounds, atol=1)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_one_map_without_labels_is_drawn_too():
    _, mean, _ = make_importance(n_regions=5, n_conditions=2)
    bare = mean[0].drop_vars(["condition", "network"])
    np.testing.assert_array_equal(image_of(plot_region_time(bare).axes[0]), bare.values.T)
    with pytest.raises(ArgumentError, match="time, region"):
        plot_region_time(mean.rename(region="voxel"))
    with pytest.raises(ArgumentError, match="'signed', 'sequential'"):
        plot_region_time(mean, scale="log")
    with pytest.raises(ArgumentError, match="vmax"):
        plot_region_time(mean, vmax=0.0)


def test_truth_is_matched_by_name_and_scored_by_absolute_importance():
    _, mean, truth = make_importance(n_regions=20, n_conditions=3)
    mean[1], mean[:, :, 2] = -mean[1], np.nan
    shuffled = truth.isel(region=np.random.default_rng(0).permutation(20), condition=[2, 0, 1])
    figure = plot_truth_recovery(mean, shuffled)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    for i, condition in enumerate(mean["condition"].values):
        wanted = truth.sel(condition=condition, region=names).values.T
        np.testing.assert_array_equal(image_of(figure.axes[3 + i]), wanted)
    legend = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    known = np.isfinite(mean.values[0])
    for text, values, true in zip(legend, mean, truth.values, strict=False):
        area = average_precision_score(true[known], np.abs(values.values[known]))
        assert text == f"{values['condition'].item()}: {area:.2f}"
    shares = [true[known].mean() for true in truth.values]
    assert legend[-1] == f"random map: {np.mean(shares):.2f}"


def test_truth_of_another_study_is_refused():
    _, mean, truth = make_importance(n_regions=20, n_conditions=3)
    with pytest.raises(ArgumentError, match="the regions of importance"):
        plot_truth_recovery(mean, truth.isel(region=slice(5)))
    with pytest.raises(ArgumentError, match="the conditions of importance"):
        plot_truth_recovery(mean, truth.assign_coords(condition=["x", "y", "z"]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_order_groups_networks_and_keeps_the_atlas_within_them(networks):
    _, mean, _ = make_importance(n_regions=len(networks), n_conditions=1, n_times=2)
    order = style.region_order(mean.assign_coords(network=("region", networks)))
    assert sorted(order.tolist()) == list(range(len(networks)))
    first = {name: networks.index(name) for name in networks}
    assert order.tolist() == sorted(range(len(networks)), key=lambda i: (first[networks[i]], i))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_spread_labels_keep_apart_in_order_and_around_their_places(positions, gap):
    positions = np.sort(positions)
    moved = lettering.spread(positions, gap)
    assert (np.diff(moved) >= gap - 1e-6).all()
    assert moved.mean() == pytest.approx(positions.mean(), abs=1e-6)
    if (np.diff(positions) >= gap).all():
        np.testing.assert_allclose(moved, positions, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(5, 40))
def test_names_are_cut_in_the_middle_to_fit_one_line(name, longest):
    shown = style.plain(name, longest=longest).replace(r"\$", "$")
    line = " ".join(name.split())
    assert len(shown) == min(len(line), longest)
    if len(line) > longest:
        head, _, tail = shown.partition("…") if "…" not in line else (shown[:1], "", shown[-1:])
        assert line.startswith(head)
        assert line.endswith(tail)
    else:
        assert shown == line


def test_long_names_that_differ_in_hemisphere_or_number_stay_apart():
    _, mean, _ = make_importance(n_regions=30, n_conditions=2)
    numbers = [(side, i) for side in "LR" for i in range(15)]
    names = [f"7Networks_{side}H_SalVentAttn_FrontalOperculum_{i}" for side, i in numbers]
    axes = plot_region_time(mean.assign_coords(region=names)).axes[0]
    assert len({label.get_text() for label in axes.get_yticklabels()}) == 30
