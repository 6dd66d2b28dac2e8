import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosal.saliency.rules import Product, Sum, input_relevance, linear_relevance, make_rule

X64 = {"dtype": torch.float64}


@pytest.mark.parametrize(
    ("bias_factor", "expected"),
    [
        (0.0, [-2.2799895336, 0.8689430863, 2.6068292589]),
        (1.0, [-2.3452504708, 0.8036821491, 2.5415683217]),
    ],
)
def test_epsilon_rule_gives_the_published_numbers(bias_factor, expected):
    weight = torch.tensor([[1, 0.5], [0.25, -1], [-0.5, 2]], **X64).T
    x, bias = torch.tensor([1.0, -2, 3], **X64), torch.tensor([0.1, -0.2], **X64)
    rule = make_rule("epsilon", bias_factor=bias_factor)
    relevance = linear_relevance(x, weight, bias, torch.tensor([2.0, -1], **X64), rule=rule)
    torch.testing.assert_close(relevance, torch.tensor(expected, **X64), atol=1e-9, rtol=0)


WEIGHT = torch.tensor([[1, -1], [0.5, 2], [-2, 1]], **X64).T
RELEVANCE = torch.tensor([3.0, 1], **X64)


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [
        (1.0, 0.0, [1.5, 2.3888889, 0.1111111]),
        (1.5, 0.5, [1.75, 3.5833333, -1.3333333]),
        (2.0, 1.0, [2, 4.7777778, -2.7777778]),
    ],
)
def test_alpha_beta_rule_gives_the_published_numbers(alpha, beta, expected):
    rule = make_rule("alpha-beta", alpha=alpha, beta=beta)
    x = torch.tensor([1, 2, 0.5], **X64)
    relevance = linear_relevance(x, WEIGHT, None, RELEVANCE, rule=rule)
    torch.testing.assert_close(relevance, torch.tensor(expected, **X64), atol=1e-7, rtol=0)


def test_bounded_rule_gives_the_published_numbers():
    rule = make_rule("deep-taylor", low=-1.0, high=1.0)
    x, expected = torch.tensor([-1, 0.5, 1], **X64), [0.2857143, 3.4285714, 0.2857143]
    relevance = input_relevance(x, WEIGHT, RELEVANCE, rule=rule)
    torch.testing.assert_close(relevance, torch.tensor(expected, **X64), atol=1e-7, rtol=0)
    one_of_many = input_relevance(x.expand(2, 3), WEIGHT, RELEVANCE.expand(2, 2), rule=rule)
    torch.testing.assert_close(one_of_many[1], relevance)


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    seed=st.integers(0, 10_000),
    epsilon=st.floats(0.0, 10.0),
    n=st.integers(2, 9),
    m=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_every_rule_that_should_keeps_all_relevance(seed, epsilon, n, m):
    x, weight = random(3, n, seed=seed), random(m, n, seed=seed + 1)
    bias, relevance = random(m, seed=seed + 2), random(3, m, seed=seed + 3)
    rule = make_rule("epsilon", epsilon=epsilon, bias_factor=1.0)
    found = [linear_relevance(x, weight, bias, relevance, rule=rule)]
    weight[:, 0], weight[:, 1] = weight[:, 0].abs(), -weight[:, 1].abs()  # both signs occur
    rule = make_rule("alpha-beta", alpha=3.0, beta=2.0)
    found.append(linear_relevance(x.abs(), weight, bias, relevance, rule=rule))
    bounds = {"low": float(x.min()) - 1, "high": x.amax(0) + 1}
    for options in ({"input_rule": "zB", **bounds}, {"input_rule": "w2"}, {"input_rule": "flat"}):
        found.append(input_relevance(x, weight, relevance, rule=make_rule("z+", **options)))
    for each in found:
        size = max(1.0, each.abs().max().item())
        torch.testing.assert_close(each.sum(1), relevance.sum(1), atol=1e-11 * size, rtol=0)


@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["epsilon", "alpha-beta", "z+"]))
@settings(max_examples=60, deadline=None)
def test_sums_keep_all_relevance_whatever_their_signs(seed, rule):
    parts, relevance = [random(4, 5, seed=seed + k) for k in range(2)], random(4, 5, seed=seed + 9)
    rule = make_rule(rule, **({"bias_factor": 1.0} if rule == "epsilon" else {}))
    found = sum(Sum(parts, rule=rule).message(relevance))
    torch.testing.assert_close(found.sum(1), relevance.sum(1), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("gate_rule", "of_gate", "of_signal"),
    [("all", 0.0, 6.0), ("prop", -3.0, 9.0), ("abs", 1.5, 4.5), ("half", 3.0, 3.0)],
)
def test_products(gate_rule, of_gate, of_signal):
    rule = make_rule("epsilon", gate_rule=gate_rule)
    product = Product(torch.tensor([0.5]), torch.tensor([-1.5]), rule=rule)
    gate, signal = product.message(torch.tensor([6.0]))
    assert (float(gate), float(signal)) == (of_gate, of_signal)


def test_weights_without_a_positive_contribution_lose_relevance_under_z_plus():
    weight = torch.tensor([[-1.0, -2.0], [-1.0, 2.0]])
    x, relevance = torch.tensor([1.0, 1.0]), torch.tensor([5.0, 7.0])
    found = linear_relevance(x, weight, None, relevance, rule=make_rule("z+"))
    assert found.tolist() == [0.0, 7.0]
