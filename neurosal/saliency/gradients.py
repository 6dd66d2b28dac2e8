"""Maps made of gradients of the score with respect to the samples.

Every method takes a :class:`~neurosal.saliency.scores.Score` and samples (B, T, N) and returns an
:class:`Attribution`.
"""

from typing import NamedTuple

import torch

from neurosal.errors import ArgumentError
from neurosal.saliency.scores import Score


class Attribution(NamedTuple):
    """A batch of maps (B, T, N), and what else is known of each: name to tensor (B,).

    A method that knows the samples' scores gives them as ``score``; else they are computed.
    """

    maps: torch.Tensor
    extras: dict[str, torch.Tensor]


def input_gradient(score: Score, x: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Derivative of the score with respect to every cell of every sample.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (K, T, N).
    rows : torch.Tensor or None
        Which sample of the batch each row of ``x`` is a variant of (K,).

    Returns
    -------
    torch.Tensor
        Gradients (K, T, N); no parameter's gradient is computed.

    Raises
    ------
    ArgumentError
        If the network's scores are cut off from its input.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> gradient = input_gradient(score, torch.ones(1, 2, 3))
    >>> bool((gradient.flatten() == network.modules[0][1].weight[1]).all())
    True
    """
    return gradient_and_score(score, x, rows)[0]


def gradient_and_score(
    score: Score, x: torch.Tensor, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivative of the score, and the score itself, by one pass forwards and back.

    Parameters
    ----------
    score, x, rows
        As in :func:`input_gradient`.

    Returns
    -------
    tuple of torch.Tensor
        Gradients (K, T, N) and scores (K,).

    Raises
    ------
    ArgumentError
        If the network's scores are cut off from its input.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> weight = network.modules[0][1].weight[1].view(1, 2, 3)
    >>> torch.allclose(gradient_and_score(score, torch.ones(1, 2, 3))[0], weight)
    True
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        scores = score(x, rows)
        if not scores.requires_grad:
            raise ArgumentError(
                "method must be one without gradients ('occlusion', 'feature_ablation') for a "
                "network whose scores carry none (it detaches its input or runs in no_grad)."
            )
        (slopes,) = torch.autograd.grad(scores.sum(), x, materialize_grads=True)
    return slopes, scores.detach()


def gradient(score: Score, x: torch.Tensor) -> Attribution:
    """Derivative of the score with respect to every cell.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).

    Returns
    -------
    Attribution
        Signed maps.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> weight = network.modules[0][1].weight[1].view(1, 2, 3)
    >>> torch.allclose(gradient(score, torch.ones(1, 2, 3)).maps, weight)
    True
    """
    slopes, scores = gradient_and_score(score, x)
    return Attribution(slopes, {"score": scores})


def gradient_x_input(score: Score, x: torch.Tensor) -> Attribution:
    """Gradient times the distance of the sample from the baseline.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).

    Returns
    -------
    Attribution
        Signed maps.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> weight = network.modules[0][1].weight[1].view(1, 2, 3)
    >>> torch.allclose(gradient_x_input(score, 2 * torch.ones(1, 2, 3)).maps, 2 * weight)
    True
    """
    slopes, scores = gradient_and_score(score, x)
    return Attribution(slopes * (x - score.baseline), {"score": scores})


def squared_gradient(score: Score, x: torch.Tensor) -> Attribution:
    """Square of the gradient, the sensitivity analysis of older papers.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).

    Returns
    -------
    Attribution
        Maps without sign.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> weight = network.modules[0][1].weight[1].view(1, 2, 3)
    >>> torch.allclose(squared_gradient(score, torch.ones(1, 2, 3)).maps, weight**2)
    True
    """
    slopes, scores = gradient_and_score(score, x)
    return Attribution(slopes.square(), {"score": scores})
