"""Windows that stay on disk: the same batches, the same training, the same explanations."""

import tracemalloc

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import cross_val_score

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.store import RUN_NAMES, open_windows, save_windows
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.fitting import train_network
from neurosal.models.networks import build_network
from neurosal.models.samples import WindowDataset, as_tensors
from neurosal.models.streaming import ChunkSampler, StreamedWindows
from neurosal.models.training import Training
from neurosal.saliency.explain import explain

FAST = Training(max_epochs=3, batch_size=16)


def make_windows_of(number, *, n_samples=15, n_steps=6, padded=True):
    """Windows of one run in which the condition shows in the first region."""
    generator = np.random.default_rng(number)
    condition = generator.choice(["left", "right"], n_samples)
    values = generator.normal(size=(n_samples, n_steps, 4))
    values[:, :, 0] += 3 * (condition == "left")[:, None]
    if padded:
        values[::4, -2:] = np.nan
    names = {name: ("sample", np.full(n_samples, f"{name}{number}")) for name in RUN_NAMES}
    coords = {**names, "condition": ("sample", condition), "region": list("abcd")}
    coords |= {"time": 5.0 + 2 * np.arange(n_steps)}
    return xr.DataArray(values, dims=("sample", "time", "region"), coords=coords)


@pytest.fixture(params=[True, False], ids=["padded", "whole"])
def stored(request, tmp_path):
    pytest.importorskip("zarr")
    parts = (make_windows_of(number, padded=request.param) for number in range(5))
    return open_windows(save_windows(parts, tmp_path / "store", chunk=8))


def test_batches_are_those_of_the_array_in_memory(stored):
    x, lengths = as_tensors(stored.to_numpy())
    classes = torch.arange(75)
    ours = StreamedWindows(stored, mixed=2).dataset(classes)
    theirs = WindowDataset(x, classes, lengths=lengths)
    assert len(ours) == len(theirs) == 75
    generator = np.random.default_rng(0)
    for _ in range(5):
        indices = generator.permutation(75)[:16].tolist()
        batch, numbers = ours.__getitems__(indices)
        expected, _ = theirs.__getitems__(indices)
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[name], expected[name]) for name in batch)
        assert numbers.tolist() == indices
    assert torch.equal(ours.x[:], x)


def test_steps_that_no_sample_has_are_cut_as_in_memory():
    values = np.random.default_rng(0).normal(size=(20, 7, 3))
    values[:, 5:] = np.nan
    values[:8, 3:] = np.nan
    x, lengths = as_tensors(values)
    streamed, ends = StreamedWindows(values, chunk=4).as_tensors()
    assert streamed.shape == x.shape == (20, 5, 3)
    assert torch.equal(streamed[:], x)
    assert torch.equal(ends, lengths)


def test_picking_samples_reads_nothing_and_keeps_their_order(stored):
    streamed = StreamedWindows(stored)
    x, _ = streamed.as_tensors()
    picked = streamed[np.array([70, 3, 3, 20])][1:]
    assert picked.shape == (3, 6, 4)
    assert torch.equal(picked.as_tensors()[0][:], x[[3, 3, 20]][:, : picked.lengths.max()])
    assert torch.equal(x.take(torch.tensor([9, 2]))[[1]], x[[2]])
    mask = (stored["condition"] == "left").to_numpy()
    assert streamed[mask].labelled["condition"].to_numpy().tolist() == ["left"] * mask.sum()


def test_training_from_disk_is_training_from_memory(stored):
    """The same order of samples gives the same weights to the bit."""
    classes = np.unique(stored["condition"], return_inverse=True)[1]
    states = []
    for windows in (stored, stored.to_numpy()):
        torch.manual_seed(0)
        module = build_network("gru", n_features=4, n_classes=2, hidden_size=5)
        data = StreamedWindows(windows, chunk=8, mixed=3).dataset(classes)
        net = train_network(module, data, FAST, n_classes=2, seed=1)
        states.append((net.module_.state_dict(), net.history[:, "train_loss"]))
    assert states[0][1] == states[1][1]
    assert all(torch.equal(states[0][0][name], states[1][0][name]) for name in states[0][0])


@settings(max_examples=30, deadline=None)
@given(
    chunks=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    mixed=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_the_sampler_gives_every_sample_once_few_chunks_at_a_time(chunks, mixed, seed):
    chunks = np.array(chunks)
    sampler = ChunkSampler(chunks, mixed=mixed, seed=seed)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(len(chunks)))
    assert list(ChunkSampler(chunks, mixed=mixed, seed=seed)) == first
    open_chunks, seen = [], chunks[first].tolist()
    for position, chunk in enumerate(seen):
        if chunk not in open_chunks:
            open_chunks.append(chunk)
            group = open_chunks[(len(open_chunks) - 1) // mixed * mixed :]
        assert chunk in group, f"chunk {chunk} comes back at {position}"


def test_every_pass_has_another_order_and_torchs_seed_decides_it():
    chunks = np.repeat(np.arange(10), 8)
    orders = []
    for _ in range(2):
        torch.manual_seed(3)
        sampler = ChunkSampler(chunks, mixed=4)
        orders.append([list(sampler), list(sampler)])
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]


def test_a_pass_in_the_samplers_order_reads_every_chunk_once(monkeypatch):
    from neurosal.models import streaming

    reads = []
    read = streaming._read
    monkeypatch.setattr(streaming, "_read", lambda *a, **k: reads.append(a[1]) or read(*a, **k))
    data = StreamedWindows(np.ones((80, 3, 2)), chunk=8, mixed=3).dataset([0, 1] * 40)
    reads.clear()
    for batch in torch.utils.data.DataLoader(
        data, batch_size=7, sampler=data.x.sampler(seed=0), collate_fn=lambda one: one
    ):
        assert batch[0]["x"].shape[1:] == (3, 2)
    assert sorted(reads) == list(range(0, 80, 8))


def test_memory_is_a_few_chunks_not_the_study(tmp_path):
    values = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (4000, 20, 50))
    data = StreamedWindows(values, chunk=40, mixed=4).dataset([0, 1] * 2000)
    size = values.nbytes
    tracemalloc.start()
    for start in range(0, 4000, 32):
        data.__getitems__(list(range(start, min(start + 32, 4000))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 10


def test_explaining_slices_of_a_store_is_explaining_them_in_memory(stored):
    torch.manual_seed(0)
    module = build_network("gru", n_features=4, n_classes=2, hidden_size=5).double()
    arguments = {"method": "gradient", "classes": ["left", "right"], "progress": False}
    lazy = explain(module, stored[20:40], batch_size=6, **arguments)
    held = explain(module, stored[20:40].load(), batch_size=6, **arguments)
    xr.testing.assert_identical(lazy, held)
    assert lazy["subject"].to_numpy().tolist() == stored["subject"].to_numpy()[20:40].tolist()


@pytest.mark.parametrize(
    ("windows", "options", "message"),
    [
        (np.ones((3, 2)), {}, r"array \(samples, time, regions\).* shape \(3, 2\)"),
        ([[1.0]], {}, "Got list"),
        (np.ones((3, 2, 1)), {"chunk": 0}, "chunk must be a whole number"),
        (np.ones((3, 2, 1)), {"mixed": 1.5}, "mixed must be a whole number"),
        (np.where(np.arange(20) == 13, np.nan, 1.0)[:, None, None], {"chunk": 5}, "from 10 on"),
        (np.full((4, 2, 2), np.inf), {}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(windows, options, message):
    with pytest.raises(ArgumentError, match=message):
        StreamedWindows(windows, **options)


def test_a_lost_or_damaged_chunk_is_not_taken_for_zeros(stored, tmp_path):
    chunk = tmp_path / "store/data.zarr/values/c/2/0/0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:50])
    with pytest.raises(DataError, match="Cannot read the samples from 16 on"):
        StreamedWindows(stored)
    chunk.unlink()
    with pytest.raises(ArgumentError, match=r"samples from 16 on: .*no step that is not NaN"):
        StreamedWindows(stored)


def test_other_regions_than_fitted_are_refused(stored):
    with pytest.raises(ArgumentError, match="X has 4 regions, but 5 were there"):
        StreamedWindows(stored).as_tensors(n_features=5)


def test_a_classifier_fits_predicts_and_validates_without_the_whole_in_memory(stored, tmp_path):
    y = stored["condition"].to_numpy()
    streamed = StreamedWindows(stored, mixed=2)
    training = Training(max_epochs=8, batch_size=16, validation=0.2, checkpoint=tmp_path / "kept")
    classifier = NetworkClassifier("gru", hidden_size=6, training=training, device="cpu")
    classifier.fit(streamed, y, groups=stored["subject"].to_numpy())
    assert classifier.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(
        classifier.predict_proba(streamed), classifier.predict_proba(stored.to_numpy())
    )
    assert np.mean(classifier.predict(streamed[60:]) == y[60:]) > 0.7
    again = NetworkClassifier("gru", hidden_size=6, training=training, device="cpu")
    again.fit(streamed, y, groups=stored["subject"].to_numpy())
    np.testing.assert_array_equal(again.logits(streamed), classifier.logits(streamed))
    with pytest.raises(ArgumentError, match="region"):
        classifier.predict(StreamedWindows(stored.isel(region=[1, 0, 2, 3])))


def test_cross_validation_picks_samples_lazily(stored):
    classifier = NetworkClassifier("gru", hidden_size=6, training=FAST, device="cpu")
    y = stored["condition"].to_numpy()
    scores = cross_val_score(classifier, StreamedWindows(stored), y, cv=3, error_score="raise")
    assert scores.shape == (3,)
