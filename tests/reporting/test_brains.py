"""Are the brain mosaics honest about space, time and size?"""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from reporting_cases import brain_image

from neurosal.errors import ArgumentError
from neurosal.reporting.brains import choose_view, plot_brain_mosaic


def native_slab(shape=(12, 6, 1, 7), seed=0):
    data = np.random.default_rng(seed).normal(size=shape).astype("float32")
    return nib.Nifti1Image(data, np.diag([3.0, 3.0, 4.0, 1.0]))


def in_scanner_space(img):
    img = nib.Nifti1Image(np.asarray(img.dataobj), img.affine, img.header)
    img.header.set_sform(img.affine, code="scanner")
    return img


def off_the_brain(img):
    affine = img.affine.copy()
    affine[:3, 3] += 70
    return nib.Nifti1Image(np.asarray(img.dataobj), affine)


def test_view_follows_space_and_extent():
    brain = brain_image([1.0, 2.0])
    assert choose_view(brain) == "template"
    assert choose_view(brain.slicer[:, :, :14]) == "glass"
    assert choose_view(in_scanner_space(brain)) == "native"
    assert choose_view(off_the_brain(brain)) == "native"
    assert choose_view(native_slab()) == "native"
    assert choose_view(brain, space="individual") == "native"
    assert choose_view(in_scanner_space(brain), space="MNI152NLin6Asym") == "template"


def test_native_slices_are_the_images_own_numbers_averaged_over_stretches():
    slab = native_slab()
    figure = plot_brain_mosaic(slab, times_s=5 + 2.5 * np.arange(7), n_rows=3)
    panels = [axes for axes in figure.axes if axes.images]
    data = np.asarray(slab.dataobj)
    for axes, frames in zip(panels, ([0, 1, 2], [3, 4], [5, 6]), strict=True):
        slow = sum(data[:, :, 0, k].astype(float) for k in frames) / len(frames)
        np.testing.assert_allclose(axes.images[0].get_array(), slow.T, rtol=1e-5)
    titles = [axes.get_title() for axes in panels]
    assert titles == ["5.0 to 10.0 s", "12.5 to 15.0 s", "17.5 to 20.0 s"]
    assert "no template" in figure.texts[0].get_text()


def test_native_volume_has_a_row_a_stretch_and_a_column_a_slice():
    figure = plot_brain_mosaic(native_slab((6, 5, 3, 4)), n_rows=2, view="native", vmax=1.5)
    panels = [axes for axes in figure.axes if axes.images and axes.get_xlabel() == ""]
    assert len([axes for axes in panels if axes.images[0].get_clim() == (-1.5, 1.5)]) == 6


@pytest.mark.parametrize("view", ["template", "glass"])
def test_map_is_drawn_in_its_colours_where_the_brain_is(view):
    brain = brain_image([1.0, -1.0])
    figure = plot_brain_mosaic(brain, times_s=[5.0, 6.0], view=view, vmax=1.0, title="rh")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    height, width = pixels.shape[:2]
    head = int(0.42 * figure.dpi)
    top, bottom = np.split(pixels[head:, : int(0.88 * width)], [(height - head) // 2])
    for part, channel in ((top, 0), (bottom, 2)):
        strong = (part[..., channel] - part[..., 2 - channel] > 40).mean()
        wrong = (part[..., 2 - channel] - part[..., channel] > 40).mean()
        assert strong > 0.1
        assert wrong < 0.02
    assert figure.axes[-1].get_ylim() == (-1.0, 1.0)
    assert figure.axes[-1].get_ylabel() == "attribution (logit)"


def test_cuts_go_where_there_is_something_to_see():
    brain = brain_image([1.0], resolution=3)
    data, spots = np.zeros(brain.shape[:3], dtype="float32"), [(-40, -20, 52), (10, -90, 3)]
    to_voxel = np.linalg.inv(brain.affine)
    for k, spot in enumerate(spots, start=1):
        i, j, m = np.rint(nib.affines.apply_affine(to_voxel, spot)).astype(int)
        data[i - 1 : i + 2, j - 1 : j + 2, m - 1 : m + 2] = k
    figure = plot_brain_mosaic(nib.Nifti1Image(data, brain.affine))
    names = [text.get_text() for axes in figure.axes for text in axes.texts]
    cuts = {way: sorted(float(n[4:]) for n in names if n.startswith(f"{way} =")) for way in "zx"}
    assert len(cuts["z"]) == 6
    assert len(cuts["x"]) == 3
    for x, _, z in spots:
        assert min(abs(np.array(cuts["z"]) - z)) <= 4.5
        assert min(abs(np.array(cuts["x"]) - x)) <= 4.5
    for found in cuts.values():
        assert np.diff(found).min() >= 5
        assert found[0] >= -60
        assert found[-1] <= 64  # none at the edge of the brain


def test_images_and_times_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match=r"7 frames\. Got 2"):
        plot_brain_mosaic(native_slab(), times_s=[1.0, 2.0])
    with pytest.raises(ArgumentError, match="3D or 4D"):
        plot_brain_mosaic(nib.Nifti1Image(np.ones((3, 3), dtype="float32"), np.eye(4)))
    with pytest.raises(ArgumentError, match="'glass', 'native'"):
        plot_brain_mosaic(native_slab(), view="surface")


def test_an_empty_image_is_drawn_empty():
    empty = nib.Nifti1Image(np.zeros((5, 5, 2, 3), dtype="float32"), np.eye(4))
    panels = [axes for axes in plot_brain_mosaic(empty, view="native").axes if axes.images]
    assert all(np.isnan(np.ma.filled(p.images[0].get_array(), np.nan)).all() for p in panels[:-1])


@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA names no data folder"
)
def test_one_real_slice_of_native_space_is_not_put_on_the_template():
    folder = Path(os.environ["NEUROSAL_TEST_DATA"]) / "haxby2001-slice"
    labels = nib.load(folder / "atlas-voxels_dseg.nii.gz")
    data = np.asarray(labels.dataobj, dtype="float32")
    img = nib.Nifti1Image(np.stack([data, -data], axis=3), labels.affine, labels.header)
    figure = plot_brain_mosaic(img, times_s=[5.0, 7.5], title="faces")
    assert "no template" in figure.texts[0].get_text()
    shown = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    np.testing.assert_array_equal(np.nan_to_num(shown), data[:, :, 0].T)
