"""Blocks that change a global setting of torch and put it back."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps

import torch
from torch import Tensor


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set torch's random state inside a block and put the old one back after it.

    Parameters
    ----------
    seed : int
        The seed.

    Yields
    ------
    None

    Examples
    --------
    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     _ = torch.rand(1)
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with torch.random.fork_rng(devices=range(n_devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside a block: they make recurrent nets many times slower.

    Yields
    ------
    None

    Examples
    --------
    >>> with flushed_denormals():
    ...     _ = torch.ones(1)
    """
    tiny = torch.full((1,), 1e-310, dtype=torch.float64)
    already = (tiny * 1.0).item() == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


#: Multiplications in a step's matrix product from which more than one thread is quicker.
THREADED = 2**22


@contextmanager
def few_threads(multiplications: int) -> Iterator[None]:
    """Compute on one thread inside a block whose matrix products are too small to share.

    In a loop over time they are: to wake a second thread at every step takes longer than what it
    saves, an eighth of an LSTM's training step with 64 units.

    Parameters
    ----------
    multiplications : int
        In one of the block's products.

    Yields
    ------
    None

    Examples
    --------
    >>> with few_threads(1000):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if before == 1 or multiplications >= THREADED:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast_type(device: str) -> torch.dtype | None:
    """Tell to which type ``torch.autocast`` converts.

    Parameters
    ----------
    device : str
        The type of device whose autocast is meant: "cpu", "cuda".

    Returns
    -------
    torch.dtype or None
        None where autocast is off.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     autocast_type("cpu")
    torch.bfloat16
    """
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def as_autocast(x: Tensor) -> Tensor:
    """Give a result in the type that torch's layers have under autocast, which leaves float64.

    Parameters
    ----------
    x : Tensor
        The result, float32 or float64.

    Returns
    -------
    Tensor
        Itself where autocast is off.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     as_autocast(torch.ones(2)).dtype
    torch.bfloat16
    """
    dtype = autocast_type(x.device.type)
    return x if dtype is None or x.dtype == torch.float64 else x.to(dtype)


def without_autocast(device: str) -> AbstractContextManager:
    """Compute inside a block in the tensors' own types, whatever ``torch.autocast`` asks.

    Parameters
    ----------
    device : str
        The type of device whose autocast is meant: "cpu", "cuda".

    Returns
    -------
    context manager
        To be entered.

    Examples
    --------
    >>> x = torch.ones(2, 2)
    >>> with torch.autocast("cpu", torch.bfloat16), without_autocast("cpu"):
    ...     print((x @ x).dtype)
    torch.float32
    """
    if autocast_type(device) is None:
        return nullcontext()
    return torch.autocast(device, enabled=False)


def full_precision(function: Callable) -> Callable:
    """Let a function of tensors compute in float32 or more under ``torch.autocast``.

    As torch itself does for softmax and cumulative sums. Arguments in half precision, which
    other layers make there, become float32; outside autocast nothing changes.

    Parameters
    ----------
    function : callable
        The function; its first argument is a tensor.

    Returns
    -------
    callable
        The same function.

    Examples
    --------
    >>> double = full_precision(lambda x: x @ x)
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     print(double(torch.ones(2, 2, dtype=torch.bfloat16)).dtype)
    torch.float32
    """

    @wraps(function)
    def run(x: Tensor, *rest: object, **options: object) -> object:
        scope = without_autocast(x.device.type) if isinstance(x, Tensor) else nullcontext()
        if isinstance(scope, nullcontext):
            return function(x, *rest, **options)
        with scope:
            rest, options = map(_widen, rest), {key: _widen(v) for key, v in options.items()}
            return function(_widen(x), *rest, **options)

    return run


def _widen(value: object) -> object:
    """Half precision as float32, anything else as it is."""
    half = isinstance(value, Tensor) and value.is_floating_point() and value.itemsize < 4
    return value.float() if half else value
