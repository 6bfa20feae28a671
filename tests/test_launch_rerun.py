"""A rerun keeps, adds and retries; what it would replace or drop it names first, and changes nothing until it is told to."""

import json
import os
import struct
import tarfile
import time
from dataclasses import replace

import pytest

from geometry.errors import ConfigError, NoFaceFound
from pipeline import cli, run
from pipeline.inputs import listing, passed_over
from pipeline.inputs.listing import Listing
from pipeline.inputs.passed_over import PassedOver
from pipeline.inputs.source import Source
from pipeline.launch import rerun
from pipeline.launch.launch import WORK_FOLDER
from pipeline.launch.rerun import Earlier
from pipeline.scans import manifest, methods
from pipeline.scans.config import LimitsConfig
from pipeline.scans.state import ScanState
from pipeline.store import storage

PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n%d 2 3\n"
NOW = {"result_hash": "cfg", "config": {"output": {"stages": "all"}}, "versions": {"face-relief": "2"}}


def archive(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PLY % number)
    return str(folder)


def remember(out, name, status="ok", results="cfg", number=0):
    source = Source(name, name)
    files = {"landmarks": f"scans/{source.scan_id}/landmarks.json"} if status == "ok" else {}
    for path in files.values():
        storage.write_bytes(storage.join(out, path), b"{}")
    line = manifest.line(ScanState(source, "sha", files=files), status, None if status == "ok" else "fit", None)
    manifest.record(out, line, manifest.input_hash(PLY % number, {}), results)
    return source.scan_id


def planned(out, path, root=None, before=None, force=False, given_root=None):
    """The plan of a run over `path`, and the listing; root: of OUT's earlier runs."""
    known = Earlier(out, (before or NOW) | ({} if root is None else {"root": str(root)}), manifest.states(out))
    found = listing.list_input(str(path), None, root=rerun.root_of(str(path), given_root, known))
    return rerun.plan(known, found, NOW, LimitsConfig(), given_root is not None, force), found


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


def test_a_run_of_a_part_keeps_the_rest_and_names_its_scans_as_the_whole_does(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply", "sub/b.ply")
    ids = [remember(out, "a.ply"), remember(out, "sub/b.ply", number=1), remember(out, "sub/x.tar!c.ply", "failed")]
    (tmp_path / "in" / "sub" / "x.tar").write_bytes(b"")
    for part in (f"{root}/sub/b.ply", f"{root}/sub/*.ply"):
        plan, found = planned(out, part, root)
        assert [source.name for source in found.sources] == ["sub/b.ply"] and plan.finished == {ids[1]}
        assert [state.line["scan_id"] for state in plan.kept] == sorted([ids[0], ids[2]])  # a failed one is known, too
        assert plan.left == () and plan.dropped == () == plan.forgotten


def test_a_scan_that_left_the_input_is_named_and_one_that_had_failed_is_forgotten(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply")
    remember(out, "a.ply"), remember(out, "gone.ply", "rejected")
    lost = remember(out, "broken.ply", "failed")
    plan, _ = planned(out, root, root)
    assert plan.left == ("gone.ply",) and plan.forgotten == (lost,) and len(plan.kept) == 1 and plan.dropped == ()


def test_a_member_that_left_its_archive_has_left_the_input(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply")
    with tarfile.open(tmp_path / "in" / "x.tar", "w") as packed:
        packed.add(tmp_path / "in" / "a.ply", "m.ply")
    remember(out, "x.tar!m.ply"), remember(out, "x.tar!gone.ply")
    assert planned(out, root, root)[0].left == ("x.tar!gone.ply",)
    assert planned(out, f"{root}/a.ply", root)[0].left == ()  # nobody looked into the archive


@pytest.mark.parametrize("status", ["ok", "rejected"])
def test_another_configuration_needs_force_and_says_what_it_would_replace_and_drop(tmp_path, out, status):
    root = archive(tmp_path / "in", "a.ply")
    kept, other = remember(out, "a.ply", status, "old"), remember(out, "b.ply", status, "old")
    before = NOW | {"config": {"output": {"stages": "landmarks"}}, "versions": {"face-relief": "1"}}
    with pytest.raises(ConfigError) as error:
        planned(out, root, root, before)
    for words in (
        "replace 1 finished scan and drop 1 finished scan that is not in the input",
        "output.stages was 'landmarks', is 'all'",
        "made by face-relief 1, this is 2",
        "--force",
    ):
        assert words in str(error.value)
    plan, _ = planned(out, root, root, before, force=True)
    assert plan.finished == {kept} and plan.dropped == (other,) and plan.kept == ()


def test_failed_scans_of_another_configuration_stand_in_nobodys_way(tmp_path, out):
    root = archive(tmp_path / "in", "a.ply")
    remember(out, "a.ply", "failed", "old")
    assert planned(out, root, root)[0].finished == frozenset()


def test_another_archive_needs_force_and_a_moved_one_does_not(tmp_path, out):
    first, moved = archive(tmp_path / "in", "a.ply"), archive(tmp_path / "moved", "a.ply")
    ids = [remember(out, "a.ply")]
    assert planned(out, moved, first)[0].finished == set(ids)
    (tmp_path / "moved" / "a.ply").write_bytes(PLY % 7)  # of that name, and another scan
    with pytest.raises(ConfigError, match="replace 1 finished scan: .*the input lies below .*moved, and not below"):
        planned(out, moved, first)
    other = archive(tmp_path / "other", "b.ply")
    with pytest.raises(ConfigError, match="drop 1 finished scan that is not in the input"):
        planned(out, other, first)
    assert planned(out, other, first, force=True)[0].dropped == tuple(ids)
    assert planned(out, other, first, given_root=other)[0].left == ("a.ply",)  # the same archive, says the user


def test_scans_in_closed_folders_are_told_from_the_others_in_no_time(tmp_path, out):
    folders = [f"deep/s{number:05}" for number in range(9_000)]
    passed = tuple(PassedOver(folder, "folder", passed_over.CLOSED + " (x)") for folder in folders)
    ids = [remember(out, f"{name}.ply") for name in ("deep/s00007/sub/a", "deep/s00007", "deep/s0000/a", "deep/s", "s00007/a")]
    states = manifest.states(out)
    others = {str(number): replace(states[ids[0]], name=f"{folder}/a.ply") for number, folder in enumerate(folders)}
    known, found = Earlier(out, NOW | {"root": str(tmp_path)}, states | others), Listing(str(tmp_path), (), passed)
    begun = time.perf_counter()
    plan = rerun.plan(known, found, NOW, LimitsConfig(), False, False)
    assert time.perf_counter() - begun < 3
    assert set(plan.left) == {"deep/s00007.ply", "deep/s0000/a.ply", "deep/s.ply", "s00007/a.ply"}
    everything = Listing(str(tmp_path), (), (PassedOver(".", "folder", passed_over.CLOSED + " (x)"),))
    assert rerun.plan(known, everything, NOW, LimitsConfig(), False, False).left == ()


def test_a_root_that_holds_the_input_names_its_scans(tmp_path, out):
    root = archive(tmp_path / "in", "sub/a.ply")
    assert planned(out, f"{root}/sub", given_root=root)[1].sources[0].name == "sub/a.ply"
    assert planned(out, f"{root}/sub", f"{root}/sub")[1].sources[0].name == "a.ply"


def test_what_lies_behind_an_archives_damage_has_not_left_the_input(tmp_path, out):
    root, members = archive(tmp_path / "in", "a.ply"), [f"{number}.ply" for number in range(4)]
    for status, member in zip(["ok", "ok", "ok", "failed"], members, strict=True):
        remember(out, f"t.tar!{member}", status)
    for cut in (4, 2, 0):  # whole headers; each member takes a block for its header, and one for its bytes
        with tarfile.open(tmp_path / "in" / "t.tar", "w", format=tarfile.GNU_FORMAT) as packed:
            for member in members:
                packed.add(tmp_path / "in" / "a.ply", member)
        if cut < 4:
            os.truncate(tmp_path / "in" / "t.tar", cut * 1024 + 300)
        plan, found = planned(out, root, root)
        assert sum(source.name.startswith("t.tar!") for source in found.sources) == cut
        assert plan.left == () and plan.forgotten == () and len(plan.kept) == 4 - cut


@pytest.mark.parametrize("is_known", [True, False])
def test_what_lies_in_a_folder_that_cannot_be_opened_has_not_left_the_input(tmp_path, out, monkeypatch, is_known):
    """is_known: the listing came by the folder; else it was given a glob beside it."""
    root = archive(tmp_path / "in", "a.ply", "closed/b.ply", "closed by name/c.ply")
    remember(out, "closed/b.ply"), remember(out, "closed/sub/x.tar!m.ply"), remember(out, "closed by name/gone.ply")
    lost = remember(out, "closed/d.ply", "failed")
    lstat, scandir = os.lstat, os.scandir

    def refusing(real, error):
        def call(path, *_, **__):
            if f"{root}/closed/" in f"{os.fspath(path)}/":
                raise error
            return real(path, *_, **__)

        return call

    # a disk that does not answer for the folder knows nothing of what is in it
    monkeypatch.setattr(os, "scandir", refusing(scandir, OSError(5, "Input/output error")))
    inside = FileNotFoundError(2, "No such file") if is_known else PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "lstat", refusing(lstat, inside))
    plan, found = planned(out, root if is_known else f"{root}/a*", root)
    assert any(entry.reason.startswith("cannot be opened") for entry in found.passed) == is_known
    assert plan.left == ("closed by name/gone.ply",) and lost not in plan.forgotten and len(plan.kept) == 4


# --- through the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(monkeypatch):
    """A locator that finds no face: scans end rejected, in no time."""

    def locate(*_):
        raise NoFaceFound("no face found: for this test")

    monkeypatch.setitem(methods.LOCATORS, "nowhere", locate)
    return ["--workers", "1", "--no-previews", "--set", "locate=nowhere", "--set", "refine=none"]


def lines_of(out):
    return {line["source"]: line for line in map(json.loads, open(f"{out}/manifest.jsonl"))}


def contents(out):
    return {path: storage.read_bytes(path) for path in storage.list_files(out)}


def cloud(folder, *names):
    for number, name in enumerate(names):
        body = b"".join(b"%d %d %d\n" % (k, k * k % 97, number) for k in range(200))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PLY.partition(b"%d")[0].replace(b"vertex 1", b"vertex 200") + body)
    return str(folder)


def test_what_a_rerun_would_destroy_it_names_and_changes_nothing(tmp_path, nowhere, capsys):
    inputs, out = cloud(tmp_path / "in", "a.ply", "sub/b.ply"), str(tmp_path / "out")
    assert run.main(["--input", inputs, "--output", out, *nowhere]) == 0
    before = contents(out)
    capsys.readouterr()
    other = ["--set", "accept.visible_face=0.3"]
    assert run.main(["--input", inputs, "--output", out, *nowhere, *other]) == 2
    told = capsys.readouterr().err
    assert "replace 2 finished scans" in told and "accept.visible_face was 0.25, is 0.3" in told and contents(out) == before
    assert run.main(["--input", f"{inputs}/sub", "--output", out, *nowhere, *other, "--force"]) == 0
    told = capsys.readouterr().out
    assert "1 done, 1 of these replaced an earlier result" in told and "1 results of an earlier run dropped" in told
    assert list(lines_of(out)) == ["sub/b.ply"] and len(storage.list_files(f"{out}/.state")) == 1


def test_a_part_then_the_whole_then_less_and_a_purge(tmp_path, nowhere, capsys):
    inputs, out = cloud(tmp_path / "in", "a.ply", "b.ply", "sub/c.ply"), str(tmp_path / "out")
    command = lambda path: run.main(["--input", path, "--output", out, *nowhere])
    assert command(inputs) == 0
    marks = {path: os.stat(path).st_mtime_ns for path in storage.list_files(f"{out}/.state")}
    assert command(f"{inputs}/sub") == 0 and list(lines_of(out)) == ["a.ply", "b.ply", "sub/c.ply"]
    assert "2 scans that this input does not hold stay as they were" in capsys.readouterr().out
    (tmp_path / "in" / "b.ply").unlink()
    (tmp_path / "in" / "notes.txt").write_bytes(b"x")
    assert command(inputs) == 0 and {path: os.stat(path).st_mtime_ns for path in marks} == marks
    told = capsys.readouterr().out
    assert "2 kept from an earlier run, 0 done" in told and "1 of them left the input: b.ply; `face-relief purge" in told
    assert "1 file was not read" in told
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["left_the_input"] == ["b.ply"] and info["status"] == "finished" and info["root"] == inputs
    assert info["passed_over"][0]["examples"] == ["notes.txt"]
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert (
        "1 file of the input was not read" in page and "notes.txt" in page and "1 scan above left the input since: b.ply" in page
    )
    before = contents(out)
    assert cli.main(["purge", "--output", out, "--dry-run"]) == 0 and contents(out) == before
    assert cli.main(["purge", "--output", out, "no.ply"]) == 2 and contents(out) == before
    gone = lines_of(out)["b.ply"]["scan_id"]
    assert cli.main(["purge", "--output", out]) == 0 and list(lines_of(out)) == ["a.ply", "sub/c.ply"]
    assert not [path for path, data in contents(out).items() if gone in path or b"b.ply" in data]
    assert cli.main(["purge", "--output", out, "a.ply"]) == 0 and list(lines_of(out)) == ["sub/c.ply"]
    assert cli.main(["purge", "--output", str(tmp_path / "in")]) == 2


def test_a_lower_limit_on_files_costs_no_finished_scan(tmp_path, nowhere, capsys):
    (tmp_path / "in").mkdir()
    large = PLY.replace(b"vertex 1", b"vertex 200001") % 1 + b"1 2 3\n" * 200_000
    (tmp_path / "in" / "a.ply").write_bytes(large)
    inputs, out = str(tmp_path / "in"), str(tmp_path / "out")
    command = lambda *words: run.main(["--input", inputs, "--output", out, *nowhere, *words])
    assert command() == 0
    (line,) = lines_of(out).values()
    capsys.readouterr()
    assert command("--set", "limits.file_mib=1") == 0
    (kept,) = lines_of(out).values()
    assert kept["status"] == line["status"] and "is larger than 1 MiB" in kept["notes"][-1]
    assert "1 kept from an earlier run, 0 done" in (told := capsys.readouterr().out) and "1 of the kept could not be read" in told
    assert command() == 0 and lines_of(out)["a.ply"] == line


def test_a_buffer_that_cannot_be_opened_costs_no_finished_scan(tmp_path, nowhere):
    points = b"".join(struct.pack("<3f", k, k * k % 97, k % 7) for k in range(200))
    scene = {
        "asset": {"version": "2.0"},
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 200}],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "buffers": [{"uri": "geo.bin", "byteLength": len(points)}],
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.gltf").write_text(json.dumps(scene))
    buffer = tmp_path / "in" / "geo.bin"
    buffer.write_bytes(points)
    inputs, out = str(tmp_path / "in"), str(tmp_path / "out")
    command = lambda: run.main(["--input", inputs, "--output", out, *nowhere])
    assert command() == 0
    (line,) = lines_of(out).values()
    assert line["status"] == "rejected"
    buffer.unlink()
    buffer.symlink_to("geo.bin")  # a link to itself
    assert command() == 0
    (kept,) = lines_of(out).values()
    assert kept["status"] == "rejected" and "its file 'geo.bin' cannot be read" in kept["notes"][-1]
    buffer.unlink()
    buffer.write_bytes(points)
    assert command() == 0 and lines_of(out)["a.gltf"] == line


def test_run_json_is_there_before_the_first_scan_and_says_how_the_run_ended(tmp_path, nowhere, monkeypatch):
    inputs, out = cloud(tmp_path / "in", "a.ply"), tmp_path / "out"
    seen = []

    def locate(*_):
        seen.append(json.loads((out / "run.json").read_text())["status"])
        raise KeyboardInterrupt

    words = ["--input", inputs, "--output", str(out), *nowhere]
    monkeypatch.setitem(methods.LOCATORS, "nowhere", locate)
    assert run.main(words) in (130, 1) and seen == ["running"]  # Beam may hand on an interruption as an error of its own
    assert json.loads((out / "run.json").read_text())["status"] in ("interrupted", "running")
    assert not (out / ".lock").exists() and not (out / WORK_FOLDER).exists()


def test_a_scan_of_a_name_that_is_not_utf8_passes_through_the_whole_run(tmp_path, nowhere, capsys):
    inputs, out = cloud(tmp_path / "in", os.fsdecode(b"caf\xe9.ply"), "\x1b[31mred.ply", "x\nforged.ply"), str(tmp_path / "out")
    for _ in range(2):
        assert run.main(["--input", inputs, "--output", out, *nowhere]) == 0
    told = capsys.readouterr().out
    assert set(lines_of(out)) == {"caf\\xe9.ply", "\x1b[31mred.ply", "x\nforged.ply"} and "3 kept" in told
    assert "\x1b[31m" not in told and "\nforged" not in told and "\\x1b[31mred.ply" in told
    csv = (tmp_path / "out" / "report" / "metrics.csv").read_text()
    assert "\x1b" not in csv and "caf\\xe9.ply" in csv
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.ply")).unlink()
    assert run.main(["--input", inputs, "--output", out, *nowhere]) == 0
    assert "left the input: caf\\xe9.ply" in capsys.readouterr().out


def test_a_folder_whose_name_looks_like_a_pattern_is_no_other_folder(tmp_path, nowhere):
    inputs, outs = cloud(tmp_path / "in", "a.ply", "b.ply"), [str(tmp_path / name) for name in ("study [2024]", "study 2")]
    for out in outs:
        assert run.main(["--input", inputs, "--output", out, *nowhere]) == 0
    before, fresh = contents(outs[1]), contents(f"{outs[0]}/.state")
    assert run.main(["--input", inputs, "--output", outs[0], *nowhere, "--force"]) == 0
    assert contents(outs[1]) == before and set(contents(f"{outs[0]}/.state")) == set(fresh)
    (tmp_path / "in" / "b.ply").unlink()
    assert run.main(["--input", inputs, "--output", outs[0], *nowhere, "--set", "accept.visible_face=0.3", "--force"]) == 0
    assert list(lines_of(outs[0])) == ["a.ply"] and len(contents(f"{outs[0]}/.state")) == 1
    assert cli.main(["purge", "--output", outs[0], "a.ply"]) == 0 and not contents(f"{outs[0]}/.state")
    assert contents(outs[1]) == before and not os.path.exists(f"{outs[0]}/.lock")


def test_a_run_removes_nothing_that_is_the_users_own(tmp_path, nowhere):
    inputs, out = cloud(tmp_path / "in", "a.ply", "b.ply"), tmp_path / "out"
    own = [".run/My configuration.run.xml", "notes.1.partial", ".probe", f"scans/{Source('b.ply', '').scan_id}/notes.txt"]
    for name in own:
        storage.write_bytes(str(out / name), b"mine")
    storage.write_bytes(str(out / WORK_FOLDER / "tmp" / "x"), b"a killed run's")
    storage.write_bytes(storage.partial_name(str(out / "scans" / "x.ply")), b"a killed run's")
    words = ["--input", inputs, "--output", str(out), *nowhere]
    assert run.main(words) == 0
    (tmp_path / "in" / "b.ply").unlink()
    assert run.main([*words, "--force", "--set", "accept.visible_face=0.3"]) == 0 and list(lines_of(out)) == ["a.ply"]
    assert sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.read_bytes() == b"mine"
    ) == sorted(own)
    assert not (out / WORK_FOLDER).exists() and b"a killed run's" not in contents(str(out)).values()
