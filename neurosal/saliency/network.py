"""The network that is explained: a classifier of this package, an ensemble, or any torch module."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from neurosal.errors import ArgumentError
from neurosal.models.scopes import without_autocast

_REQUIRED = inspect.Parameter.empty
#: What torch says of numbers of regions or steps that do not fit a layer.
_MISFITS = (
    *("shapes cannot be multiplied", "input.size(-1) must be equal", "must match the size"),
    *("expected input", "normalized_shape", "size mismatch", "Calculated padded input size"),
)


@dataclass(frozen=True, eq=False)
class Network:
    """The network, or the ensemble of networks, that is explained.

    Parameters
    ----------
    modules : tuple of torch.nn.Module
        The members; scores are the mean of their logits.
    classes : numpy.ndarray or None
        The class labels in the order of the logits; None: integers from 0.
    regions : numpy.ndarray or None
        The names of the regions that a classifier was fitted on.

    Examples
    --------
    >>> as_network(nn.Linear(3, 2)).device
    device(type='cpu')
    """

    modules: tuple[nn.Module, ...]
    classes: np.ndarray | None = None
    regions: np.ndarray | None = None

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
            If the network cannot be read at that step, cannot take padded samples or samples of
            this shape, or changes its input in place.

        Examples
        --------
        >>> network = as_network(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))
        >>> network.logits(torch.ones(4, 2, 3)).shape
        torch.Size([4, 2])
        """
        before = x._version
        try:
            total = sum(_member_logits(module, x, lengths, at) for module in self.modules)
        except RuntimeError as error:
            if "in-place operation" in str(error):
                raise self._in_place() from error
            if any(sign in str(error) for sign in _MISFITS):
                raise ArgumentError(
                    f"x must have the shape that {type(self.modules[0]).__name__} takes. Got "
                    f"samples of (time, region) = {tuple(x.shape[1:])}; torch says: {error}"
                ) from error
            raise
        if x._version != before:
            raise self._in_place()
        return total / len(self.modules)

    def _in_place(self) -> ArgumentError:
        """Say that the input is changed."""
        return ArgumentError(
            f"model must leave its input as it is. {type(self.modules[0]).__name__} changes it in "
            "place; let it work on x.clone()."
        )


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
        If ``model`` is neither, or is not fitted, or ``classes`` are no distinct labels.

    Examples
    --------
    >>> as_network(nn.Linear(3, 2), classes=["rest", "tap"]).classes
    array(['rest', 'tap'], dtype='<U4')
    """
    if isinstance(model, Network):
        return model
    labels = classes if classes is not None else getattr(model, "classes_", None)
    labels = None if labels is None else _checked_classes(labels)
    if isinstance(model, nn.Module):
        return Network((model,), labels)
    members = getattr(model, "modules_", None)
    if members is None and isinstance(getattr(model, "module_", None), nn.Module):
        members = [model.module_]
    if not members:
        raise ArgumentError(
            "model must be a torch.nn.Module or a fitted classifier with modules_ (its trained "
            f"networks). Got {type(model).__name__}; fit it first, or give its network. Of a "
            "Pipeline give the classifier at its end, and x as that classifier is given it."
        )
    return Network(tuple(members), labels, getattr(model, "feature_names_in_", None))


def _checked_classes(classes: object) -> np.ndarray:
    """Refuse labels that do not tell logits apart."""
    labels = np.asarray(classes)
    if labels.ndim != 1 or len(set(labels.tolist())) < len(labels):
        raise ArgumentError(
            "classes must be a list of distinct labels, one for each logit, in their order. "
            f"Got {classes!r}."
        )
    return labels


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Put every submodule in evaluation mode and ask no gradients of parameters; then undo both.

    A map needs the gradients of the input alone. cuDNN's recurrent layers refuse a backward pass
    in evaluation mode, so cuDNN is off meanwhile; so are ``torch.autocast``, which would take
    digits off the maps, and ``torch.inference_mode``, in which there are no gradients.

    Parameters
    ----------
    network : Network
        What is explained; neither its parameters' values nor their gradients are touched.

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
    learned = [p for m in network.modules for p in m.parameters() if p.requires_grad]
    try:
        with (
            without_autocast(network.device.type),
            torch.inference_mode(False),
            ExitStack() as stack,
        ):
            if torch.cuda.is_available():
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            for part in parts:
                part.training = False
            for parameter in learned:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter in learned:
            parameter.requires_grad_()
        for part, training in zip(parts, before, strict=True):
            part.training = training


def _first_parameter(modules: tuple[nn.Module, ...]) -> torch.Tensor:
    """Return the first floating-point parameter or buffer, or a CPU tensor where there is none."""
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                return tensor
    return torch.zeros(())


def _defaults(module: nn.Module) -> dict[str, object]:
    """Arguments of a module's forward and their defaults, also of a compiled or scripted one's."""
    module = getattr(module, "_orig_mod", module)
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments
        return {a.name: a.default_value if a.has_default_value() else _REQUIRED for a in arguments}
    parameters = inspect.signature(module.forward).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _member_logits(
    module: nn.Module, x: torch.Tensor, lengths: torch.Tensor | None, at: str | int
) -> torch.Tensor:
    """Logits (B, C) of one module at the end or after a step."""
    accepted = _defaults(module)
    arguments = {}
    if lengths is None and accepted.get("lengths") is _REQUIRED:
        arguments["lengths"] = x.new_full((len(x),), x.shape[1], dtype=torch.long)
    if lengths is not None:
        if "lengths" not in accepted:
            raise ArgumentError(
                f"x must have no padding for {type(module).__name__}, whose forward takes no "
                f"'lengths'. Got samples of {int(lengths.min())} to {int(lengths.max())} steps."
            )
        arguments["lengths"] = lengths
    if at != "end" and accepted.get("steps") is False:
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
    if at == "end" and lengths is None:
        return answer[:, -1]
    if answer.shape[1] != x.shape[1]:
        raise ArgumentError(
            f"model must give logits for each of {x.shape[1]} steps to be read at one of them, or "
            f"at the end of padded samples. {type(module).__name__} gave {tuple(answer.shape)}."
        )
    if at != "end":
        return answer[:, at]
    return answer[torch.arange(len(answer), device=answer.device), lengths - 1]
