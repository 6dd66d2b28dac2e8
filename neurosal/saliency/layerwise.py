"""Layer-wise relevance propagation and deep Taylor decomposition, for :func:`explain`.

The rules are in :mod:`neurosal.saliency.rules`, their way through a network in
:mod:`neurosal.saliency.relevance`. They hand back a logit at the end of the sequence; an
ensemble's relevance is the mean of its members'.
"""

import torch

from neurosal.errors import ArgumentError
from neurosal.saliency.gradients import Attribution
from neurosal.saliency.scores import Score


def lrp(
    score: Score,
    x: torch.Tensor,
    *,
    rule: str = "epsilon",
    epsilon: float = 1e-3,
    alpha: float = 1.5,
    beta: float = 0.5,
    bias_factor: float = 0.0,
    gate_rule: str = "all",
    input_rule: str | None = None,
    low: object = None,
    high: object = None,
    start: str = "logit",
) -> Attribution:
    """Layer-wise relevance propagation: the logit handed back layer by layer.

    Parameters
    ----------
    score : Score
        What is explained: a logit at the end.
    x : torch.Tensor
        Samples (B, T, N).
    rule, epsilon, alpha, beta, bias_factor, gate_rule, input_rule, low, high, start
        As in :func:`neurosal.saliency.relevance.relevance`.

    Returns
    -------
    Attribution
        Signed maps, with ``score``, the logit, ``leak``, the logit minus what arrived at the
        inputs, and ``absorbed``, the part of it that arrived at the initial hidden and cell
        states. The rest of the leak stayed in biases and stabilisers, or fell on outputs without
        a fitting contribution.

    Raises
    ------
    ArgumentError
        If another output or step is asked for, or the network has no rules.

    References
    ----------
    Bach et al. (2015), doi:10.1371/journal.pone.0130140; Arras et al. (2017),
    doi:10.18653/v1/W17-5221.

    Examples
    --------
    >>> from neurosal.models import build_network
    >>> from neurosal.saliency.explain import explain
    >>> network = build_network("lstm", n_features=3, n_classes=2)
    >>> "leak" in explain(network, torch.ones(4, 2, 3), method="lrp", target=1).coords
    True
    """
    numbers = {"epsilon": epsilon, "alpha": alpha, "beta": beta, "bias_factor": bias_factor}
    bounds = {"input_rule": input_rule, "low": low, "high": high, "start": start}
    return _relevance(score, x, rule=rule, gate_rule=gate_rule, **numbers, **bounds)


def deep_taylor(
    score: Score,
    x: torch.Tensor,
    *,
    low: object = None,
    high: object = None,
    start: str = "relu-logit",
) -> Attribution:
    """Deep Taylor decomposition: only what speaks for the class is handed back.

    Parameters
    ----------
    score : Score
        What is explained: a logit at the end.
    x : torch.Tensor
        Samples (B, T, N).
    low, high : float or None
        Bounds of the data, if it has some; None: unbounded (the w^2 rule at the inputs).
    start : str
        What is handed back: "relu-logit" (a negative logit gives a map of zeros), "logit", "one".

    Returns
    -------
    Attribution
        Maps without sign, with ``score``, ``leak`` and ``absorbed``.

    Raises
    ------
    ArgumentError
        If another output or step is asked for, or the network has no rules.

    References
    ----------
    Montavon et al. (2017), doi:10.1016/j.patcog.2016.11.008.

    Examples
    --------
    >>> from neurosal.models import build_network
    >>> from neurosal.saliency.explain import explain
    >>> network = build_network("lstm", n_features=3, n_classes=2)
    >>> "leak" in explain(network, torch.ones(4, 2, 3), method="deep_taylor", target=1).coords
    True
    """
    return _relevance(score, x, rule="deep-taylor", low=low, high=high, start=start)


def _relevance(score: Score, x: torch.Tensor, **rules: object) -> Attribution:
    """Mean relevance, leak and logits of the members."""
    from neurosal.saliency.relevance import relevance

    if score.output != "logit" or score.at != "end":
        raise ArgumentError(
            "methods 'lrp' and 'deep_taylor' hand back output='logit' at='end'. Got "
            f"output={score.output!r}, at={score.at!r}; use 'gradient_x_input' for others."
        )
    asked = {"target_index": score.target, "lengths": score.lengths, **rules}
    found = [relevance(module, x, **asked) for module in score.network.modules]
    score.count.update(forward=len(x), backward=len(x))
    score.tick()
    maps, leaks, absorbed, logits = (torch.stack(p).mean(0) for p in zip(*found, strict=True))
    return Attribution(maps, {"score": score.read(logits), "leak": leaks, "absorbed": absorbed})
