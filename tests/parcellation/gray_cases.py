"""Tiny grayordinates for the tests: two surfaces and a few voxels, in CIFTI and GIFTI files."""

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ScalarAxis, SeriesAxis

AFFINE = np.diag([2.0, 2, 2, 1])
NAMES = {
    0: ("???", (1, 1, 1, 0)),
    1: ("7Networks_LH_Vis_1", (1, 0, 0, 1)),
    2: ("7Networks_RH_Vis_1", (0, 1, 0, 1)),
    5: ("HIP-lh", (0, 0, 1, 1)),
    300: ("both sides", (0, 0.5, 1, 1)),
}


def parts(n_vertices=10):
    """Left surface without vertex 3, right without 0 and 1, and six voxels of the hippocampus."""
    left = np.setdiff1d(np.arange(n_vertices), [3])
    right = np.arange(2, n_vertices)
    voxels = np.array([[0, 1, 2], [1, 1, 2], [2, 0, 0], [2, 1, 3], [0, 0, 0], [1, 2, 3]])
    return (
        BrainModelAxis.from_surface(left, n_vertices, "CORTEX_LEFT"),
        BrainModelAxis.from_surface(right, n_vertices, "CORTEX_RIGHT"),
        BrainModelAxis("HIPPOCAMPUS_LEFT", voxel=voxels, affine=AFFINE, volume_shape=(3, 4, 5)),
    )


def join(*axes):
    out = axes[0]
    for axis in axes[1:]:
        out = out + axis
    return out


AXIS = join(*parts())
# left: 9 vertices, right: 8, hippocampus: 6
LABELS = np.array([0, 1, 1, 1, 0, 300, 1, 0, 1, 2, 2, 0, 300, 300, 2, 0, 2, 5, 5, 0, 5, 5, 0])


def write_dlabel(path, *, labels=LABELS, axis=AXIS, tables=(NAMES,), dtype="float32"):
    label_axis = LabelAxis([f"map {place}" for place in range(len(tables))], list(tables))
    data = np.stack([np.asarray(labels)] * len(tables)).astype(dtype)
    nib.save(nib.Cifti2Image(data, (label_axis, axis)), path)
    return path


def write_dtseries(path, data, *, axis=AXIS, t_r=0.72, start=0.0, unit="SECOND"):
    series = SeriesAxis(start, t_r, len(data), unit)
    nib.save(nib.Cifti2Image(np.asarray(data), (series, axis)), path)
    return path


def write_dscalar(path, data, *, axis=AXIS):
    nib.save(nib.Cifti2Image(np.asarray(data), (ScalarAxis(["a"] * len(data)), axis)), path)
    return path


def plain_means(data, labels, ids):
    """Average each label's columns, slowly and plainly, in float64."""
    out = np.zeros((len(data), len(ids)))
    for time, frame in enumerate(np.asarray(data, dtype=np.float64)):
        for column, label in enumerate(ids):
            values = [value for value, own in zip(frame, labels, strict=True) if own == label]
            out[time, column] = sum(values) / len(values)
    return out


def gifti(arrays, intent, *, side="left", table=None, meta=None, names=None):
    """Make a GIFTI image of arrays with one label table."""
    inside = {"AnatomicalStructurePrimary": f"Cortex{side.capitalize()}"} if side else {}
    darrays = [
        nib.gifti.GiftiDataArray(
            array, intent=intent, meta={**inside, **({"Name": names[place]} if names else {})}
        )
        for place, array in enumerate(arrays)
    ]
    labels = nib.gifti.GiftiLabelTable()
    for key, (name, rgba) in (table or {}).items():
        label = nib.gifti.GiftiLabel(key, *rgba)
        label.label = name
        labels.labels.append(label)
    return nib.GiftiImage(
        darrays=darrays, labeltable=labels, meta=nib.gifti.GiftiMetaData(meta or {})
    )


def write_func(path, data, **options):
    """Write frames (time, vertex) as a .func.gii."""
    frames = [np.asarray(frame, dtype=np.float32) for frame in data]
    nib.save(gifti(frames, "NIFTI_INTENT_TIME_SERIES", **options), path)
    return path


def write_label_gii(path, keys, table, **options):
    arrays = [np.asarray(keys, dtype=np.int32)]
    nib.save(gifti(arrays, "NIFTI_INTENT_LABEL", table=table, **options), path)
    return path


def write_annot(path, keys, names):
    """Write a FreeSurfer annotation; key -1 is a vertex without a label."""
    colours = np.array([[10 * place + 1, 5, 7, 0] for place in range(len(names))])
    nib.freesurfer.write_annot(path, np.asarray(keys), colours, names, fill_ctab=True)
    return path
