"""The attention of input-cell networks, as a map."""

import torch
from torch import Tensor

from neurosal.errors import ArgumentError
from neurosal.models.attention import InputCellAttention
from neurosal.saliency.gradients import Attribution
from neurosal.saliency.network import Network, evaluating
from neurosal.saliency.scores import Score


def attention(score: Score, x: Tensor) -> Attribution:
    """Share of each cell in the embeddings that an input-cell network reads.

    At every reading step t, hop k weighs the inputs s <= t by a(t, k, s). The weight of step s is
    their mean over hops and reading steps: the valid ones, up to the step whose score is asked
    for. So the weights of a sample sum to 1 over time, and later steps have none. A cell's
    importance is that weight times its distance from the baseline, without sign: attention is per
    step, and it is the same whatever the class or the output that is asked about.

    Only attention over the samples themselves counts, see :func:`attention_layers`.

    Parameters
    ----------
    score : Score
        Gives the network, the valid steps, the step that is asked for and the baseline.
    x : torch.Tensor
        Samples (B, T, N).

    Returns
    -------
    Attribution
        Maps without sign.

    Raises
    ------
    ArgumentError
        If a network has no input-cell attention that reads the samples as they are, or one that
        reads backwards is asked for the score after a step.

    References
    ----------
    Ismail et al. (2019), doi:10.48550/arXiv.1910.12370.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(build_network("input-cell-lstm", n_features=3, n_classes=2))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 4, 3))
    >>> round(float(attention(score, torch.ones(1, 4, 3)).maps[:, :, 0].sum()), 5)
    1.0
    """
    valid = score.valid(x)
    with torch.no_grad():
        layers = [one for m in score.network.modules for one in attention_layers(m, x, valid)]
        read = _steps_read(score, valid, any(backwards for _, backwards in layers))
        per_layer = [_step_weights(layer, x, read, backwards) for layer, backwards in layers]
    score.count.update(forward=len(x))
    weights = torch.stack(per_layer).mean(0)
    return Attribution(weights[:, :, None] * (x - score.baseline).abs(), {})


def attention_layers(
    module: torch.nn.Module, x: Tensor, valid: Tensor
) -> list[tuple[InputCellAttention, bool]]:
    """Find the attention layers that read the samples, and whether each reads backwards in time.

    The samples are sent through the network, and what each layer is given is compared with them.
    A layer that is given something else, such as standardised samples or the states of a layer
    below, is left out: its weights would not be about the regions of ``x``.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    x : torch.Tensor
        Samples (B, T, N).
    valid : torch.Tensor
        Their steps that are no padding (B, T).

    Returns
    -------
    list of tuple of InputCellAttention and bool
        In the order of the network.

    Raises
    ------
    ArgumentError
        If the network has no input-cell attention that reads the samples as they are.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> network = build_network("input-cell-lstm", n_features=3, n_classes=2)
    >>> valid = torch.ones(1, 4, dtype=torch.bool)
    >>> [backwards for _, backwards in attention_layers(network, torch.ones(1, 4, 3), valid)]
    [False]
    """
    module = getattr(module, "_orig_mod", module)  # compiled, it would not call hooks
    layers = {
        layer: name.endswith("_reverse")
        for name, layer in module.named_modules()
        if isinstance(layer, InputCellAttention) and layer.input_size == x.shape[2]
    }
    inputs = _inputs(module, list(layers), x, valid) if layers else {}
    found = [
        (layer, backwards)
        for layer, backwards in layers.items()
        if any(_is_given(read, x, valid, backwards) for read in inputs[layer])
    ]
    if not found:
        raise _refusal(module, changed=bool(layers))
    return found


def _inputs(
    module: torch.nn.Module, layers: list[InputCellAttention], x: Tensor, valid: Tensor
) -> dict[InputCellAttention, list[Tensor]]:
    """All that each layer reads while the network scores the samples."""
    network, inputs = Network((module,)), {layer: [] for layer in layers}
    # Not all calls of a layer go through its forward, but each goes through its first part's.
    hooks = [
        layer.first.register_forward_pre_hook(lambda _, given, kept=kept: kept.append(given[0]))
        for layer, kept in inputs.items()
    ]
    try:
        with evaluating(network):
            network.logits(x, None if valid.all() else valid.sum(1))
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


def _is_given(read: Tensor, x: Tensor, valid: Tensor, backwards: bool) -> bool:
    """Tell whether what a layer read are the samples' valid steps, in its order."""
    longest, order = int(valid.sum(1).max()), _order(valid, backwards)
    if read.numel() % x[:, 0].numel():
        return False
    read = read.reshape(len(x), -1, x.shape[2])[:, :longest].to(x)
    expected = x.gather(1, order[:, :, None].expand_as(x))[:, :longest]
    if read.shape != expected.shape:
        return False
    read, expected = (part[valid[:, :longest]] for part in (read, expected))
    return torch.allclose(read, expected, rtol=0, atol=0, equal_nan=True)


def _refusal(module: torch.nn.Module, *, changed: bool) -> ArgumentError:
    """Say which networks the method takes, and what to do instead."""
    name, others = type(module).__name__, "use 'gradient', 'integrated_gradients' or 'occlusion'"
    if changed:
        return ArgumentError(
            "method 'attention' takes networks whose input-cell attention reads x as it is. Got "
            f"{name}, which changes x first; explain the part of it that comes after, with x as "
            f"that part is given it, or {others}, which take any network."
        )
    return ArgumentError(
        "method 'attention' takes networks with input-cell attention ('input-cell-lstm', "
        f"'input-cell-gru', ...). Got {name}, which has no such attention; {others}, which take "
        "any network."
    )


def _steps_read(score: Score, valid: Tensor, backwards: bool) -> Tensor:
    """Mark the steps that the score can have read (B, T): valid, and none after ``at``."""
    if score.at == "end":
        return valid
    if backwards:
        raise ArgumentError(
            "at must be 'end' for a network whose attention reads backwards: what it reads at a "
            f"step are the later ones. Got {score.at!r}."
        )
    return valid & (torch.arange(valid.shape[1], device=valid.device) <= score.at)


def _step_weights(layer: InputCellAttention, x: Tensor, valid: Tensor, backwards: bool) -> Tensor:
    """Mean attention (B, T) that each step gets, over hops and over the steps that read it."""
    order = _order(valid, backwards)
    ordered = x.gather(1, order[:, :, None].expand_as(x))
    logits = layer.logits(ordered).masked_fill(~valid[:, :, None], -torch.inf)
    readers = -logits.logcumsumexp(dim=1).masked_fill(~valid[:, :, None], torch.inf)
    later = readers.flip(1).logcumsumexp(dim=1).flip(1)
    weights = (logits + later).exp().mean(2) / valid.sum(1, keepdim=True)
    return weights.gather(1, order)


def _order(valid: Tensor, backwards: bool) -> Tensor:
    """Steps (B, T) in the order in which they are read, padding left in its place."""
    steps = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    if not backwards:
        return steps
    mirrored = valid.sum(1, keepdim=True) - 1 - steps
    return torch.where(mirrored >= 0, mirrored, steps)
