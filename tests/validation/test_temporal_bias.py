"""A planted signal moved through time: noise like the data, and biases that show."""

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import average_precision_score

from neurosal.errors import ArgumentError
from neurosal.models import InputCellClassifier, NetworkClassifier
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.surrogates import noise_windows
from neurosal.validation.temporal_bias import temporal_bias


class Differences(WindowDecoder):
    """No network: the map is the class means' difference, times a weight for each time."""

    weights = 1.0

    def fit(self, X, y):
        self.screening_ = xr.DataArray(np.ones(X.shape[1:], bool), dims=("time", "region"))
        self.means_ = X[y == 0].mean(axis=0), X[y == 1].mean(axis=0)
        return self

    def predict(self, X):
        apart = [((X - mean) ** 2).sum(axis=(1, 2)) for mean in self.means_]
        return np.argmin(apart, axis=0)

    def explain(self, X, y=None, *, target="true"):
        values = (self.means_[1] - self.means_[0]) * self.weights
        return xr.DataArray(np.broadcast_to(values, X.shape), dims=("sample", "time", "region"))


class Late(Differences):
    """Importance fades towards the start."""

    weights = 0.4 ** np.arange(12)[::-1, None]


@pytest.fixture(scope="module")
def data():
    """Slow noise, correlated over regions, with a class difference."""
    rng = np.random.default_rng(0)
    y = np.tile(["rest", "task"], 40)
    X = rng.normal(size=(80, 12, 1)) + rng.normal(size=(80, 12, 10))
    X[:, 1:] += X[:, :-1]
    X[1::2, 4:8, :3] += 3.0
    coords = {"time": 5.0 + 0.72 * np.arange(12)}
    return xr.DataArray(X, dims=("sample", "time", "region"), coords=coords), y


def test_noise_has_the_datas_spectra_and_nothing_else(data):
    X, y = data[0].to_numpy(), data[1]
    noise = noise_windows(X, y, n=80, rng=np.random.default_rng(1))
    left = X - np.stack([X[y == name].mean(axis=0) for name in y])
    ours, theirs = (np.fft.rfft(one, axis=1)[:, 1:] for one in (noise, left))
    power = [(np.abs(one) ** 2).sum(axis=(0, 1)) for one in (ours, theirs)]
    ours = ours * np.sqrt(power[1] / power[0])
    # Up to scale, one window of the noise is one of the data: its power, its products of regions.
    order = [np.argsort((np.abs(one) ** 2).sum(axis=(1, 2))) for one in (ours, theirs)]
    ours, theirs = ours[order[0]], theirs[order[1]]
    for k in range(10):
        products = [one[..., 0] * np.conj(one[..., k]) for one in (ours, theirs)]
        np.testing.assert_allclose(products[0], products[1], rtol=1e-6, atol=1e-9)
    assert np.abs(ours - theirs).max() > 1
    many = noise_windows(X, y, n=4000, rng=np.random.default_rng(2))
    np.testing.assert_allclose(many.std(axis=0), 1, atol=0.12)
    assert np.abs(many.mean(axis=0)).max() < 0.06
    two = noise_windows(X[:, :11], y, n=50, rng=np.random.default_rng(2))
    np.testing.assert_allclose(two.std(axis=(0, 1)), 1)
    with pytest.raises(ArgumentError, match="two windows"):
        noise_windows(X[:2], y[:2], n=4, rng=np.random.default_rng(0))


def test_a_decoder_without_bias_passes_and_one_that_fades_does_not(data):
    X, y = data
    check = temporal_bias(Differences(), X, y=y, n_positions=4, n_regions=2, n_draws=2)
    assert check.verdict == "passed", check.finding
    # The same windows turned around: without a bias there is no difference at all.
    recovery = check.data["recovery"]
    np.testing.assert_allclose(recovery, np.broadcast_to(recovery[:, :1], (2, 4)), atol=1e-9)
    np.testing.assert_allclose(check.data["profile"].sum("time"), 1)
    assert (check.data["accuracy"] > 0.9).all()
    late = temporal_bias(Late(), X, y=y, n_positions=4, n_regions=2, effect=1.5)
    assert late.flagged
    assert late.values["worst_position"] == late.data["position"][0]
    assert late.values["earliest"] < 0.5 * late.values["latest"]


def test_positions_are_in_the_windows_time_and_the_signal_lies_there(data):
    X, y = data
    options = {"n_positions": 3, "n_regions": 4, "width": 3, "effect": 8.0}
    check = temporal_bias(Differences(), X, y=y, **options)
    np.testing.assert_allclose(check.data["position"], 5 + 0.72 * np.array([1, 5, 10]), atol=0.4)
    for place in range(3):
        profile = check.data["profile"][place]
        inside = (profile["time"] >= check.data["start"][place] - 1e-6) & (
            profile["time"] <= check.data["end"][place] + 1e-6
        )
        assert int(inside.sum()) == 3
        assert float(profile[inside].min()) > float(profile[~inside].max())


def test_the_score_is_average_precision_and_no_signal_is_no_verdict(data):
    X, y = data
    check = temporal_bias(Differences(), X, y=y, n_positions=2, n_regions=2, effect=0.0, seed=5)
    assert check.verdict == "reported"
    assert "found nowhere" in check.finding
    flags = np.zeros(120, dtype=bool)
    flags[:4] = True
    random = np.random.default_rng(1).random((2000, 120))
    draws = [average_precision_score(flags, one) for one in random]
    assert check.values["random"] == pytest.approx(np.mean(draws), abs=0.01)
    assert check.values["best"] < np.max(draws)


def test_what_cannot_be_planted_is_refused(data):
    for name, value in {"width": 12, "n_regions": 11, "n_positions": 1, "n_windows": 2}.items():
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            temporal_bias(Differences(), data[0], y=data[1], **{name: value})


@pytest.mark.slow
def test_the_bias_of_recurrence_shows_and_input_cell_attention_has_none(data):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(300, 40, 20)), np.tile(["rest", "task"], 150)
    options = {"n_positions": 3, "n_regions": 10, "width": 10, "effect": 4.0}
    published = NetworkClassifier("lstm", hidden_size=64, training="published")
    recurrent = WindowDecoder(published, method="gradient", screening_percentile=100)
    check = temporal_bias(recurrent, X, y=y, **options)
    assert check.flagged, check.finding
    assert (check.data["accuracy"] > 0.9).all()
    assert check.values["earliest"] < 0.2 < 0.4 < check.values["latest"]
    localizing = InputCellClassifier(training="localizing")
    for decoder in (WindowDecoder(localizing, screening_percentile=100), WindowDecoder()):
        check = temporal_bias(decoder, X, y=y, **options)
        assert check.verdict == "passed", check.finding
        assert check.values["worst"] > 0.8
