"""The rules of layer-wise relevance propagation, each for one kind of node.

A score is handed back through a network until it lies on the inputs. Three kinds of node are
all that a recurrent network is made of; elementwise functions (tanh, relu) pass relevance on.

affine
    ``out_j = sum_i w_ji x_i + b_j``: :func:`linear_relevance`, or :func:`input_relevance` where
    the inputs are the data themselves.
sum
    ``c = f * c_before + i * g``: :class:`Sum`, in proportion to the summands.
product
    ``gate * signal``: :class:`Product`.

>>> import torch
>>> rule = make_rule("epsilon", epsilon=0.001, bias_factor=1.0)
>>> x, weight = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([[1.0, 0.25, -0.5]])
>>> relevance = linear_relevance(x, weight, torch.tensor([1.0]), torch.tensor([0.5]), rule=rule)
>>> round(float(relevance.sum()), 5)
0.5
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, check_number, check_one_of
from .relevance_affine import Affine, Term, input_relevance_of
from .relevance_maps import LinearMap, safe_ratio, stabilised

RULES = ("epsilon", "alpha-beta", "z+", "deep-taylor")
GATE_RULES = ("all", "prop", "abs", "half")
INPUT_RULES = (None, "zB", "w2", "flat")


@dataclass(frozen=True)
class Rule:
    """How relevance is shared out, in every node of a network.

    Made by :func:`make_rule`, which checks the values.

    Parameters
    ----------
    name : {"epsilon", "alpha-beta"}
        The rule of the affine layers and of the sums.
    epsilon : float
        What a denominator of the epsilon rule is moved away from zero by.
    alpha, beta : float
        Weights of the positive and of the negative contributions; ``alpha - beta`` is 1.
    bias_factor : float
        Share (0 to 1) of the relevance of bias and stabiliser that the inputs get, epsilon rule.
    gate_rule : {"all", "prop", "abs", "half"}
        How a product shares its relevance; see :class:`Product`.
    input_rule : {None, "zB", "w2", "flat"}
        The rule of the layer that reads the data; None is that of the other layers.
    low, high : float or Tensor or None
        Bounds of the data, for the zB rule.

    Examples
    --------
    >>> Rule(name="epsilon").hidden().input_rule is None
    True
    """

    name: str
    epsilon: float = 1e-3
    alpha: float = 1.0
    beta: float = 0.0
    bias_factor: float = 0.0
    gate_rule: str = "all"
    input_rule: str | None = None
    low: float | Tensor | None = None
    high: float | Tensor | None = None

    def hidden(self) -> "Rule":
        """Return the rule for the layers behind the first.

        Returns
        -------
        Rule
            The same without its input rule.
        """
        return replace(self, input_rule=None, low=None, high=None)


def make_rule(
    name: str,
    *,
    epsilon: float = 1e-3,
    alpha: float = 1.5,
    beta: float = 0.5,
    bias_factor: float = 0.0,
    gate_rule: str = "all",
    input_rule: str | None = None,
    low: object = None,
    high: object = None,
) -> Rule:
    """Check the values of a rule and fill in what its name implies.

    Parameters
    ----------
    name : {"epsilon", "alpha-beta", "z+", "deep-taylor"}
        "z+" is alpha 1, beta 0. "deep-taylor" is "z+" with an input rule: "zB" where bounds are
        given, else "w2".
    epsilon, alpha, beta, bias_factor, gate_rule, input_rule, low, high
        See :class:`Rule`; alpha and beta are used by "alpha-beta" only. Bounds may be any array
        of one number for each region.

    Returns
    -------
    Rule
        The checked rule.

    Raises
    ------
    ArgumentError
        If a value is not allowed, or "zB" comes without bounds.

    References
    ----------
    Bach et al. 2015, doi:10.1371/journal.pone.0130140 (epsilon, alpha-beta);
    Montavon et al. 2017, doi:10.1016/j.patcog.2016.11.008 (z+, zB, w2).

    Examples
    --------
    >>> make_rule("deep-taylor", low=-1.0, high=1.0).input_rule
    'zB'
    """
    check_one_of("rule", name, RULES)
    check_one_of("gate_rule", gate_rule, GATE_RULES)
    check_one_of("input_rule", input_rule, INPUT_RULES)
    if name in ("z+", "deep-taylor"):
        alpha, beta = 1.0, 0.0
    if name == "deep-taylor" and input_rule is None:
        input_rule = "w2" if low is None and high is None else "zB"
    _check_numbers(epsilon=epsilon, alpha=alpha, beta=beta, bias_factor=bias_factor)
    low, high = _bound("low", low), _bound("high", high)
    if input_rule == "zB" and (low is None or high is None):
        raise ArgumentError("The zB rule needs the bounds of the data: give both low and high.")
    kind = "epsilon" if name == "epsilon" else "alpha-beta"
    return Rule(kind, epsilon, alpha, beta, bias_factor, gate_rule, input_rule, low, high)


def _bound(name: str, bound: object) -> float | Tensor | None:
    """Make a bound one number, or a tensor of one for each region."""
    if bound is None:
        return None
    given = bound.detach().cpu().double() if isinstance(bound, Tensor) else bound
    values = np.asarray(given)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ArgumentError(
            f"{name} must be a finite number, or one for each region. Got {bound!r}."
        )
    return values.item() if values.ndim == 0 else torch.as_tensor(values.astype("f8", order="C"))


def _check_numbers(*, epsilon: float, alpha: float, beta: float, bias_factor: float) -> None:
    """Refuse numbers with which a rule has no meaning."""
    numbers = {"epsilon": epsilon, "alpha": alpha, "beta": beta, "bias_factor": bias_factor}
    for name, value in numbers.items():
        check_number(name, value)
    if not epsilon >= 0:
        raise ArgumentError(f"epsilon must be at least 0. Got {epsilon!r}.")
    if not 0 <= bias_factor <= 1:
        raise ArgumentError(f"bias_factor must lie between 0 and 1. Got {bias_factor!r}.")
    if beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise ArgumentError(
            f"alpha - beta must be 1 and beta at least 0. Got alpha {alpha!r}, beta {beta!r}."
        )


def linear_relevance(
    x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor, *, rule: Rule
) -> Tensor:
    """Share the relevance of the outputs of ``x @ weight.T + bias`` among its inputs.

    Under the epsilon rule input i gets ``w_ji x_i + bias_factor (b_j + eps sign_j) / n`` over
    ``out_j + eps sign_j`` of output j's relevance; under alpha-beta it gets alpha times its share
    of the positive contributions less beta times its share of the negative ones, bias left out.

    Parameters
    ----------
    x : Tensor
        The inputs, (..., n).
    weight : Tensor
        The weights, (m, n).
    bias : Tensor or None
        The biases, (m,).
    relevance : Tensor
        Of the outputs, (..., m).
    rule : Rule
        The rule; its input rule is not used here.

    Returns
    -------
    Tensor
        Relevance of the inputs, (..., n).

    References
    ----------
    Arras et al. 2017, doi:10.18653/v1/W17-5221.

    Examples
    --------
    >>> x, weight = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.5]])
    >>> linear_relevance(x, weight, None, torch.tensor([4.0]), rule=make_rule("z+"))
    tensor([2., 2.])
    """
    layer = LinearMap(weight)
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    affine = Affine([Term(x, layer)], bias, layer(x) + bias, rule.hidden())
    return affine.message(0, relevance)


def input_relevance(x: Tensor, weight: Tensor, relevance: Tensor, *, rule: Rule) -> Tensor:
    """Share the relevance of a layer's outputs among the data it reads, by ``rule.input_rule``.

    ``zB``, for data between ``low`` and ``high``: in proportion to
    ``w x - w+ low - w- high``; ``w2``, for unbounded data: to ``w ** 2``; ``flat``: evenly.

    Parameters
    ----------
    x : Tensor
        The data, (..., n).
    weight : Tensor
        The weights, (m, n).
    relevance : Tensor
        Of the outputs, (..., m).
    rule : Rule
        With an input rule.

    Returns
    -------
    Tensor
        Relevance of the data, (..., n).

    References
    ----------
    Montavon et al. 2017, doi:10.1016/j.patcog.2016.11.008.

    Examples
    --------
    >>> x, weight = torch.tensor([0.5, 3.0]), torch.tensor([[1.0, -2.0]])
    >>> rule = make_rule("deep-taylor")
    >>> input_relevance(x, weight, torch.tensor([5.0]), rule=rule)
    tensor([1., 4.])
    """
    return input_relevance_of(x, LinearMap(weight), relevance, rule)


class Sum:
    """A sum of signals, such as ``f * c_before + i * g``, and what each summand may take of it.

    Under the epsilon rule a summand's share is ``part / (total + eps sign)``. Under alpha-beta
    it is alpha times that of the positive summands less beta times that of the negative ones,
    or the plain proportion where all summands are of one sign, so that no relevance is lost.

    Parameters
    ----------
    parts : sequence of Tensor
        The summands, each (..., n).
    rule : Rule
        The rule.

    Examples
    --------
    >>> total = Sum([torch.tensor([3.0]), torch.tensor([1.0])], rule=make_rule("z+"))
    >>> [float(part) for part in total.message(torch.tensor([2.0]))]
    [1.5, 0.5]
    """

    def __init__(self, parts: Sequence[Tensor], *, rule: Rule):
        self.rest: Tensor | None = None
        if rule.name == "epsilon":
            out = sum(parts)
            total = stabilised(out, rule.epsilon)
            self.shares = [safe_ratio(part, total) for part in parts]
            if rule.bias_factor:
                units = len(parts) * total.shape[-1]
                self.rest = rule.bias_factor * safe_ratio(total - out, total) / units
            return
        positive = sum(part.clamp(min=0) for part in parts)
        negative = sum(part.clamp(max=0) for part in parts)
        up, down = signed_shares(positive, negative, rule)
        self.shares = [part.clamp(min=0) * up + part.clamp(max=0) * down for part in parts]

    def message(self, relevance: Tensor, step: int | None = None) -> list[Tensor]:
        """Return the relevance of the summands.

        Parameters
        ----------
        relevance : Tensor
            Of the sum; of one step only where ``step`` is given.
        step : int, optional
            The index on the first axis; None for all at once.

        Returns
        -------
        list of Tensor
            One for each summand.
        """
        shares = self.shares if step is None else [share[step] for share in self.shares]
        messages = [share * relevance for share in shares]
        if self.rest is None:
            return messages
        rest = self.rest if step is None else self.rest[step]
        extra = (rest * relevance).sum(-1, keepdim=True)
        return [message + extra for message in messages]


def signed_shares(positive: Tensor, negative: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Return what positive and negative summands are multiplied with to get their shares.

    Parameters
    ----------
    positive, negative : Tensor
        Sums of the summands of either sign.
    rule : Rule
        An alpha-beta rule.

    Returns
    -------
    up, down : Tensor
        ``alpha / positive`` and ``-beta / negative``; where one sign is missing the other one
        carries all relevance.

    Examples
    --------
    >>> signed_shares(torch.tensor([2.0]), torch.tensor([0.0]), make_rule("alpha-beta"))[0]
    tensor([0.5000])
    """
    one = torch.ones((), dtype=positive.dtype, device=positive.device)
    alpha = torch.where(negative == 0, one, rule.alpha)
    beta = torch.where(positive == 0, -one, rule.beta)
    return safe_ratio(alpha, positive), -safe_ratio(beta, negative)


class Product:
    """A gate times a signal, and what each may take of the relevance; together they take all.

    ``all``: the signal takes all. ``prop``: the gate takes ``gate / (gate + signal)``, which is
    large where a negative signal nearly cancels the gate. ``abs``: the same with absolute values,
    so between 0 and 1. ``half``: one half.

    Parameters
    ----------
    gate, signal : Tensor
        The factors, of one shape.
    rule : Rule
        Its ``gate_rule`` decides.

    References
    ----------
    Arras et al. 2019, doi:10.1007/978-3-030-28954-6_11.

    Examples
    --------
    >>> rule = make_rule("epsilon", gate_rule="abs")
    >>> product = Product(torch.tensor([0.5]), torch.tensor([-1.5]), rule=rule)
    >>> product.message(torch.tensor([8.0]))
    (tensor([2.]), tensor([6.]))
    """

    def __init__(self, gate: Tensor, signal: Tensor, *, rule: Rule):
        self.share: Tensor | None = None
        if rule.gate_rule == "half":
            self.share = torch.full_like(gate, 0.5)
        elif rule.gate_rule == "abs":
            self.share = _proportion(gate.abs(), signal.abs())
        elif rule.gate_rule == "prop":
            self.share = _proportion(gate, signal)

    def message(self, relevance: Tensor, step: int | None = None) -> tuple[Tensor | float, Tensor]:
        """Return the relevance of the factors.

        Parameters
        ----------
        relevance : Tensor
            Of the product; of one step only where ``step`` is given.
        step : int, optional
            The index on the first axis; None for all at once.

        Returns
        -------
        gate, signal : Tensor
            What each gets; the number 0 for a gate that gets nothing.
        """
        if self.share is None:
            return 0.0, relevance
        gate = relevance * (self.share if step is None else self.share[step])
        return gate, relevance - gate


def _proportion(gate: Tensor, signal: Tensor) -> Tensor:
    """Return the gate's part of the factors' sum, one half where the sum is 0."""
    total = gate + signal
    return torch.where(total == 0, 0.5, gate / total.masked_fill(total == 0, 1.0))
