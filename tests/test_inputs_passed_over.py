"""Nothing of an input is left out in silence, and nothing in it stops a listing: names, pipes, links, folders, archives."""

import io
import json
import os
import socket
import stat
import subprocess
import tarfile
import zipfile

import pytest

from geometry.errors import ConfigError, ReadError
from pipeline.inputs import archives, listing, passed_over, reading, walking
from pipeline.inputs.listing import Bounds

PLY = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"
CAMERA = b'{"width": 2, "height": 2, "fx": 1.0, "fy": 1.0, "cx": 0.5, "cy": 0.5, "depth_unit_mm": 1.0}'


def png(bits, color):
    """The header of a picture."""
    return bytes.fromhex("89504e470d0a1a0a0000000d494844520000000200000002") + bytes([bits, color, 0, 0, 0]) + b"crc."


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def told(found):
    return {(entry.name, entry.kind): entry.reason for entry in found.passed}


def names(found):
    return [source.name for source in found.sources]


def tar(members, **options):
    """name (str or bytes) → data, or a TarInfo that says what it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT, **options) as archive:
        for name, data in members:
            info = tarfile.TarInfo(os.fsdecode(name))
            if isinstance(data, tuple):
                info.type, info.linkname = data
                data = b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_every_file_is_a_scan_a_sidecar_or_told_with_its_reason(tmp_path):
    scans = {"a.ply": PLY, "d.png": png(16, 0), "d.json": CAMERA, "a.landmarks.json": b"{}"}
    others = {
        "body.fbx": b"Kaydara FBX Binary",
        "README": b"text",
        "photo.png": png(8, 2),
        "alone.pp": b"<PickedPoints/>",
        ".DS_Store": b"x",
        "half.ply.0123.partial": PLY,
        "settings.json": b"{}",
    }
    write(tmp_path, scans | others)
    found = listing.list_input(str(tmp_path))
    assert names(found) == ["a.ply", "d.png"]
    assert {name: reason for (name, _), reason in told(found).items()} == {
        "body.fbx": passed_over.UNKNOWN,
        "README": passed_over.UNKNOWN,
        "settings.json": passed_over.UNKNOWN,
        "photo.png": passed_over.PICTURE,
        "alone.pp": passed_over.LANDMARKS,
        ".DS_Store": passed_over.HIDDEN,
        "half.ply.0123.partial": passed_over.PARTIAL,
    }
    tallied = passed_over.tally(found.passed)
    assert sum(entry["count"] for entry in tallied) == len(others)
    assert tallied[0]["count"] == 1 and json.dumps(tallied)
    first, *reasons = passed_over.summary(tallied)
    assert (
        first.startswith("7 files were not read")
        and "  3 (1 .fbx, 1 .json, 1 without a suffix): " + passed_over.UNKNOWN in reasons
    )
    assert passed_over.summary([]) == []


def test_pipes_sockets_and_devices_are_passed_over_and_never_waited_for(tmp_path):
    write(tmp_path, {"a.ply": PLY, "d.png": png(16, 0)})
    os.mkfifo(tmp_path / "pipe.ply")
    os.mkfifo(tmp_path / "d.json")  # would be the sidecar of a depth image
    (tmp_path / "zeros.ply").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket.obj"))
        for given in (tmp_path, f"{tmp_path}/*"):
            found = listing.list_input(str(given))
            assert names(found) == ["a.ply", "d.png"] and found.sources[1].sidecars == ()
            assert {kind for _, kind in told(found)} == {"named pipe", "socket", "device"}
            assert set(told(found).values()) == {passed_over.SPECIAL}
    (single,) = listing.list_sources(str(tmp_path / "d.png"))
    assert single.sidecars == ()
    with pytest.raises(ConfigError, match="1 named pipe"):
        listing.list_sources(str(tmp_path / "pipe.ply"))


def test_names_of_any_bytes_are_listed_and_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.ply")
    write(tmp_path, {name: PLY, "x.tar.gz": tar([(b"deep/caf\xe9.ply", PLY), ("good.ply", PLY)])})
    found = listing.list_input(str(tmp_path)).sources
    assert [source.name for source in found] == [name, "x.tar.gz!deep/" + name, "x.tar.gz!good.ply"]
    assert all(reading.read(source, 2**20)[0] == PLY and source.scan_id.isascii() for source in found)
    assert found[0].scan_id != listing.Source("caf\\xe9.ply", "").scan_id  # what the name is written as may be a name, too


def test_a_folder_that_cannot_be_opened_is_told_and_the_others_are_walked(tmp_path, monkeypatch):
    write(tmp_path, {"a.ply": PLY, "closed/b.ply": PLY, "z/c.ply": PLY})
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = listing.list_input(str(tmp_path))
    assert names(found) == ["a.ply", "z/c.ply"]
    assert told(found) == {("closed", "folder"): f"{passed_over.CLOSED} (Permission denied)"}


def test_folders_deeper_than_a_stack_are_walked(tmp_path):
    here, deep = os.getcwd(), 1500
    try:
        os.chdir(tmp_path)
        for _ in range(deep):
            os.mkdir("d")
            os.chdir("d")
        with open("a.ply", "wb") as file:
            file.write(PLY)
    finally:
        os.chdir(here)
    write(tmp_path, {"b.ply": PLY})
    try:
        assert len(listing.list_input(str(tmp_path)).sources) == 2
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # Python's own removal has a stack


def test_links_are_followed_or_told_as_the_setting_says(tmp_path):
    write(tmp_path, {"in/a.ply": PLY, "in/real/b.ply": PLY, "away/c.ply": PLY})
    (tmp_path / "in" / "all").symlink_to(tmp_path / "in" / "real")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "away")
    (tmp_path / "in" / "d.ply").symlink_to(tmp_path / "away" / "c.ply")
    (tmp_path / "in" / "itself").symlink_to("itself")
    found = listing.list_input(str(tmp_path / "in"))
    assert names(found) == ["a.ply", "d.ply", "linked/c.ply", "real/b.ply"]  # a folder by its own name, not by a link's
    assert told(found)["all", "folder"] == passed_over.ENTERED
    strict = listing.list_input(str(tmp_path / "in"), bounds=Bounds(follow_links=False))
    assert names(strict) == ["a.ply", "real/b.ply"]
    assert {name for name, _ in told(strict)} == {"all", "linked", "d.ply", "itself"}
    assert set(told(strict).values()) == {passed_over.LINKED}


@pytest.mark.parametrize(
    "picture, sidecar, reason",
    [
        (png(8, 0), CAMERA, ""),
        (png(8, 2), CAMERA, passed_over.COLOUR),  # a frame's picture lies beside its camera as well
        (png(16, 6), CAMERA, passed_over.COLOUR),
        (png(8, 3), CAMERA, passed_over.COLOUR),  # a palette's
        (png(4, 3), CAMERA.decode().encode("utf-16"), passed_over.COLOUR),
        (png(8, 0), CAMERA.decode().encode("utf-16"), ""),
        (png(8, 4), b'{"intrinsic_matrix": [1, 2, 3]}', ""),
        (png(8, 0), b"not JSON", ""),
        (png(8, 2), b'{"photographer": "A"}', passed_over.PICTURE),
        (png(8, 0), b'{"photographer": "A"}', passed_over.PICTURE),
        (png(8, 2), None, passed_over.PICTURE),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_picture_is_a_scan_where_its_sidecar_says_that_depth_was_meant(tmp_path, picture, sidecar, reason, packed):
    files = {"a.ply": PLY, "p.png": picture} | ({} if sidecar is None else {"p.json": sidecar})
    if packed:
        files = {"x.tar.gz": tar(list(files.items()))}
    write(tmp_path, files)
    found = listing.list_input(str(tmp_path))
    prefix = "x.tar.gz!" if packed else ""
    assert (f"{prefix}p.png" in names(found)) == (not reason)
    assert not reason or told(found)[f"{prefix}p.png", ".png"] == reason


def test_a_picture_beside_a_scan_that_has_the_same_sidecar_is_only_a_picture(tmp_path):
    write(tmp_path, {"a.ply": PLY, "a.json": CAMERA, "a.png": png(8, 0)})
    found = listing.list_input(str(tmp_path))
    assert names(found) == ["a.ply"] and set(told(found).values()) == {passed_over.PICTURE}


def test_an_archive_from_windows_has_folders_and_no_line_for_what_is_hidden(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {
            "scans\\a.ply": PLY,
            "scans\\d.png": png(16, 0),
            "scans\\d.json": CAMERA,
            "__MACOSX\\scans\\._a.ply": b"\0\5\x16\7",
        }.items():
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, data)
    write(tmp_path, {"w.zip": buffer.getvalue()})
    found = listing.list_input(str(tmp_path / "w.zip"))
    assert names(found) == ["w.zip!scans/a.ply", "w.zip!scans/d.png"]
    assert reading.read(found.sources[1], 2**20)[1] == {"d.json": CAMERA}
    assert list(told(found).values()) == [passed_over.HIDDEN]


def test_links_devices_nested_archives_and_repeated_members_are_told(tmp_path):
    members = [
        ("a.ply", PLY),
        ("soft.ply", (tarfile.SYMTYPE, "/etc/passwd")),
        ("hard.ply", (tarfile.LNKTYPE, "a.ply")),
        ("pipe.ply", (tarfile.FIFOTYPE, "")),
        ("inner.zip", b"PK\3\4"),
    ]
    write(tmp_path, {"x.tar.gz": tar(members)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.ply", b"")
        archive.writestr("a.ply", PLY)
        link = zipfile.ZipInfo("l.ply")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    write(tmp_path, {"y.zip": buffer.getvalue()})
    found = listing.list_input(str(tmp_path))
    assert names(found) == ["x.tar.gz!a.ply", "y.zip!a.ply"] and reading.read(found.sources[1], 2**20)[0] == PLY
    assert {name.partition("!")[2]: reason for (name, _), reason in told(found).items()} == {
        "soft.ply": archives.LINK,
        "hard.ply": archives.SECOND_NAME,
        "pipe.ply": archives.LINK,
        "inner.zip": passed_over.NESTED,
        "a.ply": archives.REPEATED,
        "l.ply": archives.LINK,
    }


def test_earlier_members_of_a_name_are_told_by_every_archive(tmp_path):
    members = [("a.ply", b""), ("d.png", png(16, 0)), ("d.json", b"{"), ("a.ply", b""), ("a.ply", PLY), ("d.json", CAMERA)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning):
        for name, data in members:
            archive.writestr(name, data)
    write(tmp_path, {"x.zip": buffer.getvalue(), "y.tar.gz": tar(members)})
    for archive in ("x.zip!", "y.tar.gz!"):
        found = listing.list_input(str(tmp_path / archive[:-1]))
        assert names(found) == [archive + "a.ply", archive + "d.png"] and reading.read(found.sources[0], 2**20)[0] == PLY
        assert reading.read(found.sources[1], 2**20)[1] == {"d.json": CAMERA}
        assert [(entry.name.removeprefix(archive), entry.reason) for entry in found.passed] == [
            ("a.ply", archives.REPEATED),
            ("a.ply", archives.REPEATED),
            ("d.json", archives.REPEATED),
        ]


@pytest.mark.parametrize("name", ["../../a.ply", "/etc/a.ply", "deep/../../a.ply", "..\\a.ply", "C:\\a.ply"])
def test_a_member_whose_path_leads_out_of_its_archive_fails_with_that_reason(tmp_path, name):
    info = zipfile.ZipInfo("x")
    info.filename = name
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, PLY)
    write(tmp_path, {"x.zip": buffer.getvalue()})
    (source,) = listing.list_sources(str(tmp_path))
    with pytest.raises(ReadError, match="leads out of the archive"):
        reading.read(source, 2**20)


def test_a_bomb_is_refused_with_the_limit_that_it_exceeds(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    zeros = PLY + bytes(2**23)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ply", zeros)
    write(tmp_path, {"x.zip": buffer.getvalue(), "y.tar.gz": tar([("a.ply", zeros)]), "b.ply": PLY})
    found = {source.name: source for source in listing.list_sources(str(tmp_path))}
    assert set(found) == {"b.ply", "x.zip!a.ply", "y.tar.gz"}
    for name in ("x.zip!a.ply", "y.tar.gz"):
        with pytest.raises(ReadError, match="more than 200 times its size; raise limits.archive_ratio"):
            reading.read(found[name], 2**30)
    found = listing.list_input(str(tmp_path), bounds=Bounds(archive_ratio=5000)).sources
    assert [len(reading.read(source, 2**30, 5000)[0]) for source in found] == [len(PLY), len(zeros), len(zeros)]


def test_an_oversized_header_of_a_tar_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "HEADER_BYTES", 2**20)
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**21
    write(tmp_path, {"x.tar": info.tobuf(tarfile.GNU_FORMAT) + b"a" * 2**21 + bytes(1024)})
    (source,) = listing.list_sources(str(tmp_path))
    assert "a header of 2 MiB, at most 1 MiB are read" in source.fault


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_lies_before_the_damage_of_a_tar_is_read_and_the_archive_has_a_line(tmp_path, mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("a.ply", "b.ply", "c.ply"):
            info = tarfile.TarInfo(name)
            info.size = len(PLY)
            archive.addfile(info, io.BytesIO(PLY))
    data = bytearray(buffer.getvalue())
    data[2048:2560] = b"\xff" * 512  # the header of the third
    if mode == "w:gz":
        import gzip

        data = gzip.compress(bytes(data))
    write(tmp_path, {"x.tar": bytes(data)})
    found = listing.list_sources(str(tmp_path))
    assert [source.name for source in found] == ["x.tar", "x.tar!a.ply", "x.tar!b.ply"]
    assert "damaged or cut off after 2 files" in found[0].fault and reading.read(found[1], 2**20)[0] == PLY


def test_a_scan_is_known_by_its_path_below_the_root_however_the_input_is_given(tmp_path):
    write(tmp_path, {"in/sub/a.ply": PLY, "in/sub/x.tar.gz": tar([("c.ply", PLY)])})
    root = str(tmp_path / "in")
    given = [root, f"{root}/sub", f"{root}/sub/a.ply", f"{root}/**/*.ply", os.path.relpath(f"{root}/sub/a.ply")]
    for path in given:
        found = listing.list_input(path, root=root)
        assert "sub/a.ply" in names(found) and found.root == root
    assert names(listing.list_input(f"{root}/sub/x.tar.gz", root=root)) == ["sub/x.tar.gz!c.ply"]
    (tmp_path / "by_link").symlink_to(tmp_path / "in")
    assert names(listing.list_input(str(tmp_path / "by_link" / "sub" / "a.ply"), root=root)) == ["sub/a.ply"]
    with pytest.raises(ConfigError, match="outside of the root .*give --root"):
        listing.list_input(str(tmp_path), root=root)
    assert walking.natural_root(f"{root}/sub/a.ply") == f"{root}/sub" and walking.natural_root(f"{root}/s*/a.ply") == root


def test_what_lies_below_out_is_one_entry_whatever_a_run_has_written_there(tmp_path):
    write(tmp_path, {"a.ply": PLY, "out/scans/a-1/refined.ply": PLY})
    found = listing.list_input(str(tmp_path), str(tmp_path / "out"))
    assert names(found) == ["a.ply"] and told(found) == {("out", "folder"): passed_over.OWN}


@pytest.mark.parametrize("packed", [False, True])
def test_what_a_gltf_names_is_read_and_not_passed_over(tmp_path, packed):
    scene = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "parts/mesh%20data.bin", "byteLength": 4}],
        "images": [{"uri": "skin.png"}],
    }
    files = {
        "a/head.gltf": json.dumps(scene).encode(),
        "a/parts/mesh data.bin": b"1234",
        "a/other.bin": b"5678",
        "a/mesh data.bin": b"of another",
        "parts/mesh data.bin": b"9",
    }
    if packed:
        with zipfile.ZipFile(tmp_path / "heads.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        write(tmp_path, files)
    found, prefix = listing.list_input(str(tmp_path)), "heads.zip!" if packed else ""
    assert names(found) == [prefix + "a/head.gltf"]
    assert sorted(entry.name for entry in found.passed) == [
        prefix + name for name in ("a/mesh data.bin", "a/other.bin", "parts/mesh data.bin")
    ]
