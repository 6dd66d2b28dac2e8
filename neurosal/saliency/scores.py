"""The number that is explained: one class score per sample, differentiable in the samples.

A network answers with one logit per class. What a map explains is one number made of them: the
``logit`` of the target class, its ``margin`` over the best other class, or its ``probability``;
read at the end of the sequence or after a given step. :class:`Score` is that number as a function
of the samples, whatever the network: a classifier of this package, an ensemble, or any
:class:`torch.nn.Module`.
"""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from neurosal.errors import ArgumentError, check_one_of

OUTPUTS = ("logit", "margin", "probability")


@dataclass(frozen=True, eq=False)
class Network:
    """The network, or the ensemble of networks, that is explained.

    Parameters
    ----------
    modules : tuple of torch.nn.Module
        The members; scores are the mean of their logits.
    classes : numpy.ndarray or None
        The class labels in the order of the logits; None: integers from 0.

    Examples
    --------
    >>> as_network(nn.Linear(3, 2)).device
    device(type='cpu')
    """

    modules: tuple[nn.Module, ...]
    classes: np.ndarray | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return _first_parameter(self.modules).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' floating-point type."""
        return _first_parameter(self.modules).dtype

    def logits(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None, *, at: str | int = "end"
    ) -> torch.Tensor:
        """Mean class logits of the members.

        Parameters
        ----------
        x : torch.Tensor
            Samples (B, T, N).
        lengths : torch.Tensor or None
            Valid steps of each sample (B,); None: all.
        at : "end" or int
            Read after the last valid step, or after this step.

        Returns
        -------
        torch.Tensor
            Logits (B, C).

        Raises
        ------
        ArgumentError
            If the network cannot be read at that step or cannot take padded samples.

        Examples
        --------
        >>> network = as_network(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))
        >>> network.logits(torch.ones(4, 2, 3)).shape
        torch.Size([4, 2])
        """
        total = sum(_member_logits(module, x, lengths, at) for module in self.modules)
        return total / len(self.modules)


def as_network(model: object, classes: object = None) -> Network:
    """See a classifier or a module as a network to be explained.

    Parameters
    ----------
    model : object
        A fitted classifier (with ``modules_`` or ``module_``, and ``classes_``) or a module.
    classes : array-like or None
        Class labels in the order of the logits; None: the classifier's, or integers.

    Returns
    -------
    Network
        The members and their class labels.

    Raises
    ------
    ArgumentError
        If ``model`` is neither, or is not fitted.

    Examples
    --------
    >>> as_network(nn.Linear(3, 2), classes=["rest", "tap"]).classes
    array(['rest', 'tap'], dtype='<U4')
    """
    if isinstance(model, Network):
        return model
    labels = classes if classes is not None else getattr(model, "classes_", None)
    labels = None if labels is None else np.asarray(labels)
    if isinstance(model, nn.Module):
        return Network((model,), labels)
    members = getattr(model, "modules_", None)
    if members is None and isinstance(getattr(model, "module_", None), nn.Module):
        members = [model.module_]
    if not members:
        raise ArgumentError(
            "model must be a torch.nn.Module or a fitted classifier with modules_ (its trained "
            f"networks). Got {type(model).__name__}; fit it first, or give its network."
        )
    return Network(tuple(members), labels)


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

    Examples
    --------
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
    count: Counter = field(default_factory=Counter)

    def __call__(self, x: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Score samples: (K, T, N) to (K,); ``rows`` says which sample each is a variant of."""
        at_rows = self if rows is None else self.take(rows)
        logits = self.network.logits(x, at_rows.lengths, at=self.at)
        self.count["forward"] += len(x)
        self.count["backward"] += len(x) * int(x.requires_grad and torch.is_grad_enabled())
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
        >>> network = as_network(nn.Linear(3, 2))
        >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3), output="margin")
        >>> score.read(torch.tensor([[1.0, 3.0]]))
        tensor([2.])
        """
        _check_classes(logits, self.target, self.network)
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
        >>> network = as_network(nn.Linear(3, 2))
        >>> score = Score(network, torch.tensor([0]), torch.zeros(1, 2, 3), torch.tensor([1]))
        >>> score.valid(torch.zeros(1, 2, 3))
        tensor([[ True, False]])
        """
        if self.lengths is None:
            return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return torch.arange(x.shape[1], device=x.device) < self.lengths[:, None]


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Put every submodule in evaluation mode, and each back as it was.

    Dropout is off, normalisation uses its running statistics. cuDNN's recurrent layers refuse a
    backward pass in evaluation mode, so cuDNN is off meanwhile.

    Parameters
    ----------
    network : Network
        What is explained; neither its parameters nor their gradients are touched.

    Yields
    ------
    None

    Examples
    --------
    >>> module = nn.Dropout().train()
    >>> with evaluating(Network((module,))):
    ...     module.training
    False
    >>> module.training
    True
    """
    parts = [part for module in network.modules for part in module.modules()]
    before = [part.training for part in parts]
    try:
        with ExitStack() as stack:
            if torch.cuda.is_available():
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            for part in parts:
                part.training = False
            yield
    finally:
        for part, training in zip(parts, before, strict=True):
            part.training = training


def _first_parameter(modules: tuple[nn.Module, ...]) -> torch.Tensor:
    """Return the first floating-point parameter or buffer, or a CPU tensor where there is none."""
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                return tensor
    return torch.zeros(())


def _argument_names(module: nn.Module) -> list[str]:
    """Names of the arguments of a module's forward, also of a compiled or scripted one's."""
    module = getattr(module, "_orig_mod", module)
    if isinstance(module, torch.jit.ScriptModule):
        return [argument.name for argument in module.forward.schema.arguments]
    return list(inspect.signature(module.forward).parameters)


def _member_logits(
    module: nn.Module, x: torch.Tensor, lengths: torch.Tensor | None, at: str | int
) -> torch.Tensor:
    """Logits (B, C) of one module at the end or after a step."""
    accepted = _argument_names(module)
    arguments = {}
    if lengths is not None:
        if "lengths" not in accepted:
            raise ArgumentError(
                f"x must have no padding for {type(module).__name__}, whose forward takes no "
                f"'lengths'. Got samples of {int(lengths.min())} to {int(lengths.max())} steps."
            )
        arguments["lengths"] = lengths
    if at != "end" and "steps" in accepted:
        arguments["steps"] = True
    return _read_step(module, module(x, **arguments), x, lengths, at)


def _read_step(
    module: nn.Module,
    answer: object,
    x: torch.Tensor,
    lengths: torch.Tensor | None,
    at: str | int,
) -> torch.Tensor:
    """Pick the asked step of a module's answer (B, T, C), or take (B, C) as it is."""
    if not isinstance(answer, torch.Tensor) or answer.ndim not in (2, 3) or len(answer) != len(x):
        got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise ArgumentError(
            f"model must map (B, T, N) = {tuple(x.shape)} to class logits (B, C) or (B, T, C). "
            f"{type(module).__name__} gave {got}; wrap it in a module that returns the logits."
        )
    if answer.ndim == 2:
        if at != "end":
            raise ArgumentError(
                f"at must be 'end' for {type(module).__name__}, which scores whole sequences. "
                f"Got {at!r}; a causal network gives (B, T, C), by forward(x, steps=True)."
            )
        return answer
    if at != "end":
        return answer[:, at]
    if lengths is None:
        return answer[:, -1]
    return answer[torch.arange(len(answer), device=answer.device), lengths - 1]


def _check_classes(logits: torch.Tensor, target: torch.Tensor, network: Network) -> None:
    """Refuse classes that the network has no logit for."""
    count, classes = logits.shape[1], network.classes
    if classes is not None and len(classes) != count:
        raise ArgumentError(
            f"classes must name the network's {count} logits. Got {len(classes)}: {list(classes)}."
        )
    if target.max() >= count:
        raise ArgumentError(
            f"target must be one of the classes {list(range(count))}. Got {int(target.max())}."
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
