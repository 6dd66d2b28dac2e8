"""Small data with a planted class difference, for the tests of the decoder."""

import nibabel as nib
import numpy as np
import xarray as xr
from nilearn.maskers import NiftiLabelsMasker

from neurosal import SaliencyDecoder
from neurosal.models import NetworkClassifier, Training

AFFINE = nib.affines.from_matvec(np.diag([3.0, 3, 3]), [-9, -7, -6])


def quick(epochs=30):
    """A network that learns enough in no time."""
    training = Training(max_epochs=epochs, learning_rate=0.02)
    return NetworkClassifier("feed-forward", hidden_size=8, training=training)


def quick_decoder(atlas=None, **options):
    """A decoder around it."""
    chosen = {"classifier": quick(), "method": "gradient_x_input"}
    return SaliencyDecoder(atlas, **chosen | options)


def planted(n=48, steps=5, regions=6, *, place=(3, 2), size=5.0, seed=0):
    """Windows whose class "task" differs from "rest" in one cell; four runs."""
    rng = np.random.default_rng(seed)
    y, groups = np.tile(["rest", "task"], n // 2), np.repeat(np.arange(4), n // 4)
    X = rng.normal(size=(n, steps, regions))
    X[y == "task", place[0], place[1]] += size
    return X, y, groups


def labels_of(regions=6, shape=(6, 4, 3)):
    """A slab of voxels along x for each region."""
    labels = np.broadcast_to(np.arange(1, regions + 1)[:, None, None], shape).astype(np.int32)
    return nib.Nifti1Image(np.ascontiguousarray(labels), AFFINE)


def labels_masker(**options):
    """The masker of these labels."""
    return NiftiLabelsMasker(labels_of(), **{"standardize": None} | options)


def as_images(X, *, t_r=2.0):
    """Paint each window (time, region) into a 4D image, at the level of measured BOLD."""
    images = []
    for window in np.asarray(X):
        data = np.broadcast_to(1000 + 20 * window.T[:, None, None], (6, 4, 3, len(window)))
        image = nib.Nifti1Image(np.ascontiguousarray(data, dtype=np.float32), AFFINE)
        image.header["pixdim"][4] = t_r
        images.append(image)
    return images


def as_volumes(X):
    """Paint each row (region,) into a 3D image."""
    return [nib.Nifti1Image(one.get_fdata()[..., 0], AFFINE) for one in as_images(X[:, None])]


def labelled(X, y, groups):
    """The same windows as a labelled array."""
    samples = {"condition": y, "run": np.asarray(groups).astype(str)}
    coords = {name: ("sample", values) for name, values in samples.items()}
    coords |= {
        "region": [f"R{k}" for k in range(X.shape[2])],
        "time": 5 + 2.0 * np.arange(len(X[0])),
    }
    return xr.DataArray(X.copy(), dims=("sample", "time", "region"), coords=coords)
