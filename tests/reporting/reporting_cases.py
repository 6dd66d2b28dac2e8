"""Synthetic importance and images for the tests of figures and report."""

import nibabel as nib
import numpy as np
import xarray as xr
from nilearn.datasets import load_mni152_brain_mask

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


def brain_image(frames, *, resolution=6):
    """An MNI brain whose frames are constant, as (time,) values."""
    mask = load_mni152_brain_mask(resolution=resolution)
    data = mask.get_fdata(dtype="float32")[..., None] * np.asarray(frames, dtype="float32")
    return nib.Nifti1Image(data, mask.affine)
