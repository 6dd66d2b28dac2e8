"""Recurrent layers with input-cell attention, called as torch's own are.

The pooled inputs do not depend on the hidden state, so a cell is an
:class:`~neurosal.models.attention.InputCellAttention` (``attention``) followed by torch's own
recurrent layer (``rnn``). With ``bidirectional`` an independent cell (``attention_reverse``,
``rnn_reverse``) runs on each sample reversed within its length, so that it attends over the
inputs from the end. Further layers (``upper``) are torch's: the published cell has one layer, and
it is the *inputs* that it gives a short path to the output; what reaches a second layer has seen
all of them already.

Which way the first layer's numbers take is chosen by size, not by result: on a CPU, an LSTM in
float64 or with 16 samples and more projects and pools in the cheaper order and runs
:func:`~neurosal.models.recurrence.lstm_on_gates`; otherwise torch's layer runs on the pooled
inputs (mean) or on the ready gates (flatten). So a hook on ``rnn`` need not be called; hook the
cell. Very small numbers (denormals) slow CPU training in float32 down several times;
``torch.set_flush_denormal(True)`` helps, and is left to you since it acts on the whole process.
"""

import inspect

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from neurosal.errors import ArgumentError, check_number
from neurosal.models.attention import InputCellAttention, _check_type
from neurosal.models.pooling import _check_sizes, _whole_lengths, clear_padding
from neurosal.models.recurrence import lstm_on_gates, reverse, run_layer
from neurosal.models.scopes import as_autocast

GATED_BATCH = 16
"""Samples from which, on a CPU in float32, the LSTM's recurrence runs on ready gates."""


class _InputCell(nn.Module):
    """What the three cells share; ``layer`` is torch's class, ``states`` how many it carries."""

    layer: type[nn.RNNBase]
    states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: object = None,
        dtype: torch.dtype | None = None,
        **attention: object,
    ) -> None:
        super().__init__()
        input_size, hidden_size, num_layers = _check_sizes(
            input_size=input_size, hidden_size=hidden_size, num_layers=num_layers
        )
        check_number("dropout", dropout, low=0, high=1)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        options = {"bias": bias, "batch_first": True, "device": device, "dtype": dtype}
        options |= self._layer_options(attention)
        self._check_options(attention)
        for end in self._ends:
            pool = InputCellAttention(input_size, device=device, dtype=dtype, **attention)
            setattr(self, f"attention{end}", pool)
            setattr(self, f"rnn{end}", self.layer(pool.output_size, hidden_size, **options))
        self.upper = None
        if num_layers > 1:
            below = hidden_size * len(self._ends)
            options |= {"num_layers": num_layers - 1, "bidirectional": bidirectional}
            with_drop = dropout if num_layers > 2 else 0.0
            self.upper = self.layer(below, hidden_size, dropout=with_drop, **options)
        self.reset_parameters()

    def _layer_options(self, options: dict) -> dict:
        """Take the options of torch's layer out of ``options``."""
        return {}

    def _check_options(self, attention: dict) -> None:
        """Refuse what neither torch's layer nor the attention takes."""
        takers = (_InputCell.__init__, InputCellAttention.__init__)
        names = {name for taker in takers for name in inspect.signature(taker).parameters}
        names = names - {"self", "attention"} | self._layer_options({}).keys()
        for unknown in attention.keys() - names:
            known = ", ".join(sorted(names))
            raise ArgumentError(f"{type(self).__name__} has no option {unknown!r}. It has {known}.")

    @property
    def _ends(self) -> tuple[str, ...]:
        """Endings of the submodules' names, one per direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def reset_parameters(self) -> None:
        """Set matrices Xavier-uniform and vectors zero (forget bias too), as released."""
        for module in self.modules():
            if isinstance(module, nn.RNNBase):
                for parameter in module.parameters():
                    _initialize(parameter)
            elif isinstance(module, InputCellAttention):
                module.reset_parameters()

    def flatten_parameters(self) -> None:
        """Lay out the weights as a graphics card reads them, in each of torch's layers."""
        for module in self.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple:
        """Run over a batch of sequences.

        Parameters
        ----------
        input : Tensor or PackedSequence
            Shape (time, batch, features), (batch, time, features) if ``batch_first``, or
            (time, features) for one sequence.
        hx : Tensor or (Tensor, Tensor), optional
            Initial state(s), shape (layers * directions, batch, hidden); zero unless given.
        lengths : Tensor of int, shape (batch,), optional
            Valid steps of each sample; the padding behind them is not read and comes out as zero.
        return_attention : bool, default=False
            Return also what the last valid step attends to.

        Returns
        -------
        output : Tensor or PackedSequence
            Hidden states of the last layer at every step, laid out as ``input``.
        state : Tensor or (Tensor, Tensor)
            State(s) after the last valid step of each sample, laid out as ``hx``.
        attention : Tensor, shape (batch, hops, time), only if ``return_attention``
            With ``bidirectional`` a last axis holds the directions.

        Raises
        ------
        ArgumentError
            If shapes, types, lengths or states do not fit.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, return_attention)
        if isinstance(input, Tensor) and input.ndim == 2:
            return self._forward_single(input, hx, lengths, return_attention)
        self._check_input(input)
        x = input if self.batch_first else input.transpose(0, 1)
        output, state, attention = self._run(x, hx, lengths, return_attention)
        output = output if self.batch_first else output.transpose(0, 1).contiguous()
        return (output, state, attention) if return_attention else (output, state)

    def _check_input(self, x: Tensor) -> None:
        """Refuse inputs of the wrong shape or type."""
        if not isinstance(x, Tensor):
            raise ArgumentError(f"input must be a tensor. Got {type(x).__name__}.")
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise ArgumentError(
                f"input must have 2 or 3 dimensions, the last of input_size={self.input_size}. "
                f"Got shape {tuple(x.shape)}."
            )
        _check_type("input", x, self.rnn.weight_hh_l0.dtype)

    def _forward_packed(self, packed, hx, lengths, return_attention) -> tuple:
        """Unpack, run, and pack in the same order."""
        if lengths is not None:
            raise ArgumentError("lengths must be None for a PackedSequence, which has its own.")
        x, lengths = pad_packed_sequence(packed, batch_first=True)
        self._check_input(x)
        output, *rest = self._run(x, hx, lengths.to(x.device), return_attention)
        order = packed.sorted_indices
        if order is not None:
            output, lengths = output[order], lengths[order.cpu()]
        data = pack_padded_sequence(output, lengths, batch_first=True).data
        output = PackedSequence(data, packed.batch_sizes, order, packed.unsorted_indices)
        return (output, *rest) if return_attention else (output, rest[0])

    def _forward_single(self, x, hx, lengths, return_attention) -> tuple:
        """Run one sequence without a batch dimension."""
        self._check_input(x[None])
        self._check_state(hx, x)
        hx = self._map_state(hx, lambda h: h[:, None])
        output, state, attention = self._run(x[None], hx, lengths, return_attention)
        state = self._map_state(state, lambda h: h[:, 0])
        if return_attention:
            return output[0], state, attention[0]
        return output[0], state

    def _map_state(self, state, function):
        """Apply a function to each tensor of a state."""
        if state is None:
            return None
        return tuple(map(function, state)) if self.states == 2 else function(state)

    def _run(self, x: Tensor, hx, lengths: Tensor | None, return_attention: bool) -> tuple:
        """Both directions of the first layer, then the upper layers, on (batch, time, features)."""
        self._check_state(hx, x)
        lengths = _check_lengths(x, lengths)
        ends = len(self._ends)
        outputs, states, attentions = [], [], []
        for i, end in enumerate(self._ends):
            start = self._map_state(hx, lambda h, i=i: h[i : i + 1].contiguous())
            ordered = reverse(x, lengths) if end else x
            attention, rnn = getattr(self, f"attention{end}"), getattr(self, f"rnn{end}")
            output, state = self._run_first(attention, rnn, ordered, start, lengths)
            outputs.append(reverse(output, lengths) if end else output)
            states.append(state)
            if return_attention:
                weights = attention.weights(ordered, lengths=lengths)
                weights = weights.transpose(1, 2)
                attentions.append(reverse(weights, lengths) if end else weights)
        output = torch.cat(outputs, dim=-1) if ends == 2 else outputs[0]
        if self.upper is not None:
            start = self._map_state(hx, lambda h: h[ends:].contiguous())
            output, state = self._run_upper(output, start, lengths)
            states.append(state)
        return output, self._join(states), _join_attention(attentions)

    def _run_first(self, attention, rnn, x, hx, lengths) -> tuple:
        """Attention and recurrent layer of one direction."""
        if attention.readout == "mean":
            return run_layer(rnn, attention(x, lengths), hx, lengths)
        gates = attention.project(x, rnn.weight_ih_l0, lengths=lengths)
        return run_layer(self._on_gates(rnn), gates, hx, lengths)

    def _on_gates(self, rnn: nn.RNNBase):
        """The recurrent layer as a function of its projected inputs."""
        width = rnn.weight_ih_l0.shape[0]
        shell = self.layer(width, self.hidden_size, device="meta", **self._shell_options(rnn))
        eye = torch.eye(width, dtype=rnn.weight_hh_l0.dtype, device=rnn.weight_hh_l0.device)
        weights = {"weight_ih_l0": eye, "weight_hh_l0": rnn.weight_hh_l0}
        if rnn.bias:
            weights |= {"bias_ih_l0": rnn.bias_ih_l0, "bias_hh_l0": rnn.bias_hh_l0}
        return lambda x, hx: torch.func.functional_call(shell, weights, (x, hx))

    def _shell_options(self, rnn: nn.RNNBase) -> dict:
        """Options with which torch's layer is called on projected inputs."""
        return {"bias": rnn.bias, "batch_first": True, "dtype": rnn.weight_hh_l0.dtype}

    def _run_upper(self, output, hx, lengths) -> tuple:
        """Torch's layers above the first."""
        output = nn.functional.dropout(output, self.dropout, self.training)
        return run_layer(self.upper, output, hx, lengths)

    def _join(self, states: list):
        """Stack the layers' states as torch lays them out."""
        if self.states == 2:
            return tuple(torch.cat(part) for part in zip(*states, strict=True))
        return torch.cat(states)

    def _check_state(self, hx, x: Tensor) -> None:
        """Refuse initial states that do not fit (batch, time, features) or (time, features)."""
        if hx is None:
            return
        expected = (self.num_layers * len(self._ends), *x.shape[:-2], self.hidden_size)
        if self.states == 2 and (not isinstance(hx, tuple | list) or len(hx) != 2):
            got = f"{len(hx)} of them" if isinstance(hx, tuple | list) else type(hx).__name__
            raise ArgumentError(f"hx must be a pair of tensors of shape {expected}. Got {got}.")
        for part in hx if self.states == 2 else (hx,):
            if not isinstance(part, Tensor) or tuple(part.shape) != expected:
                got = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                raise ArgumentError(f"hx must be of shape {expected}. Got {got}.")
            _check_type("hx", part, self.rnn.weight_hh_l0.dtype)


class InputCellLSTM(_InputCell):
    """LSTM whose gates read the attention over all inputs so far; called as torch.nn.LSTM.

    With ``hx`` and packed sequences as torch's layer takes them; beside those, ``lengths`` for a
    padded batch and ``return_attention`` (see :meth:`forward`).

    Parameters
    ----------
    input_size : int
        Features (regions) of a step.
    hidden_size : int
        Hidden units.
    **options
        Of torch's layer: ``num_layers``, ``bias``, ``batch_first`` (default False), ``dropout``,
        ``bidirectional``, ``device``, ``dtype``. Of the attention:
        ``hops``, ``attention_size``, ``readout``, ``normalize``, ``positional``, ``max_length``
        (see :class:`~neurosal.models.attention.InputCellAttention`, which says what each costs).

    References
    ----------
    Ismail, Gunady, Pessoa, Corrada Bravo, Feizi (2019). Input-Cell Attention Reduces Vanishing
    Saliency of Recurrent Neural Networks. NeurIPS 32. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> layer = InputCellLSTM(6, 3, batch_first=True, hops=4, bidirectional=True)
    >>> output, (hidden, cell) = layer(torch.randn(2, 9, 6))
    >>> output.shape, hidden.shape
    (torch.Size([2, 9, 6]), torch.Size([2, 2, 3]))
    """

    layer = nn.LSTM
    states = 2

    def _run_first(self, attention, rnn, x, hx, lengths) -> tuple:
        """As the base's; on a CPU, large batches go through the recurrence on ready gates."""
        if x.device.type != "cpu" or (len(x) < GATED_BATCH and x.dtype != torch.float64):
            return super()._run_first(attention, rnn, x, hx, lengths)
        bias = rnn.bias_ih_l0 + rnn.bias_hh_l0 if rnn.bias else None
        gates = attention.project(x, rnn.weight_ih_l0, bias=bias, lengths=lengths)
        zeros = gates.new_zeros(1, len(x), self.hidden_size)
        hidden, cell = hx if hx is not None else (zeros, zeros)
        output, cells = lstm_on_gates(gates, hidden[0], cell[0], rnn.weight_hh_l0)
        output, cells = as_autocast(output), as_autocast(cells)
        if lengths is None:
            return output, (output[None, :, -1], cells[None, :, -1])
        row, last = torch.arange(len(x), device=x.device), lengths - 1
        return clear_padding(output, lengths), (output[row, last][None], cells[row, last][None])


class InputCellGRU(_InputCell):
    """GRU whose gates read the attention over all inputs so far; called as torch.nn.GRU.

    With ``hx`` and packed sequences as torch's layer takes them; beside those, ``lengths`` for a
    padded batch and ``return_attention`` (see :meth:`forward`).

    Parameters
    ----------
    input_size : int
        Features (regions) of a step.
    hidden_size : int
        Hidden units.
    **options
        Of torch's layer: ``num_layers``, ``bias``, ``batch_first`` (default False), ``dropout``,
        ``bidirectional``, ``device``, ``dtype``. Of the attention:
        ``hops``, ``attention_size``, ``readout``, ``normalize``, ``positional``, ``max_length``
        (see :class:`~neurosal.models.attention.InputCellAttention`, which says what each costs).

    References
    ----------
    Ismail, Gunady, Pessoa, Corrada Bravo, Feizi (2019). Input-Cell Attention Reduces Vanishing
    Saliency of Recurrent Neural Networks. NeurIPS 32. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> layer = InputCellGRU(6, 3, batch_first=True, hops=4, bidirectional=True)
    >>> output, hidden = layer(torch.randn(2, 9, 6))
    >>> output.shape, hidden.shape
    (torch.Size([2, 9, 6]), torch.Size([2, 2, 3]))
    """

    layer = nn.GRU


class InputCellRNN(_InputCell):
    """Elman RNN that reads the attention over all inputs so far; called as torch.nn.RNN.

    With ``hx`` and packed sequences as torch's layer takes them; beside those, ``lengths`` for a
    padded batch and ``return_attention`` (see :meth:`forward`).

    Parameters
    ----------
    input_size : int
        Features (regions) of a step.
    hidden_size : int
        Hidden units.
    **options
        Of torch's layer: ``num_layers``, ``bias``, ``batch_first`` (default False), ``dropout``,
        ``bidirectional``, ``nonlinearity`` ("tanh" or "relu"), ``device``, ``dtype``.
        Of the attention: ``hops``, ``attention_size``, ``readout``, ``normalize``, ``positional``,
        ``max_length``
        (see :class:`~neurosal.models.attention.InputCellAttention`, which says what each costs).

    References
    ----------
    Ismail, Gunady, Pessoa, Corrada Bravo, Feizi (2019). Input-Cell Attention Reduces Vanishing
    Saliency of Recurrent Neural Networks. NeurIPS 32. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> layer = InputCellRNN(6, 3, batch_first=True, hops=4, bidirectional=True)
    >>> output, hidden = layer(torch.randn(2, 9, 6))
    >>> output.shape, hidden.shape
    (torch.Size([2, 9, 6]), torch.Size([2, 2, 3]))
    """

    layer = nn.RNN

    def _layer_options(self, options: dict) -> dict:
        """Take ``nonlinearity`` ("tanh" or "relu") out."""
        return {"nonlinearity": options.pop("nonlinearity", "tanh")}

    def _shell_options(self, rnn: nn.RNNBase) -> dict:
        """As the base's, with the nonlinearity."""
        return super()._shell_options(rnn) | {"nonlinearity": rnn.nonlinearity}


def _initialize(parameter: Tensor) -> None:
    """Xavier-uniform for a matrix, zero for a vector."""
    if parameter.ndim > 1:
        nn.init.xavier_uniform_(parameter)
    else:
        nn.init.zeros_(parameter)


def _check_lengths(x: Tensor, lengths: Tensor | None) -> Tensor | None:
    """Lengths on the input's device; None if no sample is padded."""
    if lengths is None:
        return None
    lengths = _whole_lengths(x, lengths)
    return None if bool((lengths == x.shape[1]).all()) else lengths


def _join_attention(attentions: list[Tensor]) -> Tensor | None:
    """(batch, time, hops) per direction to (batch, hops, time[, direction])."""
    if not attentions:
        return None
    turned = [a.transpose(1, 2) for a in attentions]
    return turned[0] if len(turned) == 1 else torch.stack(turned, dim=-1)
