import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from image_cases import idx_bytes

from neurosal.errors import DataError
from neurosal.experiments.idx_files import read_idx

SHAPES = st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)


@settings(max_examples=40, deadline=None)
@given(values=SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)), packed=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, values, packed):
    path = tmp_path_factory.mktemp("idx") / "some-idx"
    content = idx_bytes(values)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_idx(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


GOOD = idx_bytes(np.arange(6).reshape(2, 3))
PACKED = gzip.compress(GOOD, mtime=0)  # The same at whatever second: it names a test.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no idx file: it must begin with two zero bytes. Got nothing"),
        (b"\x89PNG0000", "is no idx file.*89 50 4e 47"),
        (bytes([0, 0, 13, 1]) + struct.pack(">If", 1, 0.5), "unsigned bytes.*0x0d"),
        (GOOD[:7], "ends within its sizes, after 7 bytes"),
        (GOOD[:-1], "2 x 3 = 6 values. Got 5"),
        (GOOD + b"0", "2 x 3 = 6 values. Got 7"),
        (PACKED[:-9], "cannot be read: Compressed file ended"),
        (PACKED[:12] + b"0000" + PACKED[16:], "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte.gz .*{message}"):
        read_idx(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="gone cannot be read: No such file"):
        read_idx(tmp_path / "gone")
    with pytest.raises(DataError, match=f"{tmp_path.name} cannot be read: Is a directory"):
        read_idx(tmp_path)
