"""Parcellation against nilearn's NiftiLabelsMasker: time, memory and numbers.

Makes one compressed run of HCP size (91 x 109 x 91 x 284, float32) and 400 labels. Time: all ways
in turn in one process, with everything imported and the file in the disk cache; each reads atlas
and run anew, and a ratio is the median over the turns. Memory: each way in a process of its own.
``plain gzip`` is neurosal without isal. Run ``python benchmarks/parcellation.py [--json FILE]``;
smaller: ``--volumes 40 --repeats 1``; some ways only: ``--ways gzip nilearn``.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (91, 109, 91)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
PEER = "nilearn"
WAYS = {"isal": "neurosal", "gzip": "neurosal, plain gzip", PEER: "NiftiLabelsMasker"}


def make_labels(path: Path, n_labels: int) -> np.ndarray:
    """Cut an ellipsoid the size of a brain into regions around random centres; give its mask."""
    from scipy.spatial import cKDTree

    centre, radii = np.array([45, 54, 40]), np.array([34, 43, 34])
    places = np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3)
    inside = (((places - centre) / radii) ** 2).sum(axis=1) <= 1
    centres = np.random.default_rng(0).choice(places[inside], n_labels, replace=False)
    labels = np.zeros(len(places), dtype=np.int16)
    labels[inside] = cKDTree(centres).query(places[inside])[1] + 1
    nib.save(nib.Nifti1Image(labels.reshape(SHAPE), AFFINE), path)
    return inside.reshape(SHAPE)


def make_run(path: Path, mask: np.ndarray, n_volumes: int) -> None:
    """Write a run volume by volume: noise over a mean of 10000 in the brain, 0 outside."""
    header = nib.Nifti1Header()
    header.set_data_shape((*SHAPE, n_volumes))
    header.set_data_dtype(np.float32)
    header.set_sform(AFFINE, code=4)
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][4], header["vox_offset"], header["magic"] = 0.72, 352, b"n+1"
    rng = np.random.default_rng(1)
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(header.binaryblock + bytes(4))
        for _ in range(n_volumes):
            volume = np.where(mask, 10_000 + 100 * rng.standard_normal(SHAPE), 0)
            stream.write(volume.astype(np.float32).tobytes(order="F"))


@contextmanager
def plain_gzip(wanted: bool):
    """Let neurosal decompress with Python's own gzip, if wanted."""
    from neurosal.parcellation import streaming

    usual = streaming._open_gzip
    streaming._open_gzip = gzip.open if wanted else usual
    try:
        yield
    finally:
        streaming._open_gzip = usual


def load_ways(run: str, labels: str) -> dict[str, Callable[[], np.ndarray]]:
    """Import everything; give what each way calls."""
    import pandas as pd
    from nilearn.maskers import NiftiLabelsMasker

    from neurosal import Atlas, extract_regions

    ids = np.unique(np.asarray(nib.load(labels).dataobj))[1:]
    table = pd.DataFrame({"index": ids, "name": [f"region {label}" for label in ids]})

    def ours(without_isal: bool) -> np.ndarray:
        with plain_gzip(without_isal):
            return extract_regions(run, Atlas.from_files(labels, table)).values

    return {
        "isal": lambda: ours(False),
        "gzip": lambda: ours(True),
        PEER: lambda: NiftiLabelsMasker(labels, standardize=None).fit_transform(run),
    }


def measure_time(run: str, labels: str, ways: list[str], repeats: int) -> dict:
    """Call the ways in turn; give seconds of each call, and the largest relative difference."""
    calls = load_ways(run, labels)
    seconds, series = {way: [] for way in ways}, {}
    for _ in range(repeats):
        for way in ways:
            start = time.perf_counter()
            series[way] = calls[way]()
            seconds[way].append(time.perf_counter() - start)
    peer = series[PEER]
    apart = {way: float(np.max(np.abs(found / peer - 1))) for way, found in series.items()}
    return {"seconds": seconds, "relative_difference": apart}


def measure_memory(run: str, labels: str, way: str) -> dict:
    """Call one way once; give the added peak memory (MB)."""
    call = load_ways(run, labels)[way]
    before = _now()
    call()
    return {"megabytes": _peak() - before}


def in_own_process(*arguments: object) -> dict:
    """Measure in a fresh process."""
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    child = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=child)
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder: Path, options: argparse.Namespace) -> dict:
    """Make the run and measure all ways."""
    run, labels = folder / "bold.nii.gz", folder / "labels.nii.gz"
    make_run(run, make_labels(labels, options.labels), options.volumes)
    size = f"{run.stat().st_size / 1e6:.0f} MB compressed"
    print(f"{size}, {options.volumes} volumes, {options.labels} labels")
    ways = [way for way in WAYS if way in {*options.ways, PEER}]
    results = in_own_process("time", run, labels, ",".join(ways), options.repeats)
    results["megabytes"] = {
        way: in_own_process("memory", run, labels, way)["megabytes"] for way in ways
    }
    return results


def report(results: dict) -> dict:
    """Print a row a way; give the rows."""
    seconds, megabytes = results["seconds"], results["megabytes"]
    rows = {}
    for way, times in seconds.items():
        ratios = [theirs / ours for ours, theirs in zip(times, seconds[PEER], strict=True)]
        rows[WAYS[way]] = {
            "seconds": statistics.median(times),
            "times_faster": statistics.median(ratios),
            "added_peak_mb": megabytes[way],
            "share_of_memory": megabytes[way] / megabytes[PEER],
            "relative_difference": results["relative_difference"][way],
        }
    for name, row in rows.items():
        print(
            f"{name:21s} {row['seconds']:6.2f} s   faster by {row['times_faster']:5.1f}   "
            f"{row['added_peak_mb']:6.0f} MB added at peak ({row['share_of_memory']:.3f})   "
            f"differs by {row['relative_difference']:.1e}"
        )
    return rows


def _now() -> float:
    """Give the memory of this process now, in MB, where the system tells; else the peak so far."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return _peak()
    return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6


def _peak() -> float:
    """Give the peak memory of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Run the comparison, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=284, help="volumes of the run")
    parser.add_argument("--labels", type=int, default=400, help="regions of the atlas")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each way")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, run, labels, ways, *repeats = options.measure
        if what == "time":
            print(json.dumps(measure_time(run, labels, ways.split(","), int(repeats[0]))))
        else:
            print(json.dumps(measure_memory(run, labels, ways)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = report(compare(Path(folder), options))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
