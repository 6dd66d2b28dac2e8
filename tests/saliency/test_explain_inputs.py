"""What `explain` makes of samples, baselines, files and modules that are odd or wrong."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from neurosal.errors import ArgumentError, DataError
from neurosal.models import InputCellClassifier, Training
from neurosal.saliency.explain import explain

N_SAMPLES, T, N = 6, 5, 3
X = np.random.default_rng(0).normal(size=(N_SAMPLES, T, N))
REGIONS = ["a", "b", "c"]
LABELLED = xr.DataArray(X, dims=("sample", "time", "region"), coords={"region": REGIONS})
BASE = np.random.default_rng(1).normal(size=X.shape)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(T * N, 2)).double()


def ask(x=X, model=None, **arguments):
    arguments = {"method": "gradient_x_input", "target": 1, "progress": False} | arguments
    return explain(linear() if model is None else model, x, **arguments)


class Steps(nn.Module):
    """Logits at every step, or at every other; may need lengths."""

    def __init__(self, stride=1):
        super().__init__()
        self.layer, self.stride = nn.Linear(N, 2).double(), stride

    def forward(self, x):
        return self.layer(x)[:, :: self.stride].cumsum(1)


class NeedsLengths(Steps):
    def forward(self, x, lengths):
        return self.layer(x).sum(1) / lengths[:, None]


def test_other_regions_than_the_classifier_s_are_refused_as_predict_refuses_them():
    training = Training(max_epochs=1)
    classifier = InputCellClassifier(hidden_size=2, training=training).fit(LABELLED, [0, 1] * 3)
    for call in (classifier.predict, lambda x: explain(classifier, x, target=1)):
        with pytest.raises(ArgumentError, match="region 0 is 'c', but 'a' was there when fitted"):
            call(LABELLED.isel(region=[2, 1, 0]))


@pytest.mark.parametrize(
    "change",
    [
        lambda base: base[:, ::-1][:, ::-1],
        np.asfortranarray,
        lambda base: base.astype(">f8"),
        lambda base: xr.DataArray(base, dims=LABELLED.dims),
        lambda base: LABELLED.copy(data=base).transpose("region", "sample", "time"),
        lambda base: LABELLED.copy(data=base).isel(region=[2, 0, 1]),
        lambda base: LABELLED.copy(data=base).chunk(sample=2),
        torch.as_tensor,
    ],
)
def test_a_baseline_is_the_same_in_whatever_it_comes(change):
    found = ask(LABELLED, baseline=change(BASE))
    np.testing.assert_allclose(found, ask(LABELLED, baseline=BASE), atol=1e-12)
    assert "blake2b" in found.attrs["baseline"]


def test_a_labelled_baseline_of_regions_or_of_steps_is_put_where_it_belongs():
    own = xr.DataArray([3.0, 1.0, 2.0], dims="region", coords={"region": ["c", "a", "b"]})
    steps = xr.DataArray(np.arange(5.0), dims="time")
    for baseline, plain in ((own, [1.0, 2.0, 3.0]), (steps, np.arange(5.0)[:, None])):
        np.testing.assert_array_equal(
            ask(LABELLED, baseline=baseline), ask(LABELLED, baseline=plain)
        )
    with pytest.raises(ArgumentError, match="baseline must have the regions of x"):
        ask(LABELLED, baseline=own.assign_coords(region=["c", "a", "d"]))


def test_a_labelled_background_is_put_in_the_order_of_x():
    background = LABELLED.copy(data=BASE)
    asked = {"method": "expected_gradients", "n_samples": 4}
    plain = ask(LABELLED, background=BASE, **asked)
    moved = background.isel(region=[2, 0, 1]).transpose("region", "time", "sample")
    np.testing.assert_array_equal(ask(LABELLED, background=moved, **asked), plain)
    base = {"background": moved, "n_samples": 2}
    rescaled = {"method": "temporal_rescaling", "base": "expected_gradients"}
    ask(LABELLED, base_arguments=base, **rescaled)
    assert base["background"] is moved
    with pytest.raises(ArgumentError, match="background must have the regions of x"):
        ask(LABELLED, background=background.assign_coords(region=["a", "b", "d"]), **asked)


def test_regions_without_a_network_are_named():
    x = LABELLED.assign_coords(network=("region", np.array(["V", None, "M"], dtype=object)))
    with pytest.raises(DataError, match="'b'"):
        ask(x, method="feature_ablation", groups="network")


def test_a_baseline_is_finite_but_in_the_padding():
    x, base = X.copy(), BASE.copy()
    x[1, 3:] = base[1, 3:] = np.nan
    model = NeedsLengths()
    zero = np.nan_to_num(base)
    np.testing.assert_array_equal(ask(x, model, baseline=base), ask(x, model, baseline=zero))
    base[0, 0, 0] = np.nan
    for method in ("gradient", "gradient_x_input", "smoothgrad"):
        with pytest.raises(DataError, match="baseline must be finite where x is no padding"):
            ask(x, model, baseline=base, method=method)


def test_mistakes_in_the_last_sample_are_told_before_the_first_is_explained():
    x, labels, model = X.copy(), np.array([1, 0, 0, 0, 0, 7]), linear()
    x[-1, 0, 0] = np.nan
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    names = ["rest", "tap"]
    words = np.array(["tap"] * 5 + ["tip"])
    for wrong in ({"x": x}, {"target": words, "classes": names}):
        with pytest.raises((DataError, ArgumentError), match=r"sample 5|Got 'tip'"):
            ask(**{"x": X, "model": model, "batch_size": 1} | wrong)
    assert not passes
    with pytest.raises(ArgumentError, match=r"one of the classes \[0, 1\]. Got 7"):
        ask(X, model, target=labels, batch_size=1)
    assert len(passes) == 1


def test_a_file_of_maps_is_touched_only_when_they_are_made(tmp_path):
    path = tmp_path / "maps.npy"
    np.save(path, BASE)
    with pytest.raises(ArgumentError, match="cannot"):
        ask(model=nn.Sequential(nn.Flatten(), nn.BatchNorm1d(T * N), nn.Linear(T * N, 2)).double(),
            method="lrp", out=path)  # fmt: skip
    np.testing.assert_array_equal(np.load(path), BASE)
    assert [one.name for one in tmp_path.iterdir()] == ["maps.npy"]
    found = ask(out=path)
    np.testing.assert_array_equal(np.load(path), ask())
    assert isinstance(found.values.base, np.memmap) or isinstance(found.values, np.memmap)
    with pytest.raises(ArgumentError, match="another file than that of x"):
        ask(np.load(path, mmap_mode="r"), out=path)
    for out, message in ((5, "name of a .npy file"), (tmp_path / "no" / "a.npy", "that exists")):
        with pytest.raises(ArgumentError, match=message):
            ask(out=out)


def test_what_was_made_before_an_error_stays(tmp_path):
    class Fails(Steps):
        def forward(self, x):
            if (x[:, 0, 0] == X[4, 0, 0]).any():
                raise ValueError("of the module's own")
            return super().forward(x)

    with pytest.raises(ValueError, match="of the module's own"):
        ask(model=Fails(), out=tmp_path / "maps.npy", batch_size=1)
    left = np.load(tmp_path / "maps.npy.part")
    assert np.isfinite(left[:4]).all()
    assert np.isnan(left[4:]).all()


@pytest.mark.parametrize("after", [0, 2])
def test_an_interrupt_leaves_nothing_half_done(after):
    seen = []

    class Interrupted(Steps):
        def forward(self, x):
            seen.append(len(x))
            if len(seen) > 11 * after + 3:
                raise KeyboardInterrupt
            return super().forward(x)

    with pytest.warns(UserWarning, match="interrupted"):
        found = ask(model=Interrupted(), at="all", batch_size=1, method="gradient")
    done = np.isfinite(found).all(("output_time", "time", "region")).to_numpy()
    assert done.sum() < N_SAMPLES
    np.testing.assert_array_equal(np.isfinite(found.score).all("output_time"), done)
    np.testing.assert_array_equal(found.target == 1, done)


def test_a_module_may_need_lengths_and_gets_them():
    whole = ask(model=(model := NeedsLengths()))
    ragged = [*X[:-1], X[-1, :3]]
    for batch_size in (1, 6):
        mixed = ask(ragged, model, batch_size=batch_size)
        np.testing.assert_allclose(mixed[:-1], whole[:-1], atol=1e-12)


def test_a_module_without_a_logit_for_each_step_is_not_read_at_one():
    with pytest.raises(ArgumentError, match="logits for each of 5 steps"):
        ask(model=Steps(stride=2), at=1)
    assert np.isfinite(ask(model=Steps(stride=2))).all()


def test_a_module_that_draws_by_itself_draws_the_same_again_and_leaves_chance_alone():
    class Draws(Steps):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, 0.5, training=True))

    model, before = Draws(), torch.get_rng_state()
    first, again, other = (
        ask(model=model, batch_size=6, method="squared_gradient", seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.score, again.score)
    assert (first.score != other.score).any()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.ma.masked_less(X, 0)}, "without a mask. Got MaskedArray"),
        ({"x": LABELLED.to_dataset(name="a")}, "Got Dataset"),
        ({"x": X.astype(object)}, "x must hold real numbers. Got the type object"),
        ({"x": X.astype(complex)}, "x must hold real numbers. Got the type complex"),
        ({"x": [["a", "b"], ["c", "d"]]}, "x must be a list of arrays of numbers"),
        ({"x": LABELLED.assign_coords(score=("sample", range(6)))}, "drop_vars"),
        ({"x": X[:, :, :2]}, r"samples of \(time, region\) = \(5, 2\)"),
        ({"at": np.array([0, 1])}, "at must be 'end'"),
        ({"seed": 1.5}, "seed must be a whole number. Got 1.5"),
        ({"seed": "abc"}, "seed must be a whole number"),
        ({"batch_size": np.array([1, 2])}, "batch_size must be"),
        ({"classes": ["a", "a"], "target": "a"}, "distinct labels"),
        ({"classes": 5}, "distinct labels"),
        ({"baseline": "zero"}, "baseline must be one of 'mean'"),
        ({"baseline": np.full((T, N), "a")}, "baseline must hold real numbers"),
        ({"baseline": xr.DataArray([1.0], dims="space")}, "dimensions among"),
    ],
)
def test_what_is_wrong_is_told(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ask(**arguments)


def test_numpy_s_whole_numbers_are_whole_numbers():
    asked = {"batch_size": np.int32(2), "seed": np.int64(3), "at": "end"}
    assert ask(**asked).attrs["seed"] == 3
    labels = np.array([True, False])
    found = ask(classes=labels, target=True)
    assert found.target.to_numpy().tolist() == [True] * N_SAMPLES


def test_a_list_of_tensors_that_ask_for_gradients_is_taken():
    sequences = [torch.as_tensor(sample).requires_grad_() for sample in X]
    np.testing.assert_array_equal(ask(sequences), ask())
