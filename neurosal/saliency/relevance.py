"""Layer-wise relevance propagation and deep Taylor decomposition of recurrent networks.

The score of a class is handed back layer by layer and step by step until it lies on the inputs;
what it says at every (time, region) is how much that input contributed to the score.

>>> import torch
>>> from neurosal.models import build_network
>>> network = build_network("bi-lstm", n_features=3, n_classes=2, hidden_size=4).double().eval()
>>> x = torch.randn(5, 7, 3, dtype=torch.float64)
>>> found = relevance(network, x, target_index=1, bias_factor=1.0)
>>> torch.allclose(found.relevance.sum((1, 2)) + found.leak, network(x)[:, 1])
True
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, check_one_of
from . import relevance_attention, relevance_networks, relevance_nonrecurrent  # noqa: F401
from .network import Network, evaluating
from .relevance_layers import cannot_propagate, propagate
from .rules import Rule, make_rule

STARTS = ("logit", "relu-logit", "one")


class Relevance(NamedTuple):
    """What :func:`relevance` returns.

    Parameters
    ----------
    relevance : Tensor
        Of every input, (batch, time, features); zero behind a sequence's end.
    leak : Tensor
        Starting relevance less the sum of ``relevance``, (batch,): what biases, stabilisers,
        initial states and outputs without a fitting contribution kept.
    absorbed : Tensor
        The part of the leak that reached initial hidden and cell states, (batch,).
    logits : Tensor
        What the network answers, (batch, classes).

    Examples
    --------
    >>> found = Relevance(torch.ones(1, 2, 3), *torch.zeros(2, 1), torch.ones(1, 2))
    >>> found.relevance.shape
    torch.Size([1, 2, 3])
    """

    relevance: Tensor
    leak: Tensor
    absorbed: Tensor
    logits: Tensor


@torch.no_grad()
def relevance(
    module: nn.Module,
    x: Tensor,
    *,
    target_index: int | Tensor,
    lengths: Tensor | None = None,
    rule: str = "epsilon",
    gate_rule: str = "all",
    bias_factor: float = 0.0,
    epsilon: float = 1e-3,
    alpha: float = 1.5,
    beta: float = 0.5,
    input_rule: str | None = None,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    start: str = "logit",
) -> Relevance:
    """Share a class score among the inputs that it was computed from.

    Dropout is left out, whatever mode the module is in.

    Parameters
    ----------
    module : torch.nn.Module
        A network from sequences (batch, time, features) to class logits (batch, classes).
    x : Tensor
        The inputs, (batch, time, features), in the units the network was trained on.
    target_index : int or Tensor
        The class to explain, one for all or (batch,).
    lengths : Tensor, optional
        Valid steps of each sample, (batch,); what follows is not read.
    rule : {"epsilon", "alpha-beta", "z+", "deep-taylor"}
        The rule of the layers; "z+" is alpha 1, beta 0, and "deep-taylor" is "z+" with the zB
        rule at the input if bounds are given, else the w2 rule.
    gate_rule : {"all", "prop", "abs", "half"}
        What a product ``gate * signal`` gives to its factors: all to the signal, in proportion
        to their values or absolute values, or half to each.
    bias_factor : float
        Share of the biases' and the stabiliser's relevance that is spread over the inputs
        (epsilon rule): 1 conserves relevance exactly, 0 gives the cleaner maps.
    epsilon : float
        The stabiliser of the epsilon rule and of "prop" and "abs".
    alpha, beta : float
        For "alpha-beta"; their difference is 1.
    input_rule : {None, "zB", "w2", "flat"}
        The rule of the first layer; None is that of the others.
    low, high : float or Tensor, optional
        Bounds of the inputs for "zB", one number or one for each feature.
    start : {"logit", "relu-logit", "one"}
        What is shared out: the logit, its positive part, or 1.

    Returns
    -------
    Relevance
        ``relevance`` (batch, time, features), ``leak`` (batch,), ``absorbed`` (batch,) and
        ``logits`` (batch, classes).

    Raises
    ------
    ArgumentError
        If an argument is not allowed, relevance cannot pass through the module, or the parts that
        it would pass through do not give the module's own logits.

    Notes
    -----
    With the epsilon rule and ``bias_factor=1`` every recurrent network, whatever its gate rule,
    shares out the whole score: the leak is what initial states absorbed, to rounding. Under
    "prop" a negative signal that nearly cancels its gate makes relevance, and with it rounding,
    very large. With ``bias_factor=0`` the leak is what biases and stabilisers stand for. Under
    "alpha-beta", "z+" and "deep-taylor" biases take nothing, and relevance leaks at an output
    that has no positive (or, with beta > 0, no negative) contribution; sums of signals, pooling
    and attention lose nothing. A feed-forward network also leaks what falls on padding. Where
    bounded data ("zB") and hidden states enter one layer, both count in one denominator, the
    states' negative contributions by their size [1]_.

    References
    ----------
    Bach et al. 2015, doi:10.1371/journal.pone.0130140; Arras et al. 2017,
    doi:10.18653/v1/W17-5221; Arras et al. 2019, doi:10.1007/978-3-030-28954-6_11;
    Montavon et al. 2017, doi:10.1016/j.patcog.2016.11.008.

    .. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's
       thesis, Technische Universität Berlin.

    Examples
    --------
    >>> from neurosal.models import build_network
    >>> network = build_network("lstm", n_features=3, n_classes=2)
    >>> relevance(network, torch.randn(4, 6, 3), target_index=0).relevance.shape
    torch.Size([4, 6, 3])
    """
    check_one_of("start", start, STARTS)
    chosen = make_rule(
        rule,
        epsilon=epsilon,
        alpha=alpha,
        beta=beta,
        bias_factor=bias_factor,
        gate_rule=gate_rule,
        input_rule=input_rule,
        low=low,
        high=high,
    )
    x, lengths = _prepared(x, lengths, chosen)
    with evaluating(network := Network((module,))):
        logits, back = propagate(module, x, lengths, chosen)
        own = network.logits(x, lengths)
        _check_same(module, logits, own)
        begun = _start(logits, target_index, start)
        found, absorbed = back(begun)
    return Relevance(found, begun.sum(1) - found.sum((1, 2)), absorbed, own)


def _check_same(module: nn.Module, logits: Tensor, own: Tensor) -> None:
    """Refuse a module whose logits are others than its parts give, by more than rounding."""
    if logits.shape != own.shape:
        shape = tuple(logits.shape)
        raise cannot_propagate(module, f"its parts give {shape}, not logits (batch, classes)")
    apart, eps = (logits - own).abs().max(), torch.finfo(own.dtype).eps
    if apart > eps ** (1 / 2) + eps ** (1 / 3) * own.abs().max():
        raise cannot_propagate(
            module,
            f"its parts give other logits than it does, up to {float(apart):.3g} apart (it has a "
            "forward of its own, a hook, or padding)",
        )


def _prepared(x: Tensor, lengths: Tensor | None, rule: Rule) -> tuple[Tensor, Tensor | None]:
    """Check the inputs and clear what lies behind each sequence's end."""
    if x.ndim != 3 or not x.is_floating_point():
        raise ArgumentError(
            f"x must be a float tensor (batch, time, features). Got {x.dtype} {tuple(x.shape)}."
        )
    valid = None
    if lengths is not None:
        lengths = torch.as_tensor(lengths, device=x.device)
        if lengths.shape != x.shape[:1] or lengths.min() < 1 or lengths.max() > x.shape[1]:
            raise ArgumentError(
                f"lengths must be {len(x)} whole numbers from 1 to {x.shape[1]}, one for each "
                f"sample. Got {lengths.tolist()}."
            )
        valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        x = x.detach().masked_fill(~valid[:, :, None], 0.0)
    if rule.input_rule == "zB":
        _check_bounds(x, valid, rule)
    return x.detach(), lengths


def _check_bounds(x: Tensor, valid: Tensor | None, rule: Rule) -> None:
    """Refuse inputs outside the bounds of the zB rule."""
    kind = {"dtype": x.dtype, "device": x.device}
    low, high = (torch.as_tensor(bound, **kind) for bound in (rule.low, rule.high))
    for name, bound in (("low", low), ("high", high)):
        if bound.ndim > 1 or (bound.ndim == 1 and len(bound) not in (1, x.shape[2])):
            raise ArgumentError(
                f"{name} must be one number or {x.shape[2]}, one for each feature. "
                f"Got shape {tuple(bound.shape)}."
            )
    outside = (x < low) | (x > high)
    if valid is not None:
        outside &= valid[:, :, None]
    if outside.any() or (low > high).any():
        used = x if valid is None else x[valid]
        raise ArgumentError(
            "The zB rule needs low <= x <= high everywhere. Got x between "
            f"{float(used.min()):.6g} and {float(used.max()):.6g}, low {rule.low!r}, "
            f"high {rule.high!r}; widen the bounds, or use input_rule='w2' for unbounded inputs."
        )


def _start(logits: Tensor, target_index: int | Tensor, start: str) -> Tensor:
    """Return the relevance of the logits: that of the target class, zero elsewhere."""
    index = torch.as_tensor(target_index, device=logits.device)
    if index.is_floating_point() or index.ndim > 1 or index.numel() not in (1, len(logits)):
        raise ArgumentError(
            f"target_index must be a whole number or {len(logits)} of them. "
            f"Got {index.dtype} of shape {tuple(index.shape)}."
        )
    if index.min() < 0 or index.max() >= logits.shape[1]:
        raise ArgumentError(
            f"target_index must lie between 0 and {logits.shape[1] - 1}. Got {index.tolist()}."
        )
    chosen = index.reshape(-1, 1).expand(len(logits), 1)
    score = {"logit": logits, "relu-logit": logits.relu(), "one": torch.ones_like(logits)}[start]
    return torch.zeros_like(logits).scatter(1, chosen, score.gather(1, chosen))
