"""What the figures of the network's attention and of several methods show, in words."""

import numpy as np

from neurosal.reporting.results import Results


def attention_words(results: Results) -> str:
    """Say what the figure of attention shows, and what it cannot show.

    Parameters
    ----------
    results : Results
        With ``attention``.

    Returns
    -------
    str
        A few sentences; empty without attention.

    Examples
    --------
    >>> attention_words(Results(""))
    ''
    """
    weights = results.attention
    if weights is None:
        return ""
    return (
        f"Share of attention that each time point gets, mean over {weights.sizes['sample']} "
        "windows, of the network trained on all windows, when it has read the whole window: each "
        f"hop of the input-cell attention, and below their mean.{_directions(results)} Limits: "
        "attention says which time points the network reads, not which regions, and not "
        "what it makes of them; two networks of one accuracy can attend differently."
    )


def method_words(results: Results) -> str:
    """Say what the figure of several methods shows, what it cost, and what it cannot show.

    Parameters
    ----------
    results : Results
        With ``comparison``.

    Returns
    -------
    str
        A few sentences; empty without a comparison.

    Examples
    --------
    >>> method_words(Results(""))
    ''
    """
    found = results.comparison
    if found is None:
        return ""
    n = next(iter(found.maps.values())).sizes["sample"]
    costs = ", ".join(f"{name} {value:.2g} s" for name, value in found.table["seconds"].items())
    return (
        f"Mean size of the maps of {n} windows, drawn evenly from the conditions, by each method, "
        "explaining the network trained on all windows; each on its own scale, for units differ. "
        "At the right: rank correlation of the sizes, mean over windows, over the cells that the "
        f"network is given.{_blocks(found.maps)} It took {costs}. Limits: methods can "
        "agree and be wrong together, and where they differ it does not say which is right."
    )


def _blocks(maps: dict) -> str:
    """Say why occlusion's map is even in time, if it is the default one."""
    window = maps["occlusion"].attrs.get("window") if "occlusion" in maps else None
    if not isinstance(window, tuple | list) or window[0] < 2:
        return ""
    hidden = min(window[0], maps["occlusion"].sizes["time"])
    return f" Occlusion hides {hidden} time points of a region at once, so its map is even in time."


def _directions(results: Results) -> str:
    """Say which hops read forwards and which backwards, if both do."""
    weights = results.attention
    if "direction" not in weights.coords:
        return ""
    way = weights["direction"].to_numpy()
    turn = int(np.argmax(way == "backwards"))
    if not turn or not (way[turn:] == "backwards").all():
        return ""
    return f" Hops 1 to {turn} read forwards in time, {turn + 1} to {len(way)} backwards."
