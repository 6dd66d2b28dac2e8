"""A turning brain with a time slider, as one piece of HTML that asks nothing of the network.

The brain is drawn on a plain canvas by a script of this package (``templates/slider.js``), which
needs neither WebGL nor a library, so that it also runs where graphics are remote or locked down,
and the page's policy can forbid every other script by its hash.
"""

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.base import RegionAtlas
from neurosal.projection.values import columns_of
from neurosal.reporting import style
from neurosal.reporting.brain_mesh import BrainMesh, Side, brain_mesh

_MISSING = -32768


@dataclass(frozen=True)
class BrainSlider:
    """A turning brain with a time slider; what :func:`brain_slider` returns.

    In a notebook it shows itself.

    Parameters
    ----------
    fragment : str
        HTML to put into a page that also holds :func:`slider_style` and :func:`slider_script`.
    title : str
        Heading of the page on its own.

    Examples
    --------
    >>> "bs-time" in BrainSlider("<input class='bs-time'>").html
    True
    """

    fragment: str
    title: str = ""

    @cached_property
    def html(self) -> str:
        """The whole page."""
        script = slider_script()
        return (
            environment()
            .get_template("slider_page.html.j2")
            .render(
                title=self.title,
                fragment=Markup(self.fragment),
                script=Markup(script),
                hash=script_hash(script),
            )
        )

    def save_as_html(self, path: str | Path) -> Path:
        """Write the page.

        Parameters
        ----------
        path : str or pathlib.Path
            The file; one that is there is replaced.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        DataError
            If it cannot be written.

        Examples
        --------
        >>> BrainSlider("").save_as_html("/dev/null/brain.html")
        Traceback (most recent call last):
            ...
        neurosal.errors.DataError: Cannot write /dev/null/brain.html: ...
        """
        path = Path(path)
        try:
            path.write_text(self.html, encoding="utf-8")
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error}. Choose another folder.") from error
        return path

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="760" style="border:0"></iframe>'


def brain_slider(
    importance: xr.DataArray,
    atlas: RegionAtlas,
    *,
    mesh: object = None,
    significant: xr.DataArray | None = None,
    units: str | None = None,
    scale: str = "auto",
    vmax: float | None = None,
    title: str = "",
) -> BrainSlider:
    """Put importance on a brain that turns, with a slider for time and a menu of conditions.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (time, region) or (condition, time, region); ``time`` in s from event onset, regions
        by the names of the atlas.
    atlas : Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        The regions; one of volumes must be in MNI space.
    mesh : nilearn.surface.PolyMesh or (left, right) files, optional
        Other surfaces than fsaverage5, see :func:`~neurosal.reporting.brain_mesh.brain_mesh`.
    significant : xarray.DataArray of bool, optional
        Of the shape of ``importance``; adds a choice to show these cells only.
    units : str, optional
        Written below the colour bar; by default the attribute ``units`` of ``importance``.
    scale : {"auto", "signed", "sequential"}, default="auto"
        As in :func:`neurosal.reporting.style.colour_scale`.
    vmax : float, optional
        Upper limit of the scale, in ``units``; by default the 99.5th percentile.
    title : str, default=""
        Heading of the page.

    Returns
    -------
    BrainSlider
        ``save_as_html(path)`` writes it, ``html`` is the page.

    Raises
    ------
    ArgumentError
        If the dimensions or regions do not fit, or the atlas cannot be put on surfaces.

    See Also
    --------
    neurosal.reporting.surface_mosaic.plot_surface_mosaic : the same as a figure.

    Notes
    -----
    Values are carried to 1/32767 of the largest. The page opens at the first condition's time of
    the largest mean absolute value, from the side where that is larger. An address that ends in
    ``#time=7.2&condition=rh&view=left`` opens another one.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> array = xr.DataArray(np.ones((2, 160)), dims=("time", "region"), coords={
    ...     "time": [5.0, 6.0], "region": atlas.regions["name"]})
    >>> page = brain_slider(array, atlas).html
    >>> len(page) < 2e6, "src=" in page
    (True, False)
    """
    maps = style.as_maps(importance)
    brain, columns = brain_mesh(atlas, mesh), columns_of(maps, atlas)
    data = _table(maps, significant) | _scale(maps, scale, vmax) | _brain(brain, columns)
    data["from"] = _larger_side(maps.values[0, data["start"]], brain, columns)
    data["units"] = str(maps.attrs.get("units", style.UNITS) if units is None else units)
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    fragment = (
        environment()
        .get_template("slider.html.j2")
        .render(
            data=data | {"inflatable": all(side["inflated"] for side in data["sides"])},
            json=Markup(text),
            title=title,
            n_deep=len({ball[0] for ball in data["balls"]}),
            low=f"{data['vmin']:.3g}",
            high=f"{data['vmax']:.3g}",
            note=describe(brain, columns, maps),
        )
    )
    return BrainSlider(fragment, title)


def describe(brain: BrainMesh, columns: np.ndarray, maps: xr.DataArray) -> str:
    """Say how regions came onto the brain, what is not shown, and what grey means.

    Parameters
    ----------
    brain : BrainMesh
        The surfaces.
    columns : numpy.ndarray
        Column of ``maps`` for each region of the atlas, or -1.
    maps : xarray.DataArray
        The values.

    Returns
    -------
    str
        A few sentences.

    Examples
    --------
    >>> import pandas as pd
    >>> brain = BrainMesh({}, pd.DataFrame({"row": []}), np.array([0]), "On fsaverage5.")
    >>> maps = xr.DataArray(np.ones((1, 1, 1)), dims=("condition", "time", "region"))
    >>> describe(brain, np.array([0]), maps)
    'On fsaverage5. 1 region is not shown. Grey is cortex outside of the regions.'
    """
    words = [brain.note]
    lost = int((columns[brain.lost.astype(int)] >= 0).sum())
    balls = int((columns[brain.balls["row"].unique().astype(int)] >= 0).sum())
    if balls:
        words.append(
            f"{balls} region{'s' if balls > 1 else ''} off the cortical sheet "
            f"{'are balls' if balls > 1 else 'is a ball'} of the region's volume (radius 2 to 9 mm)"
            " that show through the cortex."
        )
    if lost:
        words.append(f"{lost} region{'s are' if lost > 1 else ' is'} not shown.")
    words.append("Grey is cortex outside of the regions.")
    if np.isnan(maps.values).any():
        words.append("Brown is no data.")
    return " ".join(words)


@lru_cache(maxsize=1)
def slider_script() -> str:
    """Give the script that draws every slider of a page.

    Returns
    -------
    str
        JavaScript, without tags.

    Examples
    --------
    >>> slider_script().startswith('"use strict";')
    True
    """
    return _template("slider.js")


@lru_cache(maxsize=1)
def slider_style() -> str:
    """Give the style sheet of sliders.

    Returns
    -------
    str
        CSS, without tags.

    Examples
    --------
    >>> "@media print" in slider_style()
    True
    """
    return _template("slider.css")


def script_hash(script: str) -> str:
    """Name a script by its hash, as a content security policy does.

    Parameters
    ----------
    script : str
        What stands between the tags.

    Returns
    -------
    str
        ``sha256-`` and the digest in base64.

    Examples
    --------
    >>> script_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Give the templates, with escaping always on and undefined names an error.

    Returns
    -------
    jinja2.Environment
        Of this folder's templates.

    Examples
    --------
    >>> environment().from_string("{{ name }}").render(name="<b>")
    '&lt;b&gt;'
    """
    return Environment(
        loader=PackageLoader("neurosal.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template(name: str) -> str:
    """Read a template's text as it is."""
    loader = environment().loader
    return loader.get_source(environment(), name)[0]


def _table(maps: xr.DataArray, significant: xr.DataArray | None) -> dict:
    """Names, times, values as whole numbers, and which cells are significant."""
    values, times = maps.values.astype(float), maps["time"].values
    top = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    whole = np.where(np.isfinite(values), np.rint(values / top * 32767), _MISSING)
    size = np.nan_to_num(np.abs(values[0])).mean(axis=1)
    names = [str(name) for name in maps["region"].values]
    networks = style.networks_of(maps) if "network" in maps.coords else [""] * len(names)
    table = {
        "conditions": [str(name) for name in maps["condition"].values],
        "times": [round(float(time), 6) for time in times],
        "labels": [label for _, label in style.time_stretches(times, len(times))],
        "after": " after event onset" if style.time_label(times) == style.TIME_LABEL else "",
        "regions": [[name, str(net)] for name, net in zip(names, networks, strict=True)],
        "values": _packed(whole, "<i2"),
        "scale": top,
        "start": int(size.argmax()),
        "significant": "",
    }
    if significant is not None:
        flags = style.as_maps(significant)
        if flags.shape != maps.shape:
            raise ArgumentError(
                f"significant must have the shape of importance, {maps.shape}. Got {flags.shape}."
            )
        table["significant"] = _packed(flags.values, "u1")
    return table


def _scale(maps: xr.DataArray, scale: str, vmax: float | None) -> dict:
    """Limits and 256 colours."""
    colours, limits, _ = style.colour_scale(maps.values, scale=scale, vmax=vmax)
    table = np.rint(255 * colours(np.linspace(0, 1, 256))[:, :3])
    return {"vmin": limits.vmin, "vmax": limits.vmax, "colours": _packed(table, "u1")}


def _brain(brain: BrainMesh, columns: np.ndarray) -> dict:
    """Surfaces and balls, with columns of the table in place of rows of the atlas."""
    sides = [_side(name, side, columns) for name, side in brain.sides.items()]
    places = columns[brain.balls["row"].to_numpy(dtype=int)]
    shapes = brain.balls[["x", "y", "z", "radius"]].to_numpy().round(1).tolist()
    balls = [[int(row), *shape] for row, shape in zip(places, shapes, strict=True) if row >= 0]
    return {"sides": sides, "balls": balls}


def _larger_side(values: np.ndarray, brain: BrainMesh, columns: np.ndarray) -> str:
    """Name the hemisphere with the larger sum of absolute values over its vertices."""
    padded = np.append(np.nan_to_num(np.abs(values)), 0.0)
    places = np.append(columns, -1)
    sums = {name: padded[places[side.rows]].sum() for name, side in brain.sides.items()}
    return max(sums, key=sums.get)


def _side(name: str, side: Side, columns: np.ndarray) -> dict:
    """One hemisphere; coordinates in hundredths of a millimetre."""
    wide = len(side.points) > 65535
    inflated = "" if side.inflated is None else _packed(np.rint(100 * side.inflated), "<i2")
    return {
        "name": name,
        "points": _packed(np.rint(100 * side.points), "<i2"),
        "inflated": inflated,
        "faces": _packed(side.faces, "<u4" if wide else "<u2"),
        "wide": wide,
        "sulcus": _packed(np.rint(255 * side.sulcus), "u1"),
        "rows": _packed(np.where(side.rows >= 0, columns[side.rows], -1), "<i2"),
    }


def _packed(array: np.ndarray, kind: str) -> str:
    """Write numbers as base64."""
    return base64.b64encode(np.ascontiguousarray(array.astype(kind)).tobytes()).decode("ascii")
