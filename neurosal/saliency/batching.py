"""Work in batches that fit the memory, with progress, and with what is done kept on interruption.

The size of a batch is found, not guessed: one sample is sent through the network while the bytes
that autograd keeps for it are counted, and half of the free memory is filled with such samples.
Should a batch not fit after all, it is halved and tried again.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from neurosal.errors import ArgumentError, DataError

MOST_BYTES_ON_CPU = 2**30
SAFETY = 4


def free_bytes(device: torch.device) -> int:
    """Memory that may still be taken on a device.

    Parameters
    ----------
    device : torch.device
        CPU (the machine's, the process's and the container's limits count) or CUDA.

    Returns
    -------
    int
        Bytes.

    Examples
    --------
    >>> free_bytes(torch.device("cpu")) > 2**20
    True
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_machine_bytes(), _container_bytes(), _process_bytes()]
    return max(min(limit for limit in limits if limit is not None), 0)


def rows_that_fit(score: Callable, x: torch.Tensor, *, device: torch.device) -> int:
    """How many samples a pass through the network can take.

    Parameters
    ----------
    score : callable
        Maps one sample (1, T, N) to its score (1,), differentiably.
    x : torch.Tensor
        One sample (1, T, N).
    device : torch.device
        Where the network is.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> rows_that_fit(lambda x: x.sin().sum((1, 2)), torch.ones(1, 5, 3), device="cpu") > 1
    True
    """
    device = torch.device(device)
    budget = free_bytes(device) // 2
    if device.type == "cpu":
        budget = min(budget, MOST_BYTES_ON_CPU)
    per_row = SAFETY * (_graph_bytes(score, x) + 4 * x.numel() * x.element_size())
    return max(1, min(budget // per_row, 65_536))


def in_batches(
    n: int,
    rows: int,
    work: Callable[[int, int, int], None],
    *,
    shown: "Progress",
    samples_of: Callable[[int], int] = lambda rows: rows,
) -> int:
    """Call ``work(start, stop, rows)`` over all samples, with fewer at once when memory is short.

    Parameters
    ----------
    n : int
        Number of samples.
    rows : int
        Samples at once, to begin with.
    work : callable
        Does samples ``start`` to ``stop``, giving the network at most ``rows`` at once.
    shown : Progress
        Where the progress is shown.
    samples_of : callable
        How many samples to begin together when so many fit in a pass.

    Returns
    -------
    int
        How many samples are done: fewer than ``n`` if the user interrupted the work.

    Raises
    ------
    DataError
        If not even one sample fits the memory.

    Examples
    --------
    >>> shown = Progress(5, "maps")
    >>> in_batches(5, 2, lambda start, stop, rows: print(start, stop), shown=shown)
    0 2
    2 4
    4 5
    5
    """
    start = 0
    try:
        while start < n:
            stop = min(n, start + samples_of(rows))
            try:
                work(start, stop, rows)
            except (RuntimeError, MemoryError) as error:
                rows = _fewer(rows, stop - start, error)
                continue
            start = stop
            shown.update(start)
    except KeyboardInterrupt:
        return start
    finally:
        shown.close()
    return n


def split(count: int, *indices: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Cut arrays of indices, side by side, into pieces.

    Parameters
    ----------
    count : int
        The most in a piece (at least 1).
    *indices : torch.Tensor
        Arrays of one length.

    Yields
    ------
    tuple of torch.Tensor
        The pieces; none of nothing.

    Examples
    --------
    >>> [len(rows) for rows, steps in split(2, torch.arange(3), torch.arange(3))]
    [2, 1]
    """
    for start in range(0, len(indices[0]), max(1, count)):
        yield tuple(part[start : start + max(1, count)] for part in indices)


def passes(
    n_draws: int, n: int, rows: int, device: torch.device
) -> Iterator[tuple[int, torch.Tensor]]:
    """Share draws out over passes of the network.

    Parameters
    ----------
    n_draws : int
        Variants of each sample.
    n : int
        Samples.
    rows : int
        The most variants a pass can take.
    device : torch.device
        Where the samples are.

    Yields
    ------
    tuple of int and torch.Tensor
        Draws in this pass (D) and the sample each row stands for (D * n,).

    Raises
    ------
    ArgumentError
        If there is no draw.

    Examples
    --------
    >>> [(draws, len(rows)) for draws, rows in passes(5, 3, 6, "cpu")]
    [(2, 6), (2, 6), (1, 3)]
    """
    if n_draws < 1:
        raise ArgumentError(f"n_samples must be a positive integer. Got {n_draws!r}.")
    per_pass = max(1, rows // n)
    for start in range(0, n_draws, per_pass):
        count = min(per_pass, n_draws - start)
        yield count, torch.arange(n, device=device).repeat(count)


class Progress:
    """A progress bar on a terminal, a line every ten seconds elsewhere, nothing before two seconds.

    Parameters
    ----------
    total : int
        Number of samples.
    label : str
        What is done.
    enabled : bool
        False: show nothing.

    Examples
    --------
    >>> shown = Progress(10, "maps")
    >>> shown.update(5)
    >>> shown.close()
    """

    def __init__(self, total: int, label: str, *, enabled: bool = True):
        self.total, self.label, self.enabled = total, label, enabled
        self.started = time.monotonic()
        self.next_line = self.started + 2.0
        self.bar = None

    def update(self, done: float) -> None:
        """Show that ``done`` samples are finished.

        Parameters
        ----------
        done : float
            Finished samples, parts of them included.
        """
        now = time.monotonic()
        if not self.enabled or (self.bar is None and now < self.next_line):
            return
        if sys.stderr.isatty():
            self._draw(done)
        elif done < self.total:
            left = (now - self.started) / max(done, 1e-9) * (self.total - done)
            shown = f"{done:.2f}".rstrip("0").rstrip(".") if self.total < 10 else int(done)
            print(f"{self.label}: {shown} of {self.total}, {left:.0f} s left", file=sys.stderr)
            self.next_line = now + 10.0

    def _draw(self, done: float) -> None:
        """Draw the bar on the terminal, made at its first use."""
        from rich.console import Console
        from rich.progress import Progress as Bar

        if self.bar is None:
            self.bar = Bar(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.label, total=self.total)
        self.bar.update(self.task, completed=done)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


def _fewer(rows: int, at_hand: int, error: Exception) -> int:
    """Halve the batch after running out of memory; pass any other error on."""
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not memory and "can't allocate memory" not in str(error):
        raise error
    if rows == 1:
        raise DataError(
            "x has samples too large for the free memory: not even one at a time fits. "
            "Shorten the windows, use fewer regions, or a machine with more memory."
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return max(1, min(rows, at_hand) // 2 if rows < 2 * at_hand else rows // 2)


def check_batch_size(batch_size: object) -> None:
    """Refuse what is no batch size.

    Parameters
    ----------
    batch_size : object
        "auto" or a positive integer.

    Raises
    ------
    ArgumentError
        If it is neither.

    Examples
    --------
    >>> check_batch_size(0)
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: batch_size must be 'auto' or a positive integer. Got 0.
    """
    whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
    automatic = isinstance(batch_size, str) and batch_size == "auto"
    if not automatic and not (whole and batch_size > 0):
        raise ArgumentError(f"batch_size must be 'auto' or a positive integer. Got {batch_size!r}.")


def _graph_bytes(score: Callable, x: torch.Tensor) -> int:
    """Count the bytes that autograd keeps for one sample, parameters left out."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        """Note a saved tensor's storage once."""
        if tensor.grad_fn is not None or not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = min(storage.nbytes(), tensor.numel() * tensor.element_size())
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        score(x.detach().clone().requires_grad_())
    return sum(kept.values())


def _machine_bytes() -> int | None:
    """Free memory of the machine, memory used for file caching included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return _physical_bytes()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _physical_bytes() -> int | None:
    """Half of the machine's memory, where the free part is not told."""
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return 2**31


def _container_bytes() -> int | None:
    """Memory left under the container's limit, if there is one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used


def _process_bytes() -> int | None:
    """Memory left under the process's own limit, if there is one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * resource.getpagesize()
