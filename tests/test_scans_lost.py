"""Results whose states are lost are results: no run replaces or drops them unasked, and none takes them for another's."""

import hashlib
import json
import os
import shutil

import pytest
from test_launch_rerun import archive, cloud, contents, lines_of, remember

from geometry.errors import ConfigError, NoFaceFound
from pipeline import run
from pipeline.inputs import listing
from pipeline.inputs.source import Source
from pipeline.launch import rerun
from pipeline.launch.launch import Launch
from pipeline.scans import lost, manifest, methods
from pipeline.scans.config import LimitsConfig
from pipeline.scans.state import ScanState
from pipeline.store import storage

NAMES = ("a.ply", "b.ply", "c.ply")


def written(out, *names, status="finished", results="cfg", root=None):
    """An OUT of scans that ended ok, with its manifest and run.json; their ids."""
    ids = [remember(out, name) for name in names]
    manifest.write(out, [manifest.read_state(out, scan_id).line for scan_id in ids])
    storage.write_json(storage.join(out, "run.json"), {"status": status, "result_hash": results, "root": root})
    return ids


def planned(out, path):
    """The plan of a run over `path` with the configuration of the hash "cfg"."""
    known = rerun.earlier(out)
    listed = listing.list_input(path, root=rerun.root_of(path, None, known))
    return rerun.plan(known, listed, {"result_hash": "cfg"}, LimitsConfig(), is_stated=False, force=False)


def killed(*_):
    raise RuntimeError("killed")


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


def found(out):
    return lost.found(out, rerun.run_info(out), manifest.states(out))


def test_lines_with_results_and_without_a_state_are_results(out):
    a, b, c = written(out, *NAMES)
    assert found(out) == {}
    manifest.forget(out, [a, b, c])
    storage.write_bytes(storage.join(out, ".state", f"{b}.json"), b"damaged")
    remember(out, "c.ply", "failed")  # a state says more than the manifest
    results = found(out)
    assert set(results) == {a, b} and all(state.has_results and state.result_hash == "cfg" for state in results.values())
    assert manifest.read_state(out, a) is None  # to look changes nothing


def test_lines_that_are_no_results_do_not_count(out):
    a, b = written(out, "a.ply", "b.ply")
    failed = manifest.line(ScanState(Source("f.ply", "f.ply")), "failed", "read", "why")
    rejected = manifest.line(ScanState(Source("r.ply", "r.ply")), "rejected", "locate", "why")
    lines = [manifest.read_state(out, scan_id).line for scan_id in (a, b)]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, failed, rejected]) + '{"scan_id": "x"}\n[\n\xff\n'
    storage.write_bytes(storage.join(out, "manifest.jsonl"), text.encode("latin-1"))
    manifest.forget(out, [a, b])
    storage.delete([storage.join(out, lines[1]["files"]["landmarks"])])  # of which nothing is left
    assert set(found(out)) == {a, rejected["scan_id"]}


def test_a_manifest_that_cannot_be_read_is_no_empty_one(out):
    os.makedirs(storage.join(out, "manifest.jsonl"))
    with pytest.raises(ConfigError, match="manifest.jsonl cannot be read"):
        rerun.earlier(out)


def test_a_source_whose_name_the_manifest_cannot_hold_has_not_left_the_input(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply")
    (a,) = written(out, "a.ply", root=root)
    source = Source("caf\udce9.ply", "")
    storage.write_bytes(storage.join(out, f"scans/{source.scan_id}/landmarks.json"), b"{}")
    files = {"landmarks": f"scans/{source.scan_id}/landmarks.json"}
    manifest.write(out, [manifest.line(ScanState(source, "sha", files=files), "ok")])
    known = found(out)
    assert known[source.scan_id].name == "" and a not in known
    plan = planned(out, root)
    assert plan.left == () and plan.regained == plan.kept
    manifest.remember(out, plan.regained[0])
    assert planned(out, root).left == ()


@pytest.mark.parametrize("root, results", [("in", "other"), ("elsewhere", "cfg"), ("in", None)])
def test_another_configuration_or_archive_needs_force_and_the_same_goes_on(tmp_path, out, root, results):
    inputs = archive(tmp_path / "in", "a.ply")
    (a,) = written(out, "a.ply", results=results, root=str(tmp_path / root))
    manifest.forget(out, [a])
    with pytest.raises(ConfigError, match="replace 1 finished scan[: ]"):
        planned(out, inputs)
    storage.write_json(storage.join(out, "run.json"), {"status": "finished", "result_hash": "cfg", "root": inputs})
    plan = planned(out, inputs)
    assert plan.finished == {a} and [state.line["scan_id"] for state in plan.regained] == [a]


def test_after_a_run_that_was_cut_off_nothing_is_taken_for_its_result(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply", "b.ply")
    a, b = written(out, "a.ply", "b.ply", status="running", root=root)
    manifest.forget(out, [a, b])
    plan = planned(out, f"{root}/a.ply")
    (kept,) = plan.kept
    assert plan.finished == {a} and plan.regained == (kept,) and plan.left == ()
    assert kept.line["scan_id"] == b and kept.line["status"] == "failed" and kept.line["reason"] == lost.DOUBT
    assert kept.line["files"] == {} and manifest.is_line(kept.line)


def test_a_scan_whose_files_are_doubted_is_named_until_it_is_purged(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply")
    a, c = written(out, "a.ply", "c.ply", status="running", root=root)
    manifest.forget(out, [c])
    for _ in range(3):
        plan = planned(out, root)
        assert plan.left == ("c.ply",) and plan.forgotten == () and plan.kept[0].line["reason"] == lost.DOUBT
        manifest.remember_all(out, plan.regained)
        manifest.write(out, [manifest.read_state(out, scan_id).line for scan_id in (a, c)])
        storage.write_json(storage.join(out, "run.json"), {"status": "finished", "result_hash": "cfg", "root": root})
    manifest.purge(out, [c])
    assert not os.path.exists(manifest.scan_folder(out, c)) and set(manifest.states(out)) == {a}


def test_a_failed_scan_that_left_the_input_is_forgotten_where_a_run_has_left_no_file_of_it(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply")
    a, b, c = (remember(out, name, status) for name, status in (("a.ply", "ok"), ("b.ply", "failed"), ("c.ply", "failed")))
    storage.write_json(storage.join(out, "run.json"), {"status": "finished", "result_hash": "cfg", "root": root})
    storage.write_bytes(storage.join(manifest.scan_folder(out, b), "mine.txt"), b"the user's")
    storage.write_bytes(storage.join(manifest.scan_folder(out, c), "fit.json"), b"{}")
    plan = planned(out, root)
    assert plan.forgotten == (b,) and plan.left == ("c.ply",)


def test_a_moved_archive_is_known_by_its_bytes_also_where_states_are_lost(tmp_path, out):
    root, moved = archive(tmp_path / "in", "a.ply", "b.ply"), archive(tmp_path / "moved", "a.ply", "b.ply")
    ids = written(out, "a.ply", "b.ply", root=root)
    lines = [manifest.read_state(out, scan_id).line for scan_id in ids]
    digests = (hashlib.sha256((tmp_path / "in" / line["source"]).read_bytes()).hexdigest() for line in lines)
    manifest.write(out, [line | {"sha256": digest} for line, digest in zip(lines, digests, strict=True)])
    manifest.forget(out, ids)
    for given in (None, moved):
        known = rerun.earlier(out)
        listed = listing.list_input(moved, root=rerun.root_of(moved, given, known))
        plan = rerun.plan(known, listed, {"result_hash": "cfg"}, LimitsConfig(), is_stated=given is not None, force=False)
        assert plan.finished == set(ids) and plan.dropped == ()
    (tmp_path / "moved" / "b.ply").write_bytes(b"another")
    with pytest.raises(ConfigError, match="replace 1 finished scan[: ]"):
        planned(out, moved)
    with pytest.raises(ConfigError, match="replace 1 finished scan: .*1 of its files are others"):  # and not: give --root
        rerun.plan(known, listed, {"result_hash": "cfg"}, LimitsConfig(), is_stated=True, force=False)


# --- through the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run's words, over three scans that ended rejected, and its finished OUT."""

    def locate(*_):
        raise NoFaceFound("no face found: for this test")

    monkeypatch.setitem(methods.LOCATORS, "nowhere", locate)
    out = tmp_path / "out"
    words = ["--input", cloud(tmp_path / "in", *NAMES), "--output", str(out), "--workers", "1"]
    words += ["--set", "locate=nowhere", "--set", "refine=none"]
    assert run.main(words) == 0 and list(lines_of(out)) == list(NAMES) and len(contents(f"{out}/scans")) == 3
    return words, out


OTHER = ["--set", "accept.visible_face=0.3"]


def test_a_copy_without_its_hidden_folder_is_not_replaced_unasked(finished, tmp_path, capsys):
    words, out = finished
    copy = tmp_path / "backup"
    shutil.copytree(out, copy, ignore=shutil.ignore_patterns(".*"))
    before = contents(copy)
    words = [str(copy) if word == str(out) else word for word in words]
    assert run.main([*words, *OTHER]) == 2 and contents(copy) == before
    told = capsys.readouterr().err
    assert "replace 3 finished scans" in told and "accept.visible_face was 0.25, is 0.3" in told
    part = [word + "/a.ply" if word == words[1] else word for word in words]
    assert run.main([*part, *OTHER]) == 2 and contents(copy) == before
    assert "replace 1 finished scan and drop 2 finished scans " in capsys.readouterr().err
    assert run.main(part) == 0 and list(lines_of(copy)) == list(NAMES)  # the same configuration keeps the rest
    assert "2 scans that this input does not hold stay" in capsys.readouterr().out
    assert set(manifest.states(str(copy))) == set(manifest.states(str(out)))
    assert run.main(words) == 0 and "1 kept from an earlier run, 2 done, 2 of these replaced" in capsys.readouterr().out
    assert run.main([*part, *OTHER, "--force"]) == 0 and list(lines_of(copy)) == ["a.ply"]


def test_a_damaged_state_costs_its_scan_nothing(finished, capsys):
    words, out = finished
    scan_id = lines_of(out)["b.ply"]["scan_id"]
    (out / ".state" / f"{scan_id}.json").write_bytes(b"{")
    before = contents(out)
    assert run.main([*words, *OTHER]) == 2 and contents(out) == before
    assert "replace 3 finished scans" in capsys.readouterr().err
    assert run.main(words) == 0 and "2 kept from an earlier run, 1 done" in capsys.readouterr().out


def test_a_scan_without_a_state_that_cannot_be_read_keeps_its_result(finished, tmp_path):
    words, out = finished
    line = lines_of(out)["b.ply"]
    (out / ".state" / f"{line['scan_id']}.json").unlink()
    (tmp_path / "in" / "b.ply").unlink()
    (tmp_path / "in" / "b.ply").symlink_to(tmp_path / "gone.ply")
    assert run.main(words) == 0
    kept = lines_of(out)["b.ply"]
    assert kept["status"] == "rejected" and kept["files"] == line["files"] and (out / line["files"]["preview"]).exists()
    assert kept["notes"][-1].startswith(manifest.STAYS)


def test_a_forced_run_that_was_killed_at_once_leaves_results_that_another_does_not_replace(finished, monkeypatch, capsys):
    words, out = finished
    with monkeypatch.context() as patched:
        patched.setattr(Launch, "_process", killed)
        assert run.main([*words, "--force"]) == 1
    assert not contents(f"{out}/.state") and json.loads((out / "run.json").read_text())["status"] == "running"
    before = contents(out)
    assert run.main([*words, *OTHER]) == 2 and contents(out) == before
    assert "replace 3 finished scans" in capsys.readouterr().err
    assert run.main(words) == 0 and "0 kept from an earlier run, 3 done" in capsys.readouterr().out


def test_a_forced_run_that_was_killed_has_dropped_lines_with_results(finished, tmp_path, monkeypatch):
    words, out = finished
    (tmp_path / "in" / "c.ply").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Launch, "_process", killed)
        assert run.main([*words, *OTHER, "--force"]) == 1
    assert list(lines_of(out)) == ["a.ply", "b.ply"] and len(contents(f"{out}/scans")) == 2
    assert run.main([*words, *OTHER]) == 0 and list(lines_of(out)) == ["a.ply", "b.ply"]
