"""Is the page whole, safe, self-contained, and true to the numbers?"""

import base64
import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from browser import browse, in_frame, needs_chromium
from PIL import Image
from reporting_cases import NASTY
from scipy import stats

from neurosal.errors import ArgumentError, DataError
from neurosal.reporting import significance_text as tests
from neurosal.reporting import summary
from neurosal.reporting.html import write_figures, write_report
from neurosal.reporting.results import Results
from neurosal.reporting.slider import script_hash

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
        if not {"style", "script"} & set(self.open):
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
        "summary", "data", "decoding", "importance", "brains", "network", "statistics", "trust",
        "truth", "reading", "methods", "files", "parameters", "references",
    ]  # fmt: skip
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html")[0]["lang"] == "en"


def test_nothing_is_loaded_from_anywhere(page):
    loading = {"src", "srcset", "poster", "data", "action", "background", "style"}
    used = [(tag, attrs[name]) for tag, attrs in page.tags for name in loading & set(attrs)]
    assert {tag for tag, _ in used} == {"img"}
    assert all(value.startswith("data:image/webp;base64,") for _, value in used)
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert links
    assert all(link.startswith(("https://doi.org/", "https://jmlr.org/")) for link in links)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base"}


def test_only_the_pages_own_script_may_run(page, path):
    text = path.read_text(encoding="utf-8")
    assert page.all("script") == [{"type": "application/json", "class": "bs-data"}, {}]
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    rest = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy == f"{rest}; script-src '{script_hash(script)}'"
    assert not re.search(r"https?:|fetch\(|XMLHttp|import\(|eval\(|new Function", script)


def test_style_asks_for_nothing(path):
    style = re.search(r"<style>(.*?)</style>", path.read_text(encoding="utf-8"), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "@media print" in style


def test_pictures_are_the_files_beside_the_page_and_described(page, path, results):
    files = [Image.open(file) for file in (path.parent / "figures").glob("*.png")]
    wanted = [np.asarray(file.convert("RGB")).astype(int) for file in files]
    assert len(files) == len(page.all("img")) == 10 + 2 * len(results.maps)
    for img in page.all("img"):
        content = base64.b64decode(img["src"].split(",")[1])
        shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        same = [one for one in wanted if one.shape == shown.shape]
        assert min(abs(shown - one).mean() for one in same) < 0.6
        assert len(img["alt"]) > 20
    assert path.stat().st_size < 4e6


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


def test_regions_without_importance_are_not_among_the_largest(results):
    few = results.mean_importance.copy(data=np.zeros(results.mean_importance.shape))
    assert summary.answer(Results("", mean_importance=few)) == []
    few[0, 2, 5] = -1.0
    (row,) = summary.top_regions(Results("", mean_importance=few))
    assert (row["region"], row["peak"]) == ("region 5", few["time"].values[2])


def test_data_summary_says_what_was_lost(page):
    assert "runs past the end 3" in page.text
    assert (
        "1 of the atlas's regions are not covered by every run and are left out: region 1."
        in page.text
    )
    assert "Repetition time 0.72 s Window 4.32 s Lag after event onset 5 s" in page.text


def test_names_are_escaped(page, path):
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert NASTY not in text
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
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report.html"]


def test_sections_without_content_are_left_out(tmp_path, results):
    path = write_report(Results("Empty"), tmp_path / "a")
    page = Page(path.read_text(encoding="utf-8"))
    assert [s["id"] for s in page.all("section")] == [
        "summary",
        "data",
        "reading",
        "parameters",
        "references",
    ]
    assert not page.all("img")
    kept = {"statistics": {}, "trust": [], "atlas": None, "comparison": None, "attention": None}
    some = replace(results, truth=None, maps={}, confusion=None, importance=None, **kept)
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
        ({"accuracy": 0.3, "chance": 0.25, "accuracy_p": 0.2}, "should not be interpreted"),
        ({"accuracy": 0.8, "chance": 0.25, "baseline_accuracy": 0.9}, "no reason to prefer"),
    ],
)
def test_summary_warns_where_the_decoder_does_not_carry_the_maps(metrics, words):
    assert words in " ".join(summary.answer(Results("", metrics=metrics)))


@pytest.mark.parametrize(("p", "words"), [(1e-5, "p < 0.0001 by"), (0.013, "p = 0.013 by")])
def test_small_p_values_are_bounds(p, words):
    metrics = {"accuracy": 0.9, "chance": 0.25, "accuracy_p": p}
    assert words in summary.answer(Results("", metrics=metrics))[0]


def test_summary_does_not_warn_of_a_good_decoder(results):
    said = " ".join(summary.answer(results))
    assert "79.2 %" in said
    assert not re.search("caution|prefer|interpreted", said)


def test_bad_input_is_refused_by_name(results, tmp_path):
    with pytest.raises(ArgumentError, match="mean_importance must have the dimensions"):
        replace(results, mean_importance=results.importance)
    with pytest.raises(ArgumentError, match="rh has no p, significant, t"):
        replace(results, statistics={"rh": xr.Dataset({"mean": results.truth})})
    with pytest.raises(ArgumentError, match="trust must be a list of Check"):
        replace(results, trust=["passed"])
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="Cannot write to"):
        write_report(results, tmp_path / "file" / "report.html")


def test_statistics_are_those_of_the_test(page, results):
    whole = results.statistics["condition 1"]
    flags, sizes = whole["significant"].values, abs(whole["t"].values)
    assert f"condition 1 {flags.sum()} {np.isfinite(whole['t'].values).sum()}" in page.text
    best, peak, region = 0.0, 0, 0
    for i in range(whole.sizes["time"]):
        for j in range(whole.sizes["region"]):
            if flags[i, j] and sizes[i, j] > best:
                best, peak, region = sizes[i, j], i, j
    first = next(r for r in tests.significant_rows(results) if r["condition"] == "condition 1")
    assert first["region"] == whole["region"].values[region]
    assert first["peak"] == whole["time"].values[peak]
    assert abs(first["t"]) == best
    assert first["p"] == whole["p"].values[peak, region]
    assert first["dz"] == pytest.approx(whole["t"].values[peak, region] / 3)
    assert first["cells"] == flags[:, region].sum()
    assert "Controlled at 0.05: family-wise error" in page.text
    assert "p, corrected" in page.text


def test_trust_card_tells_verdicts_in_words_flagged_first(page):
    card = page.text[page.text.index("What the checks of the maps found") :]
    assert card.index("flagged: a reason not to trust") < card.index("✓ passed")
    assert "Of 3 checks that can decide, 2 passed; flagged: " in page.text
    assert "Area .90, random map .10." in card
    assert "Real data." in card


def test_figures_say_what_they_show_and_what_they_cannot_show(page):
    alts = [img["alt"] for img in page.all("img")]
    assert "Figure of the check temporal bias: The finding of temporal bias." in alts
    told = page.text[page.text.index("Figures of the checks") :]
    assert "Temporal bias" in told
    assert told.index("the frame is where the signal is") < told.index("Limits: The s")
    assert "Hops 1 to 3 read forwards in time, 4 to 6 backwards." in page.text
    assert "It took gradient 0.1 s, occlusion 2.5 s." in page.text
    assert "attention says which time points the network reads, not which regions" in page.text


def test_the_page_says_where_the_data_are_from_and_what_is_beside_it(page):
    assert "Read from a simulated study Subjects 4" in page.text
    assert "read from a simulated study" in page.text
    assert "importance.tsv mean importance" in page.text


def test_an_atlas_that_cannot_be_drawn_is_told_and_the_rest_is_written(results, tmp_path):
    native = replace(results.atlas, space="individual")
    kept = {"maps": {}, "importance": None, "truth": None, "statistics": {}}
    page = Page(write_report(replace(results, atlas=native, **kept), tmp_path).read_text())
    assert "The turning brain is left out: The atlas spheres is not in MNI space" in page.text
    assert not [attrs for _, attrs in page.tags if attrs.get("class") == "brain-slider"]
    assert len(page.all("img")) == 7


@pytest.mark.parametrize(
    ("method", "units", "sign"),
    [
        ("integrated_gradients", "attribution (margin)", "Positive importance speaks for"),
        ("lrp", "attribution (margin)", "Positive importance speaks for"),
        ("gradient", "importance (gradient)", "more signal would speak for"),
        ("squared_gradient", "importance (squared gradient)", "has no sign"),
        ("attention", "importance (attention)", "has no sign"),
    ],
)
def test_unit_and_sign_are_those_of_the_method(tmp_path, method, units, sign):
    maps = xr.DataArray(
        [[[1.0, 2.0]]],
        dims=("condition", "time", "region"),
        coords={"condition": ["rh"], "time": [5.0], "region": ["a", "b"]},
        attrs={"method": method, "output": "margin"},
    )
    page = Page(write_report(Results("", mean_importance=maps), tmp_path).read_text("utf-8"))
    assert f"Importance is given as {units}." in page.text
    told = page.text.split("Sign and size. ")[1].split(" Sizes can")[0]
    assert sign in told
    assert ("to the left" in page.text) == ("no sign" not in told)


@needs_chromium
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_browser_loads_every_picture_and_nothing_overflows(path, page, tmp_path, width):
    out = in_frame(
        tmp_path,
        path.read_text(encoding="utf-8"),
        """
      out.images = [...page.images].map((image) => image.naturalWidth);
      out.shown = [...page.images].map((image) => image.clientWidth);
      out.scroll = page.documentElement.scrollWidth;
      out.canvas = page.querySelector(".bs-canvas").clientWidth;
    """,
        width=width,
    )
    assert len(out["images"]) == len(page.all("img"))
    assert min(out["images"]) > 200
    assert min(out["shown"]) > 200
    assert out["scroll"] <= width
    assert out["canvas"] > 0.75 * min(width, 860)


@needs_chromium
def test_slider_in_the_page_moves_through_the_maps(path, results, tmp_path):
    out = in_frame(
        tmp_path,
        path.read_text(encoding="utf-8"),
        """
      const canvas = page.querySelector(".bs-canvas"), time = page.querySelector(".bs-time");
      const picture = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
        .data.reduce((sum, value, i) => (sum * 31 + value * (i % 7 + 1)) % 1000000007, 0);
      out.pictures = []; out.told = [];
      for (let i = 0; i <= Number(time.max); i += 1) {
        time.value = i;
        time.dispatchEvent(new frame.contentWindow.Event("input"));
        out.pictures.push(picture());
        out.told.push(page.querySelector(".bs-now").textContent);
      }
      out.conditions = [...page.querySelector(".bs-condition").options].map((one) => one.text);
      out.sure = page.querySelector(".bs-sure") !== null;
    """,
    )
    assert len(set(out["pictures"])) == results.mean_importance.sizes["time"]
    assert out["told"] == [f"{time:.1f} s" for time in results.mean_importance["time"].values]
    assert out["conditions"] == results.mean_importance["condition"].values.tolist()
    assert out["sure"]


@needs_chromium
def test_on_paper_the_mosaics_stand_for_the_slider(path, tmp_path):
    text = path.read_text(encoding="utf-8").replace("@media print", "@media screen")
    out = in_frame(
        tmp_path,
        text,
        """
      const seen = (part) => part.getBoundingClientRect().height > 0;
      out.slider = seen(page.querySelector(".brain-slider"));
      out.menu = seen(page.querySelector("nav"));
      const mosaics = [...page.images].filter((one) => one.alt.startsWith("Cortical"));
      out.surfaces = mosaics.filter(seen).length;
      out.scroll = page.documentElement.scrollWidth;
    """,
        width=690,
    )
    assert out == {"slider": False, "menu": False, "surfaces": 3, "scroll": 690}


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
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 25
