import numpy as np
import pytest
import torch

from neurosal.models.networks import build_network
from neurosal.models.relu_cells import SequenceDropout, SumPool2d
from neurosal.models.thesis import RLSTM, ConvDeep, Deep, DeepV2, Shallow
from neurosal.models.window_net import ClassLoss

COUNTS = {
    "shallow": (184330, 334858),
    "deep": (153578, 304106),
    "deep-v2": (161386, 236650),
    "conv-deep": (151802, 295162),
    "r-lstm": (145914, 296442),
    "conv-r-lstm": (152410, 295770),
}


def relu(x):
    return np.maximum(x, 0)


def layer(module):
    weight, raw = module.weight.detach().numpy(), module.raw_bias.detach().numpy()
    return weight, -np.log1p(np.exp(raw))


def arrays(network, n_steps=5, n_features=6):
    torch.manual_seed(3)
    for name, parameter in network.double().eval().named_parameters():
        torch.nn.init.normal_(parameter, mean=-3.0 if "raw_bias" in name else 0.4, std=0.5)
    return 1 + torch.randn(1, n_steps, n_features, dtype=torch.float64)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("columns", [7, 28])
def test_parameter_counts(name, columns):
    options = {"image_shape": (28, columns)} if "conv" in name else {}
    network = build_network(name, n_features=28 * columns, n_classes=10, **options)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == COUNTS[name][columns == 28]


def slow_shallow(network, x, of_h):
    (w, b), (w_r, b_r) = layer(network.cell.hidden), layer(network.cell.recurrent)
    w_y, b_y = layer(network.output)
    r = np.zeros(4)
    for t, step in enumerate(x):
        h = relu(w @ np.r_[step, r] + b)
        r = relu(w_r @ (h * of_h[t]) + b_r)
    return w_y @ h + b_y


def slow_deep(network, x, *masks):
    before = [layer(module) for module in network.input_layers if hasattr(module, "raw_bias")]
    of_layers, (of_a, of_h, of_r, *of_out) = masks[: len(before)], masks[len(before) :]
    (w, b), (w_r, b_r) = layer(network.cell.hidden), layer(network.cell.recurrent)
    w_o, b_o = layer(network.output_layers[0])
    w_y, b_y = layer(network.output)
    r = np.zeros(4)
    for t, a in enumerate(x):
        for (weight, bias), mask in zip(before, of_layers, strict=True):
            a = relu(weight @ a + bias) * mask[t]
        h = relu(w @ np.r_[a * of_a[t], r * of_r[t]] + b)
        r = relu(w_r @ (h * of_h[t]) + b_r)
    read = h * (of_out[0] if of_out else of_h)[-1]
    return w_y @ relu(w_o @ read + b_o) + b_y


def slow_r_lstm(network, x, of_a, of_h):
    w_a, b_a = layer(network.input_layers[0])
    w_g, b_g = layer(network.cell.signal)
    w_y, b_y = layer(network.output)
    gates = network.cell.gates
    w, b = gates.weight.detach().numpy(), gates.bias.detach().numpy()
    h, c = np.zeros(4), np.zeros(4)
    for t, step in enumerate(x):
        both = np.r_[relu(w_a @ step + b_a) * of_a[t], h]
        i, f, o = np.split(1 / (1 + np.exp(-(w @ both + b))), 3)
        c = i * relu(w_g @ both + b_g) + f * c
        h = o * c * of_h[t]
    return w_y @ h + b_y


SMALL = {
    "shallow": (Shallow, slow_shallow, {"hidden": 5}),
    "deep": (Deep, slow_deep, {"inputs": (7,), "hidden": 5, "out": 3}),
    "deep-v2": (DeepV2, slow_deep, {"inputs": (7, 8), "hidden": 5, "out": 3}),
    "r-lstm": (RLSTM, slow_r_lstm, {"inputs": 5}),
}
N_MASKS = {"shallow": 1, "deep": 4, "deep-v2": 5, "r-lstm": 2}


@pytest.mark.parametrize("stationary", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_against_a_plain_loop_with_the_masks_drawn(name, training, stationary):
    kind, slow, sizes = SMALL[name]
    network = kind(6, 3, recurrent=4, dropout=0.3, stationary_dropout=stationary, **sizes)
    x = arrays(network)
    masks, mask = [], network.dropout.mask
    network.dropout.mask = lambda like: masks.append(mask(like)) or masks[-1]
    states = network.train(training).states(x)
    assert (states[0, -1] > 0).any()  # a dead network would equal any other
    masks.clear()
    found = network(x)[0].detach().numpy()
    if training:
        assert any((mask == 0).any() for mask in masks)
        masks = [mask[0].numpy() for mask in masks]
    else:  # nothing is dropped
        masks = N_MASKS[name] * [np.ones(x.shape[1])]
    of_out = training and stationary and name in ("deep", "deep-v2")
    assert len(masks) == N_MASKS[name] + of_out
    np.testing.assert_allclose(found, slow(network, x[0].numpy(), *masks), rtol=1e-10)


def test_convolutions_see_rows_first():
    network = ConvDeep(28 * 7, 2)
    images = torch.zeros(1, 1, 28, 7)
    images[0, 0, 3, 5] = 1.0
    stack = network.input_layers[0]
    first = stack[0]
    expected = torch.nn.functional.conv2d(images, first.weight, first.bias, padding=2)
    seen = []
    handle = first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    stack(images.reshape(1, 1, 196))
    handle.remove()
    torch.testing.assert_close(seen[0], expected)


def test_sum_pooling_loses_nothing():
    image = torch.rand(2, 3, 7, 5, dtype=torch.float64)
    pooled = SumPool2d()(image)
    assert pooled.shape == (2, 3, 4, 3)
    torch.testing.assert_close(pooled.sum((2, 3)), image.sum((2, 3)))
    torch.testing.assert_close(pooled[:, :, 1, 1], image[:, :, 2:4, 2:4].sum((2, 3)))


@pytest.mark.parametrize("name", COUNTS)
def test_biases_are_never_positive_and_weights_are_cut_normals(name):
    network = build_network(name, n_features=196, n_classes=10)
    for module in network.modules():
        if not hasattr(module, "raw_bias"):
            continue
        torch.testing.assert_close(module.bias, torch.full_like(module.bias, -0.01))
        module.raw_bias.data.uniform_(-30, 30)
        assert (module.bias <= 0).all()
        sd = module.weight[0].numel() ** -0.5
        assert module.weight.abs().max() <= 2 * sd
        if module.weight.numel() > 5000:
            # A normal distribution cut at two sd has .8796 times its sd.
            assert module.weight.std().item() == pytest.approx(0.8796 * sd, rel=0.05)


@pytest.mark.parametrize("stationary", [True, False])
def test_stationary_masks_do_not_change_over_time(stationary):
    dropout = SequenceDropout(0.5, stationary=stationary)
    mask = dropout.mask(torch.zeros(3, 20, 40))
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    assert bool((mask == mask[:, :1]).all()) is stationary
    assert not torch.equal(mask[0, 0], mask[1, 0])
    dropout.eval()
    assert (dropout.mask(torch.zeros(3, 20, 40)) == 1).all()
    assert (SequenceDropout(1.0).mask(torch.zeros(3, 20, 40)) == 0).all()


@pytest.mark.parametrize("name", ["shallow", "deep", "r-lstm"])
def test_cells_use_one_mask_for_a_sequence(name):
    torch.manual_seed(0)
    network = build_network(name, n_features=6, n_classes=2, stationary_dropout=True, dropout=0.5)
    drawn = []
    original = network.dropout.mask
    network.dropout.mask = lambda like: drawn.append(original(like)) or drawn[-1]
    out = network(torch.randn(2, 8, 6))
    assert len(drawn) == N_MASKS[name] + (name == "deep")
    for mask in drawn:
        assert mask.shape[1] == 8
        assert torch.equal(mask, mask[:, :1].expand_as(mask))
        assert (mask == 0).any()
    assert not torch.equal(out, network(torch.randn(2, 8, 6)))


def test_pseudo_class_gives_logits_a_level():
    logits, classes = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    by_hand = np.mean(
        [
            np.log(np.exp(row).sum() + 1) - row[label]
            for row, label in zip(logits.numpy(), classes.numpy(), strict=True)
        ]
    )
    assert ClassLoss(pseudo_class=True)(logits, classes).item() == pytest.approx(by_hand, rel=1e-12)
    with_level, plain = ClassLoss(pseudo_class=True), ClassLoss()
    assert with_level(logits + 1, classes) != pytest.approx(with_level(logits, classes).item())
    assert plain(logits + 1, classes).item() == pytest.approx(plain(logits, classes).item())
    weighted = ClassLoss(torch.tensor([1.0, 2.0, 0.5]).double(), pseudo_class=True)
    assert torch.isfinite(weighted(logits, classes))
