"""Blocks that change a global setting of torch and put it back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
