"""Weights of the authors' released cell, as a layer of this package.

The released cell keeps ``weight_iBarh`` (readout to gates), ``weight_hh`` (hidden to gates) and
one ``bias``, with the gates in the order input, forget, candidate, output, and two linear layers
for the logits. Its matrices stand left of nothing: a step computes
``m @ weight_iBarh + h @ weight_hh + bias``, so they are the transposes of torch's.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from neurosal.errors import ArgumentError
from neurosal.models.cells import InputCellLSTM

KEYS = (
    "weight_iBarh",
    "weight_hh",
    "bias",
    "linear_first.weight",
    "linear_first.bias",
    "linear_second.weight",
    "linear_second.bias",
)


def from_published_weights(
    state_dict: Mapping[str, Tensor], *, normalize: bool = False
) -> InputCellLSTM:
    """Build an LSTM with input-cell attention from a released cell's parameters.

    Sizes are read off the shapes, and so is the readout: ``weight_iBarh`` has as many rows as
    there are features for the mean, ``hops`` times as many for the flattened matrix. Matrices may
    be given as released, (inputs, 4 * hidden), or transposed; ``weight_hh``, which is never
    square, tells which, for both. A prefix that all names share (such as ``rnn.``) is dropped;
    other entries (a read-out layer, the unused ``weight_ih`` of the flattened cell) are left out.

    Parameters
    ----------
    state_dict : mapping of str to Tensor or array
        The parameters, named as released.
    normalize : bool, default=False
        Whether the cell divided the flattened matrix by its norm; the weights do not tell. The
        released checkpoint did.

    Returns
    -------
    InputCellLSTM
        With ``batch_first=True``, of the weights' type.

    Raises
    ------
    ArgumentError
        If an entry is missing, is not made of finite real numbers, or shapes do not fit together.

    References
    ----------
    Ismail, Gunady, Pessoa, Corrada Bravo, Feizi (2019). Input-Cell Attention Reduces Vanishing
    Saliency of Recurrent Neural Networks. NeurIPS 32. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> shapes = {"weight_iBarh": (6, 8), "weight_hh": (2, 8), "bias": (8,),
    ...           "linear_first.weight": (5, 3), "linear_first.bias": (5,),
    ...           "linear_second.weight": (2, 5), "linear_second.bias": (2,)}
    >>> lstm = from_published_weights({k: torch.zeros(s) for k, s in shapes.items()})
    >>> lstm.input_size, lstm.hidden_size, lstm.attention.hops, lstm.attention.readout
    (3, 2, 2, 'flatten')
    """
    found = _pick(state_dict)
    to_gates, recurrent = _orient(found["weight_iBarh"], found["weight_hh"])
    hidden = recurrent.shape[1]
    attention_size, features = found["linear_first.weight"].shape
    hops = found["linear_second.weight"].shape[0]
    readout = _readout(to_gates.shape[1], features, hops, normalize=normalize)
    cell = InputCellLSTM(
        features,
        hidden,
        batch_first=True,
        hops=hops,
        attention_size=attention_size,
        readout=readout,
        normalize=normalize,
        dtype=to_gates.dtype,
    )
    _fill(cell, found, to_gates, recurrent)
    return cell


def _pick(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Find the cell's entries, whatever prefix they share."""
    if not isinstance(state_dict, Mapping):
        raise ArgumentError(
            f"state_dict must map names to arrays, as torch.load or load_file give it. "
            f"Got {type(state_dict).__name__}."
        )
    ends = [name for name in state_dict if isinstance(name, str) and name.endswith(KEYS[0])]
    prefix = ends[0][: -len(KEYS[0])] if len(ends) == 1 else ""
    missing = [prefix + key for key in KEYS if prefix + key not in state_dict]
    if missing:
        raise ArgumentError(
            f"state_dict lacks {', '.join(missing)}. A released cell has {', '.join(KEYS)}. "
            f"Got {', '.join(map(str, state_dict)) or 'nothing'}."
        )
    return {key: _read(key, state_dict[prefix + key]) for key in KEYS}


def _read(name: str, entry: object) -> Tensor:
    """An entry as a tensor, its number of dimensions and its values checked."""
    try:
        tensor = torch.as_tensor(entry).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"{name} must be an array. Got {type(entry).__name__}.") from error
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        kind = "NaN or infinity" if tensor.is_floating_point() else tensor.dtype
        raise ArgumentError(f"{name} must hold finite real numbers. Got {kind}.")
    if "weight" in name and tensor.ndim != 2:
        raise ArgumentError(f"{name} must be a matrix. Got shape {tuple(tensor.shape)}.")
    return tensor


def _orient(to_gates: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
    """Both matrices as torch has them, (4 * hidden, inputs)."""
    rows, columns = recurrent.shape
    if columns == 4 * rows:
        to_gates, recurrent = to_gates.t(), recurrent.t()
    elif rows != 4 * columns:
        raise ArgumentError(
            f"weight_hh must be (hidden, 4 * hidden) or its transpose. Got {(rows, columns)}."
        )
    if to_gates.shape[0] != recurrent.shape[0]:
        raise ArgumentError(
            f"weight_iBarh and weight_hh must serve the same {recurrent.shape[0]} gate units, "
            f"in the same orientation. Got {tuple(to_gates.shape)} as (gate units, inputs)."
        )
    return to_gates, recurrent


def _readout(width: int, features: int, hops: int, *, normalize: bool) -> str:
    """Tell the readout from the width that the gates read."""
    widths = {features: "mean"}
    if hops > 1 or normalize:  # with one hop both are the same, but only "flatten" has a norm
        widths[hops * features] = "flatten"
    if width not in widths:
        raise ArgumentError(
            f"weight_iBarh must read {features} numbers (mean) or {hops * features} (flatten), "
            f"for {features} features and {hops} hops. Got {width}."
        )
    return widths[width]


def _fill(cell: InputCellLSTM, found: dict, to_gates: Tensor, recurrent: Tensor) -> None:
    """Set the cell's parameters; the released single bias is torch's first of two."""
    zero = torch.zeros_like(found["bias"])
    weights = {"rnn.weight_ih_l0": to_gates, "rnn.weight_hh_l0": recurrent}
    weights |= {"rnn.bias_ih_l0": found["bias"], "rnn.bias_hh_l0": zero}
    for ours, theirs in (("first", "linear_first"), ("second", "linear_second")):
        for kind in ("weight", "bias"):
            weights[f"attention.{ours}.{kind}"] = found[f"{theirs}.{kind}"]
    expected = {name: tuple(tensor.shape) for name, tensor in cell.state_dict().items()}
    for name, tensor in weights.items():
        if tuple(tensor.shape) != expected[name]:
            raise ArgumentError(
                f"The entry for {name} must be of shape {expected[name]}. "
                f"Got {tuple(tensor.shape)}."
            )
    cell.load_state_dict(weights)
