"""Configurations: what is written is what is resolved, and every fault is named before any work starts."""

import pathlib
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geometry.errors import ConfigError
from geometry.settings import describing, loading
from geometry.settings.options import to_dict
from pipeline import cli
from pipeline.launch.show_config import CONFIGS, config_of
from pipeline.scans import config

ROOT = pathlib.Path(__file__).parents[1]


def test_default_yaml_and_the_reference_are_what_the_command_prints(capsys):
    text = (ROOT / "configs" / "default.yaml").read_text()
    assert cli.main(["config"]) == 0 and capsys.readouterr().out == text
    assert cli.main(["config", "--markdown"]) == 0
    assert (ROOT / "docs" / "reference" / "configuration.md").read_text().endswith(capsys.readouterr().out)
    assert yaml.safe_load(text) == to_dict(config.Config())
    assert config.load(str(ROOT / "configs" / "default.yaml")) == config.Config()


def test_settings_override_the_file_and_the_file_the_defaults(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("refine: {method: smooth, batch_size: 2}\nlimits:\n  seconds_per_scan: 5\n")
    resolved = config.load(str(file), ["refine.batch_size=8"])
    assert (resolved.refine.method, resolved.refine.batch_size, resolved.limits.seconds_per_scan) == ("smooth", 8, 5.0)


@pytest.mark.parametrize(
    "setting, section, key, value",
    [
        ("refine=none", "refine", "method", "none"),
        ("model=my.npz", "model", "name", "my.npz"),
        ("chart=cylindrical", "chart", "kind", "cylindrical"),
    ],
)
def test_a_section_may_be_given_as_its_method(setting, section, key, value):
    assert getattr(getattr(config.load(settings=[setting]), section), key) == value


WRONG_SETTINGS = {
    "run": [
        ("refine.metod=gan", ["unknown key", "'refine.metod'", "did you mean 'refine.method'?"]),
        ("refin.method=gan", ["unknown section 'refin'", "did you mean 'refine'?"]),
        ("refine.method=smoth", ["'smoth' is unknown", "did you mean 'smooth'?", "one of gan, smooth, none"]),
        ("refine.batch_size=four", ["refine.batch_size", "'four'", "a whole number ≥ 1"]),
        ("refine.batch_size=0", ["refine.batch_size", "0 is out of range"]),
        ("refine.batch_size=1.5", ["1.5", "a whole number"]),
        ("output.stages=landmark", ["'landmark' is unknown", "did you mean 'landmarks'?"]),
        ("output.previews=1", ["output.previews", "true or false"]),
        ("limits.seconds_per_scan=.nan", ["out of range"]),
        ("limits.seconds_per_scan=", ["limits.seconds_per_scan", "None"]),
        ("input.unit=feet", ["'feet' is unknown", "one of auto, m, cm, mm, inch"]),
        ("input.unit=-1", ["-1 is out of range"]),
        ("refine.method", ["expected section.key=value"]),
        ("refine.method={", ["not valid YAML"]),
        ("fit.seed=-1", ["-1 is out of range"]),
        ("fit.seed=" + 5000 * "9", ["--set fit.seed=", "not valid YAML"]),
        ("fit.seed=!!int x", ["--set fit.seed=", "not valid YAML"]),
        ("model.name=!!binary aGk=", ["--set model.name=", "not valid YAML"]),
        ("fit=&a {seed: *a}", ["--set fit=", "not valid YAML"]),
        ("fit={seed: 1, seed: 2}", ["--set fit=", "'seed' stands twice"]),
        ("model.name=" + 2000 * "[", ["--set model.name=", "not valid YAML"]),
        (5000 * "a." + "a=1", ["nested too deeply"]),
        ("\ud800=1", ["no Unicode text"]),
        (f"limits.file_mib={10**24}", ["out of range"]),
        ("fit.stages=[]", ["fit.stages", "is empty"]),
        ("fit.discrepancy_mm=[0.3]", ["fit: discrepancy_length_mm has one length for each of discrepancy_mm"]),
        ("fit.discrepancy_mm=[0.3, -1]", ["fit.discrepancy_mm", "out of range"]),
    ],
    "synthesize": [
        ("fit.stages=[{iterations: 0}]", ["fit.stages.0.iterations", "0 is out of range", "a whole number ≥ 1"]),
        ("fit.stages=[{}]", ["fit.stages.0.iterations", "is missing", "a whole number ≥ 1"]),
        ("fit.stages=3", ["a list of sections"]),
        ("set.split_shares=[1, 1, 1]", ["out of range", "a list of 3 numbers ≥ 0 and ≤ 1, together 1"]),
        ("set.split_shares=[1]", ["of type list", "a list of 3 numbers"]),
        ("views.shares=[0, 0, 0]", ["out of range", "together 1"]),
        ("set.seed=-1", ["out of range"]),
        ("pairs.sensor_weights={}", ["is empty", "keys among kinect_v1"]),
        ("pairs.sensor_weights={kinekt: 1}", ["keys among kinect_v1", "a number > 0"]),
        ("pairs.strength=[2, 1]", ["out of range", "a list of 2 numbers > 0, the lower first or null"]),
        ("pairs.faces.hair_shar=0", ["did you mean 'pairs.faces.hair_share'?"]),
        ("scans.subject_from=fil", ["did you mean 'file'?"]),
    ],
}


@pytest.mark.parametrize(
    "command, setting, words", [(command, *case) for command, cases in WRONG_SETTINGS.items() for case in cases]
)
def test_a_wrong_setting_is_refused_with_what_was_expected(command, setting, words):
    with pytest.raises(ConfigError) as caught:
        loading.load(config_of(command), settings=[setting])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "content, words",
    [
        ("- 1", "expected sections"),
        ("refine: [1]", "refine"),
        ("output: 3", "expected keys of the section"),
        ("a: b: c", "not valid YAML"),
        ("false", "expected sections"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path, content, words):
    file = tmp_path / "wrong.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=words) as caught:
        config.load(str(file))
    assert "wrong.yaml" in str(caught.value) or "refine" in str(caught.value)


def test_what_looks_like_a_date_is_a_text():
    assert config.load(settings=["model.name=2026-01-01"]).model.name == "2026-01-01"


def test_a_value_with_keys_replaces_the_file_s_as_a_whole(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("pairs: {sensor_weights: {kinect_v1: 1}, turn_deg: 1}\n")
    resolved = loading.load(config_of("synthesize"), str(file), ["pairs.sensor_weights={stereo: 2}"])
    assert resolved.pairs.sensor_weights == {"stereo": 2} and resolved.pairs.turn_deg == 1


def test_a_missing_file_is_refused():
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load("no/such.yaml")


@given(st.floats(1e-3, 1e6))
def test_numbers_survive_the_command_line(seconds):
    assert config.load(settings=[f"limits.seconds_per_scan={seconds!r}"]).limits.seconds_per_scan == seconds


def test_the_result_hash_follows_what_decides_results_and_nothing_else():
    base = config.Config().result_hash(model="a")
    same = config.load(settings=["limits.seconds_per_scan=1", "output.scans_per_shard=2", "output.records=false"])
    assert same.result_hash(model="a") == base
    for setting in (
        "refine=none",
        "fit.identity_modes=5",
        "output.previews=false",
        "output.stages=landmarks",
        "input.unit=m",
        "chart.pixel_mm=1",
    ):
        assert config.load(settings=[setting]).result_hash(model="a") != base
    assert config.Config().result_hash(model="b") != base


def test_help_is_instant_and_imports_nothing_heavy():
    code = (
        "import sys, pipeline.run, contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as text:\n"
        "    try: pipeline.run.main(['--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert '--input' in text.getvalue()\n"
        "heavy = {'tensorflow', 'apache_beam', 'open3d', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", list(CONFIGS))
def test_every_key_of_every_command_is_documented_and_survives_its_own_file(command, tmp_path):
    def undocumented(kind, prefix=""):
        for name, field in loading.fields_of(kind).items():
            section = loading.section_of(field.annotation)
            yield from undocumented(section, f"{prefix}{name}.") if section else [prefix + name] * (not field.description)

    kind = config_of(command)
    assert not list(undocumented(kind))
    (tmp_path / "all.yaml").write_text(describing.as_yaml(kind))
    assert loading.load(kind, str(tmp_path / "all.yaml")) == kind()
