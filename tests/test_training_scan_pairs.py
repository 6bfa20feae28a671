"""Training pairs from an archive of real scans, played here by a sampled face in a folder among files that are no truth."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sampled_faces import default_model
from test_synthesize import depth_of

from geometry.charts.geometry_image import CHANNELS
from geometry.errors import ConfigError, FaceReliefError, NoFaceFound
from geometry.mesh import TriangleMesh, merged
from geometry.readers.ply_writer import write_ply
from geometry.settings import loading
from geometry.synthesis import faces, sensors
from geometry.transforms import SimilarityTransform
from pipeline import synthesize
from pipeline.execution import supervision
from pipeline.execution.local import Runner
from pipeline.inputs.source import Source
from pipeline.launch import training_set
from pipeline.scans.config import ChartConfig
from pipeline.scans.job import chart_of
from pipeline.store import tfrecord
from pipeline.training import making, real_truth, sampled_pairs, scan_pairs
from pipeline.training.config import PairOptions, ScanOptions, SetOptions, SynthesisConfig
from pipeline.training.real_truth import Archive, PoorScan, ScanLeftOut
from pipeline.training.shards import plan_shards

CONFIG = SynthesisConfig(
    set=SetOptions(seed=5, views_per_subject=2, pairs_per_shard=10),
    pairs=PairOptions(sensor_weights={"truedepth": 1.0}),
    chart=ChartConfig(height=128, width=128, pixel_mm=1.5),
)
CHART = chart_of(CONFIG.chart)


@cache
def sampled():
    options = faces.SynthesisOptions(hair_share=0, hand_share=0, glasses_share=0, expression_strength=(0, 0), edge_mm=2.5)
    return faces.sample_face(default_model(), np.random.default_rng(4), options)


FIT = real_truth.real_face  # the real thing: seconds


@cache
def fitted(source, digest):
    """The scan's face, and what `judge_truth` was asked about it."""
    asked, judge = [], real_truth.judge_truth
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real_truth, "judge_truth", lambda *given: asked.append(given) or judge(*given))
        return FIT(source, digest, CONFIG), asked


@pytest.fixture(autouse=True)
def fits(monkeypatch):
    """Every scan is fitted once in all tests; the list of those asked for in this one."""
    calls = []
    scan_pairs._face_or_reason.cache_clear()
    monkeypatch.setattr(real_truth, "real_face", lambda *given: calls.append(given[0].name) or fitted(*given[:2])[0])
    return calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ann/neutral.ply: a face in some pose; a ball, half a file, and a text."""
    folder = tmp_path_factory.mktemp("archive")
    pose = SimilarityTransform(sensors.head_rotation(20, -10, 15), np.array([40.0, -20, 600]))
    skin = sampled().skin
    (folder / "ann").mkdir()
    write_ply(folder / "ann" / "neutral.ply", TriangleMesh(pose.apply(skin.vertices), skin.triangles))
    (folder / "broken.ply").write_bytes((folder / "ann" / "neutral.ply").read_bytes()[:5000])
    (folder / "README.txt").write_text("three files")
    write_ply(folder / "few.ply", TriangleMesh(np.random.default_rng(0).standard_normal((60, 3)), np.array([[0, 1, 2]])))
    return folder


@pytest.fixture(scope="module")
def archive(folder):
    return real_truth.list_archive(str(folder), CONFIG)


@cache
def _pair(archive, number, scan_input="simulated"):
    return scan_pairs.make_pair(number, replace(CONFIG, scans=ScanOptions(scan_input=scan_input)), archive)


def real(archive):
    return replace(archive, options=ScanOptions(scan_input="real"))


def listed(*names, **options):
    return Archive(tuple(Source(name, name) for name in names), ("0",) * len(names), ScanOptions(**options))


def test_the_archive_is_listed_as_a_run_lists_it(archive):
    assert [scan.name for scan in archive.scans] == ["ann/neutral.ply", "broken.ply", "few.ply"]
    assert all(len(digest) == 64 for digest in archive.hashes)


def test_a_folder_without_scans_is_refused_by_the_options_name(tmp_path):
    with pytest.raises(ConfigError, match="--from-scans .*no scan"):
        real_truth.list_archive(str(tmp_path), CONFIG)
    with pytest.raises(ConfigError, match="scans.scan_input .*'both' is unknown; expected one of simulated, real"):
        loading.load(SynthesisConfig, settings=["scans.scan_input=both"])


def test_a_subject_is_a_file_or_a_folder_of_the_first_level():
    names = ("a.ply", "bob/1/x.ply", "bob/2/x.ply", "set.zip!eve/x.ply")
    by_file, by_folder = listed(*names), listed(*names, subject_from="folder")
    assert [by_file.subject(k) for k in range(4)] == list(names)
    assert [by_folder.subject(k) for k in range(4)] == ["a.ply", "bob", "bob", "set.zip"]
    assert by_folder.subject_number(1) == by_folder.subject_number(2) != by_folder.subject_number(0)


def test_splits_have_their_shares_and_a_subject_keeps_its_own_in_a_larger_archive():
    names = [f"{k:04d}/scan.ply" for k in range(2000)]
    whole = listed(*names)
    splits = {name: whole.split(k, (0.8, 0.1, 0.1)) for k, name in enumerate(names)}
    assert np.mean([split == "train" for split in splits.values()]) == pytest.approx(0.8, abs=0.04)
    some = listed(*names[500:600])
    assert [some.split(k, (0.8, 0.1, 0.1)) for k in range(100)] == [splits[name] for name in names[500:600]]


def test_a_shard_holds_whole_scans_of_one_split():
    archive = listed(*(f"{k}.ply" for k in range(200)))
    options = SetOptions(views_per_subject=4, split_shares=(0.6, 0.2, 0.2), pairs_per_shard=10)
    shards = plan_shards(800, options, archive)
    assert sorted(index for shard in shards for index in shard.indices) == list(range(800))
    for shard in shards:
        scans = [index // 4 for index in shard.indices]
        assert {archive.split(scan, options.split_shares) for scan in scans} == {shard.name.split("-")[0]}
        assert len(scans) == 4 * len(set(scans)) <= 8
    assert len(plan_shards(8, replace(options, pairs_per_shard=3), listed("a.ply", "b.ply"))[0].indices) >= 4


def test_the_plan_follows_content_and_options_and_not_the_place(archive, folder, tmp_path):
    assert real_truth.list_archive(str(folder), CONFIG).plan() == archive.plan()
    assert real(archive).plan() != archive.plan()
    (tmp_path / "few.ply").write_bytes((folder / "few.ply").read_bytes())
    before = real_truth.list_archive(str(tmp_path), CONFIG).plan()
    (tmp_path / "few.ply").write_bytes((folder / "few.ply").read_bytes() + b"\n")
    assert real_truth.list_archive(str(tmp_path), CONFIG).plan()["sha256"] != before["sha256"]


def test_a_pair_has_the_schema_of_sampled_ones(archive):
    made = _pair(archive, 1)
    images = {f"{group}/{name}" for group in ("coarse", "scan", "truth") for name in (*CHANNELS, "valid_mask")}
    others = {"scan_id", "shape", "chart", "subject", "split", "sensor", "fit_residual_mm", "detail_strength"}
    assert set(made) == images | others | {"scan/noise_sigma"}
    decoded = tfrecord.decode_example(tfrecord.encode_example(made))
    assert all(decoded[name].shape == (128 * 128,) for name in images) and np.isnan(decoded["detail_strength"])
    assert made["sensor"] == "truedepth" and made["split"] == archive.split(0, CONFIG.set.split_shares)
    assert made["scan_id"] != _pair(archive, 0)["scan_id"] and made["subject"] == _pair(archive, 0)["subject"]


def test_the_simulated_scan_scatters_about_the_real_one(archive):
    difference = depth_of(_pair(archive, 0), "scan") - depth_of(_pair(archive, 0), "truth")
    assert np.isfinite(difference).sum() > 1500 and abs(np.nanmedian(difference)) < 0.3
    assert 0.02 < np.nanmedian(np.abs(difference)) < 1.0


def test_in_the_papers_setting_scan_and_truth_are_the_real_surface(archive):
    features = _pair(archive, 0, "real")
    coarse, scan, truth = (depth_of(features, group) for group in ("coarse", "scan", "truth"))
    assert features["sensor"] == "real" and np.isfinite(scan - truth).sum() > 4000
    assert np.nanquantile(np.abs(scan - truth), 0.99) < 0.01
    assert 0.05 < np.nanmedian(np.abs(coarse - truth)) < 1.0


def test_later_views_show_another_expression_and_identity(archive):
    one, other = _pair(archive, 0, "real"), _pair(archive, 1, "real")
    difference = np.abs(depth_of(one, "truth") - depth_of(other, "truth"))
    assert np.isfinite(difference).sum() > 3000
    assert np.nanmedian(difference) > 0.1 and np.nanquantile(difference, 0.9) < 15


def test_a_pair_follows_from_seed_and_index_alone(archive, monkeypatch):
    first = tfrecord.encode_example(_pair(archive, 1))
    monkeypatch.setattr(real_truth, "real_face", FIT)
    scan_pairs._face_or_reason.cache_clear()
    assert tfrecord.encode_example(scan_pairs.make_pair(1, CONFIG, archive)) == first


def test_bad_scans_are_left_out_by_name_and_reason_and_the_job_goes_on(archive, tmp_path, monkeypatch, fits):
    pairs = [_pair(archive, number) for number in (0, 1)]
    fits.clear()
    monkeypatch.setattr(scan_pairs, "_pair", lambda face, number, *_: dict(pairs[number]))
    scan_pairs._face_or_reason.cache_clear()
    job = making.Job(str(tmp_path), CONFIG, archive=archive)
    card = training_set.synthesize(job, 6, Runner(1))
    assert card["attempted"] == 6 and card["pairs"] == 2 and sum(card["dropped"].values()) == 4
    assert sorted(fits) == ["ann/neutral.ply", "broken.ply", "few.ply"], "once each"
    assert set(card["left_out"]) == {"broken.ply", "few.ply"} and card["scans_left_out"] == 2
    assert card["left_out"]["broken.ply"].startswith("ReadError: ") and "NoFaceFound: " in card["left_out"]["few.ply"]
    assert "licences" in card["rights"] and json.loads((tmp_path / "card.json").read_text()) == card
    assert card["plan"]["archive"] == json.loads(json.dumps(archive.plan()))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert training_set.synthesize(job, 6, Runner(1)) == card
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, "all shards are kept"
    with pytest.raises(ConfigError, match="another archive"):
        training_set.synthesize(replace(job, archive=real(archive)), 6, Runner(1))
    with pytest.raises(ConfigError, match="another archive"):
        training_set.synthesize(replace(job, archive=None), 6, Runner(1))


def test_an_unforeseen_error_drops_the_pair_alone(archive, monkeypatch):
    monkeypatch.setattr(scan_pairs, "view_of", lambda *_: 1 / 0)
    with pytest.raises(FaceReliefError, match="ZeroDivisionError"):
        scan_pairs.make_pair(0, CONFIG, archive)
    monkeypatch.setattr(real_truth, "real_face", lambda *_: 1 / 0)
    scan_pairs._face_or_reason.cache_clear()
    with pytest.raises(ScanLeftOut, match="ZeroDivisionError") as left_out:
        scan_pairs.make_pair(0, CONFIG, archive)
    assert left_out.value.source == "ann/neutral.ply"


def test_a_scan_that_workers_die_of_is_left_out():
    archive = listed("a.ply", "b.ply")
    job = making.Job("x", CONFIG, archive=archive)
    less = training_set._without_deadly(job, supervision.WorkerLost({"3"}))
    assert less.archive.deadly == {1} and less.archive.plan() == archive.plan()
    with pytest.raises(ScanLeftOut, match="worker process died"):
        scan_pairs.make_pair(2, CONFIG, less.archive)
    for hopeless in (less, replace(job, archive=None)):
        with pytest.raises(FaceReliefError, match="memory"):
            training_set._without_deadly(hopeless, supervision.WorkerLost({"3"}))


def test_a_file_that_changes_under_way_is_no_longer_the_one_listed(archive):
    with pytest.raises(ScanLeftOut, match="changed since"):
        scan_pairs.make_pair(0, CONFIG, replace(archive, hashes=("0" * 64, *archive.hashes[1:])))


def test_noisy_coarse_and_half_seen_scans_are_no_truth(archive):
    model, limits = default_model(), ScanOptions()
    surface, fit, scan = fitted(archive.scans[0], archive.hashes[0])[1][0][:3]
    real_truth.judge_truth(surface, fit, scan, model, limits)
    assert real_truth.face_share(fit, scan, model, limits.reach_mm) > 0.8
    with pytest.raises(PoorScan, match="noise is about 0.12 mm, at most 0.10"):
        real_truth.judge_truth(surface, replace(fit, noise_mm=0.12), scan, model, limits)
    with pytest.raises(PoorScan, match="median edge"):
        real_truth.judge_truth(surface, fit, scan, model, replace(limits, edge_mm=0.5))
    third = replace(scan, valid_mask=scan.valid_mask & (np.arange(scan.shape[1]) < 52))
    with pytest.raises(PoorScan, match="% of the face, at least 50 %"):
        real_truth.judge_truth(surface, fit, third, model, limits)


def test_what_hides_the_face_is_no_truth():
    core = TriangleMesh(default_model().mean, default_model().triangles)
    corners = np.array([[-20.0, 0, 20], [20, 0, 20], [0, 30, 20]])
    mesh = merged([core, TriangleMesh(corners, [[0, 1, 2]])])
    far = np.zeros(len(mesh.triangles), bool)
    plain = scan_pairs.truth_image(scan_pairs.View(mesh, far, sampled()), SimilarityTransform.identity(), CHART)
    far[-1] = True
    masked = scan_pairs.truth_image(scan_pairs.View(mesh, far, sampled()), SimilarityTransform.identity(), CHART)
    hidden = plain["depth"] > 19
    assert hidden.sum() > 150 and not masked.valid_mask[hidden].any()
    assert np.array_equal(masked.valid_mask, plain.valid_mask & ~hidden)
    assert np.array_equal(masked["depth"][masked.valid_mask], plain["depth"][masked.valid_mask])


def test_the_inside_of_an_open_shell_is_not_seen():
    """A real scan is often a face without a head: a camera behind it does not see that face from within."""
    head = sampled().skin
    shell = TriangleMesh(head.vertices, head.triangles[(head.vertices[head.triangles][:, :, 2] > -90).all(1)])
    alone = replace(sampled(), mesh=shell, excluded=np.zeros(len(shell.triangles), bool))
    sensor, options = sensors.SENSORS["truedepth"], replace(CONFIG.pairs, wall_share=0.0, shoulders_share=0.0)
    before, behind = (
        SimilarityTransform(sensors.head_rotation(yaw, 0, 0), np.array([0.0, 0, distance]))
        for yaw, distance in ((0, 300), (180, 400))
    )
    look = lambda pose: sampled_pairs.observe(shell, alone, sensor, pose, options, np.random.default_rng(0))
    assert len(look(before).points) > 10_000
    assert len(look(behind).points) < 0.01 * len(look(before).points), "of lips and lids that turn inward, no more"


def test_the_command_refuses_what_makes_no_sense(folder, tmp_path, capsys):
    to = ["--output", str(tmp_path / "set")]
    with pytest.raises(SystemExit):
        synthesize.main([*to, "--scan-input", "real"])
    assert "--scan-input needs --from-scans" in capsys.readouterr().err
    assert synthesize.main([*to, "--from-scans", str(folder), "--count", "4"]) == 2
    assert "3 scans times 1 views give at most 3 pairs" in capsys.readouterr().err
    assert synthesize.main([*to, "--from-scans", str(tmp_path / "nowhere")]) == 2
    assert "--from-scans" in capsys.readouterr().err


def test_a_view_without_a_face_is_dropped_and_not_the_scan(archive, monkeypatch):
    def nothing(*_):
        raise NoFaceFound("no face found: too dark")

    monkeypatch.setattr(scan_pairs, "_pair", nothing)
    with pytest.raises(NoFaceFound):
        scan_pairs.make_pair(0, CONFIG, archive)
