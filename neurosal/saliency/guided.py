"""Guided backpropagation, with a rule for every unit of a recurrent network.

Backwards through the network, the gradient passes

- a relu where the unit is active and the gradient is positive [1]_;
- a sigmoid not at all: gates are constants, the signal takes everything [2]_;
- a tanh where gradient and activation have the same sign, times the slope. A relu's rule is the
  half of this with positive activation;
- everything else (linear maps, products, softmax, pooling) as usual.

The rules apply wherever these functions are called: in modules, in functional code, and inside
:class:`torch.nn.RNN`, :class:`torch.nn.LSTM` and :class:`torch.nn.GRU`, which are run step by step.
A network with a backward pass of its own, which the rules could not reach, is refused.

References
----------
.. [1] Springenberg et al. (2015), doi:10.48550/arXiv.1412.6806.
.. [2] Chormai (2018), Designing recurrent neural networks for explainability, TU Berlin.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.overrides import TorchFunctionMode

from neurosal.errors import ArgumentError
from neurosal.models.cells import InputCellLSTM
from neurosal.models.factored import FlatPool, MeanPool
from neurosal.saliency.gradients import Attribution, gradient_and_score
from neurosal.saliency.network import Network
from neurosal.saliency.scores import Score


def guided_backprop(score: Score, x: Tensor, *, squared: bool = False) -> Attribution:
    """Gradient of which relu, sigmoid and tanh let through what supports the score.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    squared : bool
        Square the result, as the thesis that introduced the rule for gates does.

    Returns
    -------
    Attribution
        Maps; signed unless squared.

    Raises
    ------
    ArgumentError
        If the network is compiled or scripted, has other activation functions or has none.

    References
    ----------
    Springenberg et al. (2015), doi:10.48550/arXiv.1412.6806.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> layers = [torch.nn.Flatten(), torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)]
    >>> score = Score(as_network(torch.nn.Sequential(*layers)), torch.tensor([1]),
    ...               torch.zeros(1, 2, 3))
    >>> guided_backprop(score, torch.ones(1, 2, 3)).maps.shape
    torch.Size([1, 2, 3])
    """
    for module in score.network.modules:
        if isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod"):
            raise _refusal("compiled or scripted, so its units cannot be seen")
    with _Guided() as guided, _plain_layers(score.network):
        found, scores = gradient_and_score(lambda x, rows: _check_graph(score(x, rows)), x)
    if not guided.seen:
        raise _refusal("without any relu, sigmoid or tanh, where it is the gradient")
    return Attribution(found.square() if squared else found, {"score": scores})


class _Relu(torch.autograd.Function):
    """Relu that passes positive gradients through active units."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Relu."""
        return x.clamp_min(0)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple, output: Tensor) -> None:
        """Keep the activation."""
        ctx.save_for_backward(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, grad: Tensor) -> Tensor:
        """Pass what is positive, where the unit is active."""
        (y,) = ctx.saved_tensors
        return grad.clamp_min(0) * (y > 0)


class _Tanh(torch.autograd.Function):
    """Tanh that passes gradients of the activation's own sign."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Tanh."""
        return x.tanh()

    @staticmethod
    def setup_context(ctx: object, inputs: tuple, output: Tensor) -> None:
        """Keep the activation."""
        ctx.save_for_backward(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, grad: Tensor) -> Tensor:
        """Pass what has the activation's sign, times the slope."""
        (y,) = ctx.saved_tensors
        return grad * (1 - y.square()) * (grad * y > 0)


def _gate(x: Tensor) -> Tensor:
    """Sigmoid that passes no gradient."""
    return x.detach().sigmoid()


_RULES: dict[Callable, Callable] = {
    **dict.fromkeys([torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu], _Relu.apply),
    **dict.fromkeys([torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_], _Tanh.apply),
    **dict.fromkeys([torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_], _gate),
    torch.special.expit: _gate,
}
_KNOWN = (_Relu, _Tanh, MeanPool, FlatPool)
_OTHERS = (
    *(F.gelu, F.silu, F.mish, F.elu, F.selu, F.celu, F.leaky_relu, F.prelu, F.rrelu),
    *(F.hardtanh, F.relu6, F.hardsigmoid, F.hardswish, F.softsign, F.glu, F.logsigmoid),
)


class _Guided(TorchFunctionMode):
    """Replace the activation functions that are called meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run a function, by its guided rule if it has one."""
        kwargs = kwargs or {}
        if func in _OTHERS:
            raise _refusal(f"with {func.__name__}")
        if func in _LAYERS:
            self.seen += 1
            return _run_layer(_LAYERS[func], *args)
        if func in _CELLS:
            self.seen += 1
            return _CELLS[func](*args)
        if func not in _RULES or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        self.seen += 1
        x = args[0] if args else kwargs["input"]
        if not (func.__name__.endswith("_") or kwargs.get("inplace")):
            return _RULES[func](x)
        return x.copy_(_RULES[func](x.clone()))


@contextmanager
def _plain_layers(network: Network) -> Iterator[None]:
    """Let the input-cell LSTMs run by torch's layer, not by their own fast backward pass."""
    parts = [part for module in network.modules for part in module.modules()]
    layers = [part for part in parts if isinstance(part, InputCellLSTM)]
    for layer in layers:
        layer._run_first = super(InputCellLSTM, layer)._run_first
    try:
        yield
    finally:
        for layer in layers:
            del layer._run_first


def _check_graph(scores: Tensor) -> Tensor:
    """Refuse scores with a backward pass on the way that may hide activation functions."""
    ahead, seen = [scores.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        own = getattr(node, "_forward_cls", None)
        if own is not None and own not in _KNOWN:
            raise _refusal(f"with its own backward pass, {own.__name__}")
        ahead += [following for following, _ in node.next_functions]
    return scores


def _refusal(what: str) -> ArgumentError:
    """Say which networks the method can take."""
    return ArgumentError(
        "method 'guided_backprop' takes networks of relu, sigmoid and tanh units (all recurrent "
        f"networks of this package, nn.RNN, nn.LSTM, nn.GRU). Got one {what}. Use 'gradient'."
    )


def _linear_sum(x: Tensor, h: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Input's and state's part of the pre-activations."""
    biases = weights[2:] or (None, None)
    return F.linear(x, weights[0], biases[0]), F.linear(h, weights[1], biases[1])


def _lstm_step(x: Tensor, state: tuple, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of an LSTM."""
    h, c = state
    i, f, g, o = torch.add(*_linear_sum(x, h, weights)).chunk(4, dim=-1)
    c = _gate(f) * c + _gate(i) * _Tanh.apply(g)
    return _gate(o) * _Tanh.apply(c), c


def _gru_step(x: Tensor, state: tuple, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of a GRU."""
    (h,) = state
    (rx, zx, nx), (rh, zh, nh) = (part.chunk(3, dim=-1) for part in _linear_sum(x, h, weights))
    z = _gate(zx + zh)
    return ((1 - z) * _Tanh.apply(nx + _gate(rx + rh) * nh) + z * h,)


def _tanh_step(x: Tensor, state: tuple, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of a plain recurrent layer."""
    return (_Tanh.apply(torch.add(*_linear_sum(x, state[0], weights))),)


def _relu_step(x: Tensor, state: tuple, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of a plain recurrent layer of relus."""
    return (_Relu.apply(torch.add(*_linear_sum(x, state[0], weights))),)


_LAYERS = {
    torch._VF.lstm: _lstm_step,
    torch._VF.gru: _gru_step,
    torch._VF.rnn_tanh: _tanh_step,
    torch._VF.rnn_relu: _relu_step,
}
_CELLS = {
    torch._VF.lstm_cell: lambda x, hx, *weights: _lstm_step(x, hx, weights),
    torch._VF.gru_cell: lambda x, hx, *weights: _gru_step(x, (hx,), weights)[0],
    torch._VF.rnn_tanh_cell: lambda x, hx, *weights: _tanh_step(x, (hx,), weights)[0],
    torch._VF.rnn_relu_cell: lambda x, hx, *weights: _relu_step(x, (hx,), weights)[0],
}


def _run_layer(step: Callable, *args: object) -> tuple[Tensor, ...]:
    """Run a recurrent layer step by step, called as ``torch._VF.lstm`` is."""
    packed = isinstance(args[3], list | tuple)
    if packed:
        x, sizes, start, weights, biases, layers, _, _, both = args
        x, ends = pad_packed_sequence(PackedSequence(x, sizes))
        valid = torch.arange(len(x))[:, None] < ends
    else:
        x, start, weights, biases, layers, _, _, both, batch_first = args
        x = x.transpose(0, 1) if batch_first else x
        valid = torch.ones(x.shape[:2], dtype=torch.bool)
    start = tuple(start) if isinstance(start, list | tuple) else (start,)
    x, ended = _run_stack(step, x, start, valid[:, :, None].to(x.device), _by_direction(
        weights, layers * (1 + both), biases), 1 + both)  # fmt: skip
    if packed:
        x = pack_padded_sequence(x, ends, enforce_sorted=True).data
    elif batch_first:
        x = x.transpose(0, 1)
    return (x, *ended)


def _by_direction(weights: Sequence[Tensor], count: int, biases: bool) -> list[Sequence[Tensor]]:
    """Weights of each layer and direction."""
    own = 4 if biases else 2
    if len(weights) != own * count:
        raise _refusal("with projections (proj_size)")
    return [weights[own * k : own * (k + 1)] for k in range(count)]


def _run_stack(
    step: Callable, x: Tensor, start: tuple, valid: Tensor, weights: list, directions: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run layers on top of each other; (T, B, N) to (T, B, directions * H) and the last states."""
    ended = []
    for layer in range(len(weights) // directions):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            state = tuple(part[place] for part in start)
            out, state = _run_steps(step, x, state, valid, weights[place], direction == 1)
            outputs.append(out)
            ended.append(state)
        x = torch.cat(outputs, dim=2)
    return x, tuple(torch.stack(parts) for parts in zip(*ended, strict=True))


def _run_steps(
    step: Callable, x: Tensor, state: tuple, valid: Tensor, weights: Sequence, backwards: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction; the state stands still in the padding."""
    outputs = []
    order = range(len(x))
    for t in reversed(order) if backwards else order:
        after = step(x[t], state, weights)
        state = tuple(
            torch.where(valid[t], new, old) for new, old in zip(after, state, strict=True)
        )
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs), state
