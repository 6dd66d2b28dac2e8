"""The layers and cells of the networks in :mod:`neurosal.models.thesis`."""

import math

import torch
from torch import nn
from torch.nn import functional

from neurosal.errors import check_number

FIRST_BIAS = -0.01


class NonPositiveLinear(nn.Module):
    """A linear layer whose bias is never positive: ``x W - softplus(raw_bias)``.

    Parameters
    ----------
    in_features, out_features : int
        Widths before and after.

    Attributes
    ----------
    weight : torch.nn.Parameter
        (out_features, in_features).
    bias : torch.Tensor
        (out_features,) what is added, ``-softplus(raw_bias)``; -0.01 at first.

    Examples
    --------
    >>> layer = NonPositiveLinear(3, 2)
    >>> layer(torch.zeros(1, 3)).detach().numpy().round(4)
    array([[-0.01, -0.01]], dtype=float32)
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.raw_bias = nn.Parameter(torch.empty(out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew and set the bias back."""
        draw_weights(self.weight, self.in_features)
        nn.init.constant_(self.raw_bias, math.log(math.expm1(-FIRST_BIAS)))

    @property
    def bias(self) -> torch.Tensor:
        """What is added to the weighted sum."""
        return -functional.softplus(self.raw_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer.

        Parameters
        ----------
        x : torch.Tensor
            (..., in_features).

        Returns
        -------
        torch.Tensor
            (..., out_features).
        """
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Name the widths."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class NonPositiveConv2d(nn.Module):
    """A convolution that keeps the image's size and whose bias is never positive.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    kernel_size : int
        Rows and columns of the kernel, odd.

    Attributes
    ----------
    weight : torch.nn.Parameter
        (out_channels, in_channels, kernel_size, kernel_size).
    bias : torch.Tensor
        (out_channels,) what is added, ``-softplus(raw_bias)``.
    padding : int
        Zeros around the image.

    Examples
    --------
    >>> NonPositiveConv2d(1, 4, kernel_size=5)(torch.zeros(2, 1, 28, 7)).shape
    torch.Size([2, 4, 28, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int):
        super().__init__()
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.raw_bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew and set the bias back."""
        draw_weights(self.weight, self.weight[0].numel())
        nn.init.constant_(self.raw_bias, math.log(math.expm1(-FIRST_BIAS)))

    @property
    def bias(self) -> torch.Tensor:
        """What is added to the weighted sum."""
        return -functional.softplus(self.raw_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the convolution.

        Parameters
        ----------
        x : torch.Tensor
            (images, in_channels, rows, columns).

        Returns
        -------
        torch.Tensor
            (images, out_channels, rows, columns).
        """
        # Channels that lie beside each other in memory make CPUs and GPUs faster.
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


class SumPool2d(nn.Module):
    """The sum over blocks of 2 by 2 pixels; an odd last row or column is a block of its own.

    Examples
    --------
    >>> SumPool2d()(torch.ones(1, 1, 2, 3)).flatten().tolist()
    [4.0, 2.0]
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool the image.

        Parameters
        ----------
        x : torch.Tensor
            (images, channels, rows, columns).

        Returns
        -------
        torch.Tensor
            (images, channels, rows / 2, columns / 2), rounded up.
        """
        rows, columns = x.shape[2:]
        x = functional.pad(x, (0, columns % 2, 0, rows % 2))
        # A convolution with ones: on a CPU several times faster than avg_pool2d and its gradient.
        ones = x.new_ones(x.shape[1], 1, 2, 2)
        return functional.conv2d(x, ones, stride=2, groups=x.shape[1])


class ConvolutionStack(nn.Sequential):
    """Convolutions and sum-pooling over the image of every step.

    Layers: 5x5x24, relu, pool, 3x3x32, relu, pool.

    Parameters
    ----------
    image_shape : tuple of int
        Rows and columns; a step's features are the image's rows one after the other.

    Attributes
    ----------
    out_features : int
        Values a step after the stack.

    Examples
    --------
    >>> stack = ConvolutionStack((28, 7))
    >>> stack(torch.zeros(2, 12, 196)).shape, stack.out_features
    (torch.Size([2, 12, 448]), 448)
    """

    def __init__(self, image_shape: tuple[int, int]):
        super().__init__(
            NonPositiveConv2d(1, 24, kernel_size=5),
            nn.ReLU(),
            SumPool2d(),
            NonPositiveConv2d(24, 32, kernel_size=3),
            nn.ReLU(),
            SumPool2d(),
        )
        self.image_shape = image_shape
        self.out_features = 32 * math.prod(-(-side // 4) for side in image_shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the stack to every step.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, rows * columns).

        Returns
        -------
        torch.Tensor
            (batch, time, out_features).
        """
        images = x.reshape(-1, 1, *self.image_shape)
        return super().forward(images).reshape(*x.shape[:2], self.out_features)


class SequenceDropout(nn.Module):
    """Dropout over sequences, with a new mask at every step or one for the whole sequence.

    Parameters
    ----------
    p : float
        Share of values dropped in training; the rest is scaled up by ``1 / (1 - p)``.
    stationary : bool
        Whether a sequence keeps its mask over all steps.

    Examples
    --------
    >>> dropout = SequenceDropout(0.5, stationary=True)
    >>> mask = dropout.mask(torch.ones(2, 3, 4))
    >>> bool((mask == mask[:, :1]).all())
    True
    """

    def __init__(self, p: float, *, stationary: bool = False):
        super().__init__()
        check_number("dropout", p, low=0, high=1)
        self.p, self.stationary = p, stationary

    def mask(self, like: torch.Tensor) -> torch.Tensor:
        """Draw the factors for a batch of sequences; all one in eval mode.

        Parameters
        ----------
        like : torch.Tensor
            (batch, time, features): the shape, type and device.

        Returns
        -------
        torch.Tensor
            (batch, time, features).
        """
        first = like[:, :1] if self.stationary else like
        if not self.training:
            return torch.ones_like(first).expand_as(like)
        # Compared with p, uniform numbers take a third of the time of torch's own dropout.
        drawn = torch.rand(first.shape, dtype=like.dtype, device=like.device)
        return drawn.ge_(self.p).div_(1 - self.p or 1).expand_as(like)  # p = 1 drops all

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop values.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        return x * self.mask(x) if self.training else x

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"p={self.p}, stationary={self.stationary}"


class ReluCell(nn.Module):
    """A cell without gates: ``h = relu([a, r] W)``, ``r' = relu(dropout(h) W_r)``, r at first 0.

    Parameters
    ----------
    input_size, hidden_size : int
        Widths of ``a`` and ``h``.
    recurrent : int
        Width of ``r``.
    drops_all : bool
        Whether ``[a, r]`` and the states handed out go through dropout too; the latter, where masks
        are stationary, with a mask of their own, as in the code behind the thesis.

    Attributes
    ----------
    hidden : NonPositiveLinear
        From ``[a, r]`` to ``h``: the first ``input_size`` columns of its weight belong to ``a``.
    recurrent : NonPositiveLinear
        From ``h`` to the next ``r``.

    Examples
    --------
    >>> ReluCell(5, 4, recurrent=3)(torch.zeros(2, 6, 5), SequenceDropout(0.0)).shape
    torch.Size([2, 6, 4])
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, recurrent: int, drops_all: bool = True
    ):
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.drops_all = drops_all
        self.hidden = NonPositiveLinear(input_size + recurrent, hidden_size)
        self.recurrent = NonPositiveLinear(hidden_size, recurrent)
        self.relu = nn.ReLU()

    def forward(self, a: torch.Tensor, dropout: SequenceDropout) -> torch.Tensor:
        """Run over time.

        Parameters
        ----------
        a : torch.Tensor
            (batch, time, input_size).
        dropout : SequenceDropout
            Applied to ``h``, and with ``drops_all`` to ``a`` and ``r``.

        Returns
        -------
        torch.Tensor
            (batch, time, hidden_size).
        """
        from_a, from_r = self.hidden.weight.split([self.input_size, self.recurrent.out_features], 1)
        to_h, to_r = from_r.t().contiguous(), self.recurrent.weight.t().contiguous()
        bias, before = self.recurrent.bias, dropout(a) if self.drops_all else a
        signals = functional.linear(before.transpose(0, 1), from_a, self.hidden.bias)
        r = a.new_zeros(len(a), self.recurrent.out_features)
        masks, masks_r = _by_step(dropout, signals), [None] * len(signals)
        if self.drops_all:
            masks_r = _by_step(dropout, r.expand(len(signals), -1, -1))
        plain, dropped = [], []
        for signal, mask, mask_r in zip(signals, masks, masks_r, strict=True):
            h = self.relu(torch.addmm(signal, _times(r, mask_r), to_h))
            plain.append(h)
            dropped.append(_times(h, mask))
            r = self.relu(torch.addmm(bias, dropped[-1], to_r))
        if self.drops_all and dropout.stationary:
            return dropout(torch.stack(plain, dim=1))
        return torch.stack(dropped if self.drops_all else plain, dim=1)


class ReluLSTMCell(nn.Module):
    """A gated cell with a relu signal and no tanh.

    ``i, f, o = sigmoid([a, h] W + b)``, ``g = relu([a, h] W_g + b_g)``, ``c = i g + f c_prev``,
    ``h = dropout(o c)``; c and h are 0 at first.

    Parameters
    ----------
    input_size, hidden_size : int
        Widths of ``a`` and of ``h`` and ``c``.

    Attributes
    ----------
    gates : torch.nn.Linear
        From ``[a, h]`` to the gates i, f, o one after the other.
    signal : NonPositiveLinear
        From ``[a, h]`` to g.

    Examples
    --------
    >>> ReluLSTMCell(5, 4)(torch.zeros(2, 6, 5), SequenceDropout(0.0)).shape
    torch.Size([2, 6, 4])
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.gates = nn.Linear(input_size + hidden_size, 3 * hidden_size)
        self.signal = NonPositiveLinear(input_size + hidden_size, hidden_size)
        self.relu = nn.ReLU()
        draw_weights(self.gates.weight, input_size + hidden_size)
        nn.init.zeros_(self.gates.bias)

    def forward(self, a: torch.Tensor, dropout: SequenceDropout) -> torch.Tensor:
        """Run over time.

        Parameters
        ----------
        a : torch.Tensor
            (batch, time, input_size).
        dropout : SequenceDropout
            Applied to ``h``.

        Returns
        -------
        torch.Tensor
            (batch, time, hidden_size).
        """
        weight = torch.cat([self.gates.weight, self.signal.weight])
        bias = torch.cat([self.gates.bias, self.signal.bias])
        from_a, from_h = weight.split([self.input_size, self.output_size], 1)
        from_h = from_h.t().contiguous()
        signals = functional.linear(a.transpose(0, 1), from_a, bias)
        masks = _by_step(dropout, signals[:, :, : self.output_size])
        h = c = a.new_zeros(len(a), self.output_size)
        states = []
        for signal, mask in zip(signals, masks, strict=True):
            gates, new = torch.addmm(signal, h, from_h).split(
                [3 * self.output_size, self.output_size], 1
            )
            i, f, o = gates.sigmoid().chunk(3, dim=1)
            c = i * self.relu(new) + f * c
            h = _times(o * c, mask)
            states.append(h)
        return torch.stack(states, dim=1)


def _by_step(dropout: SequenceDropout, like: torch.Tensor) -> list[torch.Tensor | None]:
    """The factors of each step of (time, batch, features); None outside training."""
    if not dropout.training:
        return [None] * len(like)
    return list(dropout.mask(like.transpose(0, 1)).transpose(0, 1))


def _times(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Drop what the mask drops, if there is one."""
    return x if mask is None else x * mask


def draw_weights(weight: torch.Tensor, fan_in: int) -> None:
    """Draw from a normal distribution of sd ``1/sqrt(fan_in)`` cut at two sd, in place.

    Parameters
    ----------
    weight : torch.Tensor
        What to fill.
    fan_in : int
        Number of inputs of a unit.

    Examples
    --------
    >>> weight = torch.empty(50, 50)
    >>> draw_weights(weight, 100)
    >>> bool(weight.abs().max() <= 0.2)
    True
    """
    sd = 1.0 / math.sqrt(fan_in)
    nn.init.trunc_normal_(weight, std=sd, a=-2 * sd, b=2 * sd)
