"""The released cell's parameters, against its equations written out."""

import pytest
import torch

from neurosal.errors import ArgumentError
from neurosal.models.attention import InputCellAttention
from neurosal.models.published import from_published_weights

FEATURES, HIDDEN, HOPS, UNITS = 4, 3, 2, 5


def released_weights(width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "weight_iBarh": (width, 4 * HIDDEN),
        "weight_hh": (HIDDEN, 4 * HIDDEN),
        "bias": (4 * HIDDEN,),
        "linear_first.weight": (UNITS, FEATURES),
        "linear_first.bias": (UNITS,),
        "linear_second.weight": (HOPS, UNITS),
        "linear_second.bias": (HOPS,),
    }
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def released_cell(w: dict, x: torch.Tensor, *, normalize: bool = False) -> torch.Tensor:
    hidden = cell = torch.zeros(len(x), HIDDEN, dtype=x.dtype)
    steps = []
    for t in range(x.shape[1]):
        past = x[:, : t + 1]
        inner = torch.tanh(past @ w["linear_first.weight"].T + w["linear_first.bias"])
        logits = inner @ w["linear_second.weight"].T + w["linear_second.bias"]
        matrix = torch.softmax(logits, dim=1).transpose(1, 2) @ past
        wide = w["weight_iBarh"].shape[0] != FEATURES
        read = matrix.reshape(len(x), -1) if wide else matrix.sum(dim=1) / HOPS
        if normalize:
            read = read / torch.linalg.vector_norm(read, dim=1, keepdim=True)
        gates = read @ w["weight_iBarh"] + hidden @ w["weight_hh"] + w["bias"]
        i, f, g, o = gates.split(HIDDEN, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        steps.append(hidden)
    return torch.stack(steps, dim=1)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("width", "readout", "normalize"),
    [(FEATURES, "mean", False), (HOPS * FEATURES, "flatten", False), (8, "flatten", True)],
)
def test_equals_the_released_cell(width, readout, normalize, transposed):
    weights = released_weights(width)
    x = torch.randn(2, 9, FEATURES, dtype=torch.float64)
    expected = released_cell(weights, x, normalize=normalize)
    if transposed:
        for name in ("weight_iBarh", "weight_hh"):
            weights[name] = weights[name].T
    ours = from_published_weights(weights, normalize=normalize)
    assert ours.attention.readout == readout
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-13)


def test_a_whole_network_with_prefix_and_numpy_arrays():
    weights = {f"rnn.{name}": w.numpy() for name, w in released_weights(FEATURES).items()}
    ours = from_published_weights(weights | {"fc.weight": torch.zeros(2, HIDDEN)})
    x = torch.randn(1, 5, FEATURES, dtype=torch.float64)
    expected = released_cell(released_weights(FEATURES), x)
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("missing", ["weight_hh", "linear_second.bias", "weight_iBarh"])
def test_a_missing_entry_is_named(missing):
    weights = released_weights(FEATURES)
    del weights[missing]
    with pytest.raises(ArgumentError, match=f"lacks {missing}"):
        from_published_weights(weights)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("weight_hh", (3, 13), "weight_hh must be"),
        ("weight_iBarh", (4, 16), "same 12 gate units"),
        ("weight_iBarh", (7, 12), r"4 numbers \(mean\) or 8 \(flatten\)"),
        ("linear_first.bias", (6,), "attention.first.bias"),
        ("weight_hh", (12,), "must be a matrix"),
    ],
)
def test_a_shape_that_does_not_fit_is_named(name, shape, message):
    weights = released_weights(FEATURES) | {name: torch.zeros(shape, dtype=torch.float64)}
    with pytest.raises(ArgumentError, match=message):
        from_published_weights(weights)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_flattened_cell_of_one_hop(normalize):
    weights = released_weights(FEATURES)
    weights["linear_second.weight"] = weights["linear_second.weight"][:1]
    weights["linear_second.bias"] = weights["linear_second.bias"][:1]
    ours = from_published_weights(weights, normalize=normalize)
    assert ours.attention.readout == ("flatten" if normalize else "mean")
    x = torch.randn(2, 9, FEATURES, dtype=torch.float64)
    options = {"hops": 1, "attention_size": UNITS, "readout": "flatten", "dtype": torch.float64}
    pooled = InputCellAttention(FEATURES, **options)
    pooled.load_state_dict(ours.attention.state_dict())
    read = pooled(x)
    if normalize:
        read = read / torch.linalg.vector_norm(read, dim=2, keepdim=True)
    torch.testing.assert_close(ours(x)[0], ours.rnn(read)[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "state_dict must map names to arrays.* Got NoneType"),
        ([1, 2], "Got list"),
        ({1: 2}, "lacks weight_iBarh.* Got 1"),
    ],
)
def test_what_is_no_state_dict_is_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        from_published_weights(given)


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("linear_first.weight", torch.zeros(4), "linear_first.weight must be a matrix"),
        ("linear_second.weight", torch.tensor(3.0), "linear_second.weight must be a matrix"),
        ("bias", "x", "bias must be an array. Got str"),
        ("bias", torch.full((12,), torch.nan), "bias must hold finite real numbers. Got NaN"),
        ("bias", torch.ones(12, dtype=torch.int64), "finite real numbers. Got torch.int64"),
    ],
)
def test_an_entry_that_cannot_be_a_weight_is_named(name, entry, message):
    with pytest.raises(ArgumentError, match=message):
        from_published_weights(released_weights(FEATURES) | {name: entry})
