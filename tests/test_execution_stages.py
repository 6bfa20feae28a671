"""Each stage ends a scan with the right status, stage and reason, alone, and within its own time."""

import itertools
import time
from dataclasses import replace
from unittest.mock import Mock

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from PIL import Image
from surfaces import sphere

from geometry.charts.chart import OrthographicChart
from geometry.charts.geometry_image import CHANNELS, GeometryImage
from geometry.errors import FitError, NoFaceFound, ReadError
from geometry.fitting.encoding import Encoding
from geometry.locating.location import Location
from geometry.scan import Scan
from geometry.transforms import SimilarityTransform
from pipeline.execution import stages
from pipeline.inputs.source import Source
from pipeline.pictures.casting import PIVOT_MM
from pipeline.pictures.preview import PANEL_WIDTH, PAPER, STRIP_HEIGHT
from pipeline.scans import config, files, manifest, methods, record_shards, state
from pipeline.scans.job import Job, refiner_of
from pipeline.scans.outcome import ended_by, refine_batch, timed
from pipeline.scans.state import ScanState
from pipeline.store import storage, tfrecord

CHART = OrthographicChart(height=6, width=8)


def encoding_of(value, broken=False):
    coarse, scan = ({name: np.full((6, 8), value, np.float32) for name in CHANNELS} for _ in range(2))
    return Encoding(GeometryImage(coarse, np.ones((6, 8), bool), CHART), GeometryImage(scan, np.full((6, 8), not broken), CHART))


def item(name="a.ply", value=1.0, broken=False):
    return ScanState(Source(name, f"/in/{name}"), "sha", "inputs", {"read": 0.5}, encoding=encoding_of(value, broken))


@pytest.fixture
def job(tmp_path):
    return Job(config.load(settings=["refine=gan", "refine.batch_size=4"]), str(tmp_path), result_hash="cfg")


@pytest.fixture
def fake_gan(monkeypatch):
    """A refiner that adds 1 to the depth, counts its batches and breaks on a scan without valid pixels."""
    batches = []

    def refine(pairs):
        batches.append(len(pairs))
        if any(not scan.valid_mask.any() for _, scan in pairs):
            raise ValueError("nothing to refine")
        return [coarse.with_channel("depth", coarse["depth"] + 1) for coarse, _ in pairs]

    monkeypatch.setitem(methods.REFINERS, "gan", lambda settings: refine)
    refiner_of.cache_clear()
    yield batches
    refiner_of.cache_clear()


def test_a_stage_that_works_adds_its_seconds(job):
    result = timed("clean", lambda item, job: replace(item, metrics={"m": 1.0}), item(), job)
    assert result.metrics == {"m": 1.0} and result.seconds["read"] == 0.5 and 0 <= result.seconds["clean"] < 0.5


@pytest.mark.parametrize(
    "error, status, reason",
    [
        (NoFaceFound("no face found: 3 points"), "rejected", "no face found: 3 points"),
        (FitError("only 5 vertices\nlie near"), "failed", "only 5 vertices lie near"),
        (ReadError("a.ply", "is empty", "copy it again"), "failed", "a.ply: is empty; copy it again"),
        # what is written of a scan is the same in every run, and an address in memory is not
        (
            ReadError("a.png", "is no image <io.BytesIO at 0x7fE0>", "copy it"),
            "failed",
            "a.png: is no image <io.BytesIO>; copy it",
        ),
        (ValueError("bad"), "failed", "ValueError: bad"),
        (MemoryError(), "failed", "MemoryError"),
        (RecursionError("deep"), "failed", "RecursionError: deep"),
    ],
)
def test_an_error_ends_the_scan_with_status_stage_and_a_reason_of_one_line(job, error, status, reason):
    outcome = timed("locate", Mock(side_effect=error), item(), job)
    line = outcome.line
    assert (line["status"], line["stage"], line["reason"]) == (status, "locate", reason)
    assert set(line["seconds"]) == {"read", "locate"} and line["files"] == {}
    is_expected = not reason.startswith(("ValueError", "MemoryError", "RecursionError"))
    assert outcome.trace == "" if is_expected else "Traceback" in outcome.trace


def refused(state, job):
    raise NoFaceFound("no face found: it is a sheet")


@pytest.mark.parametrize("located", [False, True])
def test_a_rejected_scan_leaves_a_picture_of_what_was_looked_at_and_nothing_else(job, located):
    ball = sphere(80.0)
    scan = Scan(ball.vertices, ball.triangles, "a.ply", "ply")
    state = replace(item(), scan=scan)
    if located:
        state = replace(state, scan=None, location=Location(scan, SimilarityTransform.identity(), 0.5))
    folder = manifest.scan_folder(job.out, state.source.scan_id)
    storage.write_bytes(storage.join(folder, "refined.ply"), b"of an earlier run")
    line = timed("rasterize", refused, state, job).line
    assert line["status"] == "rejected" and line["files"] == {"preview": f"scans/{state.source.scan_id}/preview.png"}
    assert storage.list_files(folder) == [storage.join(folder, "preview.png")]
    with Image.open(storage.join(folder, "preview.png")) as picture:
        panel = np.asarray(picture.convert("RGB"))[STRIP_HEIGHT:, :PANEL_WIDTH]
    assert (panel != PAPER).any(axis=2).mean() > 0.3
    # a picture is of what lies about a head's middle, and nothing of the ball is cut off
    assert np.abs(files.as_a_whole(scan).apply(scan.points) - PIVOT_MM).max() < 120


def test_without_previews_a_rejected_scan_has_no_files(job):
    plain = replace(job, config=config.load(settings=["output.previews=false"]))
    scan = Scan(np.zeros((3, 3)), np.zeros((0, 3)), "a.ply", "ply")
    assert timed("clean", refused, replace(item(), scan=scan), plain).line["files"] == {}


def test_a_picture_that_cannot_be_made_costs_a_rejected_scan_nothing_but_it(job):
    broken = Scan(np.full((3, 3), np.nan), np.array([[0, 1, 9]]), "a.ply", "ply")
    outcome = timed("locate", refused, replace(item(), scan=broken), job)
    assert outcome.line["status"] == "rejected" and outcome.line["files"] == {}
    assert outcome.line["reason"] == "no face found: it is a sheet" and "Traceback" in outcome.trace


def test_the_scans_notes_reach_its_line_however_it_ends():
    noted = replace(
        item(), scan=Scan(np.zeros((3, 3)), np.zeros((0, 3)), "a.ply", "ply").with_note("several heads: the largest was taken")
    )
    rejected = ended_by(NoFaceFound("no face found"), noted, "locate").line
    finished = stages.finished(noted)
    assert rejected["notes"] == finished.line["notes"] == ["several heads: the largest was taken"]
    assert "notes" not in ended_by(NoFaceFound("no face found"), item(), "locate").line


def limited(job, seconds):
    return replace(job, config=config.load(settings=[f"limits.seconds_per_scan={seconds}"]))


def test_a_stage_that_asks_is_stopped_in_the_middle_at_the_time_limit(job, monkeypatch):
    def endless(item, job):
        while True:
            item.deadline.check()

    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) * 0.01)
    line = timed("fit", endless, item(), limited(job, 0.7)).line
    assert 0.2 <= line["seconds"]["fit"] < 0.3  # 0.5 s of the 0.7 were spent before
    assert (line["status"], line["stage"]) == ("failed", "fit") and "limits.seconds_per_scan = 0.7 s" in line["reason"]


def test_a_stage_that_does_not_ask_fails_when_it_ends_but_what_is_written_is_kept(job):
    slow = lambda item, job: time.sleep(0.05) or item
    tight = limited(job, 0.52)
    assert timed("lift", slow, item(), tight).line["stage"] == "lift"
    assert isinstance(timed("write", slow, item(), tight, limit_after=False), ScanState)


def test_in_a_batch_only_the_culprit_fails_and_its_mates_are_as_alone(job, fake_gan):
    first, second, third = refine_batch([item("a.ply", 1.0), item("b.ply", 2.0, broken=True), item("c.ply", 3.0)], job)
    assert second.line["status"] == "failed" and second.line["reason"] == "ValueError: nothing to refine"
    for result, value in ((first, 2.0), (third, 4.0)):
        np.testing.assert_array_equal(result.refined["depth"], np.full((6, 8), value, np.float32))
        assert "confidence" in result.refined.channels and "refine" in result.seconds


def test_a_refiner_that_cannot_be_built_fails_the_scans_and_not_the_run(job, monkeypatch):
    monkeypatch.setitem(methods.REFINERS, "gan", Mock(side_effect=OSError("no weights")))
    refiner_of.cache_clear()
    assert [outcome.line["reason"] for outcome in refine_batch([item()], job)] == ["OSError: no weights"]


def test_refining_in_the_graph_batches_and_leaves_no_scan_behind(job, fake_gan):
    # one bundle of seven: a batch of four in the middle, three at the bundle's end, one of them broken
    items = [item(f"{k}.ply", float(k), broken=k == 5) for k in range(7)]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = (
            pipeline
            | beam.Create([0])
            | beam.FlatMap(lambda _: items)
            | beam.ParDo(stages.Refine(job)).with_outputs(stages.ENDED, main="on")
        )
        refined = found.on | beam.Map(lambda item: (item.source.name, float(item.refined["depth"][0, 0])))
        assert_that(refined, equal_to([(f"{k}.ply", k + 1.0) for k in range(7) if k != 5]), "refined")
        assert_that(found[stages.ENDED] | beam.Map(lambda end: end.line["source"]), equal_to(["5.ply"]), "ended")


def test_loading_hashes_the_input_and_keeps_what_is_done(tmp_path, job):
    path = tmp_path / "a.ply"
    path.write_bytes(b"scan")
    source = Source("a.ply", str(path))
    expected = manifest.input_hash(b"scan", {})
    manifest.record(job.out, manifest.line(ScanState(source, "old"), "rejected", "locate", "no face"), expected, "cfg")
    (end,) = stages.Load(job).process(source)
    assert end.tag == stages.ENDED and end.value.line["sha256"] == "old" and not end.value.is_new
    (gone,) = stages.Load(job).process(Source("b.ply", str(path) + "x"))
    assert gone.value.line["status"] == "failed" and gone.value.line["stage"] == "read"


def test_shards_hold_a_fixed_number_of_ok_scans_in_the_order_of_the_manifest():
    lines = [{"scan_id": f"s{k}", "status": "ok", "files": {"geometry_images": f"scans/s{k}/g.npz"}} for k in range(6)]
    lines[1] |= {"status": "failed", "files": {}}
    shards = record_shards.shards_of(lines, "out", 2)
    assert [shard.path for shard in shards] == [f"out/records/geometry_images-0000{k}-of-00003.tfrecord" for k in range(3)]
    assert [[scan_id for scan_id, _ in shard.scans] for shard in shards] == [["s0", "s2"], ["s3", "s4"], ["s5"]]
    assert record_shards.shards_of(lines[1:2], "out", 2) == []
    assert record_shards.shards_of([lines[0] | {"files": {"landmarks": "scans/s0/landmarks.json"}}], "out", 2) == []


def test_a_record_holds_the_saved_images(tmp_path):
    encoded = encoding_of(2.5)
    images = vars(encoded) | {"refined": encoded.coarse.with_channel("confidence", np.ones((6, 8)))}
    storage.write_bytes(str(tmp_path / "scans" / "a" / "g.npz"), storage.npz_bytes(files.image_arrays(images)))
    shard = record_shards.Shard(str(tmp_path / "records" / "x.tfrecord"), (("a", "scans/a/g.npz"),))
    assert record_shards.write_shard(shard, str(tmp_path)) == 1
    (example,) = map(tfrecord.decode_example, tfrecord.read_tfrecord(shard.path))
    assert example["scan_id"] == [b"a"] and example["shape"].tolist() == [6, 8]
    assert {name.partition("/")[0] for name in example} == {"scan_id", "shape", "chart", "coarse", "scan", "refined"}
    np.testing.assert_array_equal(example["refined/depth"], np.full(48, 2.5, np.float32))


def test_saved_images_load_as_they_were():
    saved = vars(encoding_of(1.5, broken=True))
    loaded = files.load_images(storage.npz_bytes(files.image_arrays(saved)))
    for group, original in saved.items():
        assert loaded[group].chart == CHART and set(loaded[group].channels) == set(original.channels)
        np.testing.assert_array_equal(loaded[group].valid_mask, original.valid_mask)
        np.testing.assert_array_equal(loaded[group]["depth"], original["depth"])


def test_a_scan_supports_the_refined_surface_where_it_lies_on_it():
    encoded = encoding_of(0.0)
    flat = {"normal_elevation": np.full((6, 8), np.pi / 2), "normal_x": np.zeros((6, 8)), "normal_y": np.zeros((6, 8))}
    refined = GeometryImage({**encoded.coarse.channels, **flat}, encoded.coarse.valid_mask, CHART)
    scan = encoded.scan.with_channel("noise_sigma", np.zeros((6, 8)))
    depth = np.zeros((6, 8))
    depth[0, 0], depth[1, 1] = 20.0, 1.0  # a hand in front of the face; a scan's ordinary error
    observed = state.observed_pixels(scan.with_channel("depth", depth), refined)
    assert not observed[0, 0] and observed.sum() == 47
