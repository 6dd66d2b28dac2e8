"""Does the brain show the numbers it was given, where and when they are, offline?"""

import base64
import json
import re

import numpy as np
import pytest
import xarray as xr
from browser import in_frame, needs_chromium
from nilearn.datasets import load_fsaverage
from ray_cases import seen_vertex
from reporting_cases import NASTY

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import region_coordinates
from neurosal.parcellation.atlas import load_atlas
from neurosal.reporting.brain_mesh import brain_mesh
from neurosal.reporting.slider import brain_slider, script_hash

TIMES = [5.0, 7.5, 10.0]
COLOURS = """
  const tally = () => {
    const canvas = page.querySelector(".bs-canvas");
    const {width, height} = canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const found = {red: 0, blue: 0, redLeft: 0, redRight: 0, drawn: 0, sum: 0};
    for (let i = 0; i < pixels.length; i += 4) {
      const [r, g, b] = pixels.slice(i, i + 3);
      found.sum = (found.sum * 31 + r + 256 * g + 65536 * b) % 1000000007;
      if (r < 250) found.drawn += 1;
      if (b - r > 60) found.blue += 1;
      if (r - b > 60) {
        found.red += 1;
        found[(i / 4) % width < width / 2 ? "redLeft" : "redRight"] += 1;
      }
    }
    return found;
  };
  const set = (name, value, event) => {
    const part = page.querySelector("." + name);
    if (part.type === "checkbox") part.checked = value; else part.value = value;
    part.dispatchEvent(new frame.contentWindow.Event(event));
  };
"""


@pytest.fixture(scope="module")
def atlas():
    return load_atlas("dosenbach160")


@pytest.fixture(scope="module")
def maps(atlas):
    """Left regions are positive at the first time, right ones negative at the second."""
    side = atlas.regions["hemisphere"].to_numpy()
    values = np.zeros((2, 3, 160))
    values[0, 0, side == "L"] = 2.0
    values[0, 1, side == "R"] = -2.0
    values[1, 2, side == "L"] = 1.5
    return xr.DataArray(
        values,
        dims=("condition", "time", "region"),
        coords={"condition": ["hand", NASTY], "time": TIMES, **region_coordinates(atlas.regions)},
        attrs={"units": "attribution (logit)"},
    )


@pytest.fixture(scope="module")
def page(maps, atlas):
    certain = xr.zeros_like(maps, dtype=bool)
    certain[0, 0, :20] = True
    return brain_slider(maps, atlas, significant=certain, title="Hands").html


def test_page_asks_for_nothing_and_allows_its_own_script_only(page):
    assert not re.search(r"(src|href|srcset|action)\s*=|url\(|@import|fetch\(|eval\(", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(script) == 1
    allowed = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src '{script_hash(script[0])}'"
    )
    assert policy.replace("&#39;", "'") == allowed
    assert "http" not in script[0]


def test_page_is_small_even_for_a_long_study(atlas):
    values = np.random.default_rng(0).normal(size=(8, 60, 160))
    maps = xr.DataArray(
        values, dims=("condition", "time", "region"), coords=region_coordinates(atlas.regions)
    ).assign_coords(time=np.arange(60.0), condition=list("abcdefgh"))
    assert len(brain_slider(maps, atlas).html.encode()) < 1.1e6


def test_numbers_are_carried_to_one_part_in_32767(page, maps):
    data = json.loads(re.search(r'class="bs-data">(.*?)</script>', page, re.S)[1])
    whole = np.frombuffer(base64.b64decode(data["values"]), "<i2").reshape(maps.shape)
    np.testing.assert_allclose(whole / 32767 * data["scale"], maps.values, atol=2 / 32767)
    assert data["conditions"] == ["hand", NASTY]
    assert [name for name, _ in data["regions"]] == maps["region"].values.tolist()
    assert "<script>alert" not in page


@needs_chromium
def test_moving_the_slider_changes_the_picture(page, tmp_path):
    out = in_frame(
        tmp_path,
        page,
        COLOURS
        + """
      set("bs-view", "top", "change");
      out.start = page.querySelector(".bs-now").textContent;
      out.first = tally();
      set("bs-time", "1", "input");
      out.second = tally();
      out.now = page.querySelector(".bs-now").textContent;
      out.said = page.querySelector(".bs-time").getAttribute("aria-valuetext");
      set("bs-time", "0", "input");
      out.again = tally();
      page.querySelector(".bs-condition").selectedIndex = 1;
      page.querySelector(".bs-condition").dispatchEvent(new frame.contentWindow.Event("change"));
      out.other = tally();
    """,
    )
    first, second = out["first"], out["second"]
    assert out["start"] == "5.0 s"
    assert first["red"] > 1000
    assert first["redRight"] < 0.02 * first["redLeft"]
    assert first["blue"] == 0
    assert second["red"] == 0
    assert second["blue"] > 1000
    assert (out["now"], out["said"]) == ("7.5 s", "7.5 s after event onset")
    assert out["again"] == first
    assert out["other"]["red"] == out["other"]["blue"] == 0


@needs_chromium
def test_every_control_does_what_it_says(page, tmp_path):
    out = in_frame(
        tmp_path,
        page,
        COLOURS
        + """
      const key = (name) => page.querySelector(".bs-canvas").dispatchEvent(
        new frame.contentWindow.KeyboardEvent("keydown", {key: name}));
      set("bs-view", "top", "change");
      out.top = tally();
      key("ArrowRight"); out.turned = tally();
      key("ArrowLeft"); out.back = tally();
      key("+"); out.near = tally();
      key("-");
      set("bs-sides", "right", "change"); out.right = tally();
      set("bs-sides", "both", "change");
      set("bs-deep", false, "change"); out.bare = tally();
      set("bs-deep", true, "change");
      set("bs-sure", true, "change"); out.sure = tally();
      set("bs-sure", false, "change");
      set("bs-shape", "inflated", "change"); out.inflated = tally();
      page.querySelector(".bs-play").click();
      out.pressed = page.querySelector(".bs-play").getAttribute("aria-pressed");
      page.querySelector(".bs-play").click();
      out.stopped = page.querySelector(".bs-play").getAttribute("aria-pressed");
      out.names = [...page.querySelectorAll("select, input, button")].map(
        (part) => (part.closest("label") || part).textContent.trim().length > 0);
    """,
    )
    top = out["top"]
    assert out["turned"]["sum"] != top["sum"]
    assert out["back"] == top
    assert out["near"]["drawn"] > 1.1 * top["drawn"]
    assert out["right"]["drawn"] != top["drawn"]
    assert out["right"]["red"] < 0.05 * top["red"]
    assert 0 < out["bare"]["red"] < top["red"]
    assert 0 < out["sure"]["red"] < 0.6 * top["red"]
    assert out["inflated"]["sum"] != out["bare"]["sum"]
    assert (out["pressed"], out["stopped"]) == ("true", "false")
    assert all(out["names"])


@needs_chromium
def test_pointing_names_the_region_that_a_line_of_sight_meets(page, atlas, tmp_path):
    brain, pial = brain_mesh(atlas), load_fsaverage("fsaverage5")["pial"]
    points = np.concatenate([pial.parts[side].coordinates for side in ("left", "right")])
    faces = [pial.parts[side].faces.astype(int) for side in ("left", "right")]
    faces = np.concatenate([faces[0], faces[1] + 10242])
    rows = np.concatenate([brain.sides[side].rows for side in ("left", "right")])
    rng = np.random.default_rng(1)
    spots = rng.uniform((0.3, 0.1), (0.7, 0.9), size=(250, 2)).tolist()
    out = in_frame(
        tmp_path,
        page,
        f"""
      const {{Event, PointerEvent: Point}} = frame.contentWindow, change = new Event("change");
      const canvas = page.querySelector(".bs-canvas"), view = page.querySelector(".bs-view");
      page.querySelector(".bs-deep").checked = false;
      view.value = "left"; view.dispatchEvent(change);
      const box = canvas.getBoundingClientRect(), read = page.querySelector(".bs-read");
      out.size = [canvas.width, canvas.height];
      out.told = {json.dumps(spots)}.map(([x, y]) => {{
        read.textContent = "";
        canvas.dispatchEvent(new Point("pointermove",
          {{clientX: box.left + x * box.width, clientY: box.top + y * box.height}}));
        return read.textContent;
      }});
    """,
    )
    width, height = out["size"]
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    scale = min(width / 2 / (half[1] + 15), height / 2 / (half[2] + 15))
    axes, checked = [[0, -1, 0], [0, 0, 1], [-1, 0, 0]], 0
    for (x, y), told in zip(spots, out["told"], strict=True):
        column, line = np.floor(x * width), np.floor(y * height)
        at = np.array([-middle[1], middle[2]])
        at = at + np.array([column - width / 2, height / 2 - line]) / scale
        vertex, margin = seen_vertex(points - 0.0, faces, axes, at)
        if not told or vertex < 0 or margin < 0.02:
            continue
        region = atlas.regions.iloc[rows[vertex]]
        value = "2 attribution (logit)" if region["hemisphere"] == "L" else "0 attribution (logit)"
        assert told.startswith(f"{region['name']} ({region['network']}): {value}")
        assert told.endswith("hand, 5.0 s")
        checked += 1
    assert checked > 15


@needs_chromium
def test_an_address_opens_the_brain_at_its_time(page, tmp_path):
    opened = page.replace("location.hash", '"#time=9.4&condition=hand&view=front"')
    script = re.findall(r"<script>(.*?)</script>", opened, re.S)[0]
    opened = re.sub(r"sha256-[^&']*", script_hash(script), opened, count=1)
    told = 'out.label = page.querySelector(".bs-canvas").getAttribute("aria-label");'
    assert in_frame(tmp_path, opened, told)["label"] == (
        "Brain from the front, hand, 10.0 s after event onset"
    )


@needs_chromium
def test_page_fits_a_phone(page, tmp_path):
    out = in_frame(
        tmp_path,
        page,
        """
      out.scroll = page.documentElement.scrollWidth;
      out.canvas = page.querySelector(".bs-canvas").clientWidth;
      out.small = [...page.querySelectorAll("button, select, .bs-time")].filter(
        (part) => part.getBoundingClientRect().height < 30).length;
    """,
        width=390,
        height=800,
    )
    assert out["scroll"] <= 390
    assert 280 < out["canvas"] <= 390
    assert out["small"] == 0


def test_bad_input_is_refused_by_name(maps, atlas, tmp_path):
    with pytest.raises(ArgumentError, match=r"significant must have the shape"):
        brain_slider(maps, atlas, significant=maps[:, :1] > 0)
    with pytest.raises(ArgumentError, match="importance must be"):
        brain_slider(maps[0, 0], atlas)
    with pytest.raises(ArgumentError, match="names of the atlas"):
        brain_slider(maps.assign_coords(region=[f"x{i}" for i in range(160)]), atlas)
    with pytest.raises(DataError, match="Cannot write"):
        brain_slider(maps[0], atlas).save_as_html(tmp_path / "no" / "a.html")


def test_one_condition_needs_no_menu_and_a_notebook_shows_a_frame(maps, atlas):
    slider = brain_slider(maps.sel(condition="hand"), atlas)
    assert '<select class="bs-condition">' not in slider.html
    shown = slider._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<!DOCTYPE" not in shown
