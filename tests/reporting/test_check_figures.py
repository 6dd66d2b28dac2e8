"""Do the figures of the checks show the numbers that the checks hold?"""

import numpy as np
import pytest
from check_cases import checks_of_every_kind, make_check
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from neurosal.errors import ArgumentError
from neurosal.reporting.check_curves import WIDTH
from neurosal.reporting.check_figures import KINDS, can_draw, check_caption, plot_check
from neurosal.validation.card_rows import ROWS
from neurosal.validation.check import Check

CHECKS = checks_of_every_kind()


def drawn(name):
    figure = plot_check(CHECKS[name])
    FigureCanvasAgg(figure).draw()
    return CHECKS[name], figure


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}


def test_every_row_of_the_card_has_a_figure_and_its_own_words():
    assert set(CHECKS) == set(ROWS)
    found = [check_caption(check) for check in CHECKS.values()]
    assert len(set(found)) == len(CHECKS) == len(KINDS)
    assert all(" Limits: " in text and text.endswith(".") for text in found)


@pytest.mark.parametrize("name", CHECKS)
def test_figures_are_of_one_width_and_nothing_leaves_them(name):
    _, figure = drawn(name)
    assert figure.get_size_inches()[0] == WIDTH
    whole = figure.get_tightbbox(figure.canvas.get_renderer())
    assert whole.x0 >= -0.02
    assert whole.x1 <= WIDTH + 0.02
    assert whole.y0 >= -0.02
    assert whole.y1 <= figure.get_size_inches()[1] + 0.02


def test_checks_without_data_are_refused_by_name():
    for check in (
        Check("roar", "?", "not run", "Not run.", "-"),
        make_check("odd", {"other": ("x", [1.0])}, {}),
    ):
        assert not can_draw(check)
        with pytest.raises(ArgumentError, match=f"{check.name} .* holds (nothing|other)"):
            plot_check(check)


def test_the_cascade_goes_from_the_trained_to_the_random_network():
    check, figure = drawn("parameter randomisation")
    shown = lines(figure.axes[0])
    np.testing.assert_array_equal(
        shown["with sign"], check.data["cascade"].sel(measure="signed").values
    )
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "trained again"
    assert ticks[1:3] == ["output", "+ cell.reverse"]
    assert ticks[-1] == "all: 4 draws"


def test_positions_show_the_mean_and_frame_the_signal():
    check, figure = drawn("temporal bias")
    upper, lower = figure.axes[:2]
    slow = [np.mean([draw[k] for draw in check.data["recovery"].values]) for k in range(3)]
    shown = lines(upper)
    np.testing.assert_allclose(shown["recovery"], slow)
    assert shown["limit: half of the best"][0] == pytest.approx((max(slow) + 0.05) / 2)
    frames = [one for one in lower.patches if isinstance(one, Rectangle)]
    for frame, start, end in zip(frames, check.data["start"], check.data["end"], strict=True):
        assert frame.get_x() == pytest.approx(float(start) - 0.36)
        assert frame.get_x() + frame.get_width() == pytest.approx(float(end) + 0.36)
    np.testing.assert_array_equal(lower.images[0].get_array(), check.data["profile"])


def test_removals_stand_beside_all_random_orders():
    check, figure = drawn("deletion and insertion")
    for axes, way in zip(figure.axes, ("deletion", "insertion"), strict=True):
        data, shown = check.data.sel(way=way), lines(axes)
        for ranking in data["ranking"].values:
            np.testing.assert_array_equal(shown[ranking], data["score"].sel(ranking=ranking))
        edges = axes.collections[0].get_paths()[0].vertices
        for k, share in enumerate(data["share"].values):
            here = edges[np.isclose(edges[:, 0], share), 1]
            random = data["random_score"].values[:, k]
            assert (here.min(), here.max()) == (random.min(), random.max())


def test_retraining_begins_intact_and_shows_each_fold():
    check, figure = drawn("remove and retrain")
    shown = lines(figure.axes[0])
    assert shown["random cells"][0] == pytest.approx(check.data["intact_accuracy"].mean())
    by_map = check.data["accuracy"].sel(ranking="map").mean("fold")
    np.testing.assert_allclose(shown["first by map"][1:], by_map)
    assert len(figure.axes[0].lines) == 3 * (8 + 1)


def test_halves_stand_beside_what_chance_gives():
    check, figure = drawn("reliability")
    upper, lower = figure.axes[:2]
    np.testing.assert_array_equal(
        next(line.get_xdata() for line in upper.lines if line.get_label() == "ICC(3,1)"),
        check.data["icc"],
    )
    for bar, null in zip(lower.patches, check.data["null"].values, strict=True):
        ends = [bar.get_x(), bar.get_x() + bar.get_width()]
        np.testing.assert_allclose(ends, np.quantile(null, [0.025, 0.975]))


@pytest.mark.parametrize(
    ("name", "other"), [("GLM contrast", "contrast"), ("linear pattern", "pattern")]
)
def test_scatters_show_sizes_of_both(name, other):
    check, figure = drawn(name)
    one = check.data.sel(condition="lh")
    axes = next(axes for axes in figure.axes if axes.get_title().startswith("lh"))
    points = np.asarray(axes.collections[0].get_offsets())
    wanted = np.stack([abs(one[other].values.ravel()), abs(one["importance"].values.ravel())])
    np.testing.assert_allclose(points.T, wanted)
    assert axes.get_title() == f"lh: {float(one['correlation']):.2f}"


def test_accuracy_shows_every_shuffle_and_run():
    check, figure = drawn("accuracy")
    upper, lower = figure.axes[:2]
    assert sum(bar.get_height() for bar in upper.patches) == check.data.sizes["permutation"]
    widths = [bar.get_width() for bar in upper.patches]
    assert np.ptp(widths) < 1e-9
    assert round(widths[0] * 80, 6) == round(widths[0] * 80)  # whole numbers of windows
    assert upper.lines[0].get_xdata()[0] == check.values["accuracy"]
    np.testing.assert_array_equal(lower.lines[0].get_xdata(), check.data["accuracy"])


def test_truth_and_pictures_have_a_row_each():
    check, figure = drawn("known truth")
    marks = [line for line in figure.axes[0].lines if line.get_label() == "the map"]
    np.testing.assert_array_equal(marks[0].get_xdata(), check.data["aupr"].sel(map="map"))
    check, figure = drawn("signal size")
    assert len(figure.axes[0].get_yticklabels()) == check.data.sizes["picture"]


def test_shuffled_labels_share_a_colour_scale():
    check, figure = drawn("label permutation")
    images = [axes.images[0] for axes in figure.axes if axes.images]
    own, other = images[:2]
    assert own.norm.vmax == other.norm.vmax
    np.testing.assert_allclose(own.get_array(), abs(check.data["own_map"]).mean("class").T)
