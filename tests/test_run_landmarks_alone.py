"""`--stages landmarks`, end to end on example scans: landmarks and a picture, no fit, nothing of the refiner."""

import json
import pathlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sampled_faces import default_model, mesh_scan
from scipy.spatial import cKDTree
from test_run import manifest_of

from geometry import readers
from geometry.charts.chart import OrthographicChart
from geometry.charts.rasterize import rasterize
from geometry.errors import NoFaceFound
from geometry.landmarks.estimate import LandmarkEstimate
from geometry.locating.location import Location
from geometry.model.landmark_embedding import landmarks_on
from geometry.transforms import SimilarityTransform
from pipeline import evaluate, run
from pipeline.inputs.source import Source
from pipeline.scans import landmarking, methods, steps
from pipeline.scans.config import LandmarksConfig
from pipeline.scans.state import ScanState

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples" / "scans"
SCANS = ("photogrammetry_centimetres.obj", "truedepth_on_its_side.png")


def nearest_to_mean(location, model, settings):
    """A finder for these tests: the mean face's landmarks, where the scan shows something near them."""
    expected = location.scan_to_model.inverse().apply(landmarks_on(model, model.mean, settings.scheme))
    distance, nearest = cKDTree(location.scan.points).query(expected)
    seen = distance < 6
    points = np.where(seen[:, None], location.scan.points[nearest], expected)
    sigma = np.where(seen, 1.0, 5.0)
    return LandmarkEstimate(points, sigma[:, None, None] ** 2 * np.eye(3), np.where(seen, 0.9, 0.2), seen, settings.scheme)


def refuse(settings):
    raise AssertionError("a run for landmarks alone builds a refiner")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for name in SCANS:
        for file in EXAMPLES.glob(pathlib.Path(name).stem + ".*"):
            shutil.copy(file, folder)
    return folder


def execute(scans, out, finder, *options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "on_raw_scan", finder)
        patch.setitem(methods.REFINERS, "gan", refuse)
        words = ["--input", str(scans), "--output", str(out), "--workers", "1", "--stages", "landmarks", *options]
        return run.main([*words, "--set", "locate=pose_search", "--set", "landmarks=mesh"])


@pytest.fixture(scope="module")
def out(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("landmarks") / "out"
    assert execute(scans, folder, nearest_to_mean) == 0
    return folder


def test_only_landmarks_and_a_picture_are_written_and_no_stage_of_the_fit_has_run(out):
    lines = manifest_of(out)
    assert set(lines) == set(SCANS)
    for line in lines.values():
        assert line["status"] == "ok" and set(line["files"]) == {"landmarks", "preview"}
        assert set(line["seconds"]) == {"read", "clean", "locate", "landmarks", "measure", "write"}
        assert set(line["metrics"]) == {
            "confidence",
            "landmarks_seen",
            "landmarks_inferred",
            "landmark_confidence",
            "landmark_sigma_mm",
        }
        assert {path.name for path in (out / "scans" / line["scan_id"]).iterdir()} == {"landmarks.json", "preview.png"}
    assert not (out / "records").exists()
    run_info = json.loads((out / "run.json").read_text())
    assert run_info["refiner"] is None and run_info["weights"] is None and run_info["config"]["output"]["stages"] == "landmarks"


def test_seen_landmarks_lie_on_the_file_in_its_own_unit(out, scans):
    line = manifest_of(out)[SCANS[0]]
    content = json.loads((out / line["files"]["landmarks"]).read_text())
    assert content["unit_mm"] == 10.0
    seen, points = np.array(content["seen"]), np.array(content["points"], float)
    distance, _ = cKDTree(readers.read(scans / SCANS[0], unit=1.0).points).query(points[seen])
    assert seen.sum() > 40 and distance.max() * 10 < 0.01
    assert line["metrics"]["landmarks_seen"] == seen.sum()
    sigma = np.sqrt(np.trace(np.array(content["covariance"]), axis1=1, axis2=2) / 3) * content["unit_mm"]
    np.testing.assert_allclose(sigma, np.where(seen, 1.0, 5.0), rtol=1e-3)


def test_the_report_shows_what_there_is_and_can_be_written_again(out):
    page = (out / "report" / "index.html").read_text()
    assert "Landmarks by region" in page and "whose landmarks were found" in page and page.count("data:image/jpeg") == 2
    assert "Distribution of errors" not in page and "<span>Coarse</span>" not in page
    assert evaluate.main(["--output", str(out)]) == 0
    assert (out / "report" / "index.html").read_text() == page


def test_the_same_command_keeps_the_scans_and_another_selection_of_stages_would_not(scans, out):
    marks = {path: path.stat().st_mtime_ns for path in (out / "scans").rglob("*.json")}
    hashes = {json.loads(path.read_text())["result_hash"] for path in (out / ".state").iterdir()}
    assert execute(scans, out, nearest_to_mean) == 0
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert hashes == {json.loads((out / "run.json").read_text())["result_hash"]}


def located(confidence: float) -> Location:
    """The shipped model's mean face as a scan, with landmarks as sure as asked."""
    model = default_model()
    marks = landmarks_on(model, model.mean)
    estimate = LandmarkEstimate(marks, np.tile(np.eye(3), (68, 1, 1)), np.full(68, confidence), np.ones(68, bool))
    return Location(mesh_scan(model.mean), SimilarityTransform.identity(), 0.9, estimate=estimate)


def test_a_thing_without_sure_landmarks_is_no_face_though_no_fit_judges_it():
    with pytest.raises(NoFaceFound, match="only 0 of 68 landmarks are seen for sure"):
        landmarking.on_raw_scan(located(0.3), default_model(), LandmarksConfig())


def test_a_face_is_judged_by_its_ibug_landmarks_and_not_by_the_points_that_were_asked_for(tmp_path):
    """Cheeks are far from all landmarks, and never sure."""
    scheme = tmp_path / "cheeks.json"
    points = [{"name": f"{side}_cheek", "point": [x, -10.0, -45.0]} for side, x in (("left", 45.0), ("right", -45.0))]
    scheme.write_text(json.dumps({"name": "cheeks", "points": points}))
    found = landmarking.on_raw_scan(located(0.9), default_model(), LandmarksConfig(scheme=str(scheme)))
    assert len(found) == 2 and (found.confidence < 0.5).all()
    assert np.abs(found.points[0] - found.points[1] * [-1, 1, 1]).max() < 3


def registered(location, model, image) -> ScanState:
    """A scan whose fit, refined image and registered mesh are the model's own mean face, free of noise but for 0.1 mm."""
    encoded = SimpleNamespace(scan=image.with_channel("noise_sigma", np.zeros(image.shape)))
    fit = SimpleNamespace(scan_to_model=location.scan_to_model, noise_mm=0.1, beard=None)
    return ScanState(
        Source("", ""),
        location=location,
        fit=fit,
        encoding=encoded,
        refined=image,
        surfaces=SimpleNamespace(registered=model.mean),
    )


def test_the_mesh_s_landmarks_outside_the_chart_are_not_called_seen(model):
    chart = OrthographicChart(height=64, width=64, pixel_mm=1.5)
    image = rasterize(model.mesh(), chart)
    mesh = landmarking.from_mesh(registered(located(0.9), model, image), model, LandmarksConfig())
    pixels, _ = chart.project(mesh.points)
    outside = ((pixels < 0) | (pixels >= 64)).any(1)
    assert outside.sum() > 10 and not mesh.seen[outside].any() and mesh.seen[~outside].mean() > 0.8
    assert (mesh.confidence[outside] < mesh.confidence[30]).all()


def test_fused_landmarks_lie_between_both_and_are_seen_where_either_is(model):
    image = rasterize(model.mesh(), OrthographicChart())
    location = located(0.9)
    shifted = replace(location, estimate=replace(location.estimate, points=location.estimate.points + [1.0, 0, 0]))
    heatmaps, mesh, both = (
        method(registered(shifted, model, image), model, LandmarksConfig())
        for method in (landmarking.from_heatmaps, landmarking.from_mesh, landmarking.from_both)
    )
    x = both.points[:, 0] - mesh.points[:, 0]
    seen = mesh.seen & heatmaps.seen
    assert (x[seen] > 0).all() and (x[seen] < 1).all() and both.seen[seen].all()
