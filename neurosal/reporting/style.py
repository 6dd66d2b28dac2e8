"""What the figures share: type sizes, colour-blind safe colours and the order of regions."""

import re
from collections.abc import Callable, Sequence
from functools import wraps

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import Colormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure

from neurosal.errors import ArgumentError, check_one_of

UNITS = "attribution (logit)"
DPI = 150
NO_DATA = "0.62"
TIME_LABEL = "Time from event onset (s)"
INK = "0.15"

# Okabe & Ito's colours, without the yellow that vanishes on white; then darker kin of them.
_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MORE = ("#332288", "#882255", "#999933", "#AA4499", "#44AA99", "#6699CC", "#888888")
_NETWORKS = re.compile(r"^\d+Networks_")
_LINES = ("-", "--", "-.", ":")

_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": DPI,
}


def styled(function: Callable) -> Callable:
    """Run a plotting function under this package's settings and leave the caller's untouched.

    Parameters
    ----------
    function : callable
        Draws a figure.

    Returns
    -------
    callable
        The same, within a settings context.

    Examples
    --------
    >>> styled(lambda: mpl.rcParams["font.size"])()
    8.0
    """

    @wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        with mpl.rc_context(_RC):
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """Make a figure that pyplot does not know of, so that none is left open.

    Parameters
    ----------
    width, height : float
        Size in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Empty, with a layout that keeps labels from overlapping.

    Examples
    --------
    >>> new_figure(3, 2).get_size_inches().tolist()
    [3.0, 2.0]
    """
    return Figure(figsize=(width, height), layout="constrained")


def colour_of(names: Sequence[str]) -> dict:
    """Give each name, in order of first appearance, its own colour-blind safe colour.

    Parameters
    ----------
    names : sequence of str
        Networks or conditions, repeats allowed.

    Returns
    -------
    dict
        Name to colour; after fourteen names the colours begin again, paler.

    Examples
    --------
    >>> colour_of(["motor", "visual", "motor"])
    {'motor': '#0072B2', 'visual': '#D55E00'}
    """
    palette = [*_HUES, *_MORE]
    palette += [_paler(colour) for colour in palette]
    return {name: palette[i % len(palette)] for i, name in enumerate(dict.fromkeys(names))}


def line_of(names: Sequence[str]) -> dict:
    """Give each name a line style, so that lines are told apart without colour.

    Parameters
    ----------
    names : sequence of str
        Conditions, repeats allowed.

    Returns
    -------
    dict
        Name to matplotlib line style.

    Examples
    --------
    >>> line_of(["rh", "lh"])
    {'rh': '-', 'lh': '--'}
    """
    return {name: _LINES[i % len(_LINES)] for i, name in enumerate(dict.fromkeys(names))}


def as_maps(importance: xr.DataArray) -> xr.DataArray:
    """Bring maps to (condition, time, region).

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (time, region) or (condition, time, region).

    Returns
    -------
    xarray.DataArray
        With a condition, of its scalar coordinate's name or none, where there was no dimension.

    Raises
    ------
    ArgumentError
        If the dimensions are others or one is empty.

    Examples
    --------
    >>> as_maps(xr.DataArray(np.ones((2, 3)), dims=("time", "region"))).shape
    (1, 2, 3)
    """
    if "condition" not in importance.dims:
        name = str(importance["condition"].item()) if "condition" in importance.coords else ""
        importance = importance.drop_vars("condition", errors="ignore")
        importance = importance.expand_dims(condition=[name])
    if set(importance.dims) != {"condition", "time", "region"} or 0 in importance.shape:
        raise ArgumentError(
            "importance must be (time, region) or (condition, time, region) and not empty. "
            f"Got {dict(importance.sizes)}."
        )
    return importance.transpose("condition", "time", "region")


def time_label(times: np.ndarray) -> str:
    """Name an axis of time: whole numbers count steps, others are seconds.

    Parameters
    ----------
    times : numpy.ndarray
        The coordinate.

    Returns
    -------
    str
        With its unit.

    Examples
    --------
    >>> time_label(np.array([5.0])), time_label(np.arange(3))
    ('Time from event onset (s)', 'Time step')
    """
    return "Time step" if np.asarray(times).dtype.kind in "iu" else TIME_LABEL


def networks_of(array: xr.DataArray) -> np.ndarray:
    """Each region's network; "all regions" where the array does not say.

    Parameters
    ----------
    array : xarray.DataArray
        With dimension ``region`` and, if known, coordinate ``network``.

    Returns
    -------
    numpy.ndarray of str
        One entry a region.

    Examples
    --------
    >>> networks_of(xr.DataArray(np.zeros(2), dims="region")).tolist()
    ['all regions', 'all regions']
    """
    if "network" in array.coords:
        names = [str(name).strip() for name in array["network"].values]
        return np.array([name or "no network" for name in names])
    return np.full(array.sizes["region"], "all regions")


def region_order(array: xr.DataArray) -> np.ndarray:
    """Order that puts regions of one network together and otherwise keeps the atlas's.

    Parameters
    ----------
    array : xarray.DataArray
        With dimension ``region`` and, if known, coordinate ``network``.

    Returns
    -------
    numpy.ndarray of int
        Positions along ``region``.

    Examples
    --------
    >>> array = xr.DataArray(np.zeros(3), dims="region",
    ...                      coords={"network": ("region", ["b", "a", "b"])})
    >>> region_order(array).tolist()
    [0, 2, 1]
    """
    networks = networks_of(array)
    rank = {name: i for i, name in enumerate(dict.fromkeys(networks.tolist()))}
    return np.argsort([rank[name] for name in networks.tolist()], kind="stable")


def colour_scale(
    values: np.ndarray, *, scale: str = "auto", vmax: float | None = None
) -> tuple[Colormap, Normalize, str]:
    """Choose colours, limits and colour-bar arrows for a set of values.

    Parameters
    ----------
    values : numpy.ndarray
        All values that share the scale; NaN is no data.
    scale : {"auto", "signed", "sequential"}, default="auto"
        ``"signed"``: blue, white, red around zero. ``"sequential"``: viridis from zero. ``"auto"``:
        signed if any value is below zero.
    vmax : float, optional
        The upper limit; by default the 99.5th percentile of the absolute values.

    Returns
    -------
    tuple of matplotlib.colors.Colormap, matplotlib.colors.Normalize, str
        Colours, limits, and the ``extend`` argument of a colour bar.

    Raises
    ------
    ArgumentError
        If ``scale`` or ``vmax`` is not allowed.

    Examples
    --------
    >>> colours, limits, extend = colour_scale(np.array([-1.0, 2.0]), vmax=2.0)
    >>> colours.name, limits.vmin, extend
    ('RdBu_r', -2.0, 'neither')
    """
    check_one_of("scale", scale, ["auto", "signed", "sequential"])
    if vmax is not None and not vmax > 0:
        raise ArgumentError(f"vmax must be above zero. Got {vmax!r}.")
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    limit = vmax or robust_limit(finite)
    signed = scale == "signed" or (scale == "auto" and bool((finite < 0).any()))
    colours = mpl.colormaps["RdBu_r" if signed else "viridis"].with_extremes(bad=NO_DATA)
    above, below = bool((finite > limit).any()), bool((finite < (-limit if signed else 0)).any())
    extend = {(1, 1): "both", (1, 0): "max", (0, 1): "min", (0, 0): "neither"}[above, below]
    return colours, Normalize(-limit if signed else 0.0, limit), extend


def robust_limit(values: np.ndarray, *, quantile: float = 0.995) -> float:
    """Upper limit of a colour scale that a few extreme values cannot set.

    Parameters
    ----------
    values : numpy.ndarray
        Any shape; values that are not finite are left out.
    quantile : float, default=0.995
        Of the absolute values that are not zero.

    Returns
    -------
    float
        Above zero; 1 if there is no value but zero.

    Examples
    --------
    >>> robust_limit(np.array([0.0, -3.0, np.nan]))
    3.0
    """
    size = np.abs(np.asarray(values, dtype=float).ravel())
    size = size[np.isfinite(size) & (size > 0)]
    return float(np.quantile(size, quantile)) if size.size else 1.0


def time_stretches(times: np.ndarray, n: int) -> list[tuple[np.ndarray, str]]:
    """Part times into stretches of about equal length, for pictures of their means.

    Parameters
    ----------
    times : numpy.ndarray
        In s, rising.
    n : int
        Stretches at most.

    Returns
    -------
    list of tuple of numpy.ndarray, str
        Positions of each stretch, and from when to when it is.

    Examples
    --------
    >>> [label for _, label in time_stretches(np.array([5.0, 6.0, 7.0]), 2)]
    ['5.0 to 6.0 s', '7.0 s']
    """
    parts = np.array_split(np.arange(len(times)), min(max(n, 1), len(times)))
    seconds = time_label(times) == TIME_LABEL
    words = [f"{time:.1f}" if seconds else f"{time:g}" for time in times]
    ends = [(words[part[0]], words[part[-1]]) for part in parts]
    head, tail = ("", " s") if seconds else ("step ", "")
    labels = [f"{head}{a}{tail}" if a == b else f"{head}{a} to {b}{tail}" for a, b in ends]
    return list(zip(parts, labels, strict=True))


def plain(text: object, *, longest: int = 40) -> str:
    r"""Make a name fit for a figure: no mathematics markup, one line, not too long.

    The beginning ``7Networks_`` of Schaefer's names, which is that of all, is left out.

    Parameters
    ----------
    text : object
        The name of a region, network or condition.
    longest : int, default=40
        Characters; of a longer name the middle is left out, for its end tells it from others.

    Returns
    -------
    str
        Dollar signs are escaped, which matplotlib would read as mathematics.

    Examples
    --------
    >>> plain("a$b")
    'a\\$b'
    """
    line = _NETWORKS.sub("", " ".join(str(text).split()))
    if len(line) > longest:
        head = longest // 2
        line = line[:head] + "…" + line[len(line) - (longest - head - 1) :]
    return line.replace("$", r"\$")


def _paler(colour: str) -> str:
    """Mix a colour with white."""
    return to_hex(0.5 + 0.5 * np.array(to_rgb(colour)))
