"""Do the figures of tests, methods and attention show the numbers they were given?"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from reporting_cases import make_importance, make_test

from neurosal.errors import ArgumentError
from neurosal.reporting import style
from neurosal.reporting.comparisons import plot_attention, plot_method_comparison
from neurosal.reporting.significance_map import plot_significant


@pytest.fixture(scope="module")
def tested():
    _, mean, _ = make_importance(n_regions=12, n_conditions=2, lag=2.0)
    mean[:, :, 3] = np.nan
    return make_test(mean)


def borders(flags):
    """Edges between a cell that is significant and one that is not, one by one."""
    rows, columns = flags.shape
    at = lambda r, c: 0 <= r < rows and 0 <= c < columns and flags[r, c]  # noqa: E731
    found = set()
    for r in range(rows):
        for c in range(columns):
            if flags[r, c]:
                found |= {("v", r, c)} if not at(r, c - 1) else set()
                found |= {("v", r, c + 1)} if not at(r, c + 1) else set()
                found |= {("h", r, c)} if not at(r - 1, c) else set()
                found |= {("h", r + 1, c)} if not at(r + 1, c) else set()
    return found


def test_significant_cells_are_framed_and_keep_their_colour(tested):
    figure = plot_significant(tested)
    order = style.region_order(tested["mean"])
    limit = style.robust_limit(tested["mean"].values)
    for axes, name in zip(figure.axes, tested["condition"].values, strict=False):
        one = tested.sel(condition=name).isel(region=order)
        flags, values = one["significant"].values.T, one["mean"].values.T
        shown = np.asarray(axes.images[0].get_array())
        for (row, column), value in np.ndenumerate(values):
            colour = np.array(style.colour_scale(values, vmax=limit)[0]((value / limit + 1) / 2))
            if np.isnan(value):
                np.testing.assert_allclose(shown[row, column, :3], float(style.NO_DATA))
            elif flags[row, column]:
                np.testing.assert_allclose(shown[row, column], colour, atol=0.02)
            else:
                pale = 1 - 0.35 * (1 - colour[:3])
                np.testing.assert_allclose(shown[row, column, :3], pale, atol=0.02)
        lines = next(c for c in axes.collections if isinstance(c, LineCollection)).get_segments()
        step, start = 0.72, 2.0 - 0.36
        got = set()
        for (x0, y0), (x1, y1) in lines:
            kind = "v" if x0 == x1 else "h"
            column = round((min(x0, x1) - start) / step)
            got.add((kind, round(min(y0, y1)), column))
        assert got == borders(flags)
        assert axes.get_title(loc="left") == f"{name}\n{flags.sum()} of {11 * 6} cells"


def test_axis_begins_at_the_events_onset_and_the_unread_time_is_left_out(tested):
    axes = plot_significant(tested).axes[0]
    assert axes.get_xlim()[0] == pytest.approx(-0.36)
    assert axes.images[0].get_extent()[0] == pytest.approx(2.0 - 0.36)
    late = tested.assign_coords(time=tested["time"] + 30)
    assert plot_significant(late).axes[0].get_xlim()[0] == pytest.approx(32 - 0.36)


def test_other_maps_of_a_test_and_what_is_not_tested(tested):
    figure = plot_significant(tested, variable="t")
    assert figure.axes[-1].get_ylabel() == "t over subjects"
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[-3:] == ["significant", "pale: not significant", "not tested"]
    with pytest.raises(ArgumentError, match="'significant', as group_test"):
        plot_significant(tested.drop_vars("significant"))


@pytest.mark.parametrize("n", [2, 7])
def test_each_method_has_its_own_scale_and_the_matrix_its_numbers(n):
    windows, mean, _ = make_importance(n_regions=9, n_conditions=2)
    one = mean[0].drop_vars("condition")
    maps = {f"method {i}": 10.0**i * (one if i % 2 else abs(one)) for i in range(n - 1)}
    maps["of windows"] = windows
    rng = np.random.default_rng(0)
    agreement = pd.DataFrame(rng.uniform(-1, 1, (n, n)), index=list(maps), columns=list(maps))
    figure = plot_method_comparison(maps, agreement)
    FigureCanvasAgg(figure).draw()
    panels = [axes for axes in figure.axes if axes.get_title(loc="left") in maps]
    assert [axes.get_title(loc="left") for axes in panels] == list(maps)
    order = style.region_order(one)
    for axes, array in zip(panels, maps.values(), strict=True):
        array = abs(array).mean("sample") if "sample" in array.dims else array
        np.testing.assert_array_equal(axes.images[0].get_array(), array.values.T[order])
        assert axes.images[0].norm.vmax == style.robust_limit(array.values)
    matrix = next(axes for axes in figure.axes if "correlation" in axes.get_title(loc="left"))
    assert [t.get_text() for t in matrix.texts] == [f"{v:.2f}" for v in agreement.values.ravel()]
    assert any(axes.get_xlabel() == "Time from event onset (s)" for axes in panels)
    with pytest.raises(ArgumentError, match="same methods"):
        plot_method_comparison(maps, agreement.iloc[::-1])


def test_attention_is_drawn_by_hop_and_beside_even_attention():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), size=(20, 3))
    figure = plot_attention(weights, times=np.array([5.0, 5.72, 6.44, 7.16, 7.88]), title="rh")
    upper, lower = figure.axes[:2]
    slow = [[sum(weights[:, h, t]) / 20 for t in range(5)] for h in range(3)]
    np.testing.assert_allclose(upper.images[0].get_array(), slow)
    np.testing.assert_allclose(lower.lines[0].get_ydata(), np.mean(slow, axis=0))
    assert lower.lines[1].get_ydata()[0] == 0.2
    assert len(lower.collections) == 1
    assert plot_attention(weights[0]).axes[1].get_xlabel() == "Time step"
    with pytest.raises(ArgumentError, match="add up to 1"):
        plot_attention(2 * weights)
    with pytest.raises(ArgumentError, match="one time for each of 5"):
        plot_attention(weights, times=np.arange(4))


def test_attention_of_a_network_is_taken_as_it_comes():
    torch = pytest.importorskip("torch")
    from neurosal.models.cells import InputCellLSTM

    cell = InputCellLSTM(4, 3, hops=2, batch_first=True)
    with torch.no_grad():
        weights = cell(torch.randn(6, 5, 4), return_attention=True)[2]
    image = plot_attention(weights.numpy()).axes[0].images[0]
    np.testing.assert_allclose(image.get_array(), weights.mean(0), rtol=1e-6)


def test_windows_of_arrays_count_steps_not_seconds():
    _, mean, _ = make_importance(n_regions=5, n_conditions=2)
    counted = make_test(mean.assign_coords(time=np.arange(6)))
    figure = plot_significant(counted)
    assert figure.axes[0].get_xlabel() == "Time step"
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["significant", "pale: not significant"]
