"""An LSTM's recurrence on ready input gates, for the CPU.

Torch's LSTM multiplies its input with ``weight_ih`` itself and, on a CPU, records every step (or
calls a backward pass that is slower than its matrix products). Here the input gates come ready
from :meth:`~neurosal.models.attention.InputCellAttention.project`, the steps write into place,
and the backward pass is written out: per step one matrix product and four elementwise ones.

A step of a few hundred numbers takes less time to compute than torch takes to begin it. Those loops
run in numpy, on the same memory, which begins in a quarter of the time.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from neurosal.models.factored import slow_gradients
from neurosal.models.scopes import few_threads, full_precision, without_autocast

#: Hidden units up to which each unit's samples lie side by side in memory: what is computed for one
#: gate is then one run of numbers, not a short one per sample.
NARROW = 32
#: Numbers in a step's gates up to which numpy is quicker than torch.
FEW = 8192


@full_precision
def lstm_on_gates(gates: Tensor, hidden: Tensor, cell: Tensor, weight: Tensor) -> tuple:
    """Run an LSTM whose input gates (biases included) are known.

    Parameters
    ----------
    gates : Tensor, shape (batch, time, 4 * hidden)
        Input part of the pre-activations, in torch's order: input, forget, candidate, output.
    hidden, cell : Tensor, shape (batch, hidden)
        Initial states.
    weight : Tensor, shape (4 * hidden, hidden)
        The recurrent weights, ``weight_hh``.

    Returns
    -------
    hidden, cell : Tensor, shape (batch, time, hidden)
        States at every step.

    Examples
    --------
    >>> lstm, x, zero = torch.nn.LSTM(3, 2, bias=False), torch.randn(5, 1, 3), torch.zeros(1, 2)
    >>> gates = (x @ lstm.weight_ih_l0.T).transpose(0, 1)
    >>> hidden, cell = lstm_on_gates(gates, zero, zero, lstm.weight_hh_l0)
    >>> torch.allclose(hidden.transpose(0, 1), lstm(x)[0], atol=1e-6)
    True
    """
    hidden, cell, *_ = _Steps.apply(gates, hidden, cell, weight)
    return hidden.transpose(0, 1), cell.transpose(0, 1)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn each sample round in time within its length; the padding stays behind.

    Parameters
    ----------
    x : Tensor, shape (batch, time, width)
        A padded batch.
    lengths : Tensor of int64, shape (batch,), or None
        Valid steps of each sample; None says all.

    Returns
    -------
    Tensor, shape (batch, time, width)
        The last valid step first.

    Examples
    --------
    >>> reverse(torch.tensor([[[1], [2], [0]]]), torch.tensor([2])).flatten().tolist()
    [2, 1, 0]
    """
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths[:, None] - 1 - steps
    index = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, index[..., None].expand_as(x))


def run_layer(rnn: Callable, x: Tensor, hx: object, lengths: Tensor | None) -> tuple:
    """Run a recurrent layer of torch's, packed where samples differ in length.

    Parameters
    ----------
    rnn : callable
        The layer, ``batch_first``, of one direction or more.
    x : Tensor, shape (batch, time, width)
        A padded batch.
    hx : Tensor, (Tensor, Tensor) or None
        Initial state(s).
    lengths : Tensor of int64, shape (batch,), or None
        Valid steps of each sample; None says all.

    Returns
    -------
    output : Tensor, shape (batch, time, hidden * directions)
        Hidden states; zero in the padding.
    state : Tensor or (Tensor, Tensor)
        State(s) after the last valid step.

    Examples
    --------
    >>> output, _ = run_layer(torch.nn.GRU(3, 2, batch_first=True), torch.ones(1, 4, 3), None, None)
    >>> output.shape
    torch.Size([1, 4, 2])
    """
    if lengths is None:
        return rnn(x, hx)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    output, state = rnn(packed, hx)
    return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0], state


class _Steps(torch.autograd.Function):
    """The recurrence; states are (time, batch, hidden)."""

    @staticmethod
    def forward(gates: Tensor, hidden: Tensor, cell: Tensor, weight: Tensor) -> tuple:
        """Step through time; returns the states, and what the backward pass needs."""
        batch, steps, width = gates.shape
        size = width // 4
        act = _room(gates, steps, batch, size, gates=4).copy_(gates.transpose(0, 1))
        tanhs = _room(gates, steps, batch, size)
        hiddens, cells = (_starting_with(state, steps) for state in (hidden, cell))
        _walk(act, tanhs, hiddens, cells, weight.t().contiguous())
        return hiddens[1:], cells[1:], act, hiddens, cells, tanhs

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        """Keep the inputs, the activations and the states."""
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output[2:])

    @staticmethod
    def backward(ctx, grad_hidden: Tensor | None, grad_cell: Tensor | None, *_: None) -> tuple:
        """Gradients of the gates, initial states and weights; differentiable if asked for."""
        *given, act, hiddens, cells, tanhs = ctx.saved_tensors
        weight, grad_weight = given[3], None
        with without_autocast(act.device.type):
            if torch.is_grad_enabled():
                return slow_gradients(_slow_steps, given, (grad_hidden, grad_cell))
            factors = _gate_factors(act, cells[:-1], tanhs)
            grads, grad_h, grad_c = _walk_back(act, tanhs, factors, weight, grad_hidden, grad_cell)
            if ctx.needs_input_grad[3]:
                grad_weight = grads.flatten(0, 1).t() @ hiddens[:-1].flatten(0, 1)
        return grads.transpose(0, 1), grad_h, grad_c, grad_weight


def _walk(act: Tensor, tanhs: Tensor, hiddens: Tensor, cells: Tensor, weight: Tensor) -> None:
    """Fill in the gates' activations and the states, step by step."""
    size = tanhs.shape[2]
    if _few(act, size):
        parts = (part.transpose(1, 2).numpy() for part in (act, tanhs, hiddens, cells))
        return _walk_few(*parts, weight.t().numpy())
    gates = (part.unbind() for part in act.split(size, dim=2))
    soft, whole = act[..., : 2 * size].unbind(), act.unbind()
    h, c = hiddens.unbind(), cells.unbind()
    steps = zip(whole, soft, *gates, tanhs.unbind(), h, h[1:], c, c[1:], strict=False)
    with torch.inference_mode(), few_threads(weight.numel() * act.shape[1]):
        for sums, sigmoids, i, f, g, o, tanh, h_old, h_new, c_old, c_new in steps:
            sums.addmm_(h_old, weight)
            sigmoids.sigmoid_(), g.tanh_(), o.sigmoid_()
            torch.mul(f, c_old, out=c_new).addcmul_(i, g)
            torch.mul(torch.tanh(c_new, out=tanh), o, out=h_new)
    return None


def _few(act: Tensor, size: int) -> bool:
    """Whether numpy steps; what it reads is then laid out side by side, see :data:`NARROW`."""
    known = act.device.type == "cpu" and act.dtype in (torch.float32, torch.float64)
    return known and size <= NARROW and act[0].numel() <= FEW


def _walk_few(act, tanhs, hiddens, cells, weight) -> None:
    """As :func:`_walk`, in numpy; samples are the last axis."""
    size, room = tanhs.shape[1], np.empty_like(act[0])
    weight, product = weight.copy(), room[:size]
    for rows in (slice(2 * size), slice(3 * size, None)):  # A sigmoid is 1 / (1 + exp(-x)).
        np.negative(act[:, rows], out=act[:, rows])
        np.negative(weight[rows], out=weight[rows])
    gates = (act[:, start : start + size] for start in range(0, 4 * size, size))
    steps = zip(act, *gates, tanhs, hiddens, hiddens[1:], cells, cells[1:], strict=False)
    with np.errstate(all="ignore"):  # exp(-x) may be infinite; NaN is told of elsewhere.
        for sums, i, f, g, o, tanh, h_old, h_new, c_old, c_new in steps:
            sums += np.matmul(weight, h_old, out=room)
            np.tanh(g, out=g)
            for gate in (sums[: 2 * size], o):
                np.exp(gate, out=gate)
                gate += 1
                np.reciprocal(gate, out=gate)
            np.multiply(f, c_old, out=c_new)
            c_new += np.multiply(i, g, out=product)
            np.multiply(o, np.tanh(c_new, out=tanh), out=h_new)


def _starting_with(state: Tensor, steps: int) -> Tensor:
    """Make room for the states before the first and after every step."""
    states = _room(state, steps + 1, *state.shape)
    states[0] = state
    return states


def _room(like: Tensor, steps: int, batch: int, size: int, *, gates: int = 1) -> Tensor:
    """Make room for (steps, batch, gates * size); see :data:`NARROW`."""
    if size <= NARROW:
        return like.new_empty(steps, gates * size, batch).transpose(1, 2)
    return like.new_empty(steps, batch, gates * size)


def _gate_factors(act: Tensor, before: Tensor, tanhs: Tensor) -> Tensor:
    """Derivatives (time, batch, 4, hidden) of cell (first three) and output by the gates."""
    i, f, g, o = act.chunk(4, dim=2)
    out = _room(act, *tanhs.shape, gates=4).unflatten(2, (4, -1))
    torch.ops.aten.sigmoid_backward.grad_input(g, i, grad_input=out[:, :, 0])
    torch.ops.aten.sigmoid_backward.grad_input(before, f, grad_input=out[:, :, 1])
    torch.ops.aten.tanh_backward.grad_input(i, g, grad_input=out[:, :, 2])
    torch.ops.aten.sigmoid_backward.grad_input(tanhs, o, grad_input=out[:, :, 3])
    return out


def _walk_back(act, tanhs, factors, weight, grad_hidden, grad_cell) -> tuple:
    """Gradients of the gates (time, batch, 4 * hidden) and of the initial states."""
    steps, batch, width = act.shape
    size = width // 4
    grads = _room(act, steps, batch, size, gates=4)
    c, h = _room(act, 2, batch, size).zero_()
    reach = torch.ops.aten.tanh_backward(act[..., 3 * size :], tanhs)
    forget, parts = act[..., size : 2 * size], grads.view(steps, batch, 4, size)
    back = _back_few if _few(act, size) else _back
    back(factors, parts, reach, forget, weight, grad_hidden, grad_cell, h, c)
    return grads, h, c


def _back(factors, parts, reach, forget, weight, grad_hidden, grad_cell, h, c) -> None:
    """Fill in the gradients of the gates, from the last step to the first."""
    steps = len(parts)
    first, out, whole = parts[:, :, :3].unbind(), parts[:, :, 3].unbind(), parts.flatten(2).unbind()
    factor, out_factor = factors[:, :, :3].unbind(), factors[:, :, 3].unbind()
    read, kept = _nonzero_steps(grad_hidden, steps), _nonzero_steps(grad_cell, steps)
    reach, forget = reach.unbind(), forget.unbind()
    with torch.inference_mode(), few_threads(weight.numel() * len(h)):
        for t in range(steps - 1, -1, -1):
            if read[t]:
                h += grad_hidden[t]
            if kept[t]:
                c += grad_cell[t]
            c.addcmul_(h, reach[t])
            torch.mul(c[:, None], factor[t], out=first[t])
            torch.mul(h, out_factor[t], out=out[t])
            c *= forget[t]
            torch.mm(whole[t], weight, out=h)


def _back_few(factors, parts, reach, forget, weight, grad_hidden, grad_cell, h, c) -> None:
    """As :func:`_back`, in numpy; samples are the last axis."""
    steps, weight = len(parts), weight.detach().t().contiguous().numpy()
    read, kept = _nonzero_steps(grad_hidden, steps), _nonzero_steps(grad_cell, steps)
    factors, parts = (x.permute(0, 2, 3, 1).numpy() for x in (factors, parts))
    reach, forget = (x.transpose(1, 2).numpy() for x in (reach, forget))
    h, c, room = h.t().numpy(), c.t().numpy(), np.empty_like(reach[0])
    with np.errstate(all="ignore"):
        for t in range(steps - 1, -1, -1):
            if read[t]:
                h += grad_hidden[t].t().numpy()
            if kept[t]:
                c += grad_cell[t].t().numpy()
            c += np.multiply(h, reach[t], out=room)
            np.multiply(c, factors[t, :3], out=parts[t, :3])
            np.multiply(h, factors[t, 3], out=parts[t, 3])
            c *= forget[t]
            np.matmul(weight, parts[t].reshape(-1, c.shape[1]), out=h)


def _nonzero_steps(grad: Tensor | None, steps: int) -> list[bool]:
    """Which steps a gradient reaches: often the last alone."""
    if grad is None:
        return [False] * steps
    return (grad.amax(dim=(1, 2)).ne(0) | grad.amin(dim=(1, 2)).ne(0)).tolist()


def _slow_steps(gates: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence by plain operations."""
    hiddens, cells = [], []
    for step in gates.unbind(1):
        i, f, g, o = (step + h @ weight.t()).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        hiddens.append(h)
        cells.append(c)
    return torch.stack(hiddens), torch.stack(cells)
