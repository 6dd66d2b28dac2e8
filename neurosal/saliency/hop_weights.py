"""How a fitted classifier's input-cell attention is spread over time in each window."""

import numpy as np
import torch
import xarray as xr

from neurosal.models.attention import InputCellAttention
from neurosal.models.scopes import without_autocast
from neurosal.saliency.attention import attention_layers
from neurosal.saliency.network import as_network
from neurosal.saliency.windows import as_numpy


def hop_weights(model: object, x: object) -> xr.DataArray:
    """Give the attention of the last reading step over all time points, hop by hop.

    A layer that reads forwards reads last at the end of the window, one that reads backwards at
    its start; both have then read all of it. Their hops follow each other. Only layers that read
    the windows themselves count, see :func:`~neurosal.saliency.attention.attention_layers`.

    Parameters
    ----------
    model : fitted classifier or torch.nn.Module
        With input-cell attention over the windows.
    x : xarray.DataArray or array of shape (sample, time, region)
        Windows of one length, as the classifier is given them.

    Returns
    -------
    xarray.DataArray
        (sample, hop, time): shares that add up to 1 over time. ``direction`` on ``hop`` is
        "forwards" or "backwards".

    Raises
    ------
    ArgumentError
        If a network of the model has no input-cell attention that reads the windows as they are.

    See Also
    --------
    neurosal.saliency.attention.attention : the attention of all reading steps, as a map of cells.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> network = build_network("input-cell-lstm", n_features=3, n_classes=2)
    >>> weights = hop_weights(network, np.ones((2, 4, 3)))
    >>> weights.sizes, round(float(weights[0, 0].sum()), 5)
    (Frozen({'sample': 2, 'hop': 10, 'time': 4}), 1.0)
    """
    network, values = as_network(model), np.asarray(x)
    tensor = torch.as_tensor(values, dtype=network.dtype, device=network.device)
    first, valid = tensor[:1], torch.ones_like(tensor[:1, :, 0], dtype=torch.bool)
    with torch.no_grad(), without_autocast(network.device.type):
        layers = [one for m in network.modules for one in attention_layers(m, first, valid)]
        found = [_weights(layer, tensor, backwards) for layer, backwards in layers]
    names = [
        "backwards" if back else "forwards"
        for (_, back), one in zip(layers, found, strict=True)
        for _ in range(one.shape[1])
    ]
    coords = {"direction": ("hop", names)}
    if isinstance(x, xr.DataArray):
        coords |= {name: one for name, one in x.coords.items() if "region" not in one.dims}
    weights = as_numpy(torch.cat(found, dim=1))
    return xr.DataArray(weights, dims=("sample", "hop", "time"), coords=coords)


def _weights(layer: InputCellAttention, x: torch.Tensor, backwards: bool) -> torch.Tensor:
    """Attention (sample, hop, time) of a layer that reads in either direction."""
    if not backwards:
        return layer.weights(x)
    return layer.weights(x.flip(1)).flip(2)
