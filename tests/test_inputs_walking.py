"""Where links and hidden folders lead: a glob ends, whatever links it meets, and what is given by its name is not hidden."""

import glob
import os
import pathlib

import pytest

from pipeline.execution import resources
from pipeline.inputs import listing, passed_over
from pipeline.inputs.listing import Bounds
from pipeline.store import storage

PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"


@pytest.fixture
def scans(tmp_path):
    """s/a.ply, s/deep/b.ply and s/deep/.hidden/c.ply; two loops, and a link to away/d.ply's folder."""
    for name in ("s/a.ply", "s/deep/b.ply", "s/deep/.hidden/c.ply", "away/d.ply"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PLY)
    (tmp_path / "s" / "loop").symlink_to(".")
    (tmp_path / "s" / "deep" / "up").symlink_to("..")
    (tmp_path / "s" / "away").symlink_to("../away")
    return tmp_path / "s"


def listed(pattern, follow_links=True):
    found = listing.list_input(str(pattern), bounds=Bounds(follow_links=follow_links))
    return [source.name for source in found.sources], {entry.name: entry.reason for entry in found.passed}


@pytest.mark.parametrize("pattern", ["**/*.ply", "**/**/*.ply", "**"])
def test_a_glob_over_links_that_lead_back_finds_each_file_once(scans, pattern):
    names, told = listed(scans / pattern)
    assert names == ["a.ply", "away/d.ply", "deep/b.ply"]
    assert told["loop"] == told["deep/up"] == passed_over.ENTERED


@pytest.mark.parametrize("pattern", ["**/*.ply", "*/*.ply", "**"])
def test_a_glob_follows_no_link_where_none_is_to_be_followed(scans, pattern):
    names, told = listed(scans / pattern, follow_links=False)
    assert set(names) <= {"a.ply", "deep/b.ply"} and "deep/b.ply" in names
    assert set(told.values()) <= {passed_over.LINKED, passed_over.HIDDEN}


def test_a_glob_that_reaches_a_file_twice_says_so(scans):
    names, told = listed(scans / "*" / "*.ply")
    assert names == ["away/d.ply", "deep/b.ply", "loop/a.ply"]
    (scans / "same").symlink_to("deep")
    names, told = listed(scans / "*" / "b.ply")
    assert names == ["deep/b.ply"] and told == {"same/b.ply": passed_over.ENTERED}


@pytest.mark.parametrize("pattern", ["**/**/*.ply", "**/**/**", "**/*", "*", "**"])
def test_a_glob_that_finds_a_path_twice_speaks_of_no_link_where_there_is_none(tmp_path, pattern):
    for name in ("a.ply", "deep/b.ply", "deep/er/c.ply"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PLY)
    assert listed(tmp_path / pattern) == (["a.ply", "deep/b.ply", "deep/er/c.ply"], {})


@pytest.mark.parametrize("pattern", ["*", "*/*", "*/*.ply", "*/**/*.ply", "**/*.ply", "**/**/*.ply", "**/*", "**"])
def test_a_glob_names_a_scan_as_the_walk_of_its_folder_does(tmp_path, pattern):
    for name in ("h/d/real/x.ply", "h/real/x.ply", "far/x.ply"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PLY)
    links = {"link": "real", "a_link": "d/real", "m": "../far", "d/a": "../real", "d/l": "../../far"}
    for link, place in links.items():
        (tmp_path / "h" / link).symlink_to(place)
    walked = listed(tmp_path / "h")[0]
    assert walked == ["d/real/x.ply", "m/x.ply", "real/x.ply"]
    names, told = listed(tmp_path / "h" / pattern)
    expected = ["a_link/x.ply", "m/x.ply", "real/x.ply"] if pattern == "*/*.ply" else walked  # d/real is nothing it stands for
    assert names == expected and set(told.values()) == {passed_over.ENTERED}
    found = listing.list_input(str(tmp_path / "h" / pattern)).passed
    assert len({entry.name for entry in found}) == len(found)


@pytest.mark.parametrize("pattern", ["**/*.ply", "./**/*.ply", "s/**/b.ply", "**/deep/**/*.ply"])
def test_a_relative_glob_finds_what_globs_find(scans, monkeypatch, pattern):
    monkeypatch.chdir(scans.parent)
    for link in ("s/loop", "s/deep/up", "s/away"):
        os.remove(link)
    root = os.path.abspath(pattern.partition("*")[0] or ".")
    expected = sorted(os.path.relpath(path, root) for path in glob.glob(pattern, recursive=True))
    assert listed(pattern, True)[0] == expected


def test_what_is_given_by_its_name_is_not_hidden_below_a_known_root(scans):
    hidden = scans / "deep" / ".hidden"
    for given in (hidden, hidden / "c.ply", f"{hidden}/*.ply"):
        found = listing.list_input(str(given), root=str(scans))
        assert [source.name for source in found.sources] == ["deep/.hidden/c.ply"]
    assert "deep/.hidden/c.ply" not in listed(scans)[0]


def test_a_link_to_a_file_elsewhere_is_named_by_its_own_place(scans, tmp_path):
    (scans / "e.ply").symlink_to(tmp_path / "away" / "d.ply")
    (tmp_path / "door").symlink_to(scans)
    found = listing.list_input(str(tmp_path / "door" / "e.ply"), root=str(scans))
    assert [source.name for source in found.sources] == ["e.ply"]


@pytest.mark.parametrize("given", ["*.ply", "a.ply"])
@pytest.mark.parametrize("follow_links", [False, True])
def test_a_sidecar_that_is_a_link_is_read_where_links_are_followed(scans, given, follow_links):
    (scans / "deep" / "marks.json").write_text("{}")
    (scans / "a.landmarks.json").symlink_to("deep/marks.json")
    found = listing.list_input(str(scans / given), bounds=Bounds(follow_links=follow_links))
    assert [len(source.sidecars) for source in found.sources] == [int(follow_links)]


def test_what_lies_below_the_output_is_told_at_a_url_too(memory_filesystem):
    root = f"{memory_filesystem}://bucket/in"
    for name in ("a.ply", "out/coarse.ply", "out/refined.ply"):
        storage.write_bytes(f"{root}/{name}", PLY)
    found = listing.list_input(root, f"{root}/out")
    assert [source.name for source in found.sources] == ["a.ply"]
    assert found.passed == (passed_over.PassedOver("out", "folder", passed_over.OWN),)


def test_the_docs_tell_the_memory_that_a_worker_is_given():
    text = (pathlib.Path(__file__).parents[1] / "docs" / "getting_started.md").read_text()
    assert f"{resources.WORKER_MIB / 1024:g} GB of memory for each worker" in text
