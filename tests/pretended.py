"""A second device that is none: tensors that live on the CPU and say that they do not.

A graphics card refuses to compute with tensors of the CPU beside its own, and so does this device;
its numbers are the CPU's. So what forgets to move a tensor is found on a machine without a card.
Torch has one device type whose tensors need no hardware, "meta", and these claim to be on it.

>>> with pretended_device() as device:
...     x = torch.ones(2, device=device)
...     print(x.device, (x + x).cpu().tolist())
meta [2.0, 2.0]
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
MOVES = ("aten._to_copy.default", "aten.copy_.default")
#: What torch takes from the CPU on every device: indices, and lengths to pack by.
PACKING = ("aten._pack_padded_sequence.default", "aten._pad_packed_sequence.default")
ALLOWED = (
    *("aten.index.Tensor", "aten.index_put_.default", "aten.index_put.default"),
    *(*PACKING, "aten._pack_padded_sequence_backward.default"),
)


class Elsewhere(torch.Tensor):
    """A tensor of the CPU, ``inside``, that says it is elsewhere."""

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> "Elsewhere":
        """Take the shape and type of the tensor inside."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inside.size(),
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=DEVICE,
        )

    def __init__(self, inside: torch.Tensor) -> None:
        self.inside = inside

    def __repr__(self, **_: object) -> str:
        """Name the device."""
        return f"Elsewhere({self.inside!r})"

    def tolist(self) -> object:
        """Read the numbers."""
        return self.inside.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        """Compute on the CPU, with tensors of this device alone."""
        return _compute(function, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU, and moves them; torch asks no mode there."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Do the two in turn."""
        kwargs = dict(kwargs or {})
        if function not in (torch.tensor, torch.as_tensor) or isinstance(args[0], torch.Tensor):
            return function(*args, **kwargs)
        device = kwargs.pop("device", None)
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)


class _Mode(TorchDispatchMode):
    """Makes tensors on the device where one is asked for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """As the tensors' own."""
        return _compute(function, args, kwargs or {})


def _compute(function, args: tuple, kwargs: dict) -> object:
    """Refuse a mixture; compute; say where the result is."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    own = [tensor for tensor in given if isinstance(tensor, Elsewhere)]
    others = [tensor for tensor in given if not isinstance(tensor, Elsewhere) and tensor.ndim]
    name = str(function)
    first = isinstance(args[0], Elsewhere) if args else False
    if own and others and name not in MOVES and not (first and name in ALLOWED):
        raise RuntimeError(f"{name} got tensors of {DEVICE} and of the CPU")
    asked = kwargs.get("device")
    there = torch.device(asked) == DEVICE if asked is not None else bool(own)
    if name == "aten.copy_.default":
        there = first
    inside = tree_map(lambda x: x.inside if isinstance(x, Elsewhere) else x, (args, kwargs))
    if asked is not None:
        inside[1]["device"] = torch.device("cpu")
    out = function(*inside[0], **inside[1])
    if not there:
        return out
    if name in PACKING:  # What packing says of lengths is on the CPU.
        return Elsewhere(out[0]), out[1]
    out = tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(function, args, kwargs, out)


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Let tensors be made on, and moved to, the device inside a block."""
    with _FromNumbers(), _Mode():
        yield DEVICE
