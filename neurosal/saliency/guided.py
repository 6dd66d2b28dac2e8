"""Guided backpropagation, with a rule for every unit of a recurrent network.

Backwards through the network, the gradient passes

- a relu where the unit is active and the gradient is positive [1]_;
- a sigmoid not at all: gates are constants, the signal takes everything [2]_;
- a tanh where gradient and activation have the same sign, times the slope. A relu's rule is the
  half of this with positive activation;
- everything else (linear maps, products, softmax, pooling) as usual.

The rules apply wherever these functions are called: in modules, in functional code, and inside
:class:`torch.nn.RNN`, :class:`torch.nn.LSTM` and :class:`torch.nn.GRU`, which are run step by step.
A clamp from 0 up, a threshold at 0 and a maximum with 0 are relus. Other activation functions are
refused, a clamp between two bounds among them, and so is a network with a backward pass of its
own, which the rules could not reach. A relu made of selections or products (``torch.where``,
``x * (x > 0)``, ``(x + x.abs()) / 2``) cannot be told from other uses of these: it passes the
gradient as usual, as does a clamp with one bound that is not 0, a guard of a logarithm or quotient.

References
----------
.. [1] Springenberg et al. (2015), doi:10.48550/arXiv.1412.6806.
.. [2] Chormai (2018), Designing recurrent neural networks for explainability, TU Berlin.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
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
        If the network is compiled or scripted, has other activation functions, has none, or
        reaches the score through sigmoids alone.

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
        found, scores = gradient_and_score(lambda x, rows: _check_graph(score(x, rows), guided), x)
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


def _named(*names: str) -> set[Callable]:
    """Return torch's functions and methods of these names, those that work in place among them."""
    places = (torch, Tensor, F, torch._C._nn)
    found = (getattr(place, n + end, None) for place in places for n in names for end in ("", "_"))
    return {func for func in found if func is not None}


_OTHERS = _named(
    *("gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "relu6"),
    *("hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "tanhshrink"),
    *("softplus", "softsign", "logsigmoid", "log_sigmoid", "glu"),
)


def _is_zero(bound: object) -> bool:
    """Tell whether a number or a tensor that does not depend on the input is zero."""
    if isinstance(bound, Tensor):
        return not bound.requires_grad and not bound.any()
    return bound is not None and bound == 0


def _clamp_is_relu(input: Tensor, min: object = None, max: object = None) -> bool:
    """Tell whether a clamp is a relu; refuse one that is another unit."""
    if max is not None and (min is not None or _is_zero(max)):
        raise _refusal(f"with clamp, min={min!r}, max={max!r}")
    return _is_zero(min)


def _threshold_is_relu(input: Tensor, threshold: float, value: float, **_: object) -> bool:
    """Tell that a threshold is a relu, or refuse it."""
    if threshold or value:
        raise _refusal(f"with threshold={threshold!r}, value={value!r}")
    return True


def _maximum_is_relu(input: Tensor, other: object = None, *_: object, **__: object) -> bool:
    """Tell whether the larger of two is a relu."""
    return isinstance(other, Tensor) and (_is_zero(input) or _is_zero(other))


_PERHAPS: dict[Callable, Callable[..., bool]] = {
    **dict.fromkeys(_named("clamp", "clip", "clamp_min"), _clamp_is_relu),
    **dict.fromkeys(_named("clamp_max"), lambda input, max: _clamp_is_relu(input, max=max)),
    **dict.fromkeys(_named("threshold"), _threshold_is_relu),
    **dict.fromkeys(_named("maximum", "fmax", "max"), _maximum_is_relu),
}
_UNITS = {*_RULES, *_PERHAPS, *_OTHERS}


def _is_signal(value: object) -> bool:
    """Tell whether a gradient passes through a value on its way to the input."""
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


class _Guided(TorchFunctionMode):
    """Replace the activation functions that are called meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.gated = 0, False

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run a function, by its guided rule if it has one."""
        kwargs = kwargs or {}
        if func in _LAYERS:
            self.seen += 1
            return _run_layer(_LAYERS[func], *args)
        if func in _CELLS:
            self.seen += 1
            return _CELLS[func](*args)
        if func not in _UNITS or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if not any(_is_signal(value) for value in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        return self._guide(func, args, kwargs)

    def _guide(self, func: Callable, args: tuple, kwargs: dict) -> Tensor:
        """Run a unit by its rule; refuse it if it is of another kind."""
        if func in _OTHERS:
            raise _refusal(f"with {func.__name__}")
        rule, x = _RULES.get(func), args[0] if args else kwargs["input"]
        if rule is None and not _PERHAPS[func](*args, **kwargs):
            return func(*args, **kwargs)
        self.seen += 1
        self.gated |= rule is _gate
        if func.__name__.endswith("_") or kwargs.get("inplace"):
            return x.copy_((rule or _Relu.apply)(x.clone()))
        return rule(x) if rule else _Relu.apply(func(*args, **kwargs))


@contextmanager
def _plain_layers(network: Network) -> Iterator[None]:
    """Let the input-cell LSTMs run by torch's layer, not by their own fast backward pass."""
    parts = {part for module in network.modules for part in module.modules()}
    layers = [part for part in parts if isinstance(part, InputCellLSTM)]
    for layer in layers:
        layer._run_first = super(InputCellLSTM, layer)._run_first
    try:
        yield
    finally:
        for layer in layers:
            del layer._run_first


def _check_graph(scores: Tensor, guided: _Guided) -> Tensor:
    """Refuse scores with a backward pass on the way that may hide units, or with none left."""
    if guided.gated and not scores.requires_grad:
        raise _refusal("whose inputs reach the score through sigmoids alone, which pass nothing")
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
