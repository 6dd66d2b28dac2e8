"""Parcellation against nilearn's NiftiLabelsMasker: time and memory, both in one run.

Makes one compressed run of HCP size (91 x 109 x 91 x 284, float32) and 400 labels, then measures
both ways in turn, each in a process of its own with everything imported and the file in the disk
cache. Run ``python benchmarks/parcellation.py``; smaller: ``--volumes 40 --repeats 1``.
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
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (91, 109, 91)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
WAYS = ("neurosal", "nilearn")


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


def measure(way: str, run: str, labels: str) -> dict:
    """Average one run over regions one way; give seconds, added peak memory (MB) and a checksum."""
    import pandas as pd
    from nilearn.maskers import NiftiLabelsMasker

    from neurosal import Atlas, extract_regions

    ids = np.unique(np.asarray(nib.load(labels).dataobj))[1:]
    table = pd.DataFrame({"index": ids, "name": [f"region {label}" for label in ids]})
    atlas = Atlas.from_files(labels, table)
    masker = NiftiLabelsMasker(labels, standardize=None)
    ways = {
        "neurosal": lambda: extract_regions(run, atlas).values,
        "nilearn": lambda: masker.fit_transform(run),
    }
    before, start = _now(), time.perf_counter()
    series = ways[way]()
    seconds = time.perf_counter() - start
    checksum = float(np.mean(series, dtype=np.float64))
    return {"seconds": seconds, "megabytes": _peak() - before, "checksum": checksum}


def compare(folder: Path, n_volumes: int, n_labels: int, repeats: int) -> dict[str, list[dict]]:
    """Measure both ways in turn, each time in a fresh process."""
    run, labels = folder / "bold.nii.gz", folder / "labels.nii.gz"
    make_run(run, make_labels(labels, n_labels), n_volumes)
    print(f"{run.stat().st_size / 1e6:.0f} MB compressed, {n_volumes} volumes, {n_labels} labels")
    results = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            command = [sys.executable, __file__, "--measure", way, str(run), str(labels)]
            root = str(Path(__file__).parents[1])
            paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
            child = {**os.environ, "PYTHONPATH": paths}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=child)
            results[way].append(json.loads(done.stdout.splitlines()[-1]))
    return results


def report(results: dict[str, list[dict]]) -> None:
    """Print medians and ratios."""
    medians = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in results.items()
    }
    for way, median in medians.items():
        print(
            f"{way:9s} {median['seconds']:7.2f} s   {median['megabytes']:7.0f} MB added at peak   "
            f"mean of all values {median['checksum']:.6f}"
        )
    ours, theirs = (medians[way] for way in WAYS)
    print(f"faster by a factor of {theirs['seconds'] / ours['seconds']:.1f}")
    print(f"less memory by a factor of {theirs['megabytes'] / max(ours['megabytes'], 1):.1f}")


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
    parser.add_argument("--measure", nargs=3, metavar=("WAY", "RUN", "LABELS"))
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(compare(Path(folder), options.volumes, options.labels, options.repeats))


if __name__ == "__main__":
    main()
