"""Networks around one recurrent layer, plain or with input-cell attention."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from neurosal.errors import ArgumentError, check_one_of
from neurosal.models.reading import READS, read_each_step, read_states, valid_steps, zero_padding

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
ATTENTION_SIZE = 50


class RecurrentNetwork(nn.Module):
    """Dropout, one recurrent layer, dropout, a reading rule, a linear layer.

    Parameters
    ----------
    n_features, n_classes : int
        Numbers of regions and of classes.
    hidden_size : int
        Units of the recurrent layer (in each direction).
    cell : {'rnn', 'lstm', 'gru'}
        The recurrent cell.
    input_cell : bool
        Whether the cell reads input-cell attention in place of the present step [1]_.
    num_layers : int
        Recurrent layers on top of each other.
    bidirectional : bool
        Whether a second cell reads backwards in time.
    read : {'last', 'mean', 'max', 'both-ends'}
        Which states the class scores are read from, see
        :func:`~neurosal.models.reading.read_states`. ``'both-ends'`` needs ``bidirectional``.
    dropout : float
        Share of input values and of recurrent outputs dropped in training.
    hops, attention_size, readout, normalize, positional, max_length
        Of the attention, see :class:`~neurosal.models.cells.InputCellLSTM`; only with
        ``input_cell``. ``attention_size=None`` is 50.

    Attributes
    ----------
    rnn : torch.nn.Module
        The recurrent layer, called as :class:`torch.nn.LSTM` is.
    output : torch.nn.Linear
        From what was read to class logits.

    References
    ----------
    .. [1] Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent
       Neural Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> network = RecurrentNetwork(n_features=5, n_classes=2, cell="gru", read="mean")
    >>> network(torch.randn(3, 7, 5), torch.tensor([7, 4, 1])).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        hidden_size: int = 32,
        cell: str = "lstm",
        input_cell: bool = False,
        num_layers: int = 1,
        bidirectional: bool = False,
        read: str = "last",
        dropout: float = 0.0,
        **attention: object,
    ):
        super().__init__()
        check_one_of("cell", cell, CELLS)
        check_one_of("read", read, READS)
        if read == "both-ends" and not bidirectional:
            raise ArgumentError("read='both-ends' needs bidirectional=True. Use read='last'.")
        self.read = read
        self.dropout = nn.Dropout(dropout)
        kind = _input_cell(cell, attention) if input_cell else CELLS[cell]
        self.rnn = kind(
            n_features,
            hidden_size,
            num_layers=num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            **attention,
        )
        self.output = nn.Linear(hidden_size * (1 + bidirectional), n_classes)

    @property
    def causal(self) -> bool:
        """Whether the states at a step depend on no later step."""
        return not self.rnn.bidirectional

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

        Raises
        ------
        ArgumentError
            If ``steps`` is asked of a network that reads backwards.
        """
        if steps and not self.causal:
            raise ArgumentError(
                "steps=True needs a network that reads forwards only, but bidirectional=True."
            )
        states = self.states(x, lengths)
        read = self.read_each_step(states) if steps else self.read_all(states, lengths)
        return self.output(read)

    def states(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return the recurrent layer's output at every step.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).
        lengths : torch.Tensor, optional
            (batch,) number of valid steps.

        Returns
        -------
        torch.Tensor
            (batch, time, hidden), after dropout.
        """
        x = self.dropout(zero_padding(x, lengths))
        return self.dropout(_run(self.rnn, x, lengths))

    def read_all(self, states: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Summarise the states of each sample.

        Parameters
        ----------
        states : torch.Tensor
            (batch, time, hidden).
        lengths : torch.Tensor or None
            (batch,) number of valid steps.

        Returns
        -------
        torch.Tensor
            (batch, width of ``output``).
        """
        return read_states(states, self.read, lengths)

    def read_each_step(self, states: torch.Tensor) -> torch.Tensor:
        """Summarise, at each step, the states up to it.

        Parameters
        ----------
        states : torch.Tensor
            (batch, time, hidden).

        Returns
        -------
        torch.Tensor
            (batch, time, width of ``output``).
        """
        return read_each_step(states, self.read)


class SelfAttentionNetwork(RecurrentNetwork):
    """A recurrent layer whose hidden states are weighted over time by learned attention [1]_.

    Each hop's weights are the softmax over time of ``W2 tanh(W1 h)``; the hops' weighted sums of
    states lie side by side before the linear layer.

    Parameters
    ----------
    n_features, n_classes : int
        Numbers of regions and of classes.
    hidden_size : int
        Units of the recurrent layer (in each direction).
    state_hops : int
        Number of sets of weights over time.
    state_attention_size : int
        Units of the attention's hidden layer.
    **options
        Of :class:`RecurrentNetwork`, without ``read``.

    References
    ----------
    .. [1] Lin et al. (2017), A Structured Self-attentive Sentence Embedding. ICLR.
       https://doi.org/10.48550/arXiv.1703.03130

    Examples
    --------
    >>> SelfAttentionNetwork(n_features=5, n_classes=2)(torch.randn(3, 7, 5)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        hidden_size: int = 32,
        state_hops: int = 20,
        state_attention_size: int = 50,
        **options: object,
    ):
        super().__init__(n_features, n_classes, hidden_size=hidden_size, **options)
        width = self.output.in_features
        self.read = "self-attention"
        self.attention = nn.Sequential(
            nn.Linear(width, state_attention_size, bias=False),
            nn.Tanh(),
            nn.Linear(state_attention_size, state_hops, bias=False),
        )
        self.output = nn.Linear(state_hops * width, n_classes)

    def read_all(self, states: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """Weight the states of each sample over time.

        Parameters
        ----------
        states : torch.Tensor
            (batch, time, hidden).
        lengths : torch.Tensor or None
            (batch,) number of valid steps.

        Returns
        -------
        torch.Tensor
            (batch, hops * hidden).
        """
        logits = self.attention(states)
        valid = valid_steps(states, lengths)
        if valid is not None:
            logits = logits.masked_fill(~valid[:, :, None], -torch.inf)
        weights = logits.softmax(dim=1)
        return torch.einsum("btr,bth->brh", weights, states).flatten(1)

    def read_each_step(self, states: torch.Tensor) -> torch.Tensor:
        """Weight, at each step, the states up to it.

        Parameters
        ----------
        states : torch.Tensor
            (batch, time, hidden).

        Returns
        -------
        torch.Tensor
            (batch, time, hops * hidden).
        """
        logits = self.attention(states).transpose(1, 2)
        n_steps = states.shape[1]
        future = torch.ones(n_steps, n_steps, dtype=torch.bool, device=states.device).triu(1)
        square = logits[:, :, None, :].expand(-1, -1, n_steps, -1)
        weights = square.masked_fill(future, -torch.inf).softmax(dim=3)
        return torch.einsum("brts,bsh->btrh", weights, states).flatten(2)


def _input_cell(cell: str, attention: dict) -> type[nn.Module]:
    """Find the cell with input-cell attention, and fill in the attention's size."""
    from neurosal.models import cells

    if attention.get("attention_size") is None:
        attention["attention_size"] = ATTENTION_SIZE
    kinds = {"rnn": "InputCellRNN", "lstm": "InputCellLSTM", "gru": "InputCellGRU"}
    return getattr(cells, kinds[cell])


def _run(rnn: nn.Module, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Run a recurrent layer over padded samples; only reading backwards depends on lengths."""
    if not isinstance(rnn, nn.RNNBase):
        return rnn(x, lengths=lengths)[0]
    if lengths is None or not rnn.bidirectional:
        return rnn(x)[0]
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]
