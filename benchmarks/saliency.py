"""Saliency maps against captum, and layer-wise relevance against a backward pass.

Each way runs in a process of its own, with everything imported; a first small call is not
counted. The network is the one of the published boxes experiment: LSTM with input-cell attention,
hidden size 5, 20 hops, on samples of 100 steps and 100 regions; quick ways are run up to five
times, and the best time counts. captum is called as its manual does: all samples at once, its
arguments at their defaults where ours are the same.
Run ``python benchmarks/saliency.py``; smaller: ``--samples 30``.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

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


def in_own_process(*arguments: object) -> dict | None:
    """Run one measurement in a fresh process; None if it did not survive."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"{arguments}: failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--methods", nargs="*", default=[*PEERS, *ALONE])
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        what, *rest = asked.one
        found = measure_relevance() if what == "lrp" else measure_maps(what, rest[0], int(rest[1]))
        print(json.dumps(found))
        return
    results = {}
    for method in asked.methods:
        ways = ("neurosal", "captum") if method in PEERS else ("neurosal",)
        results[method] = {way: in_own_process(way, method, asked.samples) for way in ways}
        times = [found and found["seconds"] for found in results[method].values()]
        if len(times) == 2 and all(times):
            results[method]["captum_over_neurosal"] = round(times[1] / times[0], 2)
        print(method, json.dumps(results[method]), file=sys.stderr)
    results["lrp_of_an_lstm"] = in_own_process("lrp")
    print(json.dumps({"samples": asked.samples, "results": results}, indent=1))


if __name__ == "__main__":
    main()
