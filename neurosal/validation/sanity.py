"""Does the map depend on what the network has learnt? Drawn parameters and shuffled labels.

A map can look right for reasons that no network has to learn: where the signal is strong, which
cells were screened, how the method works. So the map is compared with two kinds of maps: those of
networks that know nothing, and that of a network trained again in the same way from another seed,
which says how much likeness there can be.

The size of a map that multiplies by the input is partly that of the input, so the maps of networks
that know nothing can resemble it in size; their signs are a matter of chance. Two limits take care
of that: with sign, a map has to be alike to that of the network trained again and not to the
others; in size, it may be alike to the others, but not as much as to that one.
"""

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, NeurosalError
from neurosal.progress import track
from neurosal.saliency.network import as_network
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.check import Check
from neurosal.validation.likeness import MEASURES, class_means, likeness, shared_variance
from neurosal.validation.removal import Matched, match_maps
from neurosal.validation.twins import (
    balanced_sample,
    changed_parameters,
    layers_of,
    mean_map,
    randomised,
    retrained_map,
    shuffle_labels,
)

PARAMETERS_QUESTION = "Does the map change when the network forgets what it has learnt?"
LABELS_QUESTION = "Does the map differ from those of decoders trained on shuffled labels?"
#: Share of a map's variance, with sign, in common with a network trained again and not with those
#: that know nothing: a correlation of 0.5. In simulated studies maps of untrained networks, of
#: shuffled labels and of random numbers have up to 0.15, those of networks trained on few windows
#: and weak effects 0.6 to 0.9.
LEARNT = 0.25
#: Share of the likeness in size with a network trained again that random parameters may keep.
#: Trained networks keep 0 to 0.5 of it, the more the more of the map is its input.
KEPT = 0.75

_LIMITS = (
    "A map that depends on what was learnt can still be wrong: the network may have learnt a "
    "confound, and the method may show it poorly."
)


def parameter_randomisation(
    maps: xr.DataArray,
    windows: xr.DataArray,
    *,
    y: object,
    decoder: WindowDecoder,
    retrained: np.ndarray | None = None,
    n_networks: int = 5,
    most_windows: int = 60,
    seed: int = 0,
    progress: bool = False,
) -> Check:
    """Draw the network's parameters anew, layer by layer from the output, and explain again.

    Windows are explained by the network after its output layer was randomised, then also the
    layer before, down to the input (cascading); and by networks randomised in full. The mean map
    of each class is compared with theirs, over the cells that the decoder is given, for the zeros
    of screening are no likeness. Two randomised networks' maps are alike to some degree, through
    the input that both maps are made of: that is reported beside. It is verified that every
    parameter changed.

    The map is flagged if it hardly changes: if the variance that its size shares with those of
    randomised networks is more than 0.75 of what it shares with that of a network trained again
    from another seed. It is also flagged if it is no map of this decoder: if the variance shared
    with the network trained again, with sign, less that with the randomised ones, is below 0.25.

    Parameters
    ----------
    maps : xarray.DataArray or array of shape (sample, time, region)
        The maps to be checked.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    decoder : WindowDecoder
        Fitted on the windows.
    retrained : numpy.ndarray of shape (class, time, region), optional
        From :func:`~neurosal.validation.twins.retrained_map`; by default one decoder is trained.
    n_networks : int
        Networks randomised in full.
    most_windows : int
        How many windows are explained by each network.
    seed : int
        Of the windows drawn, the parameters and the decoder trained.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    Check
        ``data`` holds, by ``measure`` (size, signed, rank), ``cascade`` (layer), ``randomised``
        (draw), ``among_randomised`` (pair) and ``retrained``.

    Raises
    ------
    ArgumentError
        If shapes do not fit, the network has no parameters, or n_networks is below 2.
    NeurosalError
        If a parameter could not be changed: then the check would mean nothing.

    References
    ----------
    Adebayo et al. (2018), Sanity checks for saliency maps.
    https://doi.org/10.48550/arXiv.1810.03292

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 6, 20)), np.tile(["rest", "task"], 20)
    >>> X[1::2, 2:4, 2:5] += 2
    >>> decoder = WindowDecoder().fit(X, y)
    >>> parameter_randomisation(decoder.explain(X, y), X, y=y, decoder=decoder).verdict
    'passed'
    """
    if n_networks < 2:
        raise ArgumentError(f"n_networks must be 2 or more, to compare. Got {n_networks!r}.")
    matched = match_maps(maps, windows, y=y, decoder=decoder)
    chosen = balanced_sample(matched.y, most=most_windows, rng=np.random.default_rng(seed))
    given = decoder.screening_.to_numpy()
    own = class_means(matched.maps, matched.y)[:, given]
    retrained = _retrained(retrained, decoder, matched, chosen, seed)[:, given]
    layers, cascade, full = _randomised_maps(
        decoder, matched, chosen, n_networks=n_networks, seed=seed, show=progress
    )
    cascade, full = cascade[:, :, given], full[:, :, given]
    pairs = [(full[i], full[j]) for i in range(len(full)) for j in range(i)]
    data = _dataset(
        retrained=likeness(own, retrained),
        cascade=[likeness(own, one) for one in cascade],
        randomised=[likeness(own, one) for one in full],
        among_randomised=[likeness(*pair) for pair in pairs],
    ).assign_coords(layer=layers)
    return _judge_parameters(data, n_parameters=_count(decoder))


def label_permutation(
    maps: xr.DataArray,
    windows: xr.DataArray,
    *,
    y: object,
    decoder: WindowDecoder,
    groups: object = None,
    retrained: np.ndarray | None = None,
    n_permutations: int = 3,
    most_windows: int = 60,
    seed: int = 0,
    progress: bool = False,
) -> Check:
    """Train the same decoder, screening included, on shuffled labels, and explain again.

    Such decoders learn to tell noise apart. The map is flagged if the variance that it shares,
    with sign, with the map of a decoder trained again on the true labels, less what it shares with
    those of shuffled labels, is below 0.25.

    Parameters
    ----------
    maps : xarray.DataArray or array of shape (sample, time, region)
        The maps to be checked.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    decoder : WindowDecoder
        Fitted on the windows.
    groups : array-like of shape (sample,), optional
        Runs or subjects; labels are shuffled within them.
    retrained : numpy.ndarray of shape (class, time, region), optional
        From :func:`~neurosal.validation.twins.retrained_map`; by default one decoder is trained.
    n_permutations : int
        Decoders trained on shuffled labels.
    most_windows : int
        How many windows are explained by each of them.
    seed : int
        Of the shuffles, the windows drawn and the decoders trained.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    Check
        ``data`` holds ``retrained`` (measure), ``permuted`` (draw, measure),
        ``among_permuted`` (pair, measure), ``own_map`` and ``permuted_map`` (class, time, region),
        the mean size of the maps of shuffled labels.

    Raises
    ------
    ArgumentError
        If shapes do not fit or there are no permutations.
    DataError
        If each group has one class only.

    References
    ----------
    Adebayo et al. (2018), Sanity checks for saliency maps.
    https://doi.org/10.48550/arXiv.1810.03292

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 6, 5)), np.tile(["rest", "task"], 20)
    >>> X[1::2, 3, 2] += 4
    >>> decoder = WindowDecoder(screening_percentile=50).fit(X, y)
    >>> label_permutation(decoder.explain(X, y), X, y=y, decoder=decoder).verdict
    'passed'
    """
    if n_permutations < 1:
        raise ArgumentError(f"n_permutations must be 1 or more. Got {n_permutations!r}.")
    matched = match_maps(maps, windows, y=y, decoder=decoder)
    rng = np.random.default_rng(seed)
    chosen = balanced_sample(matched.y, most=most_windows, rng=np.random.default_rng(seed))
    own = class_means(matched.maps, matched.y)
    retrained = _retrained(retrained, decoder, matched, chosen, seed)
    permuted, n = [], n_permutations
    for draw in track(range(n), "training on shuffled labels", total=n, show=progress):
        labels = shuffle_labels(matched.y, groups=groups, rng=rng)
        options = {"chosen": chosen, "seed": seed + 1 + draw, "labels": labels}
        permuted.append(retrained_map(decoder, matched.windows, matched.y, **options))
    pairs = [(permuted[i], permuted[j]) for i in range(n) for j in range(i)]
    data = _dataset(
        retrained=likeness(own, retrained),
        permuted=[likeness(own, one) for one in permuted],
        among_permuted=[likeness(*pair) for pair in pairs],
    )
    dims = ("class", "time", "region")
    data["own_map"], data["permuted_map"] = (dims, own), (dims, np.mean(np.abs(permuted), axis=0))
    return _judge_labels(data.assign_coords({"class": [str(one) for one in np.unique(matched.y)]}))


def _retrained(
    known: np.ndarray | None,
    decoder: WindowDecoder,
    matched: Matched,
    chosen: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Return the mean map of a decoder trained again, the one given or a new one."""
    if known is not None:
        return np.asarray(known)
    return retrained_map(decoder, matched.windows, matched.y, chosen=chosen, seed=seed + 1)


def _randomised_maps(
    decoder: WindowDecoder,
    matched: Matched,
    chosen: np.ndarray,
    *,
    n_networks: int,
    seed: int,
    show: bool,
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the layers; mean maps after each step of the cascade, and of random networks."""
    layers = layers_of(as_network(decoder.classifier_))
    steps = [[n for _, names in layers[: k + 1] for n in names] for k in range(len(layers))]
    jobs = [(names, seed) for names in steps]
    jobs += [(steps[-1], seed + draw) for draw in range(1, n_networks)]
    maps = []
    for names, draw in track(jobs, "randomising parameters", total=len(jobs), show=show):
        twin = randomised(decoder, names, seed=draw)
        maps.append(mean_map(twin, matched.windows, matched.y, chosen=chosen))
        _verify(decoder, twin, names)
    last = len(steps) - 1
    return [name for name, _ in layers], np.stack(maps[: last + 1]), np.stack(maps[last:])


def _verify(decoder: WindowDecoder, twin: WindowDecoder, names: list[str]) -> None:
    """Refuse a network whose parameters went back, or never changed."""
    left = sorted(set(names) - set(changed_parameters(decoder, twin)))
    if left:
        raise NeurosalError(
            f"{len(left)} parameter(s) of the network did not change when they were drawn anew: "
            f"{', '.join(left[:5])}. A hook or the forward pass may set them; the check would mean "
            "nothing."
        )


def _count(decoder: WindowDecoder) -> int:
    """Count the values of all parameters."""
    modules = as_network(decoder.classifier_).modules
    return sum(values.numel() for module in modules for values in module.parameters())


def _dataset(**found: object) -> xr.Dataset:
    """Lay likenesses out by measure, and by layer, draw or pair."""
    dims = {"cascade": "layer", "randomised": "draw", "permuted": "draw"}
    out = {}
    for name, values in found.items():
        array = np.array(values, dtype=float)
        if name == "retrained":
            out[name] = ("measure", array)
        else:
            out[name] = ((dims.get(name, "pair"), "measure"), array.reshape(-1, len(MEASURES)))
    return xr.Dataset(out, coords={"measure": list(MEASURES)})


def _shared(data: xr.Dataset, other: str) -> dict[str, float]:
    """Variance shared with the retrained map and with the others, and what follows from it."""
    found = {}
    for measure in ("size", "signed"):
        one = data.sel(measure=measure)
        others = [shared_variance(value) for value in one[other].to_numpy()]
        found[measure] = shared_variance(float(one["retrained"])), float(np.mean(others))
    learnt = found["signed"][0] - found["signed"][1]
    again, ignorant = found["size"]
    kept = max(0.0, ignorant) / again if again > 0 else 1.0
    return {"learnt": learnt, "kept": min(kept, 1.0)}


def _means(data: xr.Dataset, *names: str) -> dict[str, float]:
    """Mean correlations by name and measure."""
    out = {}
    for name in names:
        values = data[name].to_numpy().reshape(-1, len(MEASURES)).mean(axis=0)
        out |= {f"{name}_{m}": float(v) for m, v in zip(MEASURES, values, strict=True)}
    return out


def _judge_parameters(data: xr.Dataset, *, n_parameters: int) -> Check:
    """Say what the cascade means."""
    values = _shared(data, "randomised") | _means(data, "retrained", "randomised")
    among = float(data["among_randomised"].sel(measure="size").mean())
    finding = (
        f"Correlation with the map of a network trained again: {values['retrained_signed']:.2f}, "
        f"in size {values['retrained_size']:.2f}; with {data.sizes['draw']} networks of random "
        f"parameters: {values['randomised_signed']:.2f}, in size {values['randomised_size']:.2f} "
        f"(these among themselves in size {among:.2f}). All {n_parameters} parameters changed, in "
        f"{data.sizes['layer']} layers. {_said(values, 'the map of random parameters')}"
    )
    passed = values["learnt"] >= LEARNT and values["kept"] <= KEPT
    return Check(
        name="parameter randomisation",
        question=PARAMETERS_QUESTION,
        verdict="passed" if passed else "flagged",
        finding=finding,
        cannot_show=_LIMITS,
        values=values | {"among_randomised_size": among},
        data=data,
    )


def _judge_labels(data: xr.Dataset) -> Check:
    """Say what the decoders of shuffled labels mean."""
    values = _shared(data, "permuted") | _means(data, "retrained", "permuted")
    finding = (
        f"Correlation with the map of a decoder trained again: {values['retrained_signed']:.2f}, "
        f"in size {values['retrained_size']:.2f}; with {data.sizes['draw']} trained on shuffled "
        f"labels: {values['permuted_signed']:.2f}, in size {values['permuted_size']:.2f}. "
        f"{_said(values, 'the maps of shuffled labels')}"
    )
    passed = values["learnt"] >= LEARNT and values["kept"] <= KEPT
    return Check(
        name="label permutation",
        question=LABELS_QUESTION,
        verdict="passed" if passed else "flagged",
        finding=finding,
        cannot_show=_LIMITS + " The decoder trained again saw the same windows.",
        values=values,
        data=data,
    )


def _said(values: dict[str, float], others: str) -> str:
    """Say what the two shares mean."""
    if values["learnt"] < LEARNT:
        return "The map is hardly that of a decoder trained on these windows."
    if values["kept"] > KEPT:
        return f"The map's size is hardly told from {others}."
    return "The map depends on what was learnt."
