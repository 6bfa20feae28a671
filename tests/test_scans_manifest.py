"""Resume: what is kept, what is done again, and what the manifest says of it."""

import json
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from geometry.scan import Scan
from pipeline.inputs.source import Source
from pipeline.scans import files, manifest
from pipeline.scans.state import ScanState
from pipeline.store import storage

SOURCE = Source("a/b.ply", "/in/a/b.ply")


def finished(out, status="ok", inputs="in", results="cfg", source=SOURCE, trace=""):
    files = {}
    if status == "ok":
        files = {"coarse": f"scans/{source.scan_id}/coarse.ply"}
        storage.write_bytes(storage.join(out, files["coarse"]), b"mesh")
    state = ScanState(source, "sha", seconds={"read": 0.123456}, metrics={"m": 1.0}, files=files)
    line = manifest.line(state, status, None if status == "ok" else "fit", "why")
    manifest.record(out, line, inputs, results, trace)
    return line


@pytest.fixture
def out(tmp_path):
    return str(tmp_path)


def test_states_of_many_scans_are_written_several_at_a_time_and_an_error_is_raised(out, monkeypatch):
    lines = [finished(out, source=Source(f"{number}.ply", "")) for number in range(8)]
    states, together, write = list(manifest.states(out).values()), threading.Barrier(8, timeout=20), manifest.remember
    manifest.forget(out, [line["scan_id"] for line in lines])
    monkeypatch.setattr(manifest, "remember", lambda *which: (together.wait(), write(*which)))
    manifest.remember_all(out, states)
    assert list(manifest.states(out).values()) == states and len(states) == 8

    def fails(*_):
        raise OSError("full")

    monkeypatch.setattr(manifest, "remember", fails)
    with pytest.raises(OSError, match="full"):
        manifest.remember_all(out, states)


def test_a_line_has_the_keys_of_the_contract_in_order(out):
    line = finished(out)
    assert tuple(line) == manifest.LINE_KEYS and line["seconds"] == {"read": 0.1235} and line["scan_id"] == SOURCE.scan_id


def test_notes_are_on_the_line_where_there_are_any():
    assert "notes" not in manifest.line(ScanState(SOURCE), "ok")
    scan = Scan(np.zeros((1, 3)), np.zeros((0, 3), int), "a", "ply", notes=("several heads",))
    assert manifest.line(ScanState(SOURCE, scan=scan), "ok")["notes"] == ["several heads"]


def test_a_scan_that_fails_late_has_neither_metrics_nor_files():
    line = manifest.line(ScanState(SOURCE, metrics={"m": 1.0}, files={"fit": "scans/x/fit.json"}), "failed", "write", "disk full")
    assert line["metrics"] == {} and line["files"] == {}


def test_a_scan_whose_name_is_not_utf8_is_recorded_like_any_other(out):
    name = os.fsdecode(b"caf\xe9.ply")
    source = Source(name, f"/in/{name}")
    line = finished(out, source=source)
    assert manifest.kept_line(out, source, "in", "cfg") == line


@pytest.mark.parametrize("status", ["ok", "rejected"])
def test_an_unchanged_scan_is_kept(out, status):
    line = finished(out, status)
    assert manifest.kept_line(out, SOURCE, "in", "cfg") == line


@pytest.mark.parametrize("status, inputs, results", [("ok", "other", "cfg"), ("ok", "in", "other"), ("failed", "in", "cfg")])
def test_another_input_or_configuration_and_a_failed_scan_are_done_again(out, status, inputs, results):
    finished(out, status)
    assert manifest.kept_line(out, SOURCE, inputs, results) is None


def test_a_scan_whose_file_was_removed_is_done_again(out):
    storage.delete([storage.join(out, finished(out)["files"]["coarse"])])
    assert manifest.kept_line(out, SOURCE, "in", "cfg") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"line": {}}'])
def test_a_damaged_state_is_done_again(out, content):
    finished(out)
    storage.write_bytes(storage.join(out, ".state", f"{SOURCE.scan_id}.json"), content)
    assert manifest.kept_line(out, SOURCE, "in", "cfg") is None
    assert manifest.collect(out, [SOURCE])[0]["status"] == "failed"


def test_a_scan_that_is_no_longer_ok_loses_its_old_files_and_gains_a_log(out):
    line = finished(out)
    finished(out, "failed", trace="Traceback …")
    assert not storage.exists(storage.join(out, line["files"]["coarse"]))
    log = storage.join(out, "logs", f"{SOURCE.scan_id}.txt")
    assert storage.read_bytes(log).decode() == "Traceback …"
    finished(out)
    assert not storage.exists(log)


def test_the_manifest_is_sorted_by_source_and_holds_only_the_present_scans(out):
    listed = [Source(name, name) for name in ("b.ply", "a.ply", "c.ply")]
    for source in [*listed, Source("gone.ply", "gone.ply")]:
        finished(out, source=source)
    manifest.forget(out, [Source("gone.ply", "gone.ply").scan_id])
    lines = manifest.collect(out, listed)
    manifest.write(out, lines)
    written = [json.loads(text) for text in storage.read_bytes(storage.join(out, "manifest.jsonl")).decode().splitlines()]
    assert written == lines and [line["source"] for line in written] == ["a.ply", "b.ply", "c.ply"]
    assert not [path for path in storage.list_files(storage.join(out, ".state")) if "gone" in path]
    assert [path for path in storage.list_files(storage.join(out, "scans")) if "gone" in path]  # the user's to decide on


def test_a_scan_that_no_worker_finished_is_failed(out):
    (line,) = manifest.collect(out, [SOURCE])
    assert (line["status"], line["stage"]) == ("failed", "run") and "run the command again" in line["reason"]


def test_the_input_hash_covers_sidecars_by_name_and_content():
    hashes = {
        manifest.input_hash(b"x", {}),
        manifest.input_hash(b"y", {}),
        manifest.input_hash(b"x", {"a.json": b"1"}),
        manifest.input_hash(b"x", {"a.json": b"2"}),
        manifest.input_hash(b"x", {"b.json": b"1"}),
    }
    assert len(hashes) == 5
    assert manifest.input_hash(b"x", {"a": b"1", "b": b"2"}) == manifest.input_hash(b"x", {"b": b"2", "a": b"1"})


DAMAGES = {
    "files": [None, [], {"a": 1}, {"a": "../../etc/passwd"}, {"a": "scans/other-00000000/x.ply"}, {"a": "/etc/passwd"}],
    "seconds": [None, {"read": "1"}, {"read": None}, {"read": True}, {"read": 10**400}, {"read": float("nan")}],
    "metrics": [None, [1], {"m": float("inf")}],
    "status": [None, "fine", 3],
    "source": [None, 3],
    "scan_id": [None, "other-00000000"],
    "notes": [None, "text", [1]],
    "reason": [3, ["x"]],
    "sha256": [None],
}


@pytest.mark.parametrize("key, value", [(key, value) for key, values in DAMAGES.items() for value in values])
def test_a_state_whose_line_is_not_a_runs_is_done_again(out, key, value):
    finished(out)
    path = storage.join(out, ".state", f"{SOURCE.scan_id}.json")
    state = json.loads(storage.read_bytes(path))
    state["line"][key] = value
    storage.write_text(path, json.dumps(state))
    assert manifest.read_state(out, SOURCE.scan_id) is None and manifest.states(out) == {}
    assert manifest.kept_line(out, SOURCE, "in", "cfg") is None
    finished(out)
    assert manifest.kept_line(out, SOURCE, "in", "cfg")["status"] == "ok"


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000, b"null", b'"text"', b'{"line": null, "input_hash": 1}'])
def test_a_state_of_something_else_is_none(out, content):
    storage.write_bytes(storage.join(out, ".state", f"{SOURCE.scan_id}.json"), content)
    os.mkdir(os.path.join(out, ".state", "folder.json"))
    assert manifest.read_state(out, SOURCE.scan_id) is None and manifest.states(out) == {}


def test_what_a_user_keeps_beside_results_stays_and_a_purge_leaves_nothing(out):
    line = finished(out)
    own = storage.join(out, "scans", SOURCE.scan_id, "notes.txt")
    storage.write_bytes(own, b"mine")
    finished(out, "failed", trace="Traceback …")
    assert storage.exists(own) and not storage.exists(storage.join(out, line["files"]["coarse"]))
    manifest.purge(out, [SOURCE.scan_id])
    assert storage.list_files(out) == [] and not os.path.exists(os.path.dirname(own))


@pytest.mark.parametrize("name", ["run[12]", "run?", "run*"])
@pytest.mark.parametrize(
    "removes",
    [
        lambda out: manifest.purge(out, [SOURCE.scan_id]),
        lambda out: manifest.drop(out, [SOURCE.scan_id]),
        lambda out: manifest.forget(out, [SOURCE.scan_id]),
        lambda out: manifest.keep_only(out, SOURCE.scan_id, set()),
        lambda out: finished(out, "failed"),  # with the log of the time before
    ],
    ids=["purge", "drop", "forget", "keep_only", "record"],
)
def test_folders_whose_names_match_that_of_out_lose_nothing(tmp_path, name, removes):
    outs = [str(tmp_path / folder) for folder in ("run1", "run2", name)]
    for folder in outs:
        finished(folder, trace="Traceback …")
    before = {folder: storage.list_files(folder) for folder in outs}
    removes(outs[-1])
    assert all(storage.list_files(folder) == before[folder] for folder in outs[:2])
    assert set(storage.list_files(outs[-1])) < set(before[outs[-1]])


def test_a_purge_removes_a_link_to_nowhere_and_a_drop_leaves_what_is_the_users(out):
    finished(out)
    folder = manifest.scan_folder(out, SOURCE.scan_id)
    os.symlink(os.path.join(out, "gone.png"), os.path.join(folder, "link.png"))
    manifest.drop(out, [SOURCE.scan_id])
    assert os.listdir(folder) == ["link.png"] and manifest.states(out) == {}
    manifest.purge(out, [SOURCE.scan_id])
    assert not os.path.exists(folder)


@pytest.mark.parametrize("writes", ["write", "write_rejected"])
def test_a_kill_in_the_middle_of_new_files_leaves_no_result_of_two_scans(out, monkeypatch, writes):
    """The scan's file has changed, and the worker is killed once it has written the first new byte."""
    line, real = finished(out), storage.write_bytes
    landmarks = f"scans/{SOURCE.scan_id}/landmarks.json"
    storage.write_bytes(storage.join(out, landmarks), b"old")
    storage.write_bytes(storage.join(out, landmarks.replace("landmarks.json", "preview.png")), b"old")
    whole = line | {"files": line["files"] | {"landmarks": landmarks}}
    manifest.record(out, whole, "in", "cfg")

    def killed(path, data):
        real(path, data)
        raise KeyboardInterrupt

    output = SimpleNamespace(previews=writes == "write_rejected")
    job = SimpleNamespace(out=out, model=None, landmarks_only=True, config=SimpleNamespace(output=output))
    monkeypatch.setattr(files, "landmarks_bytes", lambda _: b"new")
    monkeypatch.setattr(files, "rejected_bytes", lambda *_: b"new")
    monkeypatch.setattr(storage, "write_bytes", killed)
    state = ScanState(SOURCE, scan=Scan(np.zeros((1, 3)), np.zeros((0, 3), int), "a", "ply"))
    with pytest.raises(KeyboardInterrupt):
        files.write(state, job) if writes == "write" else files.write_rejected(state, job, "no face")
    monkeypatch.undo()
    assert b"new" in {storage.read_bytes(path) for path in storage.list_files(manifest.scan_folder(out, SOURCE.scan_id))}
    assert manifest.read_state(out, SOURCE.scan_id) is None
    assert failed(out) and manifest.collect(out, [SOURCE])[0]["status"] == "failed"  # as the run says of a dead worker's scan
    assert storage.list_files(manifest.scan_folder(out, SOURCE.scan_id)) == []


def test_a_log_and_a_state_hold_nothing_that_a_terminal_obeys_or_a_file_cannot(out):
    name = os.fsdecode(b"\x1b[31m\xe9.ply")
    source = Source(name, name)
    line = manifest.line(ScanState(source, "sha"), "failed", "read", f"{name}: is cut off")
    manifest.record(out, line, "in", "cfg", f"Traceback\n  {name}", name)
    log = storage.read_bytes(storage.join(out, "logs", f"{source.scan_id}.txt")).decode()
    assert log == "Traceback\n  \\x1b[31m\\xe9.ply" and line["source"] == "\x1b[31m\\xe9.ply"
    state = manifest.read_state(out, source.scan_id)
    assert state.name == name and state.line == line and not state.has_results


def failed(out, inputs="", reason="too large"):
    return manifest.record(out, manifest.line(ScanState(SOURCE), "failed", "read", reason), inputs, "cfg")


def test_a_result_stays_where_the_scan_fails_before_its_bytes_are_known(out):
    line = finished(out)
    assert not failed(out)
    assert storage.exists(storage.join(out, line["files"]["coarse"]))
    (told,) = manifest.collect(out, [SOURCE])
    assert told["status"] == "ok" and told["notes"] == [f"{manifest.STAYS}: too large"]
    assert manifest.kept_line(out, SOURCE, "in", "cfg") == line  # it can be read again
    assert manifest.collect(out, [SOURCE]) == [line]


@pytest.mark.parametrize("inputs, is_whole", [("other", True), ("", False)])
def test_a_result_goes_where_the_scan_is_another_or_files_are_missing(out, inputs, is_whole):
    line = finished(out)
    if not is_whole:
        storage.delete([storage.join(out, line["files"]["coarse"])])
    assert failed(out, inputs)
    assert manifest.collect(out, [SOURCE])[0]["status"] == "failed" and not storage.list_files(manifest.scan_folder(out, "x"))
    assert not storage.exists(storage.join(out, line["files"]["coarse"]))


def test_a_purge_leaves_a_folder_that_is_a_link(out, tmp_path_factory):
    finished(out)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.ply").write_bytes(b"x")
    os.remove(storage.join(out, "scans", SOURCE.scan_id, "coarse.ply"))
    os.rmdir(manifest.scan_folder(out, SOURCE.scan_id))
    os.symlink(elsewhere, manifest.scan_folder(out, SOURCE.scan_id))
    manifest.purge(out, [SOURCE.scan_id])
    assert (elsewhere / "mine.ply").exists() and manifest.read_state(out, SOURCE.scan_id) is None
