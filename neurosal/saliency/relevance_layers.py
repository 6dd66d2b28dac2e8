"""Relevance through layers: one handler per kind of module, each of which can be added to.

``propagate(module, x, lengths, rule)`` runs a module on a padded sequence and returns its output
together with a function that takes relevance of the output back to its input. It dispatches on
the module's type: register a handler for a cell of your own with ``@propagate.register``.

>>> import torch
>>> from neurosal.saliency.rules import make_rule
>>> class Doubled(nn.Module):
...     def forward(self, x):
...         return 2 * x
>>> @propagate.register
... def _(module: Doubled, x, lengths, rule):
...     return passed_on(module(x))
>>> layers = nn.Sequential(Doubled(), nn.Linear(2, 1))
>>> _ = nn.init.ones_(layers[1].weight)
>>> out, back = propagate(layers, torch.tensor([[1.0, 3.0]]), None, make_rule("z+"))
>>> back(torch.tensor([[8.0]]))[0]
tensor([[2., 6.]])
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import singledispatch
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from .relevance_affine import Affine, Term
from .relevance_maps import LinearMap
from .rules import Rule

Back = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From relevance of a layer's output to that of its input, and what initial states absorbed."""

ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU)
UNCHANGED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.AlphaDropout)


@singledispatch
def propagate(
    module: nn.Module, x: Tensor, lengths: Tensor | None, rule: Rule
) -> tuple[Tensor, Back]:
    """Run a module and return the way back for relevance.

    Parameters
    ----------
    module : torch.nn.Module
        A layer; in evaluation, so dropout passes everything.
    x : Tensor
        Its input, (batch, time, features), zero behind a sequence's end.
    lengths : Tensor or None
        Valid steps of each sample, (batch,).
    rule : Rule
        How relevance is shared; its input rule is for this module's first weights.

    Returns
    -------
    out : Tensor
        The module's output, (batch, time, units) or (batch, units).
    back : callable
        From relevance of ``out`` to (relevance of x, relevance that initial states absorbed).

    Raises
    ------
    ArgumentError
        If there is no handler for the module.

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> out, back = propagate(nn.Linear(3, 2), torch.ones(1, 4, 3), None, make_rule("epsilon"))
    >>> back(out)[0].shape
    torch.Size([1, 4, 3])
    """
    raise cannot_propagate(module, "of which products and sums it is made is not known")


def cannot_propagate(module: nn.Module, why: str) -> ArgumentError:
    """Say why relevance cannot pass through a module, through which it can, and what to use.

    Parameters
    ----------
    module : torch.nn.Module
        The module.
    why : str
        The reason, a clause.

    Returns
    -------
    ArgumentError
        To be raised.

    Examples
    --------
    >>> print(cannot_propagate(nn.Bilinear(1, 1, 1), "it has two inputs"))
    Relevance cannot be propagated through Bilinear: it has two inputs. It can through all...
    """
    return ArgumentError(
        f"Relevance cannot be propagated through {type(module).__name__}: {why}. It can through "
        "all networks of neurosal.models but 'transformer', and through nn.Sequential of "
        "nn.Flatten, nn.Linear, nn.RNN, nn.LSTM, nn.GRU, activation functions and dropout. "
        "Methods 'gradient', 'gradient_x_input', 'integrated_gradients', 'smoothgrad', "
        "'expected_gradients', 'occlusion' and 'feature_ablation' take any network; or register a "
        "handler of your own with @neurosal.saliency.relevance_layers.propagate.register."
    )


def nothing_absorbed(relevance: Tensor) -> Tensor:
    """Return zeros, one for each sample: a layer without initial states absorbs nothing.

    Parameters
    ----------
    relevance : Tensor
        (batch, ...).

    Returns
    -------
    Tensor
        (batch,).

    Examples
    --------
    >>> nothing_absorbed(torch.ones(2, 3))
    tensor([0., 0.])
    """
    return torch.zeros(len(relevance), dtype=relevance.dtype, device=relevance.device)


def passed_on(x: Tensor) -> tuple[Tensor, Back]:
    """Return a handler's result for a function whose relevance passes unchanged.

    Parameters
    ----------
    x : Tensor
        The function's output.

    Returns
    -------
    out : Tensor
        ``x``.
    back : callable
        The identity.

    Examples
    --------
    >>> passed_on(torch.ones(1, 2))[1](torch.tensor([[3.0, 4.0]]))[0]
    tensor([[3., 4.]])
    """
    return x, lambda relevance: (relevance, nothing_absorbed(relevance))


def chain(steps: list[nn.Module], x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run modules one behind the other; the input rule is for the first that has weights.

    Parameters
    ----------
    steps : list of torch.nn.Module
        The modules in their order.
    x, lengths, rule
        As in :func:`propagate`.

    Returns
    -------
    out, back
        As in :func:`propagate`.

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> steps = [nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)]
    >>> chain(steps, torch.ones(1, 3), None, make_rule("epsilon"))[0].shape
    torch.Size([1, 1])
    """
    backs = []
    for step in steps:
        before, (x, back) = x, propagate(step, x, lengths, rule)
        backs.append(back)
        if isinstance(step, nn.Flatten):
            rule = _flat_bounds(rule, before)
        elif x is not before:
            rule = rule.hidden()
    return x, lambda relevance: run_back(backs, relevance)


def _flat_bounds(rule: Rule, x: Tensor) -> Rule:
    """Lay the bounds of the zB rule out as the inputs (batch, time, features) are."""
    if rule.input_rule != "zB":
        return rule
    low, high = (
        torch.as_tensor(bound, dtype=x.dtype, device=x.device).expand(x.shape[1:]).flatten()
        for bound in (rule.low, rule.high)
    )
    return replace(rule, low=low, high=high)


def run_back(backs: list[Back], relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the ways back of layers, the last first, and add up what they absorbed.

    Parameters
    ----------
    backs : list of callable
        In the order of the layers.
    relevance : Tensor
        Of the last layer's output.

    Returns
    -------
    relevance, absorbed : Tensor
        Of the first layer's input; by all layers.

    Examples
    --------
    >>> run_back([passed_on(torch.ones(1))[1]], torch.tensor([2.0]))
    (tensor([2.]), tensor([0.]))
    """
    total = nothing_absorbed(relevance)
    for back in reversed(backs):
        relevance, absorbed = back(relevance)
        total = total + absorbed
    return relevance, total


@propagate.register
def _sequence(module: nn.Sequential, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Chain the modules, those of sequences inside it among them."""
    steps = list(_unnested(module))
    _check_convolutions(steps)
    return chain(steps, x, lengths, rule)


def _unnested(module: nn.Sequential) -> Iterator[nn.Module]:
    """Go through the modules of a sequence and of those inside it that have no other handler."""
    for step in module:
        if propagate.dispatch(type(step)) is _sequence:
            yield from _unnested(step)
        else:
            yield step


def _check_convolutions(steps: list[nn.Module]) -> None:
    """Refuse a convolution over time without the zeros in front that make it causal, and others."""
    shown = [step for step in steps if not isinstance(step, UNCHANGED)]
    for before, step in pairwise([None, *shown, None]):
        padded, past = isinstance(before, nn.ConstantPad1d), 0
        if isinstance(step, nn.Conv1d):
            past = (step.kernel_size[0] - 1) * step.dilation[0]
        if ((before.padding, before.value) if padded else ((0, 0), 0)) != ((past, 0), 0):
            raise cannot_propagate(
                before if padded else step,
                "padding and nn.Conv1d have rules only one right before the other, as "
                "nn.ConstantPad1d(((kernel_size - 1) * dilation, 0), 0.0)",
            )


def _same(module: nn.Module, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Pass relevance through an elementwise function unchanged, and leave its input as it is."""
    return passed_on(module(x.clone()))


def _unchanged(module: nn.Module, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Pass everything: dropout does nothing in evaluation."""
    return passed_on(x)


for _kind in ELEMENTWISE:
    propagate.register(_kind, _same)
for _kind in UNCHANGED:
    propagate.register(_kind, _unchanged)


@propagate.register
def _(module: nn.Flatten, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Put relevance back in the shape of the input."""
    return module(x), lambda relevance: (relevance.reshape(x.shape), nothing_absorbed(relevance))


@propagate.register
def _(module: nn.Linear, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Share the relevance of an affine layer."""
    return affine(x, module.weight, module.bias, rule)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, rule: Rule) -> tuple[Tensor, Back]:
    """Apply an affine layer and return the way back.

    Parameters
    ----------
    x : Tensor
        (..., n).
    weight : Tensor
        (m, n).
    bias : Tensor or None
        (m,).
    rule : Rule
        The rule.

    Returns
    -------
    out, back
        As in :func:`propagate`.

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> out, back = affine(torch.ones(1, 2), torch.ones(1, 2), None, make_rule("z+"))
    >>> back(out)[0]
    tensor([[1., 1.]])
    """
    layer = LinearMap(weight)
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach()
    out = layer(x) + bias

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        message = Affine([Term(x, layer)], bias, out, rule).message(0, relevance)
        return message, nothing_absorbed(relevance)

    return out, back
