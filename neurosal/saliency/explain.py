"""Explain a classifier's scores by a map of importance over time and regions."""

import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, check_one_of
from neurosal.models.checks import check_region_names
from neurosal.models.scopes import seeded
from neurosal.saliency.baselines import as_baseline, in_order
from neurosal.saliency.batching import Progress, check_batch_size, in_batches
from neurosal.saliency.job import Job
from neurosal.saliency.methods import find_method
from neurosal.saliency.network import as_network, evaluating
from neurosal.saliency.recorded import recorded
from neurosal.saliency.scores import OUTPUTS
from neurosal.saliency.storing import Storage
from neurosal.saliency.windows import Windows


def explain(
    model: object,
    x: object,
    *,
    method: str = "integrated_gradients",
    target: object = "true",
    y: object = None,
    output: str = "logit",
    at: str | int = "end",
    baseline: object = None,
    classes: object = None,
    batch_size: str | int = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    **method_arguments: object,
) -> xr.DataArray:
    """Map how much each region at each time counts for the network's score of a class.

    Parameters
    ----------
    model : classifier or torch.nn.Module
        A fitted classifier of this package (an ensemble's scores are its members' mean logits), or
        a module that maps samples (B, T, N) to logits (B, C) or, step by step, (B, T, C). It is
        used in evaluation mode and left as it was: modes, parameters and their gradients.
    x : xarray.DataArray, array-like or list
        Samples (sample, time, region), or a list of (T_i, region). Trailing steps that are NaN in
        every region are padding. A memory-mapped array is read a batch at a time.
    method : str
        One of :data:`neurosal.saliency.methods.METHODS`.
    target : "true", "predicted", class label or array of labels
        The class whose score is explained; an array names one for each sample.
    y : array-like or None
        True labels for ``target="true"``; None: the ``condition`` coordinate of ``x``.
    output : str
        "logit"; "margin", the logit minus the largest other logit; or "probability" (softmax).
    at : "end", int or "all"
        The score after the last valid step, after this step, or after each.
    baseline : None, array-like or "mean"
        What "absent" means: zero; values that broadcast to (time, region) or to the shape of ``x``;
        or the mean over the samples.
    classes : array-like or None
        Labels of a module's logits, in their order; None: 0, 1, ...
    batch_size : "auto" or int
        The most samples or variants of samples in one pass; "auto": what fits half of the free
        memory. It is halved when the memory does not suffice.
    seed : int
        A whole number, for methods that draw noise. A sample's noise depends on the seed and its
        values alone, and moves with its regions. A module that draws by itself draws the same
        again.
    out : path or None
        A ``.npy`` file for maps larger than the memory; the result then reads from it. They are
        written to ``<out>.part`` as they are made, which gets its name at the end, and stays if an
        error comes before that.
    progress : bool
        Show the progress of long work on standard error.
    **method_arguments
        The method's own arguments, such as ``n_samples``.

    Returns
    -------
    xarray.DataArray
        Importance (sample, time, region), for ``at="all"`` (sample, output_time, time, region),
        with the coordinates of ``x``; zero in the padding. Coordinates ``target`` and ``score`` on
        ``sample`` hold what was explained, others what the method found out (such as
        ``completeness_error``). The attributes record every argument that shaped the maps. If the
        work is interrupted, samples not done are NaN and the attribute ``interrupted`` is true.

    Warns
    -----
    UserWarning
        If the work is interrupted, or, with ``batch_size="auto"``, the first sample's score is
        another by itself than among the others (a module that draws noise or mixes samples).

    Raises
    ------
    ArgumentError
        If an argument does not fit, or the network cannot take the method.
    DataError
        If ``x`` holds NaN or infinity (looked for before the work, but in dask's arrays), or one
        sample does not fit the memory.

    See Also
    --------
    neurosal.saliency.compare.compare_methods : Several methods side by side.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> maps = explain(network, np.ones((4, 2, 3)), target="predicted")
    >>> maps.dims, maps.attrs["method"]
    (('sample', 'time', 'region'), 'integrated_gradients')
    """
    chosen, arguments = find_method(method, method_arguments)
    check_one_of("output", output, OUTPUTS)
    check_batch_size(batch_size)
    windows, network, seed = Windows(x), as_network(model, classes), _whole("seed", seed)
    storage = Storage(out, windows)
    check_region_names(network.regions, windows.labelled)
    _name_groups(arguments, windows)
    _order_background(arguments, windows)
    _check_at(at, windows)
    labels, absent = _labels(target, y, windows), as_baseline(baseline, windows)
    windows.check()
    n, shown = len(windows), Progress(len(windows), method, enabled=progress)
    job = Job(windows, network, chosen, arguments, labels, absent, output, at, seed, shown=shown)
    with evaluating(network), seeded(seed):
        rows = job.rows() if batch_size == "auto" else int(batch_size)
        with storage.room(job.shape, network.dtype) as maps:
            done = in_batches(n, rows, job.filler(maps), shown=shown, samples_of=job.samples_of)
            job.leave_out(done, maps)
    job.check_score()
    if done < n:
        warnings.warn("explain was interrupted: samples not done are NaN.", stacklevel=2)
    maps = storage.maps
    asked = {"method": method, "target": recorded(target), "baseline": recorded(baseline, "zero")}
    return job.labelled(maps, asked | {"interrupted": done < n})


def _is_whole(value: object) -> bool:
    """Tell whether a value is a whole number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _whole(name: str, value: object) -> int:
    """Refuse what is no whole number."""
    if not _is_whole(value):
        raise ArgumentError(f"{name} must be a whole number. Got {value!r}.")
    return int(value)


def _check_at(at: object, windows: Windows) -> None:
    """Refuse an output step that does not exist."""
    steps = windows.shape[1]
    named = isinstance(at, str) and at in ("end", "all")
    if not named and not (_is_whole(at) and 0 <= at < steps):
        raise ArgumentError(f"at must be 'end', 'all' or a step from 0 to {steps - 1}. Got {at!r}.")


def _labels(target: object, y: object, windows: Windows) -> object:
    """Return "predicted", or one label for each sample."""
    n = windows.shape[0]
    if isinstance(target, str) and target == "predicted":
        return target
    if isinstance(target, str) and target == "true":
        return _true_labels(y, windows)
    labels = np.asarray(target)
    if labels.ndim == 0:
        return np.full(n, labels[()])
    if labels.shape != (n,):
        raise ArgumentError(
            f"target must be 'true', 'predicted', a class label, or one label for each of {n} "
            f"samples. Got shape {labels.shape}."
        )
    return labels


def _true_labels(y: object, windows: Windows) -> np.ndarray:
    """Labels given, or the conditions of a labelled array."""
    n, labelled = windows.shape[0], windows.labelled
    if y is None and labelled is not None and "condition" in labelled.coords:
        y = labelled["condition"].values
    if y is None:
        raise ArgumentError(
            "target='true' needs the true labels: give y, or a DataArray with the coordinate "
            "'condition' on 'sample'; or use target='predicted' or a class label."
        )
    if np.shape(y) != (n,):
        raise ArgumentError(f"y must hold one label for each of {n} samples. Got {np.shape(y)}.")
    return np.asarray(y)


def _name_groups(arguments: dict, windows: Windows) -> None:
    """Replace ``groups="network"`` by the network of each region."""
    if not isinstance(arguments.get("groups"), str) or arguments["groups"] != "network":
        return
    labelled = windows.labelled
    if labelled is None or "network" not in labelled.coords:
        raise ArgumentError(
            "groups='network' needs x as a DataArray with the coordinate 'network' on 'region'. "
            "Give groups as one label for each region instead."
        )
    arguments["groups"] = labelled["network"]


def _order_background(arguments: dict, windows: Windows) -> None:
    """Put a labelled background's regions in the samples' order, also a base method's."""
    base = arguments.get("base_arguments")
    if isinstance(base, dict):
        arguments["base_arguments"] = base = dict(base)  # The caller's own stays as it is.
    for own in (arguments, base):
        if isinstance(own, dict) and isinstance(own.get("background"), xr.DataArray):
            own["background"] = in_order("background", own["background"], windows)
