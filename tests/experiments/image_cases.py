"""Small sets of images in idx files, for tests without the real ones."""

import gzip
import struct

import numpy as np


def idx_bytes(values):
    """Write an array of uint8 as an idx file has it."""
    values = np.asarray(values, dtype=np.uint8)
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def draw_images(n, seed):
    """Draw images whose class is the row of a bright bar; every class has a tenth of them."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 10)
    x = rng.integers(0, 60, (n, 28, 28))
    for image, label in zip(x, y, strict=True):
        start = rng.integers(4, 10)
        image[2 + 2 * label : 4 + 2 * label, start : start + 14] = 250
    return x.astype(np.uint8), y


def write_set(folder, *, n_train=140, n_test=40, seed=0, ending=".gz"):
    """Write the four files of a set."""
    folder.mkdir(parents=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        x, y = draw_images(n, [seed, n])
        for name, values in (("images-idx3", x), ("labels-idx1", y)):
            content = idx_bytes(values)
            content = gzip.compress(content, 1) if ending == ".gz" else content
            (folder / f"{part}-{name}-ubyte{ending}").write_bytes(content)
    return folder
