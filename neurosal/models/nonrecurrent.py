"""Networks without recurrence to compare with: feed-forward, temporal convolutions, transformer."""

import math

import torch
from torch import nn

from neurosal.errors import ArgumentError, check_number, check_one_of
from neurosal.models.reading import READS, read_each_step, read_states, valid_steps, zero_padding


class FeedForwardNetwork(nn.Module):
    """All steps laid side by side, one hidden layer.

    Parameters
    ----------
    n_features, n_classes : int
        Numbers of regions and of classes.
    n_steps : int
        Most steps a sample may have; shorter ones are filled up with zeros.
    hidden_size : int
        Units of the hidden layer.
    dropout : float
        Share of input values and of hidden units dropped in training.

    Examples
    --------
    >>> network = FeedForwardNetwork(n_features=5, n_classes=2, n_steps=7)
    >>> network(torch.randn(3, 6, 5)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        n_steps: int,
        hidden_size: int = 32,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.n_steps = n_steps
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(n_steps * n_features, hidden_size)
        self.relu = nn.ReLU()
        self.output = nn.Linear(hidden_size, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return class logits.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).
        lengths : torch.Tensor, optional
            (batch,) number of valid steps; what follows them is ignored.

        Returns
        -------
        torch.Tensor
            (batch, classes).

        Raises
        ------
        ArgumentError
            If ``x`` has more steps than the network was built for.
        """
        missing = self.n_steps - x.shape[1]
        if missing < 0:
            raise ArgumentError(
                f"x has {x.shape[1]} steps, but this feed-forward network takes at most "
                f"{self.n_steps}. Cut the samples or build it with a larger n_steps."
            )
        x = nn.functional.pad(zero_padding(x, lengths), (0, 0, 0, missing))
        hidden = self.relu(self.hidden(self.dropout(x).flatten(1)))
        return self.output(self.dropout(hidden))


class TemporalBlock(nn.Module):
    """Two dilated causal convolutions over time with relu and dropout, beside a shortcut.

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after.
    kernel_size : int
        Steps a convolution sees.
    dilation : int
        Steps between those.
    dropout : float
        Share of channel values dropped in training.

    Examples
    --------
    >>> TemporalBlock(5, 8, dilation=2)(torch.randn(3, 5, 7)).shape
    torch.Size([3, 8, 7])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        kernel_size: int = 3,
        dilation: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        past = nn.ConstantPad1d(((kernel_size - 1) * dilation, 0), 0.0)
        layers = []
        for channels in (n_in, n_out):
            convolution = nn.Conv1d(channels, n_out, kernel_size, dilation=dilation)
            layers += [past, convolution, nn.ReLU(), nn.Dropout(dropout)]
        self.convolutions = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv1d(n_in, n_out, 1)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve over time.

        Parameters
        ----------
        x : torch.Tensor
            (batch, channels, time).

        Returns
        -------
        torch.Tensor
            (batch, channels, time); no step depends on a later one.
        """
        return self.relu(self.convolutions(x) + self.shortcut(x))


class TemporalConvolutionNetwork(nn.Module):
    """Residual blocks of causal convolutions, each block looking twice as far back [1]_.

    Parameters
    ----------
    n_features, n_classes : int
        Numbers of regions and of classes.
    n_steps : int, optional
        Steps that the last one should be able to see; decides the number of blocks. Default: 64.
    hidden_size : int
        Channels of every block.
    kernel_size : int
        Steps a convolution sees, at least 2.
    read : {'last', 'mean', 'max'}
        Which steps the class scores are read from.
    dropout : float
        Share of channel values dropped in training.

    References
    ----------
    .. [1] Bai, Kolter, Koltun (2018), An Empirical Evaluation of Generic Convolutional and
       Recurrent Networks for Sequence Modeling. https://doi.org/10.48550/arXiv.1803.01271

    Examples
    --------
    >>> TemporalConvolutionNetwork(n_features=5, n_classes=2)(torch.randn(3, 7, 5)).shape
    torch.Size([3, 2])
    """

    causal = True

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        n_steps: int | None = None,
        hidden_size: int = 32,
        kernel_size: int = 3,
        read: str = "last",
        dropout: float = 0.0,
    ):
        super().__init__()
        # A kernel of one step looks back no further, however many blocks there are.
        check_number("kernel_size", kernel_size, low=2, whole=True)
        self.read = check_one_of("read", read, [name for name in READS if name != "both-ends"])
        blocks, channels, seen = [], n_features, 1
        while not blocks or seen < (n_steps or 64):
            dilation = 2 ** len(blocks)
            blocks.append(
                TemporalBlock(
                    channels,
                    hidden_size,
                    kernel_size=kernel_size,
                    dilation=dilation,
                    dropout=dropout,
                )
            )
            channels, seen = hidden_size, seen + 2 * (kernel_size - 1) * dilation
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(hidden_size, n_classes)

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None, steps: bool = False
    ) -> torch.Tensor:
        """Return class logits.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).
        lengths : torch.Tensor, optional
            (batch,) number of valid steps; what follows them is ignored.
        steps : bool
            Whether to read the scores at every step, as if each sample ended there.

        Returns
        -------
        torch.Tensor
            (batch, classes), or (batch, time, classes) with ``steps``.
        """
        x = self.dropout(zero_padding(x, lengths))
        states = self.blocks(x.transpose(1, 2)).transpose(1, 2)
        if steps:
            return self.output(read_each_step(states, self.read))
        return self.output(read_states(states, self.read, lengths))


class TransformerNetwork(nn.Module):
    """A transformer encoder over the steps, with sinusoidal positions [1]_.

    Parameters
    ----------
    n_features, n_classes : int
        Numbers of regions and of classes.
    hidden_size : int
        Width of the encoder, a multiple of ``n_heads``.
    n_heads, num_layers : int
        Attention heads, and layers.
    read : {'mean', 'last', 'max'}
        Which steps the class scores are read from.
    dropout : float
        Share of values dropped in training.

    Raises
    ------
    ArgumentError
        If ``hidden_size`` is no multiple of ``n_heads``.

    References
    ----------
    .. [1] Vaswani et al. (2017), Attention Is All You Need. NeurIPS.
       https://doi.org/10.48550/arXiv.1706.03762

    Examples
    --------
    >>> network = TransformerNetwork(n_features=5, n_classes=2)
    >>> network(torch.randn(3, 7, 5), torch.tensor([7, 4, 1])).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        hidden_size: int = 32,
        n_heads: int = 4,
        num_layers: int = 2,
        read: str = "mean",
        dropout: float = 0.0,
    ):
        super().__init__()
        if hidden_size % n_heads:
            raise ArgumentError(
                f"hidden_size must be a multiple of n_heads={n_heads}. Got {hidden_size}."
            )
        self.read = check_one_of("read", read, [name for name in READS if name != "both-ends"])
        self.dropout = nn.Dropout(dropout)
        self.input = nn.Linear(n_features, hidden_size)
        layer = nn.TransformerEncoderLayer(
            hidden_size, n_heads, 2 * hidden_size, dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.output = nn.Linear(hidden_size, n_classes)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return class logits.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).
        lengths : torch.Tensor, optional
            (batch,) number of valid steps; what follows them is ignored.

        Returns
        -------
        torch.Tensor
            (batch, classes).
        """
        valid = valid_steps(x, lengths)
        hidden = self.input(self.dropout(zero_padding(x, lengths)))
        hidden = hidden + positions(x.shape[1], hidden.shape[2]).to(hidden)
        states = self.encoder(hidden, src_key_padding_mask=None if valid is None else ~valid)
        return self.output(read_states(states, self.read, lengths))


def positions(n_steps: int, width: int) -> torch.Tensor:
    """Encode the number of each step in sines and cosines of falling frequency.

    Parameters
    ----------
    n_steps : int
        Number of steps.
    width : int
        Values a step.

    Returns
    -------
    torch.Tensor
        (n_steps, width), float64; even columns are sines, odd ones cosines.

    Examples
    --------
    >>> positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    column = torch.arange(width, dtype=torch.float64)
    frequency = torch.exp(-math.log(10_000.0) * (column - column % 2) / width)
    phase = torch.arange(n_steps, dtype=torch.float64)[:, None] * frequency
    return torch.where(column % 2 == 0, phase.sin(), phase.cos())
