"""The public package: what hides the packages beneath it is named, and its command answers at once."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import face_relief
from geometry.errors import ConfigError
from geometry.scan import Scan
from pipeline import cli

ROOT = Path(__file__).parents[1]


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["pipeline", "geometry", "gan"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_file_or_folder_that_hides_a_package_is_named(tmp_path, name, folder):
    foreign = tmp_path / name / "__init__.py" if folder else tmp_path / f"{name}.py"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("")
    done = python("-c", "import face_relief; face_relief.read", cwd=tmp_path)  # "" comes first on the path
    assert done.returncode == 1 and f"own package '{name}'" in done.stderr and str(foreign) in done.stderr


@pytest.mark.parametrize("command", [*cli.COMMANDS, "--version"])
def test_every_command_answers_in_any_folder_and_imports_nothing_heavy(tmp_path, command):
    code = "import sys, face_relief.__main__ as m; sys.exit(m.main(sys.argv[1:]))"
    done = python("-X", "importtime", "-c", code, command, *["--help"][: command != "--version"], cwd=tmp_path)
    assert done.returncode == 0 and f"face-relief {command if command in cli.COMMANDS else ''}" in done.stdout, done.stderr[-500:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pipeline.cli" in imported and not imported & {"numpy", "tensorflow", "pydantic", "apache_beam"}


def test_a_result_says_in_a_line_what_it_is_of():
    """In a notebook it was a thousand lines of covariances."""
    from face_relief.api import Result
    from pipeline.scans.state import ScanState

    state = replace(ScanState.of(Scan(np.zeros((3, 3)), [], source="a.ply", format="ply")), metrics={"fit_quality": 0.987})
    assert repr(Result(state, None)) == "Result('a.ply', fit_quality=0.99)"


def test_unknown_names_and_commands_are_refused():
    with pytest.raises(AttributeError, match="'proces'"):
        face_relief.proces  # noqa: B018
    assert cli.main(["rnu"]) == 2 and cli.main([]) == 2 and cli.main(["--help"]) == 0


@pytest.mark.parametrize(
    "command, option",
    [
        (["run", "--input", str(ROOT / "examples/scans/laser_frontal.ply")], "--output"),
        (["synthesize", "--count", "2"], "--output"),
        (["synthesize"], "--examples"),
        (["export"], "--output"),
        (["learn-model", "--source", "default"], "--output"),
    ],
    ids=["run", "set", "examples", "export", "model"],
)
def test_an_output_that_cannot_be_written_is_named_before_any_work(tmp_path, capsys, command, option):
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "model.npz"
    assert cli.main([*command, option, str(inside)]) == 2
    message = capsys.readouterr().err
    assert f"error: {option} {inside.parent}" in message and "cannot be written" in message and message.count("\n") == 1


def test_a_model_file_of_another_ending_is_refused_before_any_work(tmp_path, capsys):
    assert cli.main(["learn-model", "--source", "default", "--output", str(tmp_path / "model.txt")]) == 2
    assert "a model's file ends in .npz" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_cannot_be_read_is_refused_in_the_words_of_python(tmp_path):
    (tmp_path / "flat.ply").write_text("ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n")
    with pytest.raises(ConfigError, match="unit 'feet': expected one of m, cm, mm"):
        face_relief.read(tmp_path / "flat.ply", unit="feet")
    with pytest.raises(ConfigError, match="give texts, one after the other"):
        face_relief.process(tmp_path / "flat.ply", ["refine=none"])
    with pytest.raises(ConfigError, match=f"^{tmp_path}/nowhere.ply: no such file"):
        face_relief.process(tmp_path / "nowhere.ply")
