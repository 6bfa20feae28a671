"""The report: complete, self-contained, escaped, ordered, and the same every time."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pictures import preview
from pipeline.reporting import plots
from pipeline.reporting.metrics import CSV_COLUMNS, metrics_csv, metrics_document, number, worst_first
from pipeline.reporting.page import Thumbnails, figure, page, write_report
from pipeline.store import storage

RUN = {
    "input": "/data/scans",
    "wall_seconds": 12.5,
    "model": {"name": "default", "sha256": "ab" * 32},
    "versions": {"numpy": "2.4.6"},
    "config": {"refine": {"method": "gan"}},
}


def ok_line(source="a.ply", error=0.1, **metrics):
    scan_id = re.sub(r"\W+", "-", source)
    return {
        "scan_id": scan_id,
        "source": source,
        "sha256": "0" * 64,
        "status": "ok",
        "stage": None,
        "reason": None,
        "seconds": {"read": 0.1, "fit": 0.5},
        "metrics": {"scan_to_refined_mean_mm": error, "scan_to_coarse_mean_mm": 3 * error, "fit_quality": 0.9} | metrics,
        "files": {"preview": f"scans/{scan_id}/preview.png"},
    }


def bad_line(source, status, reason="no face found", stage="locate"):
    changes = {"status": status, "stage": stage, "reason": reason, "seconds": {"read": 0.2}, "metrics": {}, "files": {}}
    return ok_line(source) | changes


MANIFEST = [
    ok_line("good.ply", 0.05),
    bad_line("cow.obj", "rejected"),
    ok_line("poor.ply", 0.4),
    bad_line("torn.ply", "failed", "truncated", "read"),
]


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.names, self.depth = [], [], []
        self.feed(text)
        self.close()
        assert not self.depth, "every tag is closed"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "th" and attributes.get("scope") == "row" and "data-value" in attributes:
            self.names.append(attributes["data-value"])
        if tag not in ("meta", "img", "input", "br"):
            self.depth.append(tag)

    def handle_endtag(self, tag):
        assert self.depth.pop() == tag


def write_preview(out, line):
    size = (4 * preview.PANEL_WIDTH, preview.STRIP_HEIGHT + preview.FRONT_HEIGHT + preview.TURNED_HEIGHT)
    storage.write_bytes(str(out / line["files"]["preview"]), preview.png_bytes(Image.new("RGB", size, (200, 180, 160))))


def test_the_table_is_worst_first():
    assert Page(page(MANIFEST, RUN)).names == ["torn.ply", "cow.obj", "poor.ply", "good.ply"]


@pytest.mark.parametrize(
    "manifest", [[], MANIFEST[1:2], [{"source": "x", "status": "ok"}], [{"source": "x", "status": "strange"}]]
)
def test_a_run_without_ok_scans_or_with_bare_lines_has_a_page(manifest):
    assert len(Page(page(manifest, {})).names) == len(manifest)


def test_names_and_reasons_are_escaped():
    hostile = '<script>alert("x")</script>&\'.ply'
    text = page([ok_line(hostile), bad_line("b" + hostile, "failed", hostile)], {"input": hostile, "config": hostile})
    assert "<script>alert" not in text
    assert hostile in Page(text).names


def test_the_page_asks_the_network_for_nothing(tmp_path):
    write_preview(tmp_path, MANIFEST[0])
    write_report(str(tmp_path), MANIFEST, RUN)
    text = (tmp_path / "report" / "index.html").read_text()
    for tag, attributes in Page(text).tags:
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert not re.match(r"[a-z]+:|//", value) or value.startswith("data:image/jpeg;base64,"), (tag, value)
    assert "http://" not in text and "https://" not in text and "@import" not in text


def test_pictures_are_embedded_with_a_description_and_missing_ones_are_left_out(tmp_path):
    write_preview(tmp_path, MANIFEST[0])
    shown = Page(page(MANIFEST, RUN, Thumbnails(str(tmp_path))))
    images = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert len(images) == 1 and "good.ply" in images[0]["alt"]


def test_pictures_beyond_the_budget_are_linked(tmp_path):
    lines = [ok_line(f"{k} ä#.ply") for k in range(3)]
    for line in lines:
        write_preview(tmp_path, line)
    shown = Page(page(lines, RUN, Thumbnails(str(tmp_path), budget=1)))
    sources = [attributes["src"] for tag, attributes in shown.tags if tag == "img"]
    assert [source.startswith("data:") for source in sources] == [True, False, False]
    assert all(source.startswith("../scans/") and "#" not in source for source in sources[1:])


def test_a_damaged_preview_costs_only_its_picture(tmp_path):
    write_preview(tmp_path, MANIFEST[0])
    (tmp_path / MANIFEST[0]["files"]["preview"]).write_bytes(b"not a picture")
    assert Thumbnails(str(tmp_path)).source_of(MANIFEST[0]) is None


def test_hundreds_of_scans_stay_a_page_of_moderate_size(tmp_path):
    text = page([ok_line(f"scan {k:03d}.ply", 0.01 * (k + 1)) for k in range(300)], RUN)
    assert Page(text).names[0] == "scan 299.ply" and len(text) < 2_000_000


def test_the_same_run_gives_the_same_bytes_whatever_the_order_of_its_lines(tmp_path):
    for name, lines in (("a", MANIFEST), ("b", MANIFEST[::-1])):
        write_report(str(tmp_path / name), lines, RUN)
    for file in ("index.html", "metrics.json", "metrics.csv"):
        assert (tmp_path / "a" / "report" / file).read_bytes() == (tmp_path / "b" / "report" / file).read_bytes()


def test_csv_has_a_row_per_scan_sorted_by_source_in_fixed_columns():
    rows = list(csv.DictReader(io.StringIO(metrics_csv(MANIFEST))))
    assert [row["source"] for row in rows] == ["cow.obj", "good.ply", "poor.ply", "torn.ply"]
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[0]["fit_quality"] == "" and float(rows[1]["scan_to_refined_mean_mm"]) == 0.05
    assert float(rows[1]["seconds"]) == pytest.approx(0.6)


def test_csv_columns_do_not_depend_on_the_scans():
    assert metrics_csv([]).splitlines() == metrics_csv([ok_line(extra_mm=1.0)]).splitlines()[:1]


def test_a_file_name_never_becomes_a_spreadsheet_formula():
    assert list(csv.DictReader(io.StringIO(metrics_csv([ok_line("=HYPERLINK(1).ply")]))))[0]["source"].startswith("'=")


def test_metrics_json_is_strict_json_and_counts_each_scan_once(tmp_path):
    write_report(str(tmp_path), MANIFEST + [ok_line("nan.ply", float("nan"))], RUN)
    document = json.loads((tmp_path / "report" / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert document["counts"] == {"scans": 5, "ok": 3, "rejected": 1, "failed": 1}
    refined = document["summary"]["scan_to_refined_mean_mm"]
    assert refined["count"] == 2 and refined["mean"] == pytest.approx(0.225)
    assert document["seconds"]["fit"]["total"] == pytest.approx(1.5)


def test_an_ok_scan_without_a_figure_ranks_before_those_with_one():
    lines = [ok_line("known.ply", 0.5), {"source": "unknown.ply", "status": "ok"}]
    assert [line["source"] for line in worst_first(lines)] == ["unknown.ply", "known.ply"]


@given(st.one_of(st.none(), st.booleans(), st.text(), st.floats(), st.integers(-(10**9), 10**9)))
def test_a_number_is_finite_or_unknown(value):
    found = number(value)
    assert found is None or (np.isfinite(found) and found == value and not isinstance(value, bool))


@given(st.floats(1e-6, 1e6))
def test_axes_are_round_and_hold_their_values(value):
    limit = plots.nice_limit(value)
    assert value * (1 - 1e-6) <= limit <= value * 2.01
    ticks = plots.axis_values(limit)
    assert ticks[0] == 0 and ticks[-1] == limit and all(abs(float(f"{tick:.2g}") - tick) < 1e-6 * limit for tick in ticks)


def test_the_curve_reaches_all_scans_and_the_bars_count_all_scans():
    curve = str(plots.cumulative({"Coarse": [0.2, 0.4, 0.4], "Refined": []}, "mm"))
    assert min(float(y) for y in re.findall(r"V([\d.]+)", curve)) == pytest.approx(plots.TOP, abs=0.1)
    bars = str(plots.histogram({"Coarse": [0.02] * 19 + [7.0]}, "mm"))  # the last is beyond the axis
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', bars)]
    assert heights == pytest.approx([19 * heights[1], heights[1]], rel=0.02) and len(heights) == 2
    assert heights[1] == pytest.approx((plots.HEIGHT - plots.TOP - plots.BOTTOM) / 20, abs=0.1)  # an axis up to 20 scans


LANDMARK_RUN = {"config": {"output": {"stages": "landmarks"}}}


def landmark_line(source, confidence, **metrics):
    figures = {
        "landmarks_seen": 60.0,
        "landmarks_inferred": 8.0,
        "landmark_confidence": confidence,
        "landmark_sigma_mm": 1.234,
    } | metrics
    return ok_line(source) | {"metrics": figures}


def test_a_run_for_landmarks_alone_has_a_page_of_landmarks_worst_first():
    lines = [landmark_line("sure.ply", 0.9), bad_line("vase.ply", "rejected"), landmark_line("unsure.ply", 0.4)]
    text = page(lines, LANDMARK_RUN)
    assert Page(text).names == ["vase.ply", "unsure.ply", "sure.ply"]
    assert "show a face whose landmarks were found" in text and "refined face surface" not in text
    assert "<span>Landmarks</span>" in text and "<span>Coarse</span>" not in text


def test_each_scan_tells_its_landmarks_and_its_notes():
    line = landmark_line("a.ply", 0.8, landmark_to_given_mm=2.06) | {"notes": ["several heads: <the largest> was taken"]}
    text = page([line, ok_line("b.ply")], RUN)
    assert (
        "60 landmarks seen \u00b7 8 inferred \u00b7 confidence 0.80 \u00b7 \u03c3 1.2 mm \u00b7 2.1 mm from the given ones"
        in text
    )
    assert "several heads: &lt;the largest&gt; was taken" in text
    assert text.count("landmarks seen \u00b7") == 1
    assert metrics_document([line])["scans"][0]["notes"] == line["notes"]


def write_landmarks(out, source, content):
    line = ok_line(source)
    line["files"]["landmarks"] = f"scans/{line['scan_id']}/landmarks.json"
    storage.write_bytes(str(out / line["files"]["landmarks"]), content.encode())
    return line


def test_landmarks_are_tabled_by_region_and_a_damaged_file_costs_only_itself(tmp_path):
    good = {"names": ["nose_tip", "chin"], "points": [[0, 0, 0]] * 2, "seen": [True, False], "confidence": [0.75, 0.25]}
    damaged = ("[]", "{", '{"points": 3}', '{"points": [[0,0,0]], "seen": []}', '{"points": [[0,0,0]], "names": ["a", "b"]}')
    lines = [write_landmarks(tmp_path, "good.ply", json.dumps(good)), ok_line("none.ply")]
    lines += [write_landmarks(tmp_path, f"damaged{number}.ply", text) for number, text in enumerate(damaged)]
    write_report(str(tmp_path), lines, RUN)
    text = (tmp_path / "report" / "index.html").read_text()
    table = text[text.index("Landmarks by region") :]
    table = re.sub(r"<[^>]*>", " ", table[: table.index("</table>")]).split()
    nose, jaw = table.index("nose"), table.index("jaw")
    assert table[nose : nose + 4] == ["nose", "1", "100.0", "0.75"] and table[jaw : jaw + 4] == ["jaw", "1", "0.0", "0.25"]
    assert "To the given ones" not in text
    assert "Landmarks by region" not in page(lines, RUN)


def test_figures_are_written_for_people():
    assert figure(None) == "\u2013"
    assert figure(12345.678, 1) == "12\u202f345.7"
