"""`--stages landmarks`, end to end on example scans: landmarks and a picture, no fit, nothing of the refiner."""
import json
import pathlib
import shutil

import numpy as np
import pytest
from scipy.spatial import cKDTree

from geometry import readers
from geometry.landmark_estimate import LandmarkEstimate
from geometry.landmarks import landmarks_on
from pipeline import evaluate, methods, run

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


def blind(location, model, settings):
    found = nearest_to_mean(location, model, settings)
    return LandmarkEstimate(found.points, found.covariance, found.confidence * 0.3, found.seen, found.scheme)


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
        patch.setattr(methods, "raw_landmarks", finder, raising=False)
        patch.setitem(methods.REFINERS, "gan", refuse)
        words = ["--input", str(scans), "--output", str(out), "--workers", "1", "--stages", "landmarks", *options]
        return run.main([*words, "--set", "locate=pose_search", "--set", "landmarks=mesh"])


def manifest_of(out):
    return {line["source"]: line for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}


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
        assert set(line["metrics"]) == {"confidence", "landmarks_seen", "landmarks_inferred", "landmark_confidence", "landmark_sigma_mm"}
        assert {path.name for path in (out / "scans" / line["scan_id"]).iterdir()} == {"landmarks.json", "preview.png"}
    assert not (out / "records").exists()
    run_info = json.loads((out / "run.json").read_text())
    assert run_info["refiner"] is None and run_info["weights"] is None and run_info["config"]["output"]["stages"] == "landmarks"


def test_seen_landmarks_lie_on_the_file_in_its_own_unit(out, scans):
    line = manifest_of(out)[SCANS[0]]
    content = json.loads((out / line["files"]["landmarks"]).read_text())
    assert content["unit_mm"] == 10.0
    seen, points = np.array(content["seen"]), np.array(content["points"], float)
    in_file = readers.read(scans / SCANS[0], unit=1.0).points
    distance, _ = cKDTree(in_file).query(points[seen])
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


def test_a_thing_without_sure_landmarks_is_rejected_though_no_fit_judges_it(scans, tmp_path):
    assert execute(scans / SCANS[1], tmp_path, blind, "--no-previews") == 0
    (line,) = manifest_of(tmp_path).values()
    assert (line["status"], line["stage"]) == ("rejected", "landmarks") and "are seen for sure" in line["reason"]


def test_unknown_stages_and_schemes_end_with_2(scans, tmp_path, capsys):
    for options, words in ((["--stages", "landmark"], "did you mean 'landmarks'?"), (["--set", "landmarks.scheme=ibug86"], "did you mean 'ibug68'?")):
        code = run.main(["--input", str(scans), "--output", str(tmp_path), *options])
        assert code == 2 and words in capsys.readouterr().err
