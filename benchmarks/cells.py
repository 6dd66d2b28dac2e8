"""Time and memory of the input-cell attention LSTM, against the published loop and plain LSTM.

Run ``python benchmarks/cells.py [--only steps memory scaling saliency] [--quick] [--json FILE]``,
on a graphics card with ``--device cuda``, with ``--bf16`` in mixed precision.

Times are medians of paired runs: within a round every rival has its turn, one after the other, in
this one process on two threads; a ratio is the median of the rounds' ratios. A turn is half a
second of calls in a row, as in training (:func:`burst`), in a process that has held data before
(:func:`settle_memory`). Memory is how far the resident set grows at its peak during one training
step (Linux; on a card, how far the tensors grow), each rival in a process of its own, after a small
step has loaded the libraries.
Denormal numbers, into which float32 gradients fade, count as zero for all rivals, as in this
package's training; ``--denormals keep`` leaves torch's default, under which torch's LSTM is several
times slower than ours.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from neurosal import explain
from neurosal.models.cells import InputCellLSTM

SIZES = {  # batch, time, features, hidden, hops, type
    "boxes": (50, 100, 100, 5, 20, torch.float64),
    "MOTOR": (32, 284, 400, 64, 10, torch.float32),
    "WM": (32, 405, 360, 64, 20, torch.float32),
    "T=1200": (4, 1200, 400, 64, 10, torch.float32),
}
AIMS = {
    ("boxes", "mean"): 15,
    ("MOTOR", "mean"): 25,
    ("WM", "mean"): 30,
    ("T=1200", "mean"): 80,
    ("boxes", "flatten"): 8,
    ("MOTOR", "flatten"): 7,
}


class PublishedLoop(nn.Module):
    """The published algorithm from its equations: attention over all inputs anew at each step."""

    def __init__(self, features: int, hidden: int, hops: int, readout: str) -> None:
        super().__init__()
        self.hidden, self.readout = hidden, readout
        self.first, self.second = nn.Linear(features, 50), nn.Linear(50, hops)
        width = features * (hops if readout == "flatten" else 1)
        self.to_gates = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, 4 * hidden)))
        self.recurrent = nn.Parameter(nn.init.xavier_uniform_(torch.empty(hidden, 4 * hidden)))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Hidden states at every step."""
        hidden = cell = x.new_zeros(len(x), self.hidden)
        steps = []
        for t in range(x.shape[1]):
            past = x[:, : t + 1]
            weights = torch.softmax(self.second(torch.tanh(self.first(past))), dim=1)
            matrix = weights.transpose(1, 2) @ past
            read = matrix.mean(dim=1) if self.readout == "mean" else matrix.flatten(1)
            gates = read @ self.to_gates + hidden @ self.recurrent + self.bias
            i, f, g, o = gates.chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            steps.append(hidden)
        return torch.stack(steps, dim=1), None


class Read(nn.Module):
    """A class score on the last hidden state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, hidden = layer, SIZES["boxes"][3]
        self.head = nn.Linear(hidden, 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.head(self.layer(x)[0][:, -1])


def build(rival: str, name: str) -> tuple[nn.Module, Tensor]:
    """A rival ("loop mean", "ours flatten", "lstm") and its input."""
    batch, steps, features, hidden, hops, dtype = SIZES[name]
    torch.manual_seed(0)
    kind, _, readout = rival.partition(" ")
    if kind == "lstm":
        module = nn.LSTM(features, hidden, batch_first=True)
    elif kind == "loop":
        module = PublishedLoop(features, hidden, hops, readout)
    else:
        module = InputCellLSTM(features, hidden, batch_first=True, hops=hops, readout=readout)
    return module.to(dtype), torch.randn(batch, steps, features, dtype=dtype)


def train_step(module: nn.Module, x: Tensor) -> None:
    """Forward, loss on the last hidden state, backward."""
    module.zero_grad(set_to_none=True)
    loss = module(x)[0][:, -1].square().sum()
    with torch.autocast(x.device.type, enabled=False):
        loss.backward()


def paired(runs: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds a call of each run in each round, one run after the other."""
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(burst(run))
    return times


def burst(run: Callable) -> float:
    """Median seconds of calls in a row, as in training: half a second of them, or two, or one.

    The first does not count, as it finds the memory as the rival before left it: freed, to be
    asked for page by page. Calls of more than two seconds are so long that it does not matter.
    """
    times: list[float] = []
    while sum(times) < 0.5 or (len(times) == 1 and times[0] < 2):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times)


def wait() -> None:
    """Wait until a graphics card has done what it was told."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def settle_memory() -> None:
    """Give 32 MB back, as a process does that has read data, before anything is measured.

    The GNU C library learns from it to keep that much: until then it returns to the system what a
    step frees, and every rival waits for it again in the next step, the more the more it uses.
    """
    torch.ones(2**23 - 2**10)


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def milliseconds(times: list[float]) -> float:
    """Median in ms."""
    return 1e3 * statistics.median(times)


def steps(rounds: int) -> list[dict]:
    """Training steps against plain LSTM on the same input, then against the loop.

    Each size in a process of its own, the loop last: the gigabytes that it frees change how fast
    memory is had afterwards, by which torch's LSTM gains most.
    """
    names = [(name, readout) for name in SIZES for readout in ("mean", "flatten")]
    return [json.loads(_fresh("--steps", *name, str(rounds))) for name in names]


def print_steps(name: str, readout: str, rounds: int) -> None:
    """Measure one size in this process."""
    lstm, ours, loop = "lstm", f"ours {readout}", f"loop {readout}"
    runs = {r: partial(train_step, *build(r, name)) for r in (lstm, ours, loop)}
    fast = paired({r: runs[r] for r in (lstm, ours)}, 3 * rounds)
    slow = paired({r: runs[r] for r in (loop, ours)}, rounds)
    row = {
        "size": name,
        "readout": readout,
        "lstm_ms": milliseconds(fast[lstm]),
        "ours_ms": milliseconds(fast[ours]),
        "loop_ms": milliseconds(slow[loop]),
        "times_faster_than_loop": ratio(slow, loop, ours),
        "aim": AIMS.get((name, readout)),
        "of_lstm": ratio(fast, ours, lstm),
    }
    print(json.dumps(row))


def _fresh(*arguments: str) -> str:
    """What this script prints in a process of its own, with the options that this one got."""
    command = [sys.executable, __file__, *arguments, "--threads", str(torch.get_num_threads())]
    command += ["--denormals", "flush" if _flushes() else "keep"]
    command += ["--device", str(torch.get_default_device())]
    command += ["--bf16"] * torch.is_autocast_enabled(torch.get_default_device().type)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _flushes() -> bool:
    """Whether denormal numbers count as zero."""
    return (torch.full((1,), 1e-310, dtype=torch.float64) * 1.0).item() == 0.0


def scaling(rounds: int) -> list[dict]:
    """Exponent of time against the number of steps, from 400 to 3200."""
    lengths = (400, 800, 1600, 3200)
    rows = []
    for readout in ("mean", "flatten"):
        module = InputCellLSTM(100, 32, batch_first=True, hops=10, readout=readout)
        inputs = {str(t): torch.randn(4, t, 100) for t in lengths}
        runs = {t: partial(train_step, module, x) for t, x in inputs.items()}
        times = {t: statistics.median(s) for t, s in paired(runs, rounds).items()}
        slope, _ = statistics.linear_regression(
            [math.log(int(t)) for t in times], [math.log(s) for s in times.values()]
        )
        row = {f"T={t}_ms": 1e3 * s for t, s in times.items()}
        rows.append({"readout": readout, **row, "exponent": slope, "aim": 1.05})
    return rows


def memory(rounds: int) -> list[dict]:
    """Peak memory of one training step, each rival in a process of its own."""
    rows = []
    for name in ("MOTOR", "T=1200"):
        peaks = {r: float(_fresh("--peak", r, name)) for r in ("lstm", "ours mean", "loop mean")}
        rows.append(
            {
                "size": name,
                **{f"{r}_MiB": peak for r, peak in peaks.items()},
                "loop_over_ours": peaks["loop mean"] / peaks["ours mean"],
                "aim": {"MOTOR": 20, "T=1200": 60}[name],
                "ours_over_lstm": peaks["ours mean"] / peaks["lstm"],
            }
        )
    return rows


def print_peak(rival: str, name: str) -> None:
    """Measure in this process: the libraries are warm, the input is there, then one step."""
    module, x = build(rival, name)
    train_step(module, x[:2, :70])
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train_step(module, x)
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = _resident("VmRSS")
    train_step(module, x)
    print((_resident("VmHWM") - before) / 1024)


def _resident(field: str) -> int:
    """Read the process's resident memory, now or at its peak, in KiB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0])


def saliency(rounds: int) -> list[dict]:
    """Input gradients of 300 box samples at once, against the loop one by one and 50 at a time.

    The loop is differentiated as published, its parameters asking for gradients. ``explain``
    switches those off; so does "ours", which is the bare gradient without its checks and labels.
    """
    samples = 60 if rounds == 1 else 300
    x = torch.randn(samples, 100, 100, dtype=torch.float64)
    ours, loop = (Read(build(r, "boxes")[0]) for r in ("ours mean", "loop mean"))
    bare = Read(build("ours mean", "boxes")[0]).requires_grad_(False)

    def slopes(module: nn.Module, batch: int) -> None:
        for part in x.split(batch):
            part = part.detach().requires_grad_()
            torch.autograd.grad(module(part)[:, 0].sum(), part)

    values = x.numpy(force=True)
    runs = {
        "ours": lambda: slopes(bare, samples),
        "explain": lambda: explain(ours, values, method="gradient", target=0, progress=False),
        "loop, one by one": lambda: slopes(loop, 1),
        "loop, batched": lambda: slopes(loop, 50),
    }
    times = paired(runs, rounds)
    over = {
        f"{key}_over_{name.split(', ')[1].replace(' ', '_')}": ratio(times, name, key)
        for key in ("ours", "explain")
        for name in ("loop, one by one", "loop, batched")
    }
    return [
        {
            "samples": samples,
            **{f"{key}_s": statistics.median(found) for key, found in times.items()},
            **over,
            "aim_one_by_one": 150,
            "aim_batched": 30,
        }
    ]


PARTS = {"steps": steps, "scaling": scaling, "memory": memory, "saliency": saliency}


def show(title: str, rows: list[dict]) -> None:
    """Print a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v or "") for v in row.values())
        table.add_row(*cells)
    Console(width=160).print(table)


def main() -> None:
    """Read the options and set torch up."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--denormals", choices=("keep", "flush"), default="flush")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="mixed precision, by torch.autocast")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--steps", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(options.denormals == "flush")
    torch.set_default_device(options.device)
    settle_memory()
    with torch.autocast(torch.get_default_device().type, torch.bfloat16, enabled=options.bf16):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """What is asked for: one size or one peak in this process, or all tables."""
    if options.peak:
        print_peak(*options.peak)
        return
    if options.steps:
        name, readout, rounds = options.steps
        print_steps(name, readout, int(rounds))
        return
    about = {"torch": torch.__version__, "threads": options.threads}
    about |= {"denormals": options.denormals, "quick": options.quick, "bf16": options.bf16}
    cuda = torch.get_default_device().type == "cuda"
    about["device"] = torch.cuda.get_device_name() if cuda else options.device
    results = {}
    for part in options.only:
        results[part] = PARTS[part](1 if options.quick else 3)
        show(part, results[part])
        if options.json:
            options.json.write_text(json.dumps({"about": about, **results}, indent=1))


if __name__ == "__main__":
    main()
