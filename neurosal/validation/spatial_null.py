"""Chance maps over regions that are as smooth as the map itself: Moran spectral randomisation.

Neighbouring regions are alike, so two maps that have nothing to do with each other often
correlate. Permuted regions have lost their smoothness, and against them far too many correlations
seem significant. Here a map is written as a sum of spatial patterns, the eigenvectors of the matrix
of inverse distances, from the smoothest to the roughest; the signs of their weights are drawn at
random. Mean, variance and Moran's I of the map stay exactly as they were.

>>> points = np.random.default_rng(0).uniform(-60, 60, size=(50, 3))
>>> values = points[:, 0] + points[:, 1]
>>> chance = MoranNull(points).draw(values, n=3, seed=0)
>>> weights = inverse_distances(points)
>>> [round(moran_i(one, weights) / moran_i(values, weights), 6) for one in chance]
[1.0, 1.0, 1.0]
"""

import numpy as np
from scipy.ndimage import center_of_mass
from scipy.spatial.distance import pdist, squareform

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.maps import MapsAtlas


class MoranNull:
    """Draws maps with the mean, variance and Moran's I of a given one.

    Parameters
    ----------
    centroids : array-like of shape (region, 3)
        The regions' centres in mm.

    Raises
    ------
    ArgumentError
        If there are fewer than 4 regions, a coordinate is missing, or two regions are in one place.

    References
    ----------
    Wagner & Dray (2015), Generating spatially constrained null models for irregularly spaced data
    using Moran spectral randomization methods. https://doi.org/10.1111/2041-210X.12407
    Markello & Misic (2021), Comparing spatial null models for brain maps.
    https://doi.org/10.1016/j.neuroimage.2021.118052

    Examples
    --------
    >>> points = np.random.default_rng(0).uniform(-60, 60, size=(20, 3))
    >>> MoranNull(points).draw(points[:, 0], n=5, seed=0).shape
    (5, 20)
    """

    def __init__(self, centroids: object):
        weights = inverse_distances(centroids)
        n = len(weights)
        # Any orthonormal basis of the maps whose mean is 0: so the constant one is never drawn.
        basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
        self.patterns = basis @ np.linalg.eigh(basis.T @ weights @ basis)[1]

    def draw(self, values: object, *, n: int, seed: int = 0) -> np.ndarray:
        """Draw chance maps.

        Parameters
        ----------
        values : array-like of shape (..., region)
            One map, or several that keep their correlations with each other.
        n : int
            How many draws.
        seed : int
            Of the signs.

        Returns
        -------
        numpy.ndarray of shape (n, ..., region)
            The draws.

        Raises
        ------
        ArgumentError
            If the regions are not those of the centroids, or a value is missing.
        """
        maps = np.asarray(values, dtype=np.float64)
        if maps.shape[-1:] != self.patterns.shape[:1] or not np.isfinite(maps).all():
            raise ArgumentError(
                f"values must be finite, (..., region) with {len(self.patterns)} regions as there "
                f"are centroids. Got shape {maps.shape}."
            )
        mean = maps.mean(axis=-1, keepdims=True)
        loads = (maps - mean) @ self.patterns
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n, loads.shape[-1]))
        signs = signs.reshape(n, *[1] * (maps.ndim - 1), -1)
        return (loads * signs) @ self.patterns.T + mean


def inverse_distances(centroids: object) -> np.ndarray:
    """Give the weight of each pair of regions: one over their distance, 0 on the diagonal.

    Parameters
    ----------
    centroids : array-like of shape (region, 3)
        The regions' centres in mm.

    Returns
    -------
    numpy.ndarray of shape (region, region)
        In 1/mm.

    Raises
    ------
    ArgumentError
        If there are fewer than 4 regions, a coordinate is missing, or two regions are in one place.

    Examples
    --------
    >>> inverse_distances([[0, 0, 0], [4, 0, 0], [0, 2, 0], [9, 9, 9]])[0, :3].tolist()
    [0.0, 0.25, 0.5]
    """
    points = np.asarray(centroids, dtype=np.float64)
    if points.ndim != 2 or len(points) < 4 or not np.isfinite(points).all():
        raise ArgumentError(
            "centroids must be finite and (region, 3), for 4 regions or more. Got shape "
            f"{points.shape}."
        )
    apart = pdist(points)
    if not apart.all():
        raise ArgumentError("centroids must differ. Two regions are in the same place.")
    return squareform(1 / apart)


def moran_i(values: object, weights: np.ndarray) -> float:
    """Moran's I: how alike near regions are.

    Parameters
    ----------
    values : array-like of shape (region,)
        A map.
    weights : numpy.ndarray of shape (region, region)
        From :func:`inverse_distances`.

    Returns
    -------
    float
        About 0 (-1 / (regions - 1)) for a map without spatial order; NaN for a constant one.

    References
    ----------
    Moran (1950), Notes on continuous stochastic phenomena. https://doi.org/10.1093/biomet/37.1-2.17

    Examples
    --------
    >>> line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    >>> bool(moran_i([1, 1, 0, 0], inverse_distances(line)) > moran_i([1, 0, 1, 0],
    ...      inverse_distances(line)))
    True
    """
    centred = np.asarray(values, dtype=np.float64) - np.mean(values)
    size = centred @ centred
    if size == 0:
        return float("nan")
    return float(len(centred) / weights.sum() * (centred @ weights @ centred) / size)


def region_centroids(atlas: RegionAtlas) -> np.ndarray:
    """Find the centre of mass of each region.

    Parameters
    ----------
    atlas : Atlas or MapsAtlas
        Of volumes; for surfaces and grayordinates the centres must come from elsewhere.

    Returns
    -------
    numpy.ndarray of shape (region, 3)
        In mm, in the order of ``atlas.regions``.

    Raises
    ------
    DataError
        If the atlas is not one of volumes.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> region_centroids(load_atlas("dosenbach160")).shape
    (160, 3)
    """
    if isinstance(atlas, Atlas):
        image, labels = atlas.labels, np.asarray(atlas.labels.dataobj)
        ids = atlas.regions["label_id"].to_numpy()
        voxels = np.array(center_of_mass(labels > 0, labels, ids))
    elif isinstance(atlas, MapsAtlas):
        image = atlas.maps
        voxels = np.array([center_of_mass(np.abs(atlas.weights(k))) for k in range(len(atlas))])
    else:
        raise DataError(
            f"The regions of {atlas.name} lie on surfaces, whose places it does not hold. Give "
            "centroids (region, 3) in mm from a mesh of the surfaces."
        )
    return voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
