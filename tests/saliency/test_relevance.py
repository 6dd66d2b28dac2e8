import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neurosal.errors import ArgumentError
from neurosal.models import build_network
from neurosal.saliency.relevance import STARTS, propagate, relevance
from neurosal.saliency.relevance_layers import passed_on
from neurosal.saliency.relevance_networks import read
from neurosal.saliency.rules import linear_relevance, make_rule


def det(shape, k):
    n = torch.Size(shape).numel()
    return torch.sin(k * torch.arange(1, n + 1, dtype=torch.float64)).reshape(shape)


def in_torch_order(w):
    """Rows of the gates i, g, f, o put in the order i, f, g, o."""
    i, g, f, o = w.chunk(4)
    return torch.cat([i, f, g, o])


@pytest.fixture
def oracle():
    network = build_network("bi-lstm", n_features=3, n_classes=2, hidden_size=2).double().eval()
    values = {
        "weight_ih_l0": in_torch_order(0.8 * det((8, 3), 1.3)),
        "weight_hh_l0": in_torch_order(0.6 * det((8, 2), 0.9)),
        "bias_ih_l0": in_torch_order(0.1 * det((8,), 0.5)),
        "bias_hh_l0": torch.zeros(8),
        "weight_ih_l0_reverse": in_torch_order(0.8 * det((8, 3), 1.1)),
        "weight_hh_l0_reverse": in_torch_order(0.6 * det((8, 2), 1.7)),
        "bias_ih_l0_reverse": in_torch_order(0.1 * det((8,), 0.3)),
        "bias_hh_l0_reverse": torch.zeros(8),
    }
    with torch.no_grad():
        for name, value in values.items():
            getattr(network.rnn, name).copy_(value)
        network.output.weight.copy_(torch.cat([det((2, 2), 2.1), det((2, 2), 1.9)], 1))
        network.output.bias.zero_()
    return network, det((5, 3), 0.7)[[0, 3, 1, 4]][None]


@pytest.mark.parametrize(
    ("bias_factor", "expected"),
    [
        (0.0, [-0.0760147646, 0.01705146, -0.0966228857, -0.0832961668]),
        (1.0, [-0.0651532759, 0.0270962143, -0.087735827, -0.0770681176]),
    ],
)
def test_bidirectional_lstm_gives_the_published_numbers(oracle, bias_factor, expected):
    network, x = oracle
    torch.testing.assert_close(
        network(x)[0].detach(),
        torch.tensor([0.4273556658, -0.2017916896], dtype=torch.float64),
        atol=1e-9,
        rtol=0,
    )
    found = relevance(network, x, target_index=1, bias_factor=bias_factor)
    torch.testing.assert_close(
        found.relevance.sum(2)[0], torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=0
    )
    if bias_factor:
        assert found.leak.item() == pytest.approx(0.0010693165, abs=1e-9)
        assert found.absorbed.item() == pytest.approx(found.leak.item(), abs=1e-12)


def test_forward_direction_alone_gives_the_published_numbers(oracle):
    network, x = oracle
    rule = make_rule("epsilon", epsilon=1e-3)
    states, back = propagate(network.rnn, x, None, rule)
    read = torch.cat([states[:, -1, :2], states[:, 0, 2:]], 1)
    scores = network.output(read)
    start = torch.zeros_like(scores)
    start[:, 1] = scores[:, 1]
    of_read = linear_relevance(read, network.output.weight, None, start, rule=rule)
    of_states = torch.zeros_like(states)
    of_states[:, -1, :2] = of_read[:, :2]
    expected = torch.tensor([0.0131524917, 0.0466879626, 0.0042560798], dtype=torch.float64)
    torch.testing.assert_close(back(of_states)[0][0, 0].detach(), expected, atol=1e-9, rtol=0)


RECURRENT = {
    "rnn": {},
    "lstm": {"num_layers": 2},
    "gru": {},
    "bi-rnn": {},
    "bi-lstm": {"num_layers": 2, "read": "mean"},
    "bi-gru": {},
    "lstm-max": {},
    "lstm-self-attention": {"state_hops": 3},
    "input-cell-rnn": {"hops": 3},
    "input-cell-lstm": {"hops": 3, "readout": "flatten", "normalize": True},
    "input-cell-gru": {"hops": 2, "readout": "flatten"},
    "input-cell-bi-lstm": {"hops": 3, "num_layers": 2, "positional": True},
    "input-cell-lstm-self-attention": {"hops": 2},
    "shallow": {"hidden": 12, "recurrent": 10},
    "deep": {"inputs": (12,), "hidden": 10, "recurrent": 11, "out": 9},
    "deep-v2": {"inputs": (12, 13), "hidden": 10, "recurrent": 11, "out": 9},
    "r-lstm": {"inputs": 12, "recurrent": 10},
    "conv-deep": {"image_shape": (4, 3), "inputs": 12, "hidden": 10, "recurrent": 11},
    "conv-r-lstm": {"image_shape": (4, 3), "inputs": 12, "recurrent": 10},
    "tcn": {},
}
LENGTHS = torch.tensor([7, 4, 1, 6])
TARGET = torch.tensor([0, 1, 2, 1])


def made(name, **options):
    torch.manual_seed(5)
    network = build_network(
        name, n_features=12, n_classes=3, hidden_size=6, n_steps=7, **RECURRENT.get(name, options)
    )
    return network.double()


def trained(network):
    """Twenty steps of training on noise, in which three features stand out by class."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    y = torch.arange(24) % 3
    for _ in range(20):
        x = torch.randn(24, 7, 12, generator=generator, dtype=torch.float64)
        x[torch.arange(24), :, y] += 1.0
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(2)
    return torch.rand(4, 7, 12, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("gate_rule", ["all", "prop", "abs", "half"])
@pytest.mark.parametrize("name", RECURRENT)
def test_all_relevance_is_found_again(name, gate_rule, x):
    for state in (made(name).eval(), trained(made(name))):
        logits = state(x, LENGTHS).detach()
        found = relevance(
            state,
            x,
            target_index=TARGET,
            lengths=LENGTHS,
            bias_factor=1.0,
            gate_rule=gate_rule,
        )
        size = max(1.0, found.relevance.abs().max().item())
        got = found.relevance.sum((1, 2)) + found.absorbed
        expected = logits.gather(1, TARGET[:, None])[:, 0]
        torch.testing.assert_close(got, expected, atol=1e-10 * size, rtol=0)
        torch.testing.assert_close(found.leak, found.absorbed, atol=1e-10 * size, rtol=0)


@pytest.mark.parametrize("low", [None, -1.0])
@pytest.mark.parametrize("name", ["r-lstm", "shallow", "deep", "conv-r-lstm", "conv-deep"])
def test_deep_taylor_keeps_all_relevance_and_gives_no_negative(name, low, x):
    network = trained(made(name))
    high, winner = None if low is None else 1.0, network(x).argmax(1)
    found = relevance(
        network, x, target_index=winner, rule="deep-taylor", low=low, high=high, start="one"
    )
    torch.testing.assert_close(found.leak, torch.zeros_like(found.leak), atol=1e-12, rtol=0)
    assert found.relevance.min() >= -1e-15


@pytest.mark.parametrize("rule", ["epsilon", "alpha-beta", "deep-taylor"])
@pytest.mark.parametrize("name", RECURRENT)
def test_padding_changes_nothing_and_gets_nothing(name, rule, x):
    network = made(name).eval()
    padded = x.clone()
    padded[1, 4:] = torch.nan
    options = {"rule": rule, "bias_factor": 1.0 if rule == "epsilon" else 0.0}
    whole = relevance(network, padded, target_index=1, lengths=LENGTHS, **options)
    alone = relevance(network, x[1:2, :4], target_index=1, **options)
    torch.testing.assert_close(whole.relevance[1, :4], alone.relevance[0])
    assert (whole.relevance[1, 4:] == 0).all()


@pytest.mark.parametrize("name", ["shallow", "deep", "conv-deep", "tcn", "feed-forward"])
def test_without_biases_a_relu_network_gives_gradient_times_input(name, x):
    network = made(name).eval()
    for label, parameter in network.named_parameters():
        if "bias" in label:
            torch.nn.init.constant_(parameter, -50.0 if "raw" in label else 0.0)
    x = x.requires_grad_()
    network(x, LENGTHS)[:, 1].sum().backward()
    found = relevance(network, x, target_index=1, lengths=LENGTHS, epsilon=0.0)
    torch.testing.assert_close(found.relevance, x.grad * x.detach(), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", ["tcn", "feed-forward", "conv-deep", "input-cell-bi-lstm"])
def test_bounds_may_differ_between_features(name, x):
    network = made(name).eval()
    low, high = x.amin((0, 1)), x.amax((0, 1))
    found = relevance(
        network, x, target_index=1, input_rule="zB", low=low, high=high, bias_factor=1.0
    )
    torch.testing.assert_close(found.leak, found.absorbed, atol=1e-10, rtol=0)
    same = relevance(network, x, target_index=1, input_rule="zB", low=-2.0, high=3.0)
    wide = torch.full((12,), 3.0, dtype=torch.float64)
    other = relevance(network, x, target_index=1, input_rule="zB", low=-2.0, high=wide)
    torch.testing.assert_close(same.relevance, other.relevance)


@pytest.mark.parametrize("rule", ["epsilon", "z+"])
@pytest.mark.parametrize("name", ["bi-lstm", "input-cell-gru", "r-lstm"])
def test_batch_order_does_not_matter(name, rule, x):
    network, order = made(name).eval(), torch.tensor([2, 0, 3, 1])
    one = relevance(network, x, target_index=TARGET, lengths=LENGTHS, rule=rule)
    other = relevance(
        network, x[order], target_index=TARGET[order], lengths=LENGTHS[order], rule=rule
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a[order], b)


@given(scale=st.floats(0.1, 100.0), rule=st.sampled_from(["epsilon", "alpha-beta", "deep-taylor"]))
@settings(max_examples=20, deadline=None)
def test_relevance_scales_with_the_output_weights(scale, rule):
    network = made("input-cell-lstm").eval()
    torch.nn.init.zeros_(network.output.bias)
    x = torch.linspace(-1, 1, 7 * 12, dtype=torch.float64).view(1, 7, 12)
    before = relevance(network, x, target_index=1, rule=rule, epsilon=0.0)
    with torch.no_grad():
        network.output.weight *= scale
    after = relevance(network, x, target_index=1, rule=rule, epsilon=0.0)
    torch.testing.assert_close(after.relevance, before.relevance * scale, rtol=1e-8, atol=1e-12)


def test_starts(x):
    network = made("lstm").eval()
    logits = network(x)
    full = {s: relevance(network, x, target_index=1, start=s).relevance for s in STARTS}
    score = logits[:, 1].detach()
    torch.testing.assert_close(full["logit"], full["one"] * score[:, None, None])
    torch.testing.assert_close(full["relu-logit"], full["one"] * score.relu()[:, None, None])


def test_relevance_lost_by_weights_of_one_sign_is_the_leak(x):
    network = made("lstm").eval()
    with torch.no_grad():
        network.output.weight[1] = 0.0
    found = relevance(network, x, target_index=1, rule="z+", start="one")
    assert (found.relevance == 0).all()
    assert (found.leak == 1).all()
    assert (found.absorbed == 0).all()


def test_dropout_is_left_out_in_training_mode_too(x):
    network = made("lstm")
    network.dropout.p = 0.5
    one = relevance(network.train(), x, target_index=1)
    other = relevance(network.eval(), x, target_index=1)
    torch.testing.assert_close(one.relevance, other.relevance, rtol=0, atol=0)


def test_float32_agrees_with_float64(x):
    network = made("input-cell-bi-lstm").eval()
    exact = relevance(network, x, target_index=1).relevance
    rough = relevance(network.float(), x.float(), target_index=1).relevance
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.double(), exact, atol=1e-5 * exact.abs().max().item(), rtol=0)


def test_a_maximum_is_followed_to_its_step():
    states = torch.tensor([[[1.0, 9.0], [3.0, 2.0], [7.0, 99.0]]])
    _, back = read(states, "max", torch.tensor([2]), make_rule("epsilon"))
    assert back(torch.tensor([[5.0, 6.0]]))[0].tolist() == [[[0.0, 6.0], [5.0, 0.0], [0.0, 0.0]]]


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def test_own_modules_can_be_registered_and_unknown_ones_are_refused(x):
    network = made("lstm").eval()
    known = relevance(network, 2 * x, target_index=1).relevance
    network = nn.Sequential(Doubled(), network)
    with pytest.raises(ArgumentError, match="through Doubled"):
        relevance(network, x, target_index=1)
    propagate.register(Doubled, lambda module, x, lengths, rule: passed_on(module(x)))
    torch.testing.assert_close(relevance(network, x, target_index=1).relevance, known)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "lpr"}, "rule must be one of 'epsilon'"),
        ({"gate_rule": "none"}, "gate_rule must be one of 'all'"),
        ({"input_rule": "zb"}, "input_rule must be one of None, 'zB'"),
        ({"start": "probability"}, "start must be one of 'logit'"),
        ({"input_rule": "zB"}, "give both low and high"),
        ({"rule": "deep-taylor", "low": -1.0}, "give both low and high"),
        ({"rule": "deep-taylor", "low": -0.5, "high": 1.0}, "low <= x <= high"),
        (
            {"rule": "deep-taylor", "low": torch.zeros(5), "high": 1.0},
            "low must be one number or 12",
        ),
        ({"rule": "alpha-beta", "alpha": 2.0}, "alpha - beta must be 1"),
        ({"epsilon": -1.0}, "epsilon must be at least 0"),
        ({"bias_factor": 2.0}, "bias_factor must lie between 0 and 1"),
        ({"target_index": 3}, "target_index must lie between 0 and 2"),
        ({"target_index": 1.5}, "target_index must be a whole number"),
        ({"lengths": torch.tensor([8, 1, 1, 1])}, "lengths must be 4 whole numbers from 1 to 7"),
    ],
)
def test_bad_arguments_are_named(options, message, x):
    with pytest.raises(ArgumentError, match=message):
        relevance(made("lstm").eval(), x, **{"target_index": 1, **options})


def test_projected_lstm_and_transformer_are_refused(x):
    network = build_network("transformer", n_features=12, n_classes=3, hidden_size=8).double()
    with pytest.raises(ArgumentError, match="TransformerNetwork"):
        relevance(network, x, target_index=1)
    cell, rule = nn.LSTM(12, 4, proj_size=2).double(), make_rule("epsilon")
    with pytest.raises(ArgumentError, match="proj_size=2"):
        propagate(cell, x, None, rule)


def test_a_layer_without_biases_is_one_whose_biases_are_zero(x):
    torch.manual_seed(0)
    plain, rule = nn.GRU(12, 4, bias=False).double(), make_rule("epsilon", bias_factor=1.0)
    zero = nn.GRU(12, 4).double()
    zero.load_state_dict(
        plain.state_dict() | {name: p * 0 for name, p in zero.named_parameters() if "bias" in name}
    )
    (states, back), (same, other) = (propagate(cell, x, None, rule) for cell in (plain, zero))
    torch.testing.assert_close(back(states)[0], other(same)[0])


def test_inputs_must_be_batches_of_sequences(x):
    with pytest.raises(ArgumentError, match="x must be a float tensor"):
        relevance(made("lstm").eval(), x[0], target_index=1)
    with pytest.raises(ArgumentError, match="target_index must be a whole number or 4"):
        relevance(made("lstm").eval(), x, target_index=torch.tensor([0, 1]))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["shallow", "lstm", "input-cell-lstm"])
def test_bounded_data_beside_hidden_states_get_their_share_and_no_more(name, beta):
    torch.manual_seed(0)
    network = build_network(name, n_features=6, n_classes=3).double().eval()
    x = 2 * torch.rand(4, 7, 6, dtype=torch.float64) - 1
    rules = {"rule": "alpha-beta", "alpha": 1 + beta, "beta": beta, "input_rule": "zB"}
    found = relevance(network, x, target_index=1, low=-1.0, high=1.0, start="one", **rules)
    torch.testing.assert_close(found.relevance.sum((1, 2)), torch.ones(4, dtype=torch.float64))
    assert found.leak.abs().max() < 1e-12
