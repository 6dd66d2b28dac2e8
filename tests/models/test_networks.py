import math

import numpy as np
import pytest
import torch
from torch import nn

from neurosal.errors import ArgumentError
from neurosal.models.networks import NETWORKS, build_network
from neurosal.models.nonrecurrent import positions
from neurosal.models.reading import READS, read_each_step, read_states

N_STEPS, N_FEATURES, N_CLASSES = 9, 6, 3
LENGTHS = torch.tensor([9, 4, 1, 7])
OPTIONS = {"conv-deep": {"image_shape": (3, 2)}, "conv-r-lstm": {"image_shape": (3, 2)}}

CAUSAL = [n for n in NETWORKS if "bi-" not in n and n not in ("feed-forward", "transformer")]


def make(name, **options):
    torch.manual_seed(0)
    network = build_network(
        name,
        n_features=N_FEATURES,
        n_classes=N_CLASSES,
        hidden_size=8,
        n_steps=N_STEPS,
        **OPTIONS.get(name, {}),
        **options,
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network.double().eval()


def samples():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, N_STEPS, N_FEATURES, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_nothing(name):
    network, x = make(name), samples()
    alone = torch.cat([network(x[i : i + 1, :n]) for i, n in enumerate(LENGTHS.tolist())])
    padded = x.clone()
    for row, length in zip(padded, LENGTHS, strict=True):
        row[length:] = torch.nan
    together = network(padded, LENGTHS)
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    assert (together[0] - together[3]).abs().max() > 1e-6


@pytest.mark.parametrize("name", CAUSAL)
def test_scores_at_each_step_are_those_of_the_prefix(name):
    network, x = make(name), samples()
    steps = network(x, steps=True)
    for length in range(1, N_STEPS + 1):
        torch.testing.assert_close(
            steps[:, length - 1], network(x[:, :length]), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("read", ["mean", "max", "last", "both-ends"])
def test_padding_changes_no_reading_rule(read):
    network, x = make("bi-gru", read=read), samples()
    alone = torch.cat([network(x[i : i + 1, :n]) for i, n in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(network(x, LENGTHS), alone, rtol=1e-10, atol=1e-10)


def test_reading_against_plain_loops():
    states = torch.randn(4, N_STEPS, 6, dtype=torch.float64)
    for i, length in enumerate(LENGTHS.tolist()):
        valid = states[i, :length].numpy()
        expected = {
            "last": valid[-1],
            "mean": valid.mean(axis=0),
            "max": valid.max(axis=0),
            "both-ends": np.r_[valid[-1, :3], valid[0, 3:]],
        }
        for read in READS:
            got = read_states(states, read, LENGTHS)[i].numpy()
            np.testing.assert_allclose(got, expected[read], rtol=1e-12)
    for read in ("last", "mean", "max"):
        last = read_each_step(states, read)[:, -1]
        torch.testing.assert_close(last, read_states(states, read))


def test_self_attention_against_a_plain_loop():
    network, x = make("lstm-self-attention", state_hops=2), samples()
    states = network.rnn(x)[0].detach().numpy()
    first, second = (network.attention[i].weight.detach().numpy() for i in (0, 2))
    weight, bias = network.output.weight.detach().numpy(), network.output.bias.detach().numpy()
    for i, length in enumerate(LENGTHS.tolist()):
        scores = np.array([second @ np.tanh(first @ h) for h in states[i, :length]])
        exponential = np.exp(scores)
        shares = exponential / exponential.sum(axis=0)
        read = sum(np.outer(shares[t], states[i, t]) for t in range(length))
        expected = weight @ read.ravel() + bias
        np.testing.assert_allclose(network(x, LENGTHS)[i].detach().numpy(), expected, rtol=1e-9)


def test_temporal_convolutions_against_a_plain_loop():
    network, x = make("tcn"), samples()[0].numpy()
    for number, block in enumerate(network.blocks):
        inner = x
        for layer in [m for m in block.convolutions if isinstance(m, nn.Conv1d)]:
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            out = np.tile(bias, (len(inner), 1))
            for t in range(len(inner)):
                for tap in range(3):
                    past = t - (2 - tap) * 2**number
                    if past >= 0:
                        out[t] += weight[:, :, tap] @ inner[past]
            inner = np.maximum(out, 0)
        if isinstance(block.shortcut, nn.Conv1d):
            shortcut = block.shortcut
            x = x @ shortcut.weight[:, :, 0].detach().numpy().T + shortcut.bias.detach().numpy()
        x = np.maximum(inner + x, 0)
    expected = network.output.weight.detach().numpy() @ x[-1] + network.output.bias.detach().numpy()
    np.testing.assert_allclose(network(samples()[:1])[0].detach().numpy(), expected, rtol=1e-9)


def test_convolutions_reach_back_to_the_first_step():
    network = build_network("tcn", n_features=2, n_classes=2, n_steps=100).double()
    x = torch.randn(1, 100, 2, dtype=torch.float64, requires_grad=True)
    network(x).sum().backward()
    assert (x.grad[0, 0] != 0).any()


def test_positions_follow_the_published_formula():
    encoded = positions(20, 6)
    for step in (0, 7, 19):
        for pair in range(3):
            phase = step / 10_000 ** (2 * pair / 6)
            assert encoded[step, 2 * pair].item() == pytest.approx(math.sin(phase), abs=1e-12)
            assert encoded[step, 2 * pair + 1].item() == pytest.approx(math.cos(phase), abs=1e-12)


def test_backward_direction_is_read_where_it_has_seen_all():
    x = samples().requires_grad_()
    make("bi-lstm", read="last")(x)[:, 0].sum().backward()
    last_only = x.grad.clone()
    x.grad = None
    network = make("bi-lstm")
    for name, parameter in network.rnn.named_parameters():
        if not name.endswith("reverse"):
            parameter.data.zero_()
    network(x)[:, 0].sum().backward()
    assert last_only.abs().min() > 0
    assert x.grad[:, 0].abs().min() > 0
    assert x.grad[:, -1].abs().min() > 0


@pytest.mark.parametrize("name", ["lstm", "input-cell-gru"])
def test_dropout_acts_in_training_only(name):
    network, x = make(name, dropout=0.5), samples()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lstn", {}, "network must be one of 'rnn', 'lstm'"),
        ("lstm", {"hop": 3}, "option of network 'lstm' must be one of"),
        ("lstm", {"hops": 3}, "option of network 'lstm' must be one of"),
        ("lstm", {"read": "both-ends"}, "needs bidirectional=True"),
        ("gru", {"read": "first"}, "read must be one of"),
        ("transformer", {"n_heads": 3}, "multiple of n_heads=3"),
        ("conv-deep", {"image_shape": (3, 3)}, "image_shape must be"),
    ],
)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        build_network(name, n_features=6, n_classes=2, hidden_size=8, **options)


def test_bad_inputs_are_named():
    x = samples()
    with pytest.raises(ArgumentError, match="needs n_steps"):
        build_network("feed-forward", n_features=6, n_classes=2)
    with pytest.raises(ArgumentError, match="at most 9"):
        make("feed-forward")(torch.zeros(1, 10, 6, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="lengths must hold one number from 1 to 9"):
        make("lstm")(x, torch.tensor([9, 4, 0, 7]))
    with pytest.raises(ArgumentError, match="reads forwards only"):
        make("bi-lstm")(x, steps=True)
