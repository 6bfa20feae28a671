"""What counts as a scan and how it is named: folders, globs, archives, URLs; damaged archives and size limits."""

import io
import os
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry import readers
from geometry.errors import ConfigError, ReadError
from pipeline.inputs import listing, reading
from pipeline.inputs.source import Source
from pipeline.store import storage

PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"
DEPTH_PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000020000000210000000006ff3e8d7")  # header of a 16-bit grey picture
GLTF = b'{"asset": {"version": "2.0"}, "meshes": [], "buffers": [{"uri": "%s", "byteLength": 4}]}'
LIMIT = 2**20
ARCHIVE_FILES = {"b.ply": PLY, "deep/a.ply": PLY, "notes.txt": b"hello", "deep/d.png": DEPTH_PNG, "deep/d.json": b"{}"}


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def names(listed):
    return [source.name for source in listed]


def as_zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def as_tar(files, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.ply")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def test_a_folder_is_walked_and_sorted_and_other_files_get_no_line(tmp_path):
    write(
        tmp_path,
        {
            "z.ply": PLY,
            "a/b.ply": PLY,
            "README.md": b"# hi",
            "a/list.txt": b"1 2 3",
            "empty.stl": b"",
            ".hidden.ply": PLY,
            "__MACOSX/x.ply": PLY,
            "half.ply.0123.partial": PLY,
            "d.png": DEPTH_PNG,
            "d.json": b"{}",
            "z.landmarks.json": b"{}",
        },
    )
    listed = listing.list_sources(str(tmp_path))
    assert names(listed) == ["a/b.ply", "d.png", "empty.stl", "z.ply"]
    sidecars = {source.name: [name for name, _ in source.sidecars] for source in listed}
    assert sidecars == {"a/b.ply": [], "d.png": ["d.json"], "empty.stl": [], "z.ply": ["z.landmarks.json"]}
    assert reading.read(listed[1], LIMIT) == (DEPTH_PNG, {"d.json": b"{}"})


def test_a_single_file_is_its_name_and_finds_its_sidecar(tmp_path):
    write(tmp_path, {"deep/d.png": DEPTH_PNG, "deep/d.json": b"{}"})
    (source,) = listing.list_sources(str(tmp_path / "deep" / "d.png"))
    assert source.name == "d.png" and [name for name, _ in source.sidecars] == ["d.json"]


def test_a_glob_is_named_below_its_longest_literal_parent(tmp_path):
    write(tmp_path, {"in/s1/a.ply": PLY, "in/s2/a.ply": PLY, "in/s2/b.stl": b"", "in/x.ply": PLY})
    assert names(listing.list_sources(f"{tmp_path}/in/s*/*.ply")) == ["s1/a.ply", "s2/a.ply"]
    assert names(listing.list_sources(f"{tmp_path}/in/**/a.ply")) == ["s1/a.ply", "s2/a.ply"]
    assert names(listing.list_sources(f"{tmp_path}/in/s[2]")) == ["s2/a.ply", "s2/b.stl"]


@pytest.mark.parametrize("name, pack", [("x.zip", as_zip), ("x.tar.gz", as_tar), ("x.tar", lambda files: as_tar(files, "w"))])
def test_members_of_an_archive_are_sources_with_sidecars(tmp_path, name, pack):
    write(tmp_path, {f"sub/{name}": pack(ARCHIVE_FILES)})
    listed = listing.list_sources(str(tmp_path))
    assert names(listed) == [f"sub/{name}!b.ply", f"sub/{name}!deep/a.ply", f"sub/{name}!deep/d.png"]
    assert reading.read(listed[1], LIMIT) == (PLY, {})
    assert reading.read(listed[2], LIMIT) == (DEPTH_PNG, {"d.json": b"{}"})
    assert names(listing.list_sources(str(tmp_path / "sub" / name))) == [entry.removeprefix("sub/") for entry in names(listed)]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["sub", name]  # nothing is unpacked


def test_a_damaged_archive_is_one_source_that_fails_to_read(tmp_path):
    write(tmp_path, {"cut.zip": as_zip(ARCHIVE_FILES)[:-40], "cut.tar.gz": as_tar(ARCHIVE_FILES)[:60], "good.ply": PLY})
    listed = listing.list_sources(str(tmp_path))
    assert names(listed) == ["cut.tar.gz", "cut.zip", "good.ply"]
    for source in listed[:2]:
        with pytest.raises(ReadError, match=f"{source.name}: the archive cannot be opened"):
            reading.read(source, LIMIT)


def test_a_damaged_member_fails_alone(tmp_path):
    data = bytearray(as_zip({"a.ply": PLY + os.urandom(4000), "b.ply": PLY}))
    data[1000] ^= 0xFF
    write(tmp_path, {"x.zip": bytes(data)})
    first, second = listing.list_sources(str(tmp_path))
    with pytest.raises(ReadError, match="x.zip!a.ply"):
        reading.read(first, LIMIT)
    assert reading.read(second, LIMIT)[0] == PLY


def test_a_bomb_is_not_unpacked_past_the_limit(tmp_path):
    write(tmp_path, {"x.zip": as_zip({"a.ply": PLY + bytes(8 * LIMIT)}), "b.ply": PLY + bytes(2 * LIMIT)})
    for source in listing.list_sources(str(tmp_path)):
        with pytest.raises(ReadError, match=r"larger than 1 MiB; raise limits.file_mib"):
            reading.read(source, LIMIT)


def test_a_neighbour_past_the_limit_is_named_and_one_of_another_format_is_no_neighbour(tmp_path):
    large = bytes(2 * LIMIT)
    write(tmp_path, {"a.ply": PLY, "a.bin": large, "b.png": DEPTH_PNG, "b.json": large, "b.bin": large, "c.gltf": GLTF % b"g"})
    write(tmp_path, {"c.bin": large, "d.gltf": GLTF % b"d.data", "d.data": large})
    listed = {source.name: source for source in listing.list_sources(str(tmp_path))}
    assert reading.read(listed["a.ply"], LIMIT) == (PLY, {}) and listed["a.ply"].sidecars == ()
    for name, beside in {"b.png": "b.json", "c.gltf": "c.bin", "d.gltf": "d.data"}.items():
        with pytest.raises(ReadError, match=f"^{name}: its file '{beside}' is larger than 1 MiB; raise limits.file_mib"):
            reading.read(listed[name], LIMIT)
    assert "a.bin" in {entry.name for entry in listing.list_input(str(tmp_path)).passed}
    large_bin = {"a.ply": PLY, "a.bin": large}
    write(tmp_path / "packed", {"x.zip": as_zip(large_bin)})
    (member,) = listing.list_sources(str(tmp_path / "packed"))
    assert reading.read(member, LIMIT) == (PLY, {})


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error"), None])
@pytest.mark.parametrize("place", ["parts/geo.bin", "parts"])
def test_a_file_that_a_scan_names_and_that_cannot_be_opened_is_an_error_and_not_missing(tmp_path, monkeypatch, error, place):
    write(tmp_path, {"a.gltf": GLTF % b"parts/geo.bin", "parts/geo.bin": b"1234"})
    source, failing = Source("a.gltf", str(tmp_path / "a.gltf")), str(tmp_path / place)
    assert reading.read(source, LIMIT)[1] == {"parts/geo.bin": b"1234"}
    if error is None:  # a link to itself, which fails for root as well
        (tmp_path / place).rename(tmp_path / "moved")
        (tmp_path / place).symlink_to(failing)
    elif place == "parts":  # a folder that may not be entered
        real = os.stat
        stat = lambda path, *args, **options: raised(error, str(path), failing) or real(path, *args, **options)
        monkeypatch.setattr(os, "stat", stat)
    else:
        real = storage.read_head
        monkeypatch.setattr(storage, "read_head", lambda path, size: raised(error, path, failing) or real(path, size))
    with pytest.raises(ReadError, match="^a.gltf: its file 'parts/geo.bin' cannot be read .*check the file and its permissions"):
        reading.read(source, LIMIT)


def raised(error, path, below):
    if path.startswith(below):
        raise error


@pytest.mark.parametrize(
    "uri", [b"none.bin", b"a.gltf/none.bin", b"none/none.bin", b"n" * 300, b"\\ud800.bin", b"folder", b"pipe"]
)
@pytest.mark.parametrize("way", ["a folder", "a zip", "a tar"])
def test_a_file_that_a_scan_names_and_that_is_not_there_is_left_to_the_reader(tmp_path, uri, way):
    data = GLTF % uri
    if way == "a folder":
        write(tmp_path, {"a.gltf": data, "folder/x": b""})
        os.mkfifo(tmp_path / "pipe")
    elif way == "a zip":
        write(tmp_path, {"x.zip": as_zip({"a.gltf": data, "folder/x": b""})})
    else:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, kind in {"a.gltf": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "pipe": tarfile.FIFOTYPE}.items():
                info = tarfile.TarInfo(name)
                info.type, info.size = kind, len(data) if name == "a.gltf" else 0
                archive.addfile(info, io.BytesIO(data))
        write(tmp_path, {"x.tar": buffer.getvalue()})
    (source,) = listing.list_sources(str(tmp_path))
    assert reading.read(source, LIMIT) == (data, {})


def test_a_damaged_member_that_a_scan_names_is_an_error(tmp_path):
    data = bytearray(as_zip({"a.gltf": GLTF % b"geo.bin", "geo.bin": os.urandom(4000)}))
    data[2000] ^= 0xFF
    write(tmp_path, {"x.zip": bytes(data)})
    (source,) = listing.list_sources(str(tmp_path))
    with pytest.raises(ReadError, match="^x.zip!a.gltf: its file 'geo.bin' cannot be read"):
        reading.read(source, LIMIT)


def test_what_lies_before_the_end_of_a_cut_archive_is_read_by_processes_that_have_not_listed_it(tmp_path):
    large = PLY + os.urandom(99_000)
    files = {"a.ply": large, "b.gltf": GLTF % b"a.ply", "c.gltf": GLTF % b"z.bin", "d.ply": large}
    write(tmp_path, {"x.tar.gz": as_tar(files)[:150_000]})
    listed = {source.name.partition("!")[2]: source for source in listing.list_sources(str(tmp_path))}
    os.utime(tmp_path / "x.tar.gz", (0, 0))  # it is opened anew, as by a worker
    assert reading.read(listed["a.ply"], LIMIT) == (files["a.ply"], {})
    assert reading.read(listed["b.gltf"], LIMIT) == (files["b.gltf"], {"a.ply": files["a.ply"]})
    with pytest.raises(ReadError, match="c.gltf: its file 'z.bin' cannot be read .*file ended"):  # it may lie behind the cut
        reading.read(listed["c.gltf"], LIMIT)


@pytest.mark.parametrize(("name", "mode"), [("x.tar", "w:"), ("x.tar.gz", "w:gz")])
def test_a_gltf_that_lies_whole_before_the_damage_of_a_tar_is_read_with_its_files_in_a_folder(tmp_path, name, mode):
    files = {"s/a.gltf": GLTF % b"bufs/a.bin", "s/bufs/a.bin": b"1234", "z.ply": PLY + os.urandom(99_000)}
    write(tmp_path, {name: as_tar(files, mode)[:50_000]})
    (source,) = [source for source in listing.list_sources(str(tmp_path)) if source.name.endswith("a.gltf")]
    for _ in range(2):
        assert reading.read(source, LIMIT) == (files["s/a.gltf"], {"bufs/a.bin": b"1234"})
        os.utime(tmp_path / name, (0, 0))  # it is opened anew, as by a worker


@pytest.mark.parametrize("beside", [b"another", bytes(LIMIT + 1)], ids=["another", "too large"])
def test_of_a_files_places_the_first_that_holds_one_is_read_and_no_other(tmp_path, beside):
    write(tmp_path, {"a.gltf": GLTF % b"tex/a.bin", "tex/a.bin": b"1234", "a/b.ply": PLY, "a.bin.txt": b""})
    (tmp_path / "a.bin").write_bytes(beside)
    source = Source("a.gltf", str(tmp_path / "a.gltf"))
    assert reading.read(source, LIMIT)[1] == {"tex/a.bin": b"1234"}
    assert readers.neighbours("a.gltf", (tmp_path / "a.gltf").read_bytes()) == [("tex/a.bin", "a.bin")]
    (tmp_path / "tex" / "a.bin").write_bytes(bytes(LIMIT + 1))
    with pytest.raises(ReadError, match="its file 'tex/a.bin' is larger"):  # the one beside the document is another
        reading.read(source, LIMIT)


def test_an_archive_of_too_many_members_is_refused(tmp_path):
    write(tmp_path, {"x.zip": as_zip({f"{k}.ply": PLY for k in range(20)})})
    (source,) = listing.list_sources(str(tmp_path), archive_members=10)
    assert "more than 10 members" in source.fault


def test_a_file_that_vanishes_is_a_read_error(tmp_path):
    write(tmp_path, {"a.ply": PLY})
    (source,) = listing.list_sources(str(tmp_path))
    (tmp_path / "a.ply").unlink()
    with pytest.raises(ReadError, match="a.ply: cannot be read"):
        reading.read(source, LIMIT)


def test_the_output_inside_the_input_is_not_taken_in_again(tmp_path):
    write(tmp_path, {"a.ply": PLY, "out/scans/a-1/refined.ply": PLY, "output2/b.ply": PLY})
    assert names(listing.list_sources(str(tmp_path), str(tmp_path / "out"))) == ["a.ply", "output2/b.ply"]
    with pytest.raises(ConfigError, match="no scan"):
        listing.list_sources(str(tmp_path / "out"), str(tmp_path / "out"))


@pytest.mark.parametrize(
    "path, words", [("missing", "no such file"), ("empty", "no scan among 0 files"), ("texts", "no scan among 2 files")]
)
def test_nothing_to_do_is_a_wrong_command(tmp_path, path, words):
    (tmp_path / "empty").mkdir()
    write(tmp_path, {"texts/a.txt": b"a", "texts/b.json": b"{}"})
    with pytest.raises(ConfigError, match=words):
        listing.list_sources(str(tmp_path / path))


def test_linked_folders_are_entered_once(tmp_path):
    write(tmp_path, {"real/a.ply": PLY})
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    assert len(listing.list_sources(str(tmp_path))) == 1


def test_a_url_is_listed_and_read_like_a_folder(memory_filesystem):
    base = f"{memory_filesystem}://bucket/in"
    for name, data in {
        "s/a.png": DEPTH_PNG,
        "s/a.json": b"{}",
        "b.ply": PLY,
        "x.zip": as_zip({"c.ply": PLY}),
        "t.txt": b"t",
    }.items():
        storage.write_bytes(f"{base}/{name}", data)
    listed = listing.list_sources(base, f"{memory_filesystem}://bucket/out")
    assert names(listed) == ["b.ply", "s/a.png", "x.zip!c.ply"]
    assert reading.read(listed[1], LIMIT) == (DEPTH_PNG, {"a.json": b"{}"})
    assert reading.read(listed[2], LIMIT) == (PLY, {})
    assert names(listing.list_sources(f"{base}/*.ply")) == ["b.ply"]
    assert names(listing.list_sources(f"{base}/b.ply")) == ["b.ply"]
    with pytest.raises(ConfigError, match="nothing there"):
        listing.list_sources(f"{memory_filesystem}://bucket/no")


NAMES = st.one_of(st.text(min_size=1, max_size=30), st.binary(min_size=1, max_size=30).map(os.fsdecode))  # UTF-8, and any bytes


@given(st.lists(NAMES, min_size=2, max_size=6, unique=True))
def test_scan_ids_are_safe_folder_names_and_never_collide(found):
    ids = [Source(name, name).scan_id for name in found]
    assert len(set(ids)) == len(ids)
    for scan_id in ids:
        assert scan_id.isascii() and "/" not in scan_id and not scan_id.startswith((".", "-")) and len(scan_id) < 100


def test_a_scan_id_reads_like_its_source():
    source = Source("sub dir/a.zip!x/Ännä.ply", "p")
    assert source.scan_id.rpartition("-")[0] == "sub-dir-a.zip-x-nn-.ply" and len(source.scan_id.rpartition("-")[2]) == 8
    assert source.file_name == "Ännä.ply"
