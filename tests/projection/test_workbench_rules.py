"""CIFTI files as Connectome Workbench demands them, read from the bytes.

The rules are those of the CIFTI-2 specification that Workbench's reader enforces.
"""

import struct
import xml.etree.ElementTree as ET

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2.cifti2 import CIFTI_BRAIN_STRUCTURES
from projection_cases import gray_atlas, real_atlas

from neurosal.parcellation.atlas import load_atlas
from neurosal.projection.images import save_map

KINDS = {"pscalar": 3008, "ptseries": 3004, "dscalar": 3006, "dtseries": 3002}
FIRST = {"scalar": "CIFTI_INDEX_TYPE_SCALARS", "tseries": "CIFTI_INDEX_TYPE_SERIES"}
SECOND = {"p": "CIFTI_INDEX_TYPE_PARCELS", "d": "CIFTI_INDEX_TYPE_BRAIN_MODELS"}


def read_bytes(path):
    """NIfTI-2 dimensions, intent and the CIFTI extension, straight from the file."""
    content = path.read_bytes()
    assert struct.unpack("<i", content[:4]) == (540,)
    assert content[4:12] == b"n+2\0\r\n\032\n"
    dims = struct.unpack("<8q", content[16:80])
    (offset,) = struct.unpack("<q", content[168:176])
    (intent,) = struct.unpack("<i", content[504:508])
    size, code = struct.unpack("<ii", content[544:552])
    assert content[540:544] == b"\1\0\0\0"
    assert code == 32
    assert size % 16 == 0
    assert offset % 16 == 0
    assert offset >= 544 + size
    data = np.frombuffer(content, "<f4", offset=offset)
    return dims, intent, content[552 : 544 + size].rstrip(b"\0"), data


def numbers(element):
    return [int(word) for word in (element.text or "").split()]


def check_volume(mapping):
    """The voxel grid is described once, in mm; give its size."""
    (volume,) = mapping.findall("Volume")
    sizes = [int(one) for one in volume.get("VolumeDimensions").split(",")]
    (matrix,) = volume.findall("TransformationMatrixVoxelIndicesIJKtoXYZ")
    assert matrix.get("MeterExponent") == "-3"
    assert len(matrix.text.split()) == 16
    return np.array(sizes)


def check_voxels(element, sizes, used):
    """Voxels lie on the grid and belong to one region only."""
    voxels = np.array(numbers(element)).reshape(-1, 3)
    assert ((voxels >= 0) & (voxels < sizes)).all()
    new = set(map(tuple, voxels.tolist()))
    assert len(new) == len(voxels)
    assert not new & used
    used |= new


def check_parcels(mapping, length):
    surfaces = {
        one.get("BrainStructure"): int(one.get("SurfaceNumberOfVertices"))
        for one in mapping.findall("Surface")
    }
    sizes = check_volume(mapping) if mapping.findall("Volume") else None
    parcels, used, voxels = mapping.findall("Parcel"), set(), set()
    names = [parcel.get("Name") for parcel in parcels]
    assert len(parcels) == length == len(set(names))
    assert all(names)
    for parcel in parcels:
        for vertices in parcel.findall("Vertices"):
            structure, here = vertices.get("BrainStructure"), numbers(vertices)
            assert max(here) < surfaces[structure]
            new = {(structure, index) for index in here}
            assert len(new) == len(here)
            assert not new & used
            used |= new
        for element in parcel.findall("VoxelIndicesIJK"):
            check_voxels(element, sizes, voxels)


def check_models(mapping, length):
    sizes = check_volume(mapping) if mapping.findall("Volume") else None
    end, structures, voxels = 0, set(), set()
    for model in mapping.findall("BrainModel"):
        structure = model.get("BrainStructure")
        assert structure in CIFTI_BRAIN_STRUCTURES
        assert structure not in structures
        structures.add(structure)
        assert int(model.get("IndexOffset")) == end
        count = int(model.get("IndexCount"))
        end += count
        if model.get("ModelType") == "CIFTI_MODEL_TYPE_SURFACE":
            here = numbers(model.find("VertexIndices"))
            assert len(set(here)) == len(here) == count
            assert max(here) < int(model.get("SurfaceNumberOfVertices"))
        else:
            check_voxels(model.find("VoxelIndicesIJK"), sizes, voxels)
    assert end == length


def check_file(path):
    """All rules for one file; give its values (map, region or grayordinate)."""
    kind = path.name.split(".")[1]
    dims, intent, xml, data = read_bytes(path)
    assert intent == KINDS[kind]
    assert dims[:5] == (6, 1, 1, 1, 1)
    root = ET.fromstring(xml)
    assert (root.tag, float(root.get("Version"))) == ("CIFTI", 2)
    maps = {}
    for mapping in root.find("Matrix").findall("MatrixIndicesMap"):
        for place in mapping.get("AppliesToMatrixDimension").split(","):
            maps[int(place)] = mapping
    first, second = maps[0], maps[1]
    assert first.get("IndicesMapToDataType") == FIRST[kind[1:]]
    assert second.get("IndicesMapToDataType") == SECOND[kind[0]]
    if kind.endswith("tseries"):
        assert first.get("SeriesUnit") == "SECOND"
        n_maps = int(first.get("NumberOfSeriesPoints"))
        assert float(first.get("SeriesStep")) * 10 ** int(first.get("SeriesExponent")) > 0
    else:
        named = first.findall("NamedMap")
        n_maps = len(named)
        assert all(one.find("MapName").text for one in named)
    (check_parcels if kind[0] == "p" else check_models)(second, dims[6])
    assert dims[5] == n_maps
    return data.reshape(dims[6], dims[5]).T  # the first dimension changes fastest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["tiny", "real"])
def test_workbench_takes_the_files(tmp_path, kind, which):
    atlas = gray_atlas()
    if which == "real":
        name = "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii"
        atlas = load_atlas(real_atlas(name)[0])
    values = np.arange(3 * len(atlas), dtype=np.float32).reshape(3, -1)[
        : 1 + 2 * ("series" in kind)
    ]
    values = values if len(values) > 1 else values[0]
    path = save_map(values, atlas, tmp_path / f"map.{kind}.nii", t_r=0.72)
    read = check_file(path)
    if kind.startswith("p"):
        np.testing.assert_array_equal(read, np.atleast_2d(values))
    np.testing.assert_array_equal(read, nib.load(path).get_fdata())


def test_the_layout_is_that_of_a_file_of_the_hcp(tmp_path):
    (source,) = real_atlas("Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii")
    atlas = load_atlas(source)
    path = save_map(np.ones(len(atlas)), atlas, tmp_path / "map.dscalar.nii")
    theirs, ours = nib.load(source), nib.load(path)
    assert ours.nifti_header["dim"].tolist() == theirs.nifti_header["dim"].tolist()
    assert ours.header.get_axis(1) == theirs.header.get_axis(1)


def test_the_rules_can_be_broken(tmp_path):
    atlas = gray_atlas()
    path = save_map(np.ones(4), atlas, tmp_path / "map.pscalar.nii")
    content = path.read_bytes()
    check_file(path)
    for old, new in (
        (b'Name="Vis_L"', b'Name="Vis_R"'),
        (b'SurfaceNumberOfVertices="12"', b'SurfaceNumberOfVertices="02"'),
        (b'MeterExponent="-3"', b'MeterExponent="-0"'),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(AssertionError):
            check_file(path)
