"""Relevance through the networks to compare with: feed-forward and temporal convolutions.

>>> import torch
>>> from neurosal.models.nonrecurrent import TemporalConvolutionNetwork
>>> from neurosal.saliency.rules import make_rule
>>> network, x = TemporalConvolutionNetwork(3, 2, n_steps=6), torch.randn(4, 6, 3)
>>> logits, back = propagate(network, x, None, make_rule("epsilon"))
>>> back(logits)[0].shape
torch.Size([4, 6, 3])
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.nonrecurrent import FeedForwardNetwork, TemporalBlock, TemporalConvolutionNetwork
from ..models.reading import valid_steps
from .relevance_affine import Affine, Term
from .relevance_layers import (
    Back,
    cannot_propagate,
    chain,
    nothing_absorbed,
    passed_on,
    propagate,
    run_back,
)
from .relevance_maps import CausalMap
from .relevance_networks import read
from .rules import Rule, Sum


@propagate.register
def _(module: nn.ConstantPad1d, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Leave the zeros in front to the convolution behind, which adds them itself."""
    return passed_on(x)


@propagate.register
def _(module: nn.Conv1d, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Share the relevance of a causal convolution."""
    if module.groups > 1 or module.stride != (1,) or module.padding not in ((0,), "valid"):
        raise cannot_propagate(
            module,
            f"it must have groups=1, stride=1 and padding=0. Got {module.groups}, "
            f"{module.stride[0]} and {module.padding!r}",
        )
    layer = CausalMap(module.weight, dilation=module.dilation[0])
    bias = layer.weight.new_zeros(()) if module.bias is None else module.bias[:, None]
    out = layer(x) + bias

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        message = Affine([Term(x, layer)], bias, out, rule).message(0, relevance)
        return message, nothing_absorbed(relevance)

    return out, back


@propagate.register
def _(module: TemporalBlock, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Share the relevance of a block among its convolutions and its shortcut."""
    convolved, through_layers = propagate(module.convolutions, x, lengths, rule)
    short, through_short = propagate(module.shortcut, x, lengths, rule)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        total = Sum([convolved.transpose(1, 2), short.transpose(1, 2)], rule=rule)
        left, right = (part.transpose(1, 2) for part in total.message(relevance.transpose(1, 2)))
        return through_layers(left)[0] + through_short(right)[0], nothing_absorbed(relevance)

    return (convolved + short).relu(), back


@propagate.register
def _(module: TemporalConvolutionNetwork, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run the blocks, what is read from them, and the head."""
    channels, hidden = x.transpose(1, 2), rule.hidden()
    if rule.input_rule == "zB":
        kind = {"dtype": x.dtype, "device": x.device}
        low, high = (torch.as_tensor(bound, **kind) for bound in (rule.low, rule.high))
        rule = replace(rule, low=low.reshape(-1, 1), high=high.reshape(-1, 1))
    states, through_blocks = chain(list(module.blocks), channels, lengths, rule)
    summary, through_read = read(states.transpose(1, 2), module.read, lengths, hidden)
    logits, through_head = propagate(module.output, summary, None, hidden)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        of_states, absorbed = run_back([through_read, through_head], relevance)
        found, _ = through_blocks(of_states.transpose(1, 2))
        return found.transpose(1, 2), absorbed

    return logits, back


@propagate.register
def _(module: FeedForwardNetwork, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Lay the steps side by side; what falls on padding is lost, so it shows in the leak."""
    missing = module.n_steps - x.shape[1]
    valid = valid_steps(x, lengths)
    valid = torch.ones_like(x) if valid is None else valid[:, :, None].to(x).expand_as(x)
    if rule.input_rule == "zB":
        low, high = (_in_steps(bound, valid, missing) for bound in (rule.low, rule.high))
        rule = replace(rule, low=low, high=high)
    flat = F.pad(x, (0, 0, 0, missing)).flatten(1)
    logits, through = chain([module.hidden, module.relu, module.output], flat, None, rule)
    return logits, _out_of_steps(through, valid, missing)


def _in_steps(bound: float | Tensor, valid: Tensor, missing: int) -> Tensor:
    """Lay a bound of the features out over the steps, 0 in the padding."""
    bound = torch.as_tensor(bound, dtype=valid.dtype, device=valid.device)
    return F.pad(bound * valid, (0, 0, 0, missing)).flatten(1)


def _out_of_steps(through: Back, valid: Tensor, missing: int) -> Back:
    """Return the way back to (batch, time, features)."""

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        found, absorbed = through(relevance)
        steps = found.reshape(len(found), valid.shape[1] + missing, -1)[:, : valid.shape[1]]
        return steps * valid, absorbed

    return back
