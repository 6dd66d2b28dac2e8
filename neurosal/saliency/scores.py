"""The number that is explained: one class score per sample, differentiable in the samples.

A network answers with one logit per class. What a map explains is one number made of them: the
``logit`` of the target class, its ``margin`` over the best other class, or its ``probability``;
read at the end of the sequence or after a given step. :class:`Score` is that number as a function
of the samples, whatever the network.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from neurosal.errors import ArgumentError, check_one_of
from neurosal.saliency.network import Network

OUTPUTS = ("logit", "margin", "probability")


@dataclass(frozen=True, eq=False)
class Score:
    """The explained number of each sample of a batch, as a function of the samples.

    Parameters
    ----------
    network : Network
        What is explained.
    target : torch.Tensor
        Class index of each sample (B,).
    baseline : torch.Tensor
        What "absent" means: (1 or B, T, N).
    lengths : torch.Tensor or None
        Valid steps of each sample (B,).
    output : str
        "logit", "margin" (the logit minus the largest other logit) or "probability" (softmax).
    at : "end" or int
        The step after which the scores are read.
    rows : int
        The most samples the network is given at once.
    seeds : tuple of int
        One random seed per sample.
    ranks : torch.Tensor or None
        The place of each region among a sample's drawn numbers (B, N); None: as they stand.
    count : collections.Counter
        Samples sent through the network, ``forward`` and ``backward``.
    tick : callable
        Called after every pass, with no arguments.
    highest : int
        The highest class index of all samples, so that one that does not exist is told at once.

    Examples
    --------
    >>> from torch import nn
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))
    >>> x = torch.ones(4, 2, 3)
    >>> Score(network, torch.tensor([0, 1, 1, 0]), baseline=torch.zeros(1, 2, 3))(x).shape
    torch.Size([4])
    """

    network: Network
    target: torch.Tensor
    baseline: torch.Tensor
    lengths: torch.Tensor | None = None
    output: str = "logit"
    at: str | int = "end"
    rows: int = 1024
    seeds: tuple[int, ...] = ()
    ranks: torch.Tensor | None = None
    count: Counter = field(default_factory=Counter)
    tick: Callable[[], None] = lambda: None
    highest: int = -1

    def __call__(self, x: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Score samples: (K, T, N) to (K,); ``rows`` says which sample each is a variant of."""
        at_rows = self if rows is None else self.take(rows)
        logits = self.network.logits(x, at_rows.lengths, at=self.at)
        self.count["forward"] += len(x)
        self.count["backward"] += len(x) * int(x.requires_grad and torch.is_grad_enabled())
        self.tick()
        return at_rows.read(logits)

    def read(self, logits: torch.Tensor) -> torch.Tensor:
        """Reduce logits to the explained number.

        Parameters
        ----------
        logits : torch.Tensor
            Class logits (B, C).

        Returns
        -------
        torch.Tensor
            Scores (B,).

        Raises
        ------
        ArgumentError
            If one is not a finite number, or there is no such class.

        Examples
        --------
        >>> from torch import nn
        >>> from neurosal.saliency.network import as_network
        >>> network = as_network(nn.Linear(3, 2))
        >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3), output="margin")
        >>> score.read(torch.tensor([[1.0, 3.0]]))
        tensor([2.])
        """
        _check_classes(logits, max(self.highest, int(self.target.max())), self.network)
        scores = _read_output(logits, self.target, self.output)
        if not torch.isfinite(scores).all():
            raise ArgumentError(
                "the network's scores must be finite numbers. Got NaN or infinity for "
                f"{int((~torch.isfinite(scores)).sum())} of {len(scores)} samples; check the "
                "trained weights, the baseline and the amount of noise."
            )
        return scores

    def take(self, rows: torch.Tensor) -> "Score":
        """Score of a selection of the samples.

        Parameters
        ----------
        rows : torch.Tensor
            Indices into the samples (K,), repeats allowed.

        Returns
        -------
        Score
            The same question about those samples.

        Examples
        --------
        >>> from torch import nn
        >>> from neurosal.saliency.network import as_network
        >>> network = as_network(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))
        >>> score = Score(network, torch.tensor([0, 1]), baseline=torch.zeros(1, 2, 3))
        >>> score.take(torch.tensor([1, 1, 0])).target
        tensor([1, 1, 0])
        """
        baseline = self.baseline if len(self.baseline) == 1 else self.baseline[rows]
        return replace(
            self,
            target=self.target[rows],
            baseline=baseline,
            lengths=None if self.lengths is None else self.lengths[rows],
            seeds=tuple(self.seeds[i] for i in rows.tolist()) if self.seeds else (),
            ranks=None if self.ranks is None else self.ranks[rows.cpu()],
        )

    def valid(self, x: torch.Tensor) -> torch.Tensor:
        """Mark the steps that are no padding.

        Parameters
        ----------
        x : torch.Tensor
            Samples (B, T, N).

        Returns
        -------
        torch.Tensor
            Booleans (B, T).

        Examples
        --------
        >>> from torch import nn
        >>> from neurosal.saliency.network import as_network
        >>> network = as_network(nn.Linear(3, 2))
        >>> score = Score(network, torch.tensor([0]), torch.zeros(1, 2, 3), torch.tensor([1]))
        >>> score.valid(torch.zeros(1, 2, 3))
        tensor([[ True, False]])
        """
        if self.lengths is None:
            return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return torch.arange(x.shape[1], device=x.device) < self.lengths[:, None]


def _check_classes(logits: torch.Tensor, highest: int, network: Network) -> None:
    """Refuse classes that the network has no logit for."""
    count, classes = logits.shape[1], network.classes
    if classes is not None and len(classes) != count:
        raise ArgumentError(
            f"classes must name the network's {count} logits. Got {len(classes)}: {list(classes)}."
        )
    if highest >= count:
        raise ArgumentError(
            f"target must be one of the classes {list(range(count))}. Got {highest}."
        )


def _read_output(logits: torch.Tensor, target: torch.Tensor, output: str) -> torch.Tensor:
    """Reduce logits (K, C) to the explained number (K,)."""
    check_one_of("output", output, OUTPUTS)
    if output != "logit" and logits.shape[1] == 1:
        raise ArgumentError(f"output must be 'logit' for a network of one logit. Got {output!r}.")
    if output == "probability":
        logits = torch.softmax(logits, dim=1)
    scores = logits.gather(1, target[:, None]).squeeze(1)
    if output == "margin":
        others = logits.scatter(1, target[:, None], -torch.inf)
        scores = scores - others.amax(dim=1)
    return scores
