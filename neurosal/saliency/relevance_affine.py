"""Affine layers as relevance sees them: several inputs, one sum, and what each may take of it.

A recurrent cell adds ``W_x x`` and ``W_h h``; its relevance is shared among both by one
denominator. :class:`Affine` works the denominators out for all steps at once, so that the way
back through time costs one product with ``W_h`` per step and one with ``W_x`` in the end.

>>> import torch
>>> from neurosal.saliency.rules import make_rule
>>> terms = [Term(torch.ones(1, 2), LinearMap(torch.ones(1, 2))) for _ in "xh"]
>>> layer = Affine(terms, torch.zeros(1), torch.full((1, 1), 4.0), make_rule("z+"))
>>> layer.message(1, torch.tensor([[8.0]]))
tensor([[2., 2.]])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .relevance_maps import LinearMap, safe_ratio, stabilised

if TYPE_CHECKING:
    from .rules import Rule


@dataclass
class Term:
    """One input of an affine layer.

    Parameters
    ----------
    x : Tensor
        Its values, (..., n), or (step, ..., n).
    layer : LinearMap
        Its weights.
    scale : Tensor, optional
        A gate that multiplies ``layer(x)``, (..., m): the reset gate of a GRU.

    Examples
    --------
    >>> Term(torch.tensor([-1.0]), LinearMap(torch.tensor([[2.0]]))).parts()
    (tensor([0.]), tensor([-2.]))
    """

    x: Tensor
    layer: LinearMap
    scale: Tensor | None = None

    @cached_property
    def signed(self) -> bool:
        """Whether any value is negative."""
        return bool((self.x < 0).any())

    def parts(self) -> tuple[Tensor, Tensor]:
        """Add up the positive and the negative contributions.

        Returns
        -------
        positive, negative : Tensor
            Each of the outputs' shape.
        """
        layer, up = self.layer, self.x.clamp(min=0) if self.signed else self.x
        positive, negative = layer(up, layer.positive), layer(up, layer.negative)
        if self.signed:
            down = self.x.clamp(max=0)
            positive = positive + layer(down, layer.negative)
            negative = negative + layer(down, layer.positive)
        if self.scale is not None:
            positive, negative = positive * self.scale, negative * self.scale
        return positive, negative


class Affine:
    """An affine layer with the denominators of all its outputs.

    Parameters
    ----------
    terms : sequence of Term
        Its inputs; the first may be the data themselves, then the input rule is for it.
    bias : Tensor
        The biases, of a shape that broadcasts to the outputs'.
    out : Tensor
        The outputs before any nonlinearity.
    rule : Rule
        The rule; see :func:`neurosal.saliency.rules.make_rule`.

    Notes
    -----
    Where the data and hidden states enter one layer, the hidden rule says how much relevance the
    data get in all and the input rule shares that out. Bounded data (zB) under an alpha-beta rule
    count in one denominator with the states, as in [1]_: the data with the zB rule's
    contributions, the states with ``alpha`` times the positive and ``beta`` times the size of the
    negative ones. All shares are then positive and add up to one.

    References
    ----------
    .. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's
       thesis, Technische Universität Berlin.

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> term = Term(torch.tensor([1.0, 3.0]), LinearMap(torch.ones(1, 2)))
    >>> layer = Affine([term], torch.zeros(1), torch.tensor([4.0]), make_rule("z+"))
    >>> layer.message(0, torch.tensor([8.0]))
    tensor([2., 6.])
    """

    def __init__(self, terms: Sequence[Term], bias: Tensor, out: Tensor, rule: "Rule"):
        self.terms, self.rule = list(terms), rule
        self.down: Tensor | None = None
        self.rest: Tensor | None = None
        self._shares: dict[int, Tensor] = {}
        if rule.name == "epsilon":
            self._share_epsilon(bias, out)
        else:
            self._share_signed()

    def _share_epsilon(self, bias: Tensor, out: Tensor) -> None:
        """Set the epsilon rule's factors."""
        total = stabilised(out, self.rule.epsilon)
        self.up = _inverse(total)
        if self.rule.bias_factor:
            fan_in = sum(term.layer.fan_in(term.x) for term in self.terms)
            self.rest = self.rule.bias_factor * (total - out + bias) / fan_in * self.up

    def _share_signed(self) -> None:
        """Set the alpha-beta rule's factors."""
        alpha, beta = self.rule.alpha, self.rule.beta
        parts = [self._parts(k) for k in range(len(self.terms))]
        above, below = (
            sum(positive for positive, _ in parts),
            sum(negative for _, negative in parts),
        )
        if self._bounded:
            above = below = alpha * above - beta * below
        self.up = alpha * _inverse(above)
        if beta:
            self.down = -beta * _inverse(below)

    @property
    def _bounded(self) -> bool:
        """Whether the first input is bounded data, under a rule that tells signs apart."""
        return self.rule.input_rule == "zB" and self.rule.name != "epsilon"

    def _parts(self, k: int) -> tuple[Tensor, Tensor]:
        """Add up a term's contributions by sign; bounded data count as the zB rule has them."""
        term = self.terms[k]
        if k == 0 and self._bounded:
            total = bounded_total(term.x, term.layer, self.rule) / self.rule.alpha
            return total, torch.zeros_like(total)
        return term.parts()

    def message(self, k: int, relevance: Tensor, step: int | None = None) -> Tensor:
        """Return the relevance of one of the inputs.

        Parameters
        ----------
        k : int
            Which of the terms.
        relevance : Tensor
            Of the outputs; of one step only where ``step`` is given.
        step : int, optional
            The index on the first axis; None for all at once.

        Returns
        -------
        Tensor
            Relevance of the term's x.
        """
        term, rule = self.terms[k], self.rule
        if k == 0 and rule.input_rule is not None:
            share = relevance if len(self.terms) == 1 else self.total(0, relevance)
            return input_relevance_of(term.x, term.layer, share, rule)
        x, up, down, rest, scale = (
            value if value is None or step is None else value[step]
            for value in (term.x, self.up, self.down, self.rest, term.scale)
        )
        gated = relevance if scale is None else relevance * scale
        if rule.name == "epsilon":
            message = x * term.layer.back(gated * up, x)
            return message if rest is None else message + term.layer.spread(relevance * rest, x)
        return _signed_message(term, x, gated * up, None if down is None else gated * down)

    def total(self, k: int, relevance: Tensor, step: int | None = None) -> Tensor:
        """Return how much of each output's relevance one of the inputs gets in all.

        Parameters
        ----------
        k : int
            Which of the terms.
        relevance : Tensor
            Of the outputs; of one step only where ``step`` is given.
        step : int, optional
            The index on the first axis; None for all at once.

        Returns
        -------
        Tensor
            Of the outputs' shape.
        """
        share = self._share(k)
        return relevance * (share if step is None else share[step])

    def _share(self, k: int) -> Tensor:
        """Return the share of a term in each output."""
        if k not in self._shares:
            self._shares[k] = self._work_out_share(k)
        return self._shares[k]

    def _work_out_share(self, k: int) -> Tensor:
        """Add up a term's contributions over the layer's denominators."""
        term = self.terms[k]
        if self.rule.name != "epsilon":
            positive, negative = self._parts(k)
            share = positive * self.up
            return share if self.down is None else share + negative * self.down
        share = term.layer(term.x) * self.up
        share = share if term.scale is None else share * term.scale
        return share if self.rest is None else share + self.rest * term.layer.fan_in(term.x)


def _inverse(z: Tensor) -> Tensor:
    """Return 1 / z, and 0 where z is 0."""
    return safe_ratio(torch.ones((), dtype=z.dtype, device=z.device), z)


def _signed_message(term: Term, x: Tensor, up: Tensor, down: Tensor | None) -> Tensor:
    """Return x times what reaches it over contributions of either sign."""
    layer = term.layer
    of_positive = layer.back(up, x, layer.positive)
    if down is not None:
        of_positive = of_positive + layer.back(down, x, layer.negative)
    if not term.signed:
        return x * of_positive
    of_negative = layer.back(up, x, layer.negative)
    if down is not None:
        of_negative = of_negative + layer.back(down, x, layer.positive)
    return x.clamp(min=0) * of_positive + x.clamp(max=0) * of_negative


def _bounds(x: Tensor, rule: "Rule") -> tuple[Tensor, Tensor]:
    """Return the bounds of the data in the shape of one sample."""
    one = torch.ones_like(x[:1] if x.ndim > 1 else x)
    kind = {"dtype": x.dtype, "device": x.device}
    return one * torch.as_tensor(rule.low, **kind), one * torch.as_tensor(rule.high, **kind)


def bounded_total(x: Tensor, layer: LinearMap, rule: "Rule") -> Tensor:
    """Add up the zB rule's contributions of the data, none of which is negative.

    A total that is nothing but rounding, where all data lie at the bounds, is 0.

    Parameters
    ----------
    x : Tensor
        The data between ``rule.low`` and ``rule.high``.
    layer : LinearMap
        The layer that reads them.
    rule : Rule
        Holds the bounds.

    Returns
    -------
    Tensor
        Of the outputs' shape.

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> rule = make_rule("deep-taylor", low=-1.0, high=1.0)
    >>> bounded_total(torch.tensor([[0.5]]), LinearMap(torch.tensor([[2.0]])), rule)
    tensor([[3.]])
    """
    low, high = _bounds(x, rule)
    total = layer(x) - layer(low, layer.positive) - layer(high, layer.negative)
    size = layer(low.abs(), layer.positive) - layer(high.abs(), layer.negative)
    rounding = 16 * torch.finfo(x.dtype).eps * size
    return total.masked_fill(total <= rounding, 0.0)


def input_relevance_of(x: Tensor, layer: LinearMap, relevance: Tensor, rule: "Rule") -> Tensor:
    """Share relevance among the data by the input rule, for any kind of layer.

    Parameters
    ----------
    x : Tensor
        The data.
    layer : LinearMap
        The layer that reads them.
    relevance : Tensor
        Of the layer's outputs.
    rule : Rule
        With an input rule; see :func:`neurosal.saliency.rules.input_relevance`.

    Returns
    -------
    Tensor
        Relevance of the data.

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> layer, rule = LinearMap(torch.tensor([[1.0, 3.0]])), make_rule("z+", input_rule="flat")
    >>> input_relevance_of(torch.zeros(2), layer, torch.tensor([2.0]), rule)
    tensor([1., 1.])
    """
    if rule.input_rule != "zB":
        shares = layer.raised(2 if rule.input_rule == "w2" else 0)
        total = shares(torch.ones_like(x[:1] if x.ndim > 1 and shares.constant else x))
        return shares.back(safe_ratio(relevance, total), x)
    low, high = _bounds(x, rule)
    ratio = safe_ratio(relevance, bounded_total(x, layer, rule))
    of_weight, of_positive = layer.back(ratio, x), layer.back(ratio, x, layer.positive)
    return x * of_weight - low * of_positive - high * (of_weight - of_positive)
