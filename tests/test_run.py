"""End to end through `python -m pipeline.run`: the output contract, every failure in its manifest line, resume after
kill −9, the same outputs for one worker and for two, and the exit codes."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geometry import readers
from geometry.charts.chart import from_json
from geometry.errors import NoFaceFound
from geometry.locating.location import Location
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import landmarks_on
from geometry.readers.ply_writer import ply_bytes
from geometry.reconstruction import lifting
from geometry.surfaces.closest_point import surface_distance
from geometry.transforms import SimilarityTransform
from pipeline import cli, run
from pipeline.inputs.source import Source
from pipeline.scans import methods
from pipeline.scans.files import FILE_NAMES, load_images
from pipeline.scans.state import observed_pixels
from pipeline.store import tfrecord

ROOT = pathlib.Path(__file__).parents[1]
FACES = ("sub/turned_in_metres.ply", "upright.ply")
FILES = set(FILE_NAMES)
QUICK = ("locate=pose_search", "refine=smooth", "landmarks=mesh", "chart.height=128", "chart.width=128", "chart.pixel_mm=1.5")


@pytest.fixture(scope="module")
def faces(model):
    """Two sampled faces as a scanner would give them: one in mm, one turned, moved, in metres and in colour."""
    rng = np.random.default_rng(5)
    front = model.regions["face"] | (model.mean[:, 2] > -70) & ~model.regions["cavities"]
    turned = SimilarityTransform(Rotation.from_rotvec(np.array([0.4, 0.9, -0.3])).as_matrix(), np.array([80.0, -300.0, 900.0]))
    meshes = [model.mesh(rng.normal(size=model.n_identity) * 0.6).submesh(front)[0] for _ in range(2)]
    shades = np.clip(meshes[1].vertices + 128, 0, 255).astype(np.uint8)
    in_metres = TriangleMesh(turned.apply(meshes[1].vertices) / 1000, meshes[1].triangles, shades)
    return {"upright.ply": meshes[0], "sub/turned_in_metres.ply": in_metres}


@pytest.fixture(scope="module")
def scans(tmp_path_factory, faces):
    """A folder of two faces, one thing that is none, two damaged files and a text."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "sub").mkdir()
    angles = np.random.default_rng(0).normal(size=(4000, 3))
    sphere = 90 * angles / np.linalg.norm(angles, axis=1, keepdims=True)
    for name, data in {
        **{name: ply_bytes(mesh) for name, mesh in faces.items()},
        "empty.ply": b"",
        "truncated.ply": ply_bytes(faces["upright.ply"])[:5000],
        "sphere.ply": ply_bytes(TriangleMesh(sphere, np.zeros((0, 3)))),
        "README.txt": b"not a scan",
    }.items():
        (folder / name).write_bytes(data)
    return folder


def command(scans, out, *options, settings=QUICK):
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "pipeline.run", "--input", str(scans), "--output", str(out), *words, *options]


def execute(scans, out, *options, code=3, settings=QUICK, env=None):
    words = command(scans, out, *options, settings=settings)
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def manifest_of(out):
    return {line["source"]: line for line in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}


def results_of(out):
    """Path → bytes of everything that must not depend on timing; the manifest without its seconds."""
    found = [path for folder in ("scans", "records") for path in (out / folder).rglob("*") if path.is_file()]
    files = {str(path.relative_to(out)): path.read_bytes() for path in found}
    files["report/metrics.json"] = _without_seconds(json.loads((out / "report" / "metrics.json").read_text()))
    return files | {"manifest": _without_seconds(list(manifest_of(out).values()))}


def _without_seconds(value):
    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [_without_seconds(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def run_once(scans, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "out"
    return out, execute(scans, out, "--workers", "1")


@pytest.fixture(scope="module")
def out(run_once):
    return run_once[0]


def test_every_scan_has_its_line_and_every_failure_its_stage_and_reason(scans, out):
    lines = manifest_of(out)
    assert list(lines) == ["empty.ply", "sphere.ply", "sub/turned_in_metres.ply", "truncated.ply", "upright.ply"]
    ended = {source: (line["status"], line["stage"]) for source, line in lines.items()}
    assert ended["empty.ply"] == ended["truncated.ply"] == ("failed", "read")
    assert ended["sphere.ply"][0] == "rejected" and ended["sphere.ply"][1] in ("clean", "locate", "fit", "rasterize")
    assert all(ended[name] == ("ok", None) for name in FACES)
    assert "empty" in lines["empty.ply"]["reason"] and "no face found" in lines["sphere.ply"]["reason"]
    for source, line in lines.items():
        assert set(line["files"]) == {"ok": FILES, "rejected": {"preview"}, "failed": set()}[line["status"]]
        assert all((out / path).stat().st_size > 0 for path in line["files"].values())
        assert line["scan_id"].endswith("-" + hashlib.sha256(source.encode()).hexdigest()[:8])
        assert line["sha256"] == hashlib.sha256((scans / source).read_bytes()).hexdigest() and "\n" not in (line["reason"] or "")


def test_the_rest_of_the_contract_is_there(out):
    run_info = json.loads((out / "run.json").read_text())
    assert run_info["counts"] == {"ok": 2, "rejected": 1, "failed": 2} and len(run_info["model"]["sha256"]) == 64
    assert run_info["config"]["refine"]["method"] == "smooth" and run_info["versions"]["numpy"] == np.__version__
    assert {path.name for path in (out / "report").iterdir()} >= {"index.html", "metrics.json", "metrics.csv"}
    (shard,) = (out / "records").iterdir()
    assert shard.name == "geometry_images-00000-of-00001.tfrecord"
    examples = [tfrecord.decode_example(data) for data in tfrecord.read_tfrecord(str(shard))]
    lines = manifest_of(out)
    assert [example["scan_id"][0].decode() for example in examples] == [lines[name]["scan_id"] for name in FACES]
    with np.load(out / lines[FACES[0]]["files"]["geometry_images"]) as images:
        assert "refined/confidence" in images.files and from_json(str(images["chart"])).height == 128
        np.testing.assert_array_equal(images["refined/depth"].ravel(), examples[0]["refined/depth"])
        assert images["scan/valid_mask"].dtype == bool and images["coarse/depth"].dtype == np.float32


def test_the_terminal_shows_counts_failures_and_where_to_look_and_no_chatter(run_once):
    out, done = run_once
    assert "5 scans in" in done.stdout and "2 ok, 1 rejected, 2 failed" in done.stdout
    assert "empty.ply" in done.stdout and str(out / "report" / "index.html") in done.stdout
    assert [line for line in done.stderr.splitlines() if "scan/s" not in line and "s/scan" not in line and line.strip()] == []


@pytest.mark.parametrize("name", FACES)
def test_all_meshes_overlay_the_input_in_its_own_frame_and_unit(out, faces, name):
    line, mesh = manifest_of(out)[name], faces[name]
    unit_mm = json.loads((out / line["files"]["fit"]).read_text())["unit_mm"]
    assert unit_mm == (1000.0 if "metres" in name else 1.0)
    nose = np.array(json.loads((out / line["files"]["landmarks"]).read_text())["points"][30])
    near = mesh.vertices[np.linalg.norm(mesh.vertices - nose, axis=1) * unit_mm < 60]
    for surface, limit_mm in (("coarse", 1.0), ("refined", 0.3), ("registered", 0.4)):
        found = readers.read(out / line["files"][surface])
        assert surface_distance(near * unit_mm, TriangleMesh(found.points * unit_mm, found.triangles)).mean() < limit_mm, surface
    assert ("metres" in name) == (readers.read(out / line["files"]["refined"]).colors is not None)


@pytest.mark.parametrize("name", FACES)
def test_scan_to_model_takes_the_input_to_the_model_frame(out, model, name):
    files = manifest_of(out)[name]["files"]
    fit = json.loads((out / files["fit"]).read_text())
    landmarks = json.loads((out / files["landmarks"]).read_text())
    assert landmarks["scheme"] == "ibug68" and landmarks["frame"] == "scan" and landmarks["unit_mm"] == fit["unit_mm"]
    assert {len(landmarks[key]) for key in ("names", "points", "confidence", "seen", "covariance")} == {68}
    assert (
        np.array(landmarks["covariance"]).shape == (68, 3, 3)
        and 40 < sum(landmarks["seen"]) == fit["landmarks"]["landmarks_seen"]
    )
    to_model = SimilarityTransform.from_matrix(np.array(fit["scan_to_model"]))
    fitted = landmarks_on(model, model.instance(np.array(fit["identity_coefficients"]), np.array(fit["expression_coefficients"])))
    assert np.linalg.norm(to_model.apply(np.array(landmarks["points"])) - fitted, axis=1).mean() < 3.0
    assert fit["scale_is_metric"] and abs(to_model.scale / fit["unit_mm"] - 1) < 1e-6  # a metric scan is never rescaled


def test_the_refined_mesh_lies_on_the_saved_image(out):
    files = manifest_of(out)["upright.ply"]["files"]
    images = load_images((out / files["geometry_images"]).read_bytes())
    observed = observed_pixels(images["scan"], images["refined"])
    surface = lifting.lift(images["refined"], observed, images["refined"]["confidence"])
    fit = json.loads((out / files["fit"]).read_text())
    to_scan = SimilarityTransform.from_matrix(np.array(fit["scan_to_model"])).inverse()
    saved = readers.read(out / files["refined"])
    shown = to_scan.apply(surface.mesh.vertices[surface.observed > 0])
    distance = surface_distance(shown, TriangleMesh(saved.points, saved.triangles))
    assert np.median(distance) < 0.05 and np.quantile(distance, 0.9) < 0.5


def test_a_run_resumes_what_is_unchanged_and_forgets_what_is_gone(scans, out, tmp_path):
    shutil.copytree(scans, tmp_path / "in", ignore=shutil.ignore_patterns("truncated.ply", "empty.ply"))
    shutil.copytree(out, tmp_path / "out")
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scans").rglob("*") if path.is_file()}
    assert "2 ok, 1 rejected, 0 failed" in execute(tmp_path / "in", tmp_path / "out", "--workers", "1", code=0).stdout
    assert list(manifest_of(tmp_path / "out")) == ["sphere.ply", *FACES]
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert (
        results_of(tmp_path / "out")["records/geometry_images-00000-of-00001.tfrecord"]
        == results_of(out)["records/geometry_images-00000-of-00001.tfrecord"]
    )


def test_killed_in_the_middle_and_run_again_two_workers_write_the_same_bytes_as_one_undisturbed(scans, out, tmp_path):
    killed = subprocess.Popen(
        command(scans, tmp_path / "out", "--workers", "2"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    states = tmp_path / "out" / ".state"
    while killed.poll() is None and not any(any(states.glob(f"{name}*.json")) for name in ("upright", "sub-")):
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    execute(scans, tmp_path / "out", "--workers", "2")
    assert results_of(tmp_path / "out") == results_of(out)
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_time_limit_and_an_exception_in_a_stage_end_that_scan_alone(scans, tmp_path, monkeypatch, capsys):
    def fit(location, model, settings, check):
        if "upright" not in location.scan.source:
            raise ValueError("a stage broke")
        while True:
            check()

    monkeypatch.setitem(methods.LOCATORS, "at_once", lambda scan, *_: Location(scan, SimilarityTransform.identity(), 1.0))
    monkeypatch.setitem(methods.FITTERS, "test", fit)
    settings = [
        "locate=at_once",
        "fit=test",
        "refine=none",
        "limits.seconds_per_scan=2",
        "model=default",
        "input.handedness=inside_out",
    ]  # the pose of that locator says nothing of the sides
    code = run.main(command(f"{scans}/**/*t*.ply", tmp_path, "--workers", "1", settings=settings)[3:])  # without `python -m …`
    lines = manifest_of(tmp_path)
    assert code == 3 and set(lines) == {*FACES, "truncated.ply", "empty.ply"}
    limited, broken = lines["upright.ply"], lines["sub/turned_in_metres.ply"]
    assert (limited["status"], limited["stage"]) == ("failed", "fit") and "seconds_per_scan = 2 s" in limited["reason"]
    assert (broken["status"], broken["stage"], broken["reason"]) == ("failed", "fit", "ValueError: a stage broke")
    (log,) = (tmp_path / "logs").iterdir()
    assert "Traceback" in log.read_text() and log.stem == broken["scan_id"]
    assert "0 ok, 0 rejected, 4 failed" in capsys.readouterr().out


def test_a_rejected_scan_is_kept_and_force_does_it_again(scans, tmp_path, monkeypatch):
    def locate(*_):
        raise NoFaceFound("no face found: for this test")

    monkeypatch.setitem(methods.LOCATORS, "nowhere", locate)
    words = ["--input", str(scans / "upright.ply"), "--output", str(tmp_path), "--workers", "1"]
    state = tmp_path / ".state" / f"{Source('upright.ply', '').scan_id}.json"
    marks = []
    for force in ([], [], ["--force"]):
        assert run.main([*words, "--set", "refine=none", "--set", "locate=nowhere", *force]) == 0
        marks.append(state.stat().st_mtime_ns)
    assert marks[0] == marks[1] < marks[2]
    assert manifest_of(tmp_path)["upright.ply"]["status"] == "rejected"


def test_a_worker_that_dies_fails_its_scan_alone(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.ply", "deadly.ply", "z.ply"):
        (tmp_path / "in" / name).write_bytes(b"")
    # a plug-in that kills its process, as an out-of-memory killer or a crashing library would
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'pipeline.execution.worker' in ' '.join(sys.orig_argv):\n"
        "    from geometry import readers\n"
        "    real = readers.read\n"
        "    def read(data, source=None, **options):\n"
        "        if source == 'deadly.ply': os.kill(os.getpid(), 9)\n"
        "        return real(data, source=source, **options)\n"
        "    readers.read = read\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    execute(tmp_path / "in", tmp_path / "out", "--workers", "2", env=environment)
    lines = manifest_of(tmp_path / "out")
    assert lines["deadly.ply"]["stage"] == "run" and "worker process died" in lines["deadly.ply"]["reason"]
    assert lines["a.ply"]["stage"] == lines["z.ply"]["stage"] == "read"


@pytest.mark.skipif(
    not all((ROOT / "gan" / "weights" / f"{name}.weights.h5").exists() for name in ("refiner", "landmarks")),
    reason="no trained networks in this checkout",
)
def test_the_network_refines_by_default_and_a_run_without_pictures_has_none(scans, tmp_path):
    execute(scans / "upright.ply", tmp_path, "--no-previews", code=0, settings=())
    line, run_info = manifest_of(tmp_path)["upright.ply"], json.loads((tmp_path / "run.json").read_text())
    assert set(line["files"]) == FILES - {"preview"} and not list(tmp_path.rglob("*.png"))
    assert run_info["refiner"] == "gan" and len(run_info["weights"]["sha256"]) == 64
    assert line["metrics"]["scan_to_refined_mean_mm"] < 0.5


@pytest.mark.parametrize(
    "options, words",
    [
        (["--no-preview"], ["unknown option '--no-preview'", "did you mean '--no-previews'?"]),
        (["--set", "refine.method=gam"], ["'gam' is unknown", "did you mean 'gan'?"]),
        (["--set", "refien=gan"], ["unknown key 'refien'", "did you mean 'refine'?"]),
        (["--set", "landmarks.scheme=ibug86"], ["did you mean 'ibug68'?"]),
        (["--stages", "landmark"], ["did you mean 'landmarks'?"]),
        (["--model", "no/such.npz"], ["no such morphable model", "default"]),
        (["--config", "no/such.yaml"], ["cannot be read"]),
        (["--runner", "NoRunner"], ["Unexpected pipeline runner: NoRunner", "FlinkRunner"]),
        (["--runner", "apache_beam.runners.dask.dask_runner.DaskRunner"], ["loses tagged outputs"]),
        (["--workers", "0"], ["--workers 0", "1 or more"]),
        (["--unit", "parsec"], ["'parsec' is unknown", "inch"]),
        (["--input", "no/such/folder"], ["no such file or folder"]),
        (["--output", "/dev/null/out"], ["cannot be written"]),
    ],
)
def test_a_wrong_command_ends_with_2_and_says_what_is_right(scans, tmp_path, capsys, options, words):
    code = run.main(["--input", str(scans), "--output", str(tmp_path), "--set", "refine=none", *options])
    message = capsys.readouterr().err
    assert code == 2 and message.count("\n") == 1 and all(word in message for word in words), message
    assert not (tmp_path / "manifest.jsonl").exists()


@pytest.mark.parametrize("setting", ["chart.kind=cylindrical", "chart.pixel_mm=0.5"])
def test_a_chart_that_the_refiner_was_not_trained_for_is_refused_before_any_work(scans, tmp_path, capsys, setting):
    assert run.main(["--input", str(scans), "--output", str(tmp_path / "out"), "--set", setting]) == 2
    assert "were trained on an orthographic one of 0.75 mm" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_scheme_of_another_model_is_refused_before_any_work(scans, tmp_path, capsys):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"name": "own", "points": [{"name": "a", "vertex": 3}], "model": "default"}))
    out = tmp_path / "out"
    assert run.main(["--input", str(scans), "--output", str(out), "--set", f"landmarks.scheme={own}"]) == 2
    assert "counts the vertices of model 'default', not of 'face-relief'" in capsys.readouterr().err
    assert not (out / "manifest.jsonl").exists()


def test_missing_arguments_end_with_2(capsys):
    with pytest.raises(SystemExit) as end:
        run.main(["--input", "x"])
    assert end.value.code == 2 and "--output" in capsys.readouterr().err


def test_face_relief_is_an_alias_of_the_modules(capsys):
    assert cli.main(["--help"]) == 0 and "scans in, registered and refined geometry out" in capsys.readouterr().out
    assert cli.main(["rum"]) == 2 and "unknown command 'rum'" in capsys.readouterr().err
    assert cli.main(["run", "--input", "no/such", "--output", "/dev/null/x"]) == 2
