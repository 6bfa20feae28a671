"""A purge removes what a run made, and nothing that a damaged or forged manifest names."""

import json

import pytest

from geometry.errors import ConfigError
from pipeline import cli
from pipeline.inputs.source import Source
from pipeline.reporting import comparison
from pipeline.scans import manifest
from pipeline.scans.state import ScanState
from pipeline.store import storage

ABSOLUTE = "ABSOLUTE"  # stands for a folder of the test's own
# whatever the code under test does with these, it must stay below the test's folder: never name a real one here
BAD_IDS = ["../..", "..", ".", "", "a/b", ABSOLUTE, "a\\b", None, 3]


def written(out, *names):
    """Lines of finished scans, also in OUT's manifest."""
    lines = []
    for name in names:
        source = Source(name, name)
        files = {"landmarks": f"scans/{source.scan_id}/landmarks.json"}
        storage.write_bytes(storage.join(out, files["landmarks"]), b"{}")
        lines.append(manifest.line(ScanState(source, "sha", files=files), "ok"))
        manifest.record(out, lines[-1], "in", "cfg")
    manifest.write(out, lines)
    return lines


@pytest.fixture
def out(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    return str(tmp_path / "deep" / "out")


@pytest.mark.parametrize("scan_id", BAD_IDS)
def test_a_forged_scan_id_removes_nothing(out, tmp_path, scan_id, capsys):
    (line, _) = written(out, "a.ply", "b.ply")
    if scan_id == ABSOLUTE:
        storage.write_bytes(str(tmp_path / "elsewhere" / "mine.txt"), b"x")
        scan_id = str(tmp_path / "elsewhere")
    manifest.write(out, [line, line | {"scan_id": scan_id, "source": "forged.ply", "files": {}}])
    before = storage.list_files(str(tmp_path))
    assert cli.main(["purge", "--output", out, "forged.ply"]) == 2
    assert storage.list_files(str(tmp_path)) == before and "manifest.jsonl or run.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("forge", ["missing", "list", "run"])
def test_what_is_no_runs_is_named(out, forge):
    (line,) = written(out, "a.ply")
    if forge == "run":
        storage.write_bytes(storage.join(out, "run.json"), b"[]")
    else:
        damaged = {"scan_id": line["scan_id"]} if forge == "missing" else [line]
        storage.write_text(storage.join(out, "manifest.jsonl"), json.dumps(damaged) + "\n")
    with pytest.raises(ConfigError, match="is damaged"):
        comparison.load_run(out)


def test_a_run_json_that_names_nonsense_purges_nothing(out):
    written(out, "a.ply")
    storage.write_json(storage.join(out, "run.json"), {"left_the_input": [["a.ply"], 3], "config": []})
    before = storage.list_files(out)
    assert cli.main(["purge", "--output", out]) == 0 and storage.list_files(out) == before


def test_names_with_every_kind_of_line_end_are_read_back(out):
    lines = written(out, "a\u2028b.ply", "c\x85d.ply", "e\x1cf.ply", "g\rh.ply")
    assert comparison.load_run(out)[0] == lines
