"""The attention of input-cell networks, as a map."""

import torch
from torch import Tensor

from neurosal.errors import ArgumentError
from neurosal.models.attention import InputCellAttention
from neurosal.saliency.gradients import Attribution
from neurosal.saliency.scores import Score


def attention(score: Score, x: Tensor) -> Attribution:
    """Share of each cell in the embeddings that an input-cell network reads.

    At every reading step t, hop k weighs the inputs s <= t by a(t, k, s). The weight of step s is
    their mean over hops and valid reading steps, so the weights of a sample sum to 1 over time. A
    cell's importance is that weight times its distance from the baseline, without sign: attention
    is per step, and it is the same whatever the class or the score that is asked about.

    Parameters
    ----------
    score : Score
        Gives the network, the valid steps and the baseline.
    x : torch.Tensor
        Samples (B, T, N).

    Returns
    -------
    Attribution
        Maps without sign.

    Raises
    ------
    ArgumentError
        If a network has no input-cell attention over the samples.

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
        per_layer = [
            _step_weights(layer, x, valid, backwards)
            for module in score.network.modules
            for layer, backwards in attention_layers(module, x.shape[2])
        ]
    score.count.update(forward=len(x))
    weights = torch.stack(per_layer).mean(0)
    return Attribution(weights[:, :, None] * (x - score.baseline).abs(), {})


def attention_layers(
    module: torch.nn.Module, n_regions: int
) -> list[tuple[InputCellAttention, bool]]:
    """Find the attention layers that read the samples, and whether each reads backwards in time.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    n_regions : int
        Regions of a sample.

    Returns
    -------
    list of tuple of InputCellAttention and bool
        In the order of the network.

    Raises
    ------
    ArgumentError
        If the network has no input-cell attention over the samples.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> network = build_network("input-cell-lstm", n_features=3, n_classes=2)
    >>> [backwards for _, backwards in attention_layers(network, 3)]
    [False]
    """
    found = [
        (layer, name.endswith("_reverse"))
        for name, layer in module.named_modules()
        if isinstance(layer, InputCellAttention) and layer.input_size == n_regions
    ]
    if not found:
        raise ArgumentError(
            "method 'attention' takes networks with input-cell attention ('input-cell-lstm', "
            f"'input-cell-gru', ...). Got {type(module).__name__}, which has no such attention; "
            "use 'gradient', 'integrated_gradients' or 'occlusion', which take any network."
        )
    return found


def _step_weights(layer: InputCellAttention, x: Tensor, valid: Tensor, backwards: bool) -> Tensor:
    """Mean attention (B, T) that each step gets, over hops and over the steps that read it."""
    order = (
        _mirror(valid) if backwards else torch.arange(x.shape[1], device=x.device).expand_as(valid)
    )
    ordered = x.gather(1, order[:, :, None].expand_as(x))
    logits = layer.logits(ordered).masked_fill(~valid[:, :, None], -torch.inf)
    readers = -logits.logcumsumexp(dim=1).masked_fill(~valid[:, :, None], torch.inf)
    later = readers.flip(1).logcumsumexp(dim=1).flip(1)
    weights = (logits + later).exp().mean(2) / valid.sum(1, keepdim=True)
    return weights.gather(1, order)


def _mirror(valid: Tensor) -> Tensor:
    """Order of the steps backwards in time, padding left in its place."""
    steps = torch.arange(valid.shape[1], device=valid.device)
    mirrored = valid.sum(1, keepdim=True) - 1 - steps
    return torch.where(mirrored >= 0, mirrored, steps)
