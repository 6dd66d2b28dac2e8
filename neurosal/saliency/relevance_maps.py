"""Linear maps, their signed parts and their transposes: what the rules need of a layer's weights.

>>> import torch
>>> layer = LinearMap(torch.tensor([[1.0, -2.0]]))
>>> layer(torch.tensor([3.0, 1.0])), layer.back(torch.tensor([1.0]), torch.zeros(2))
(tensor([1.]), tensor([ 1., -2.]))
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """Move a denominator away from zero; zero itself counts as positive.

    Parameters
    ----------
    z : Tensor
        The denominator.
    epsilon : float
        By how much.

    Returns
    -------
    Tensor
        ``z + epsilon`` where z is at least 0, else ``z - epsilon``.

    Examples
    --------
    >>> stabilised(torch.tensor([0.0, -1.0]), 0.5)
    tensor([ 0.5000, -1.5000])
    """
    step = torch.full_like(z, epsilon)
    return z + torch.where(z >= 0, step, -step)


def safe_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with 0 where the denominator is too small for its inverse to be told from noise.

    Parameters
    ----------
    numerator, denominator : Tensor
        Of shapes that broadcast.

    Returns
    -------
    Tensor
        The ratio.

    Examples
    --------
    >>> safe_ratio(torch.tensor(1.0), torch.tensor([0.0, 4.0]))
    tensor([0.0000, 0.2500])
    """
    tiny = denominator.abs() <= torch.finfo(denominator.dtype).tiny ** 0.5
    ratio = numerator / denominator.masked_fill(tiny, 1.0)
    return ratio.masked_fill(tiny, 0.0)


class LinearMap:
    """A weight matrix, its signed parts and its transpose.

    Parameters
    ----------
    weight : Tensor
        The weights, (m, n).

    Examples
    --------
    >>> LinearMap(torch.tensor([[1.0, 2.0]]))(torch.tensor([3.0, 4.0]))
    tensor([11.])
    """

    constant = True
    """Whether all samples and steps are mapped alike."""

    def __init__(self, weight: Tensor):
        self.weight = weight.detach()

    @cached_property
    def positive(self) -> Tensor:
        """The positive part of the weights."""
        return self.weight.clamp(min=0)

    @cached_property
    def negative(self) -> Tensor:
        """The negative part of the weights."""
        return self.weight.clamp(max=0)

    def __call__(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the map, or the same with other weights."""
        return F.linear(x, self.weight if weight is None else weight)

    def raised(self, power: int) -> "LinearMap":
        """Return the map whose weights are the absolute ones to a power.

        Parameters
        ----------
        power : int
            2 for the w2 rule, 0 for the flat rule.

        Returns
        -------
        LinearMap
            Of the same kind.
        """
        return LinearMap(self.weight.abs() ** power)

    def back(self, relevance: Tensor, like: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the transpose.

        Parameters
        ----------
        relevance : Tensor
            On the outputs, (..., m).
        like : Tensor
            Anything of the inputs' shape.
        weight : Tensor, optional
            Other weights of the same shape.

        Returns
        -------
        Tensor
            On the inputs, (..., n).
        """
        return relevance @ (self.weight if weight is None else weight)

    def fan_in(self, like: Tensor) -> Tensor | float:
        """Count the inputs of each output.

        Parameters
        ----------
        like : Tensor
            Anything of the inputs' shape.

        Returns
        -------
        float or Tensor
            The number of inputs.
        """
        return float(self.weight.shape[1])

    def spread(self, relevance: Tensor, like: Tensor) -> Tensor:
        """Give each input the sum over the outputs it feeds.

        Parameters
        ----------
        relevance : Tensor
            On the outputs, (..., m).
        like : Tensor
            Anything of the inputs' shape.

        Returns
        -------
        Tensor
            On the inputs, (..., 1) or (..., n).
        """
        return relevance.sum(-1, keepdim=True)


class ConvMap(LinearMap):
    """A two-dimensional convolution of stride 1, its signed parts and its transpose.

    Parameters
    ----------
    weight : Tensor
        The kernels, (channels out, channels in, rows, columns).
    padding : tuple of int
        Zeros added on every side of rows and columns.

    Examples
    --------
    >>> ConvMap(torch.ones(1, 1, 3, 3), padding=(1, 1))(torch.ones(1, 1, 2, 2)).flatten()
    tensor([4., 4., 4., 4.])
    """

    def __init__(self, weight: Tensor, *, padding: tuple[int, int]):
        super().__init__(weight)
        self.padding = padding

    def __call__(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the map, or the same with other weights."""
        return F.conv2d(x, self.weight if weight is None else weight, padding=self.padding)

    def raised(self, power: int) -> "ConvMap":
        """Return the map whose weights are the absolute ones to a power.

        Parameters
        ----------
        power : int
            As in :meth:`LinearMap.raised`.

        Returns
        -------
        ConvMap
            Of the same padding.
        """
        return ConvMap(self.weight.abs() ** power, padding=self.padding)

    def back(self, relevance: Tensor, like: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the transpose; see :meth:`LinearMap.back`.

        Parameters
        ----------
        relevance, like, weight : Tensor
            As there.

        Returns
        -------
        Tensor
            On the inputs.
        """
        weight = self.weight if weight is None else weight
        return torch.nn.grad.conv2d_input(like.shape, weight, relevance, padding=self.padding)

    def fan_in(self, like: Tensor) -> Tensor | float:
        """Count the inputs of each output, fewer at the border.

        Parameters
        ----------
        like : Tensor
            Anything of the inputs' shape.

        Returns
        -------
        Tensor
            The number of inputs.
        """
        return self(torch.ones_like(like[:1]), torch.ones_like(self.weight))

    def spread(self, relevance: Tensor, like: Tensor) -> Tensor:
        """Give each input the sum over the outputs it feeds.

        Parameters
        ----------
        relevance, like : Tensor
            As in :meth:`LinearMap.spread`.

        Returns
        -------
        Tensor
            On the inputs.
        """
        return self.back(relevance, like, torch.ones_like(self.weight))


class CausalMap(LinearMap):
    """A convolution over (batch, channels, time) that sees no later step.

    Parameters
    ----------
    weight : Tensor
        The kernels, (channels out, channels in, steps).
    dilation : int
        Steps between those that a kernel sees.

    Examples
    --------
    >>> CausalMap(torch.ones(1, 1, 2), dilation=1)(torch.tensor([[[1.0, 2.0, 4.0]]])).flatten()
    tensor([1., 3., 6.])
    """

    def __init__(self, weight: Tensor, *, dilation: int):
        super().__init__(weight)
        self.dilation = dilation
        self.before = (weight.shape[2] - 1) * dilation

    def __call__(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the map, or the same with other weights."""
        weight = self.weight if weight is None else weight
        return F.conv1d(F.pad(x, (self.before, 0)), weight, dilation=self.dilation)

    def back(self, relevance: Tensor, like: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the transpose; see :meth:`LinearMap.back`.

        Parameters
        ----------
        relevance, like, weight : Tensor
            As there.

        Returns
        -------
        Tensor
            On the inputs.
        """
        weight = self.weight if weight is None else weight
        wide = F.conv_transpose1d(relevance, weight, dilation=self.dilation)
        return wide[:, :, self.before :]

    def raised(self, power: int) -> "CausalMap":
        """Return the map whose weights are the absolute ones to a power.

        Parameters
        ----------
        power : int
            As in :meth:`LinearMap.raised`.

        Returns
        -------
        CausalMap
            Of the same dilation.
        """
        return CausalMap(self.weight.abs() ** power, dilation=self.dilation)

    def fan_in(self, like: Tensor) -> Tensor | float:
        """Count the inputs of each output, fewer at the beginning.

        Parameters
        ----------
        like : Tensor
            Anything of the inputs' shape.

        Returns
        -------
        Tensor
            The number of inputs.
        """
        return self(torch.ones_like(like[:1]), torch.ones_like(self.weight))

    def spread(self, relevance: Tensor, like: Tensor) -> Tensor:
        """Give each input the sum over the outputs it feeds.

        Parameters
        ----------
        relevance, like : Tensor
            As in :meth:`LinearMap.spread`.

        Returns
        -------
        Tensor
            On the inputs.
        """
        return self.back(relevance, like, torch.ones_like(self.weight))
