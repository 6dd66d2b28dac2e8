"""Is the page whole, safe, self-contained, and true to the numbers?"""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from reporting_cases import NASTY
from scipy import stats

from neurosal.errors import ArgumentError, DataError
from neurosal.reporting import summary
from neurosal.reporting.html import write_figures, write_report
from neurosal.reporting.results import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Every tag with its attributes, the open tags at the end, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.values = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "data":
            self.values.append((float(self.tags[-1][1]["value"]), data))
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def path(results, tmp_path_factory):
    return write_report(results, tmp_path_factory.mktemp("report") / "page.html")


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text(encoding="utf-8"))


def test_structure_is_sound(page):
    assert page.open == []
    assert len(page.all("h1")) == 1
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert set(targets) <= set(ids)
    sections = [attrs["id"] for attrs in page.all("section")]
    assert targets[1:] == sections
    assert sections == [
        "summary", "data", "decoding", "importance", "brains", "truth", "reading", "methods",
        "references",
    ]  # fmt: skip
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html")[0]["lang"] == "en"


def test_nothing_is_loaded_from_anywhere(page):
    loading = {"src", "srcset", "poster", "data", "action", "background", "style"}
    used = [(tag, attrs[name]) for tag, attrs in page.tags for name in loading & set(attrs)]
    assert {tag for tag, _ in used} == {"img"}
    assert all(value.startswith("data:image/png;base64,") for _, value in used)
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert links
    assert all(link.startswith(("https://doi.org/", "https://arxiv.org/")) for link in links)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"}
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")


def test_style_asks_for_nothing(path):
    style = re.search(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "@media print" in style


def test_pictures_are_the_files_beside_the_page_and_described(page, path, results):
    files = sorted((path.parent / "figures").glob("*.png"))
    shown = {base64.b64decode(img["src"].split(",")[1]) for img in page.all("img")}
    assert shown == {file.read_bytes() for file in files}
    assert len(files) == 6 + len(results.maps)
    assert all(len(img["alt"]) > 20 for img in page.all("img"))
    assert path.stat().st_size < 5e6


def test_numbers_are_those_of_the_metrics(page, results):
    metrics = results.metrics
    shown = [value for value, _ in page.values]
    pairs = zip(metrics["accuracy_per_fold"], metrics["baseline_per_fold"], strict=True)
    folds = [value for pair in pairs for value in pair]
    assert shown[:3] == [metrics["accuracy"], metrics["chance"], metrics["baseline_accuracy"]]
    assert shown[3:9] == folds
    assert shown[-8:-6] == [metrics["truth_aupr"], metrics["truth_aupr_random"]]
    known = results.truth.where(results.mean_importance.notnull())
    np.testing.assert_allclose(shown[-6:][1::2], known.mean(("time", "region")).values)
    for value, text in page.values[:9]:
        assert text == f"{100 * value:.1f} %"
    assert [text for _, text in page.values[-8:-6]] == ["0.432", "0.123"]
    low, high = stats.t.interval(0.95, 2, np.mean([0.75, 0.8125, 0.8125]), 0.0625 / 3)
    assert f"95 % interval of {100 * low:.1f} % to {100 * high:.1f} %" in page.text


def test_top_regions_match_a_slow_search(results):
    rows = summary.top_regions(results, n=3)
    for condition in results.mean_importance["condition"].values:
        means = results.mean_importance.sel(condition=condition).mean("time").to_series().dropna()
        best = means.abs().sort_values(ascending=False).index[:3].tolist()
        mine = [row for row in rows if row["condition"] == condition]
        assert [row["region"] for row in mine] == best
        rows_of = results.importance["condition"] == condition
        chosen = results.importance.sel(region=best[0], sample=rows_of)
        by_subject = chosen.mean("time").groupby("subject").mean().values
        low, high = stats.t.interval(0.95, 3, by_subject.mean(), stats.sem(by_subject))
        assert (mine[0]["low"], mine[0]["high"]) == pytest.approx((low, high))
        assert mine[0]["mean"] == pytest.approx(means[best[0]])


def test_data_summary_says_what_was_lost(page):
    assert "runs past the end 3" in page.text
    assert "1 of the atlas's regions hold no data and are left out: region 1." in page.text
    assert "Repetition time 0.72 s Window 4.32 s Lag after event onset 5 s" in page.text


def test_names_are_escaped(page, path):
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert html.escape(NASTY, quote=False).replace("'", "&#39;") in text
    assert NASTY in page.text


def test_a_nasty_title_and_condition_stay_words(tmp_path):
    maps = xr.DataArray(
        [[[1.0, 2.0]]],
        dims=("condition", "time", "region"),
        coords={"condition": ["../../<b onload=x>"], "time": [5.0], "region": ["a", "b"]},
    )
    path = write_report(Results("</title><script>x</script>", mean_importance=maps), tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.all("script")
    assert not page.all("b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report.html"]


def test_sections_without_content_are_left_out(tmp_path, results):
    path = write_report(Results("Empty"), tmp_path / "a")
    page = Page(path.read_text(encoding="utf-8"))
    assert [s["id"] for s in page.all("section")] == [
        "summary",
        "data",
        "reading",
        "methods",
        "references",
    ]
    assert not page.all("img")
    some = replace(results, truth=None, maps={}, confusion=None, importance=None)
    assert set(write_figures(some, tmp_path / "b")) == {"accuracy", "region_time", "top_regions"}


def test_files_of_conditions_that_look_alike_are_kept_apart(results, tmp_path):
    maps = dict(zip(["rh/left", "rh:left"], results.maps.values(), strict=False))
    written = write_figures(Results("", maps=maps), tmp_path)
    assert set(written) == {"brain:rh/left", "brain:rh:left"}
    assert len({path.name for path in written.values()}) == 2
    assert all(path.parent == tmp_path for path in written.values())


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"accuracy": 0.2, "chance": 0.25}, "should not be interpreted"),
        (
            {"accuracy": 0.3, "chance": 0.25, "accuracy_per_fold": [0.1, 0.5, 0.3]},
            "includes chance",
        ),
        ({"accuracy": 0.8, "chance": 0.25, "baseline_accuracy": 0.9}, "no reason to prefer"),
    ],
)
def test_summary_warns_where_the_decoder_does_not_carry_the_maps(metrics, words):
    assert words in " ".join(summary.answer(Results("", metrics=metrics)))


def test_summary_does_not_warn_of_a_good_decoder(results):
    said = " ".join(summary.answer(results))
    assert "79.2 %" in said
    assert not re.search("caution|prefer|interpreted", said)


def test_bad_input_is_refused_by_name(results, tmp_path):
    with pytest.raises(ArgumentError, match="mean_importance must have the dimensions"):
        replace(results, mean_importance=results.importance)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="Cannot write to"):
        write_report(results, tmp_path / "file" / "report.html")


def browse(tmp_path, url, *options):
    """Run the browser once and return what it prints."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, url]
    return subprocess.run(command, capture_output=True, timeout=100, check=True).stdout


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_browser_loads_every_picture_and_nothing_overflows(path, page, tmp_path, width):
    frame = f"""<!DOCTYPE html><iframe id="page" width="{width}" height="900"
      srcdoc="{html.escape(path.read_text(encoding="utf-8"))}"></iframe><pre id="out"></pre>
    <script>
    onload = () => {{
      const page = document.getElementById("page").contentDocument;
      document.getElementById("out").textContent = JSON.stringify({{
        images: [...page.images].map((image) => image.naturalWidth),
        shown: [...page.images].map((image) => image.clientWidth),
        scroll: page.documentElement.scrollWidth,
        scripts: page.scripts.length,
      }});
    }};
    </script>"""
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    printed = browse(tmp_path, (tmp_path / "frame.html").as_uri(), "--dump-dom").decode()
    found = json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', printed, re.S)[1]))
    assert len(found["images"]) == len(page.all("img"))
    assert min(found["images"]) > 200
    assert min(found["shown"]) > 200
    assert found["scroll"] <= width
    assert found["scripts"] == 0


@needs_chromium
def test_screenshot_shows_words_and_the_colours_of_the_maps(path, tmp_path):
    shot = tmp_path / "shot.png"
    browse(tmp_path, path.as_uri(), "--window-size=1200,6000", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert 0.5 < (pixels.min(axis=2) > 240).mean() < 0.99
    red = (pixels[..., 0] - pixels[..., 2] > 80).sum(axis=1)
    blue = (pixels[..., 2] - pixels[..., 0] > 80).sum(axis=1)
    assert (red > 20).sum() > 200
    assert (blue > 20).sum() > 200
    dark = (pixels.max(axis=2) < 80).sum(axis=1) > 0
    assert dark[:400].any()


@needs_chromium
def test_page_prints(path, tmp_path):
    out = tmp_path / "page.pdf"
    browse(tmp_path, path.as_uri(), f"--print-to-pdf={out}")
    content = out.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 20
