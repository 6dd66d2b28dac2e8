"""Agreement of methods: over the cells that the decoder is given, and those alone."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from neurosal.errors import ArgumentError
from neurosal.models import InputCellClassifier, Training
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation import method_agreement

RNG = np.random.default_rng(0)
Y = np.tile(["rest", "task"], 12)
X = RNG.normal(size=(24, 6, 5))
X[1::2, 2:4, 1] += 2


@pytest.fixture(scope="module")
def decoder():
    classifier = InputCellClassifier(8, hops=2, training=Training(max_epochs=5))
    return WindowDecoder(classifier, screening_percentile=40).fit(X, Y)


def test_agreement_is_spearmans_over_the_cells_given(decoder):
    methods = ["gradient_x_input", "integrated_gradients", "occlusion"]
    found = method_agreement(decoder, X, y=Y, methods=methods, n_windows=6, seed=3)
    given = decoder.screening_.to_numpy()
    maps = {name: abs(one.to_numpy()) for name, one in found.maps.items()}
    assert all(one.shape == (6, 6, 5) and not one[:, ~given].any() for one in maps.values())
    for a in methods:
        for b in methods:
            pairs = zip(maps[a], maps[b], strict=True)
            each = [spearmanr(one[given], other[given])[0] for one, other in pairs]
            assert found.agreement.loc[a, b] == pytest.approx(np.mean(each))
    others = found.agreement.loc["occlusion", methods[:2]].mean()
    assert found.table.loc["occlusion", "agreement"] == pytest.approx(others)


def test_windows_are_drawn_evenly_and_lost_regions_left_out(decoder):
    wider = np.concatenate([X, np.full((24, 6, 1), np.nan)], axis=2)
    options = {"y": Y, "methods": ["gradient", "occlusion"], "n_windows": 4, "seed": 1}
    one = method_agreement(decoder, X, **options)
    other = method_agreement(decoder, wider, **options)
    xr.testing.assert_equal(one.maps["gradient"], other.maps["gradient"])
    assert one.maps["gradient"].sizes["sample"] == 4


def test_neither_padding_nor_steps_after_at_agree(decoder):
    """What is zero in all maps alike is no agreement."""
    methods = ["gradient", "occlusion"]
    padded = X.copy()
    padded[:, 4:] = np.nan
    for windows, asked in ((padded, methods), (X, {name: {"at": 3} for name in methods})):
        found = method_agreement(decoder, windows, y=Y, methods=asked, n_windows=6)
        given = decoder.screening_.to_numpy().copy()
        given[4:] = False
        pairs = zip(*(abs(found.maps[name].to_numpy()[:, given]) for name in methods), strict=True)
        expected = np.mean([spearmanr(one, other)[0] for one, other in pairs])
        assert found.agreement.loc[*methods] == pytest.approx(expected)


def test_windows_of_another_shape_are_refused(decoder):
    with pytest.raises(ArgumentError, match=r"\(time, region\) = \(6, 5\) each.*Got \(6, 4\)"):
        method_agreement(decoder, X[..., :4], y=Y)
