"""Maps made by taking parts of a sample away: set to the baseline, scored again.

No gradient is needed, so these methods take any network, and also show what a gradient cannot: a
saturated score that stays as it is until much has been taken away.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_number, check_one_of
from neurosal.saliency.batching import split
from neurosal.saliency.gradients import Attribution
from neurosal.saliency.scores import Score

Block = tuple[slice, torch.Tensor]


def occlusion(
    score: Score,
    x: torch.Tensor,
    *,
    window: tuple[int, int] = (10, 1),
    stride: tuple[int, int] | None = None,
) -> Attribution:
    """Score lost when a window sliding over time and regions is set to the baseline.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    window : tuple of int
        Steps and regions of the window, cut to those that there are; regions follow each other as
        in ``x``.
    stride : tuple of int or None
        How far the window moves; None: by its own size.

    Returns
    -------
    Attribution
        Signed maps: for each cell the mean loss over the windows that cover it; zero after the
        step that the score is read at.

    Raises
    ------
    ArgumentError
        If window or stride are no two positive integers, or the stride skips cells.

    References
    ----------
    Zeiler & Fergus (2014), doi:10.1007/978-3-319-10590-1_53.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> maps = occlusion(score, torch.ones(1, 2, 3), window=(1, 1)).maps
    >>> torch.allclose(maps.flatten(), network.modules[0][1].weight[1], atol=1e-6)
    True
    """
    times, regions = _windows(x.shape[1:], window, stride)
    every = torch.arange(x.shape[2], device=x.device)
    return _ablate(score, x, [(steps, every[part]) for steps in times for part in regions])


def count_windows(arguments: dict, shape: tuple[int, int]) -> int:
    """How many windows :func:`occlusion` takes away from a sample, one after the other.

    Parameters
    ----------
    arguments : dict
        Its own arguments.
    shape : tuple of int
        Steps and regions of a sample.

    Returns
    -------
    int
        Number of windows.

    Examples
    --------
    >>> count_windows({"window": (10, 1), "stride": None}, (100, 7))
    70
    """
    times, regions = _windows(shape, **arguments)
    return len(times) * len(regions)


def feature_ablation(
    score: Score,
    x: torch.Tensor,
    *,
    groups: object = "region",
    block: int | None = None,
) -> Attribution:
    """Score lost when a group of regions is set to the baseline, in the whole or in time blocks.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    groups : "region", "network", "all" or array of labels
        Each region by itself; the regions of a network together (the coordinate ``network`` of
        the samples); all regions at once (with ``block``, to see time alone); or one label for
        each region (N,).
    block : int or None
        Steps taken away together; None: all.

    Returns
    -------
    Attribution
        Signed maps: each cell holds the loss of the block that it is in; zero after the step
        that the score is read at.

    Raises
    ------
    ArgumentError
        If the groups or the block do not fit the samples.
    DataError
        If a region has no label.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> maps = feature_ablation(score, torch.ones(1, 2, 3), groups=["a", "b", "a"]).maps
    >>> bool((maps[0, :, 0] == maps[0, :, 2]).all())
    True
    """
    times, members = _blocks(x.shape[1:], groups, block)
    members = [part.to(x.device) for part in members]
    return _ablate(score, x, [(steps, part) for steps in times for part in members])


def count_blocks(arguments: dict, shape: tuple[int, int]) -> int:
    """How many blocks :func:`feature_ablation` takes away from a sample, one after the other.

    Parameters
    ----------
    arguments : dict
        Its own arguments.
    shape : tuple of int
        Steps and regions of a sample.

    Returns
    -------
    int
        Number of blocks.

    Examples
    --------
    >>> count_blocks({"groups": ["a", "b", "a"], "block": 4}, (10, 3))
    6
    """
    times, members = _blocks(shape, **arguments)
    return len(times) * len(members)


def temporal_rescaling(
    score: Score,
    x: torch.Tensor,
    *,
    base: str = "gradient",
    threshold: float = 0.55,
    elsewhere: float = 0.1,
    base_arguments: dict | None = None,
) -> Attribution:
    """Temporal saliency rescaling: how much another method's map changes when cells are taken away.

    First each step: the summed absolute change of the map when the step is set to the baseline,
    scaled to [0, 1] over the steps (1 where all are equal). Then, in steps above a quantile, each
    cell in the same way, unscaled. The result is the product.

    This is by far the dearest method: a sample of T steps and N regions takes about
    T + (1 - threshold) T N maps of ``base``, that is 51,000 for 284 steps and 400 regions, each
    with all the passes that ``base`` itself takes. Choose a cheap base, few samples, or a higher
    threshold; the progress shown counts parts of a sample.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    base : str
        The method whose map is watched.
    threshold : float
        Quantile of the steps above which single cells are taken away; where no step is above, in
        those that change the map most.
    elsewhere : float
        What stands for the cells of the other steps, as a share of the sample's largest change by
        a single cell. (The published code has the number 0.1, beside changes scaled to [0, 1].)
    base_arguments : dict or None
        The base method's own arguments.

    Returns
    -------
    Attribution
        Maps without sign.

    Raises
    ------
    ArgumentError
        If an argument is not allowed.

    References
    ----------
    Ismail et al. (2020), doi:10.48550/arXiv.2010.13924.

    Examples
    --------
    >>> from neurosal.saliency.explain import explain
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> explain(network, torch.ones(4, 2, 3), method="temporal_rescaling", target=1).shape
    (4, 2, 3)
    """
    method, arguments = _watched(base, threshold, elsewhere, base_arguments)
    wide = torch.promote_types(x.dtype, torch.float32)  # Half precision has no quantile.

    def change(rows: torch.Tensor, steps: torch.Tensor, regions: object) -> torch.Tensor:
        """Change of the maps of ``rows`` when ``steps`` at ``regions`` are at the baseline."""
        less = x[rows]
        at = (torch.arange(len(rows), device=x.device), steps, regions)
        less[at] = score.baseline.expand_as(x)[rows, steps, regions]
        changed = method.function(score.take(rows), less, **arguments).maps
        return (changed - whole[rows]).abs().flatten(1).sum(1, dtype=wide)

    whole = method.function(score, x, **arguments).maps
    valid = score.valid(x)
    every = torch.zeros(valid.shape, dtype=wide, device=x.device)
    for rows, steps in split(score.rows, *valid.nonzero(as_tuple=True)):
        every[rows, steps] = change(rows, steps, slice(None))
    cells = torch.zeros_like(x, dtype=wide)
    ahead = _ahead(every, valid, threshold)
    chosen = ahead[:, :, None].expand_as(x).nonzero(as_tuple=True)
    for rows, steps, regions in split(score.rows, *chosen):
        cells[rows, steps, regions] = change(rows, steps, regions)
    cells = torch.where(ahead[:, :, None], cells, elsewhere * cells.amax((1, 2), keepdim=True))
    return Attribution(_unit_range(every, valid)[:, :, None] * cells, {})


def count_changes(arguments: dict, shape: tuple[int, int]) -> int:
    """How many variants of a sample :func:`temporal_rescaling` sends through the network.

    Parameters
    ----------
    arguments : dict
        Its own arguments.
    shape : tuple of int
        Steps and regions of a sample.

    Returns
    -------
    int
        Number of variants of the sample, those that the base makes of each included.

    Examples
    --------
    >>> own = {"base": "smoothgrad", "base_arguments": {"n_samples": 3}}
    >>> count_changes({"threshold": 0.5, "elsewhere": 0.1, **own}, (10, 4))
    93
    """
    method, own = _watched(**arguments)
    ahead = max(1, math.ceil((1 - arguments["threshold"]) * shape[0]))
    return (1 + shape[0] + ahead * shape[1]) * method.variants(own, shape)


def _watched(base: str, threshold: float, elsewhere: float, base_arguments: dict | None) -> tuple:
    """Check the arguments, look the base method up and complete its own."""
    from neurosal.saliency.methods import WATCHED, find_method

    check_one_of("base", base, WATCHED)
    check_number("threshold", threshold, low=0, high=1)
    check_number("elsewhere", elsewhere, low=0, high=1)
    if not isinstance(base_arguments, dict | None):
        raise ArgumentError(f"base_arguments must be None or a dict. Got {base_arguments!r}.")
    return find_method(base, base_arguments or {})


def _ablate(score: Score, x: torch.Tensor, blocks: Sequence[Block]) -> Attribution:
    """Give each cell the mean score lost over the blocks that it is in."""
    maps = torch.zeros_like(x)
    covered = torch.zeros(x.shape[1:], dtype=x.dtype, device=x.device)
    baseline = score.baseline.expand_as(x)
    with torch.no_grad():
        whole = score(x)
        for some in _at_once(blocks, max(1, score.rows // len(x))):
            less = x.repeat(len(some), 1, 1, 1)
            for variant, (steps, regions) in zip(less, some, strict=True):
                variant[:, steps, regions] = baseline[:, steps, regions]
            rows = torch.arange(len(x), device=x.device).repeat(len(some))
            lost = whole - score(less.flatten(0, 1), rows).view(len(some), -1)
            for loss, (steps, regions) in zip(lost, some, strict=True):
                maps[:, steps, regions] += loss[:, None, None]
                covered[steps, regions] += 1
    maps /= covered
    if score.at != "end":
        maps[:, score.at + 1 :] = 0
    return Attribution(maps, {"score": whole})


def _at_once(blocks: Sequence[Block], count: int) -> Iterator[Sequence[Block]]:
    """Cut a list into lists of at most ``count``."""
    for start in range(0, len(blocks), count):
        yield blocks[start : start + count]


def _windows(
    shape: tuple[int, int], window: tuple[int, int], stride: tuple[int, int] | None
) -> list[list[slice]]:
    """Steps and regions of the places of a sliding window."""
    window = tuple(map(min, _two("window", window), shape))
    stride = window if stride is None else _two("stride", stride)
    if stride[0] > window[0] or stride[1] > window[1]:
        raise ArgumentError(f"stride must not exceed the window {window!r}. Got {stride!r}.")
    return [
        [slice(start, start + size) for start in _starts(total, size, step)]
        for total, size, step in zip(shape, window, stride, strict=True)
    ]


def _two(name: str, sizes: object) -> tuple[int, int]:
    """Refuse what is no pair of positive integers."""
    try:
        steps, regions = (check_number(name, size, low=1, whole=True) for size in sizes)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be two positive integers. Got {sizes!r}.") from error
    return steps, regions


def _blocks(
    shape: tuple[int, int], groups: object, block: int | None
) -> tuple[list[slice], list[torch.Tensor]]:
    """Steps of the time blocks, and the regions of each group."""
    n_steps, n_regions = shape
    block = check_number("block", block, low=1, whole=True, optional=True) or n_steps
    times = [slice(start, start + block) for start in range(0, n_steps, block)]
    return times, _members(groups, n_regions)


def _starts(total: int, size: int, step: int) -> list[int]:
    """Starts of a sliding window; the last one may reach over the end."""
    return [step * k for k in range(math.ceil((total - size) / step) + 1)]


def _members(groups: object, n_regions: int) -> list[torch.Tensor]:
    """Regions of each group."""
    if isinstance(groups, str):
        check_one_of("groups", groups, ["region", "all"])
        labels = np.arange(n_regions) if groups == "region" else np.zeros(n_regions)
    else:
        labels = np.asarray(groups, dtype=object)
    if labels.shape != (n_regions,):
        raise ArgumentError(
            f"groups must be 'region', 'network' (for samples with that coordinate), 'all', or one "
            f"label for each of {n_regions} regions. Got shape {labels.shape}."
        )
    place = pd.factorize(labels)[0]
    _check_labelled((place < 0) | [not str(label).strip() for label in labels], groups)
    return [torch.as_tensor(np.flatnonzero(place == group)) for group in range(place.max() + 1)]


def _check_labelled(missing: np.ndarray, groups: object) -> None:
    """Refuse regions without a label."""
    if missing.any():
        named = isinstance(groups, xr.DataArray) and "region" in groups.coords
        names = groups["region"].values if named else np.arange(len(missing))
        raise DataError(
            f"groups must give each region a label. Got none for {int(missing.sum())} of "
            f"{len(missing)} regions: {names[missing][:10].tolist()}{'' if named else ' from 0'}. "
            "Label them, or leave these regions out."
        )


def _ahead(values: torch.Tensor, valid: torch.Tensor, share: float) -> torch.Tensor:
    """Mark the steps above the quantile of their sample's, or its largest where none is."""
    quantile = values.masked_fill(~valid, torch.nan).nanquantile(share, dim=1, keepdim=True)
    above, top = values > quantile, values == values.amax(1, keepdim=True)
    return torch.where(above.any(1, keepdim=True), above, top) & (values > 0)


def _unit_range(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Scale to [0, 1] over the valid steps of each sample; if all are equal, 1 but for zeros."""
    low = values.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    high = values.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    return torch.where(high == low, values > 0, (values - low) / (high - low)) * valid
