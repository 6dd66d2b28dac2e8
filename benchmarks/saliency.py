"""Saliency maps against captum, layer-wise relevance against a backward pass, and memory.

Run ``python benchmarks/saliency.py [--quick] [--samples N] [--methods ...] [--json FILE]``.

Each way runs in a process of its own, with everything imported; a first small call is not
counted. The network is the one of the published boxes experiment: LSTM with input-cell attention,
hidden size 5, 20 hops, on samples of 100 steps and 100 regions; quick ways are run up to five
times, and the best time counts. captum is called as its manual does: all samples at once, its
arguments at their defaults where ours are the same. The last part makes integrated gradients of
many windows of 284 steps and 400 regions that are read from a file and written to one, in a
process that may not hold more than 4 GB (``RLIMIT_DATA``).
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

STEPS, REGIONS, DRAWS = 100, 100, 50
PEERS = (
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "smoothgrad",
    "vargrad",
    "expected_gradients",
    "occlusion",
    "feature_ablation",
)
ALONE = ("squared_gradient", "guided_backprop", "attention", "lrp", "deep_taylor")


def make(samples: int) -> tuple:
    """Make the boxes network and samples of noise."""
    import torch

    from neurosal.models import build_network

    torch.manual_seed(0)
    network = build_network(
        "input-cell-lstm", n_features=REGIONS, n_classes=2, hidden_size=5, hops=20
    ).eval()
    return network, torch.randn(samples, STEPS, REGIONS)


def explain_by_neurosal(method: str, network: object, x: object) -> object:
    """Make the maps by this package."""
    from neurosal.saliency.explain import explain

    own = {"n_samples": DRAWS} if method in ("smoothgrad", "vargrad", "expected_gradients") else {}
    own |= {"sd": 1.0} if method in ("smoothgrad", "vargrad") else {}
    return explain(network, x, method=method, target=1, progress=False, **own).values


def explain_by_captum(method: str, network: object, x: object) -> object:
    """Make the maps by captum."""
    import captum.attr as ca
    import torch

    x = x.clone().requires_grad_()
    noisy = {"nt_samples": DRAWS, "stdevs": 1.0, "target": 1, "abs": False}
    ways = {
        "gradient": lambda: ca.Saliency(network).attribute(x, target=1, abs=False),
        "gradient_x_input": lambda: ca.InputXGradient(network).attribute(x, target=1),
        "integrated_gradients": lambda: ca.IntegratedGradients(network).attribute(x, target=1),
        "smoothgrad": lambda: ca.NoiseTunnel(ca.Saliency(network)).attribute(x, **noisy),
        "vargrad": lambda: ca.NoiseTunnel(ca.Saliency(network)).attribute(
            x, nt_type="vargrad", **noisy
        ),
        "expected_gradients": lambda: ca.GradientShap(network).attribute(
            x, torch.zeros_like(x[:1]), n_samples=DRAWS, target=1
        ),
        "occlusion": lambda: ca.Occlusion(network).attribute(
            x, sliding_window_shapes=(10, 1), strides=(10, 1), target=1
        ),
        "feature_ablation": lambda: ca.FeatureAblation(network).attribute(
            x, target=1, feature_mask=torch.arange(REGIONS).expand(1, STEPS, -1)
        ),
    }
    return ways[method]().detach().numpy()


def measure_maps(way: str, method: str, samples: int) -> dict:
    """Time one way; give seconds, added peak memory (MB) and the maps' mean absolute value."""
    import numpy as np

    run = {"neurosal": explain_by_neurosal, "captum": explain_by_captum}[way]
    network, x = make(samples)
    run(method, network, x[:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    while not times or (sum(times) < 2 and len(times) < 5):
        started = time.perf_counter()
        maps = run(method, network, x)
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": round(min(times), 3),
        "added_peak_mb": round((peak - before) / 1024, 1),
        "mean_absolute": float(np.abs(maps).mean()),
    }


def measure_relevance() -> dict:
    """Time LRP of an LSTM against its backward pass, in turn; the medians of five."""
    import statistics

    import torch

    from neurosal.models import build_network
    from neurosal.saliency.relevance import relevance

    network = build_network("lstm", n_features=400, n_classes=7, hidden_size=64).eval()
    x = torch.randn(32, 284, 400, requires_grad=True)
    times = {"forward": [], "backward": [], "lrp": []}
    for _ in range(6):
        started = time.perf_counter()
        score = network(x)[:, 0].sum()
        times["forward"].append(time.perf_counter() - started)
        started = time.perf_counter()
        torch.autograd.grad(score, x)
        times["backward"].append(time.perf_counter() - started)
        started = time.perf_counter()
        relevance(network, x.detach(), target_index=0)
        times["lrp"].append(time.perf_counter() - started)
    found = {name: statistics.median(values[1:]) for name, values in times.items()}
    return found | {"lrp_per_backward": found["lrp"] / found["backward"]}


def measure_memory(windows: int) -> dict:
    """Integrated gradients from file to file under a limit of 4 GB; the peak of memory held."""
    import numpy as np
    import torch

    from neurosal.models import build_network
    from neurosal.saliency.explain import explain

    limit = 4 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    shape, torch_rng = (windows, 284, 400), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = build_network("lstm", n_features=400, n_classes=7, hidden_size=8).eval()
    with tempfile.TemporaryDirectory() as folder:
        x = np.lib.format.open_memmap(Path(folder, "x.npy"), "w+", np.float32, shape)
        for start in range(0, windows, 100):
            x[start : start + 100] = torch.randn(x[start : start + 100].shape, generator=torch_rng)
        x = np.load(Path(folder, "x.npy"), mmap_mode="r")
        asked = {"method": "integrated_gradients", "target": 1, "n_steps": 4, "tolerance": None}
        started = time.perf_counter()
        out = Path(folder, "maps.npy")
        maps, peak = with_peak(lambda: explain(network, x, out=out, progress=False, **asked))
        seconds = time.perf_counter() - started
        finite = all(np.isfinite(maps[k : k + 100]).all() for k in range(0, windows, 100))
    return {"windows": windows, "peak_mb": peak, "seconds": round(seconds, 1), "finite": finite}


def with_peak(work: Callable) -> tuple[object, float | None]:
    """Do some work; give its answer and the peak of anonymous memory (MB), where it is told."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        """Read the memory held, pages of files left out, twenty times a second."""
        while not done.wait(0.05):
            lines = Path("/proc/self/status").read_text().splitlines()
            held = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            peak[0] = max(peak[0], held / 1024)

    watcher = threading.Thread(target=watch) if Path("/proc/self/status").exists() else None
    with contextlib.ExitStack() as stack:
        if watcher:
            watcher.start()
            stack.callback(watcher.join)
        stack.callback(done.set)
        answer = work()
    return answer, round(peak[0]) if watcher else None


MEASURES = {"maps": measure_maps, "lrp": measure_relevance, "memory": measure_memory}


def in_own_process(*arguments: object) -> dict | None:
    """Run one measurement in a fresh process; None if it did not survive."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"{arguments}: failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(method: str, samples: int) -> dict:
    """Measure one method by this package and, where captum has it, by captum."""
    ways = ("neurosal", "captum") if method in PEERS else ("neurosal",)
    found = {way: in_own_process("maps", way, method, samples) for way in ways}
    times = [each and each["seconds"] for each in found.values()]
    if len(times) == 2 and all(times):
        found["captum_over_neurosal"] = round(times[1] / times[0], 2)
    return found


def as_table(results: dict, samples: int) -> Table:
    """Lay the comparison out."""
    title = f"{samples} maps: seconds, and MB added to the process at its peak"
    table = Table("method", "seconds", "captum", "captum / ours", "MB", "captum MB", title=title)
    for method, found in results.items():
        ours, theirs = found.get("neurosal") or {}, found.get("captum") or {}
        cells = (
            ours.get("seconds"),
            theirs.get("seconds"),
            found.get("captum_over_neurosal"),
            ours.get("added_peak_mb"),
            theirs.get("added_peak_mb"),
        )
        table.add_row(method, *("" if cell is None else str(cell) for cell in cells))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="30 maps, few large windows")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--methods", nargs="*", default=[*PEERS, *ALONE])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        what, *rest = asked.one
        print(json.dumps(MEASURES[what](*(int(a) if a.isdigit() else a for a in rest))))
        return
    samples, console = asked.samples or (30 if asked.quick else 300), Console()
    results = {method: compare(method, samples) for method in asked.methods}
    console.print(as_table(results, samples))
    lrp = in_own_process("lrp")
    console.print("LRP of an LSTM (B 32, T 284, N 400, H 64), seconds:", lrp)
    many = [20, 80] if asked.quick else [500, 2000]
    memory = [in_own_process("memory", windows) for windows in many]
    console.print("Integrated gradients of windows of 284 x 400, under 4 GB:", *memory)
    if asked.json:
        found = {"samples": samples, "maps": results, "lrp_of_an_lstm": lrp, "memory": memory}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
