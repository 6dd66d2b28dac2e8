"""Synthetic importance and images for the tests of figures and report."""

import nibabel as nib
import numpy as np
import pandas as pd
import xarray as xr
from nilearn.datasets import load_mni152_brain_mask

from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.saliency.compare import Comparison

_WAYS = ["forwards", "backwards"]
NASTY = "<script>alert('x')</script> & $\\frac{1}{2}$"


def make_importance(
    *, n_regions, n_conditions, n_subjects=4, n_times=6, lag=5.0, networks=4, seed=0
):
    """Importance of every window, its mean by condition, and the truth planted in it."""
    rng = np.random.default_rng(seed)
    conditions = [f"condition {i}" for i in range(n_conditions)]
    label = np.tile(np.arange(n_conditions), n_subjects * 2)
    subject = np.repeat([f"sub-{i}" for i in range(n_subjects)], n_conditions * 2)
    truth = rng.random((n_conditions, n_times, n_regions)) < 0.1
    truth[:, 0, 0] = True
    values = rng.normal(size=(len(label), n_times, n_regions)) + 2 * truth[label]
    network = np.array([f"network {i}" for i in rng.integers(0, networks, n_regions)])
    regions = {
        "region": [f"region {i}" for i in range(n_regions)],
        "network": ("region", network),
        "time": lag + 0.72 * np.arange(n_times),
    }
    windows = xr.DataArray(
        values,
        dims=("sample", "time", "region"),
        coords={
            "condition": ("sample", np.array(conditions)[label]),
            "subject": ("sample", subject),
            **regions,
        },
        attrs={"units": "attribution (logit)"},
    )
    mean = xr.DataArray(
        np.stack([values[label == i].mean(axis=0) for i in range(n_conditions)]),
        dims=("condition", "time", "region"),
        coords={"condition": conditions, **regions},
        attrs=windows.attrs,
    )
    return windows, mean, mean.copy(data=truth)


def make_attention(windows, *, hops=3, seed=0):
    """Attention of as many hops forwards and backwards."""
    rng, shape = np.random.default_rng(seed), windows.shape
    weights = rng.dirichlet(np.ones(shape[1]), size=(shape[0], 2 * hops))
    coords = {"time": windows["time"], "direction": ("hop", np.repeat(_WAYS, hops))}
    return xr.DataArray(weights, dims=("sample", "hop", "time"), coords=coords)


def make_comparison(windows):
    """Two methods that differ in scale and noise."""
    noise = np.random.default_rng(0).normal(size=windows.shape)
    maps = {"gradient": windows, "occlusion": 10 * windows + noise}
    names = list(maps)
    table = pd.DataFrame({"seconds": [0.1, 2.5]}, index=names)
    agreement = pd.DataFrame([[1.0, 0.7], [0.7, 1.0]], index=names, columns=names)
    return Comparison(table, agreement, maps)


def brain_image(frames, *, resolution=6):
    """An MNI brain whose frames are constant, as (time,) values."""
    mask = load_mni152_brain_mask(resolution=resolution)
    data = mask.get_fdata(dtype="float32")[..., None] * np.asarray(frames, dtype="float32")
    return nib.Nifti1Image(data, mask.affine)


def named_atlas(names):
    """The first spheres of an atlas, under other names."""
    whole = load_atlas("dosenbach160")
    data = np.asarray(whole.labels.dataobj)
    kept = np.where(data <= len(names), data, 0).astype("int16")
    table = whole.regions.iloc[: len(names)].assign(name=names)
    image = nib.Nifti1Image(kept, whole.labels.affine)
    words = {"citation": whole.citation, "licence": "free", "approximate": True}
    return Atlas(image, table, name="spheres", space=whole.space, **words)


def make_test(mean, *, n_subjects=9, seed=1):
    """A test over subjects as group_test gives it, for every condition of a mean map."""
    noise = np.random.default_rng(seed).normal(size=mean.shape)
    t = (3 * mean + 0.5 * noise).where(mean.notnull())
    p = np.exp(-abs(t) / 2)
    known = mean.notnull()
    fields = {"mean": mean, "t": t, "p": p, "dz": t / n_subjects**0.5}
    fields |= {"significant": (p < 0.05) & known, "status": (~known).astype("int8")}
    attrs = {"correction": "max-t", "tail": "two-sided", "alpha": 0.05, "n_flips": 256}
    attrs |= {
        "n_subjects": n_subjects,
        "exact": "yes",
        "family": "condition",
        "smallest_p": 1 / 256,
    }
    return xr.Dataset(fields).assign_attrs(attrs)
