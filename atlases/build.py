"""Build the atlases of this folder: spheres around published coordinates, on the 2 mm FSL/HCP grid.

Run ``python atlases/build.py`` from the repository root. The coordinates, names and networks are
those that nilearn carries, so nothing is downloaded. A voxel belongs to the nearest centre within
that centre's radius and inside the MNI brain mask; regions can therefore not overlap.
"""

import argparse
import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn import datasets, image
from scipy.spatial import cKDTree

SHAPE = (91, 109, 91)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
SPACE = "MNI152NLin6Asym"
COORDINATE_LICENCE = (
    "Coordinates: published facts, cite the paper. nilearn, which carries them: BSD-3-Clause. "
    "Label image and table: BSD-3-Clause, as this repository."
)


def dosenbach160() -> tuple[pd.DataFrame, dict]:
    """Give the table and the description of Dosenbach et al. 2010: 160 spheres, 6 networks."""
    atlas = datasets.fetch_coords_dosenbach_2010(ordered_regions=False)
    numbers = [int(label.rsplit(" ", 1)[1]) for label in atlas.labels]
    table = pd.DataFrame(
        {
            "index": numbers,
            "name": atlas.labels,
            "network": np.asarray(atlas.networks),
            **_centres(atlas.rois),
            "radius": 5.0,
        }
    )
    paper = {
        "Name": "Dosenbach160",
        "Description": "160 regions from meta-analyses of task fMRI, in six networks",
        "Source": "nilearn.datasets.fetch_coords_dosenbach_2010",
        "Citation": "Dosenbach et al. (2010), Prediction of individual brain maturity using fMRI, "
        "Science 329:1358-1361, doi:10.1126/science.1194144",
    }
    return table, paper


def power264() -> tuple[pd.DataFrame, dict]:
    """Give the table and the description of Power et al. 2011: 264 spheres, no networks carried."""
    rois = datasets.fetch_coords_power_2011().rois
    table = pd.DataFrame(
        {
            "index": rois["roi"].to_numpy(),
            "name": "",
            "network": "unassigned",
            **_centres(rois),
            "radius": 5.0,
        }
    )
    table["name"] = [
        f"Power {row['index']} {_side(row['x'])} ({row['x']:.0f} {row['y']:.0f} {row['z']:.0f})"
        for _, row in table.iterrows()
    ]
    paper = {
        "Name": "Power264",
        "Description": "264 functional areas; the source of the coordinates names no networks, "
        "so every network is 'unassigned'",
        "Source": "nilearn.datasets.fetch_coords_power_2011",
        "Citation": "Power et al. (2011), Functional network organization of the human brain, "
        "Neuron 72:665-678, doi:10.1016/j.neuron.2011.09.006",
    }
    return table, paper


def seitzman300() -> tuple[pd.DataFrame, dict]:
    """Give the table and the description of Seitzman et al. 2020: 300 spheres of 4 or 5 mm."""
    atlas = datasets.fetch_coords_seitzman_2018(ordered_regions=False)
    numbers = np.arange(1, len(atlas.rois) + 1)
    table = pd.DataFrame(
        {
            "index": numbers,
            "name": "",
            "network": np.asarray(atlas.networks),
            **_centres(atlas.rois),
            "radius": np.asarray(atlas.radius, dtype=float),
            "structure": [_structure(region) for region in atlas.regions],
        }
    )
    table["name"] = [
        f"{row['network']} {row['structure']} {_side(row['x'])} {row['index']}"
        for _, row in table.iterrows()
    ]
    paper = {
        "Name": "Seitzman300",
        "Description": "300 cortical, subcortical and cerebellar regions, in 13 networks",
        "Source": "nilearn.datasets.fetch_coords_seitzman_2018",
        "Citation": "Seitzman et al. (2020), A set of functionally-defined brain regions with "
        "improved representation of the subcortex and cerebellum, NeuroImage 206:116290, "
        "doi:10.1016/j.neuroimage.2019.116290",
    }
    return table, paper


ATLASES = {"dosenbach160": dosenbach160, "power264": power264, "seitzman300": seitzman300}


def paint_spheres(table: pd.DataFrame) -> np.ndarray:
    """Give each voxel of the brain to the nearest centre, if that centre's radius reaches it.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``index`` (label id), ``x``, ``y``, ``z`` (mm) and ``radius`` (mm).

    Returns
    -------
    numpy.ndarray
        Label ids of shape (91, 109, 91), 16-bit; 0 outside the regions.
    """
    labels = np.zeros(SHAPE, dtype=np.int16)
    voxels = np.argwhere(_brain_mask())
    places = nib.affines.apply_affine(AFFINE, voxels)
    distance, nearest = cKDTree(table[["x", "y", "z"]].to_numpy(float)).query(places)
    inside = distance <= table["radius"].to_numpy()[nearest]
    labels[tuple(voxels[inside].T)] = table["index"].to_numpy()[nearest[inside]]
    return labels


def build(name: str, folder: Path) -> pd.DataFrame:
    """Write the label image, table and sidecar of one atlas.

    Parameters
    ----------
    name : str
        A key of ``ATLASES``.
    folder : pathlib.Path
        The ``atlases`` folder; the files go to ``folder / name``.

    Returns
    -------
    pandas.DataFrame
        The table as written, with ``n_voxels``.
    """
    table, paper = ATLASES[name]()
    labels = paint_spheres(table)
    table = table.sort_values("index", ignore_index=True)
    table.insert(3, "hemisphere", [_side(x) for x in table["x"]])
    table["n_voxels"] = np.bincount(labels.ravel(), minlength=table["index"].max() + 1)[
        table["index"]
    ]
    stem = Path(folder) / name / f"atlas-{paper['Name']}_space-{SPACE}_res-2_dseg"
    stem.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(stem.with_suffix(".tsv"), sep="\t", index=False, float_format="%g")
    sidecar = json.dumps(_sidecar(paper, table), indent=2) + "\n"
    stem.with_suffix(".json").write_text(sidecar, encoding="utf-8")
    _write_image(labels, stem.with_suffix(".nii.gz"))
    return table


def _centres(rois: pd.DataFrame) -> dict:
    """Take the three coordinates (mm) as columns."""
    return {axis: rois[axis].to_numpy(float) for axis in "xyz"}


def _side(x: float) -> str:
    """Name the hemisphere of a centre; within 1 mm of the midline it is neither."""
    return "M" if abs(x) < 1 else ("L" if x < 0 else "R")


def _structure(region: str) -> str:
    """Shorten ``cortexL`` to ``cortex``: the side is told by the coordinate."""
    return "cortex" if region.startswith("cortex") else region


def _brain_mask() -> np.ndarray:
    """Give the MNI brain mask on the 2 mm FSL/HCP grid."""
    mask = image.resample_img(
        datasets.load_mni152_brain_mask(resolution=1),
        target_affine=AFFINE,
        target_shape=SHAPE,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    return mask.get_fdata() > 0


def _sidecar(paper: dict, table: pd.DataFrame) -> dict:
    """Describe the atlas: what the JSON beside the image says."""
    return {
        **paper,
        "License": COORDINATE_LICENCE,
        "Space": SPACE,
        "Approximate": True,
        "RadiusMm": sorted(table["radius"].unique().tolist()),
        "SmallestRegionVoxels": int(table["n_voxels"].min()),
        "Method": "Each voxel inside the MNI brain mask goes to the nearest centre within its "
        "radius. The coordinates do not say which MNI152 template they refer to, so the atlas "
        "is approximate and accepted for data in any of them.",
        "Script": "atlases/build.py",
    }


def _write_image(labels: np.ndarray, path: Path) -> None:
    """Write labels with both codes set to MNI152 and no time stamp, so that builds are equal."""
    img = nib.Nifti1Image(labels, AFFINE)
    img.set_sform(AFFINE, code=4)
    img.set_qform(AFFINE, code=4)
    img.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(img.to_bytes(), compresslevel=9, mtime=0))


def main() -> None:
    """Build every atlas into a folder and print how large the regions are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="atlases folder")
    out = parser.parse_args().out
    for name in ATLASES:
        table = build(name, out)
        sizes = table["n_voxels"]
        print(f"{name}: {len(table)} regions of {sizes.min()} to {sizes.max()} voxels")


if __name__ == "__main__":
    main()
