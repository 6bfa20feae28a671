"""glTF beyond plain accessors in one file: buffers elsewhere, sparse and Draco-compressed arrays, morph targets, empty parts."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from test_readers_meshes import FACES, POINTS

from geometry import readers
from geometry.errors import ReadError
from geometry.readers import gltf_buffers
from pipeline.inputs import reading
from pipeline.inputs.source import Source

BINARY = POINTS.tobytes() + FACES.astype("<u4").tobytes()
VIEWS = [
    {"buffer": 0, "byteLength": POINTS.nbytes},
    {"buffer": 0, "byteOffset": POINTS.nbytes, "byteLength": FACES.size * 4},
]
ACCESSORS = [
    {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": len(POINTS)},
    {"bufferView": 1, "componentType": 5125, "type": "SCALAR", "count": FACES.size},
]
PRIMITIVE = {"attributes": {"POSITION": 0}, "indices": 1}


def document(uri=None, primitives=(PRIMITIVE,), accessors=ACCESSORS, views=VIEWS, size=len(BINARY), **more):
    buffer = {"byteLength": size} | ({"uri": uri} if uri else {})
    tree = {
        "asset": {"version": "2.0"},
        "meshes": [{"primitives": list(primitives)}],
        "accessors": accessors,
        "bufferViews": views,
    }
    return tree | {"buffers": [buffer]} | more


def glb(tree, binary, rest=b""):
    text = json.dumps(tree).encode()
    text, binary = text + b" " * (-len(text) % 4), binary + bytes(-len(binary) % 4)
    parts = [len(text).to_bytes(4, "little"), b"JSON", text, len(binary).to_bytes(4, "little"), b"BIN\0", binary]
    body = b"".join(parts)
    return b"glTF" + (2).to_bytes(4, "little") + (12 + len(body)).to_bytes(4, "little") + body + rest


def with_more(*arrays):
    """BINARY and VIEWS with further arrays behind."""
    binary, views = BINARY, list(VIEWS)
    for array in arrays:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        binary += array.tobytes()
    return binary, views


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("my%20face.bin", "my face.bin"),
        ("buffers/geometry.bin", "buffers/geometry.bin"),
        (".//buffers\\geometry.bin", "buffers/geometry.bin"),
        ("buffers/geometry.bin", "geometry.bin"),
        ("file:///C:/scans/geometry.bin", "geometry.bin"),
        ("C:\\scans\\geometry.bin", "geometry.bin"),
        ("../shared/geometry.bin", "geometry.bin"),
    ],
)
@pytest.mark.parametrize("way", ["a path", "the pipeline", "a zip"])
def test_a_buffer_is_found_by_its_name_in_its_folder_or_beside(uri, place, way, tmp_path):
    folder = tmp_path / "scans"
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / "my face.gltf").write_text(json.dumps(document(uri)))
    (folder / place).write_bytes(BINARY)
    if way == "a path":
        scan = readers.read(folder / "my face.gltf")
    elif way == "the pipeline":
        data, sidecars = reading.read(Source("my face.gltf", str(folder / "my face.gltf")), 2**20)
        scan = readers.read(data, "my face.gltf", sidecars)
    else:
        import zipfile

        with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
            for file in (folder / "my face.gltf", folder / place):
                archive.write(file, str(file.relative_to(tmp_path)))
        source = Source("scans.zip!scans/my face.gltf", str(tmp_path / "scans.zip"), "scans/my face.gltf")
        data, sidecars = reading.read(source, 2**20)
        scan = readers.read(data, source.name, sidecars)
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])


def test_nothing_outside_a_documents_folder_is_opened(tmp_path):
    (tmp_path / "secret.bin").write_bytes(BINARY)
    (tmp_path / "scans").mkdir()
    for uri in ("../secret.bin", str(tmp_path / "secret.bin"), "%2e%2e/secret.bin", "a/../../secret.bin"):
        (tmp_path / "scans" / "face.gltf").write_text(json.dumps(document(uri)))
        with pytest.raises(ReadError, match="missing.*put it there"):
            readers.read(tmp_path / "scans" / "face.gltf")
        assert reading.read(Source("face.gltf", str(tmp_path / "scans" / "face.gltf")), 2**20)[1] == {}


def test_a_buffer_of_the_same_name_in_another_folder_is_not_taken_for_a_missing_one():
    tree = document("a/geo.bin")
    tree["buffers"].append({"uri": "b/geo.bin", "byteLength": len(BINARY)})
    data, other = json.dumps(tree).encode(), bytes(len(BINARY))
    with pytest.raises(ReadError, match="'a/geo.bin', which is missing"):
        readers.read(data, "face.gltf", {"b/geo.bin": other})
    scan = readers.read(data, "face.gltf", {"b/geo.bin": other, "geo.bin": BINARY})
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])
    assert "its file 'a/geo.bin' is missing: 'geo.bin', beside the document, was taken for it" in scan.notes
    noted = readers.read(data, "face.gltf", {"b/geo.bin": other, "a/geo.bin": BINARY}).notes
    assert not any("missing" in note for note in noted)


@pytest.mark.parametrize(
    ("uri", "noted"),
    [
        ("../geo.bin", "'../geo.bin' lies outside of its folder, where nothing is opened"),
        ("%2E%2E/shared/geo.bin", "'../shared/geo.bin' lies outside of its folder"),
        ("a/../../geo.bin", "'../geo.bin' lies outside of its folder"),
        ("file:///C:/scans/geo.bin", "scans/geo.bin' lies outside of its folder"),
        ("D:\\scans\\geo.bin", "'D:/scans/geo.bin' lies outside of its folder"),
        ("a/geo.bin", "'a/geo.bin' is missing"),
        ("geo.bin", ""),
        ("./geo.bin", ""),
        ("a/../geo.bin", ""),
        ("file:geo%2Ebin", ""),
    ],
)
def test_a_buffer_that_is_not_at_its_own_place_is_taken_with_a_note(uri, noted):
    scan = readers.read(json.dumps(document(uri)).encode(), "face.gltf", {"geo.bin": BINARY})
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])
    notes = [note for note in scan.notes if "was taken for it" in note]
    assert len(notes) == bool(noted) and all(noted in note and "'geo.bin', beside the document" in note for note in notes)


def in_parts(count):
    """A document of so many buffers, the first of them as in BINARY and the last with the corners, and what lies beside it."""
    tree = document("0.bin", views=[VIEWS[0], VIEWS[1] | {"buffer": count - 1}])
    tree["buffers"] += [{"uri": f"{k}.bin", "byteLength": len(BINARY)} for k in range(1, count)]
    return json.dumps(tree).encode(), {f"{k}.bin": BINARY if k in (0, count - 1) else b"" for k in range(count)}


def test_a_document_of_many_buffers_is_read_and_one_of_too_many_says_so(tmp_path, monkeypatch):
    data, beside = in_parts(300)
    for name, content in {"face.gltf": data, **beside}.items():
        (tmp_path / name).write_bytes(content)
    source = Source("face.gltf", str(tmp_path / "face.gltf"))
    data, sidecars = reading.read(source, 2**20)
    scan = readers.read(data, "face.gltf", sidecars)
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])
    monkeypatch.setattr(gltf_buffers, "MOST_FILES", 200)
    data, sidecars = reading.read(source, 2**20)
    said = "is spread over 300 files of its buffers, and only the first 200 are read; export"
    with pytest.raises(ReadError, match=said):
        readers.read(data, "face.gltf", sidecars)
    assert len(sidecars) == 200


def test_buffers_within_a_document_and_of_one_file_are_not_counted(monkeypatch):
    monkeypatch.setattr(gltf_buffers, "MOST_FILES", 2)
    tree = document("geo.bin", views=[VIEWS[0], VIEWS[1] | {"buffer": 9}])
    tree["buffers"] += [{"uri": "data:,", "byteLength": 0}] * 4 + [{"uri": "geo.bin", "byteLength": len(BINARY)}] * 4
    tree["buffers"] += [{"uri": "last.bin", "byteLength": len(BINARY)}]
    assert readers.neighbours("face.gltf", json.dumps(tree).encode()) == [("geo.bin",), ("last.bin",)]


def test_a_picture_past_the_bound_is_said(monkeypatch):
    monkeypatch.setattr(gltf_buffers, "MOST_FILES", 2)
    uv = np.zeros((len(POINTS), 2), "<f4")
    binary, views = with_more(uv)
    primitive = PRIMITIVE | {"attributes": {"POSITION": 0, "TEXCOORD_0": 2}, "material": 0}
    accessors = [*ACCESSORS, {"bufferView": 2, "componentType": 5126, "type": "VEC2", "count": len(POINTS)}]
    more = {
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 2}],
        "images": [{"uri": f"{k}.png"} for k in range(3)],
    }
    tree = document("geo.bin", [primitive], accessors, views, len(binary), **more)
    scan = readers.read(json.dumps(tree).encode(), "face.gltf", {"geo.bin": binary})
    assert scan.colors is None and any("3 files of its images, and only the first 2 are read" in note for note in scan.notes)


@pytest.mark.parametrize("uri", [{}, [], 5, None, ""])
def test_a_picture_whose_uri_is_no_text_is_none(uri):
    uv = np.zeros((len(POINTS), 2), "<f4")
    binary, views = with_more(uv)
    primitive = PRIMITIVE | {"attributes": {"POSITION": 0, "TEXCOORD_0": 2}, "material": 0}
    accessors = [*ACCESSORS, {"bufferView": 2, "componentType": 5126, "type": "VEC2", "count": len(POINTS)}]
    materials = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    more = {"materials": materials, "textures": [{"source": 0}], "images": [{"uri": uri}]}
    tree = document("geo.bin", [primitive], accessors, views, len(binary), **more)
    scan = readers.read(json.dumps(tree).encode(), "face.gltf", {"geo.bin": binary})
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES]) and scan.colors is None


def test_a_buffer_that_was_renamed_with_its_document_is_known_by_its_length():
    data = json.dumps(document("old_name.bin")).encode()
    scan = readers.read(data, "face.gltf", {"face.bin": BINARY})
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES]) and "taken for it" in scan.notes[1]
    with pytest.raises(ReadError, match="old_name.bin.*missing"):
        readers.read(data, "face.gltf", {"face.bin": BINARY + bytes(40)})


def test_primitives_without_positions_and_bytes_after_the_container_are_passed_over():
    scan = readers.read(glb(document(primitives=[{"attributes": {}}, PRIMITIVE]), BINARY, b"more"), "a.glb")
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])


@pytest.mark.parametrize("dense", [True, False], ids=["over values", "over zeros"])
def test_sparse_values_are_put_in_their_places(dense):
    rows = np.arange(0, len(POINTS), 3 if dense else 1, dtype="<u2")
    binary, views = with_more(rows, POINTS[rows] + np.float32(1))
    sparse = {"count": len(rows), "indices": {"bufferView": 2, "componentType": 5123}, "values": {"bufferView": 3}}
    first = {key: value for key, value in ACCESSORS[0].items() if dense or key != "bufferView"} | {"sparse": sparse}
    scan = readers.read(glb(document(accessors=[first, ACCESSORS[1]], views=views, size=len(binary)), binary), "a.glb")
    expected = POINTS.copy()
    expected[rows] += 1
    assert np.allclose(scan.points, expected)


def test_a_sparse_row_beyond_the_array_is_an_error():
    binary, views = with_more(np.array([len(POINTS)], "<u4"), POINTS[:1])
    sparse = {"count": 1, "indices": {"bufferView": 2, "componentType": 5125}, "values": {"bufferView": 3}}
    tree = document(accessors=[ACCESSORS[0] | {"sparse": sparse}, ACCESSORS[1]], views=views, size=len(binary))
    with pytest.raises(ReadError, match="sparse accessor 0 gives the row 162, but has 162"):
        readers.read(glb(tree, binary), "a.glb")


@pytest.mark.parametrize("of", ["mesh", "node"])
def test_morph_targets_move_points_by_the_weights_of_mesh_or_node(of):
    shift = np.broadcast_to(np.float32([0, 0, 4]), POINTS.shape).copy()
    binary, views = with_more(shift, -shift)
    targets = [ACCESSORS[0] | {"bufferView": 2}, ACCESSORS[0] | {"bufferView": 3}]
    primitive = PRIMITIVE | {"targets": [{"POSITION": 2}, {"POSITION": 3}]}
    mesh = {"primitives": [primitive], "weights": [0.5, 0.0] if of == "mesh" else [0.0, 9.0]}
    more = {"nodes": [{"mesh": 0, "weights": [0.5, 0.0]}], "scenes": [{"nodes": [0]}]} if of == "node" else {}
    tree = document(accessors=[*ACCESSORS, *targets], views=views, size=len(binary), meshes=[mesh], **more)
    scan = readers.read(glb(tree, binary), "a.glb")
    assert np.allclose(scan.points, POINTS + [0, 0, 2]) and any("morph" in note for note in scan.notes)
    mesh["weights"] = [1.0]
    if of == "mesh":
        with pytest.raises(ReadError, match="1 morph weights for 2 morph targets"):
            readers.read(glb(tree, binary), "a.glb")


@pytest.mark.parametrize("mode", [None, 5, 6], ids=["triangles", "strip", "fan"])
def test_draco_compressed_meshes_are_read_where_the_extra_is_installed(mode):
    """Their corners are those of single triangles, whatever the mode says."""
    draco = pytest.importorskip("DracoPy")
    colors = (np.arange(POINTS.size) % 256).astype("u1").reshape(-1, 3)
    packed = draco.encode(POINTS, FACES.astype("u4"), quantization_bits=20, colors=colors)
    by_type = {found["attribute_type"]: found["unique_id"] for found in draco.decode(packed).attributes}
    extension = {"bufferView": 0, "attributes": {"POSITION": by_type[0], "COLOR_0": by_type[2]}}
    primitive = {
        "attributes": {"POSITION": 0, "COLOR_0": 1},
        "indices": 2,
        "extensions": {"KHR_draco_mesh_compression": extension},
    } | ({} if mode is None else {"mode": mode})
    accessors = [
        {"componentType": 5126, "type": "VEC3", "count": len(POINTS)},
        {"componentType": 5121, "type": "VEC3", "count": len(POINTS)},
        {"componentType": 5125, "type": "SCALAR", "count": FACES.size},
    ]
    tree = document(
        primitives=[primitive], accessors=accessors, views=[{"buffer": 0, "byteLength": len(packed)}], size=len(packed)
    )
    scan = readers.read(glb(tree, packed), "a.glb")
    order = np.lexsort(np.round(scan.points, 1).T), np.lexsort(np.round(POINTS, 1).T)
    assert len(scan.triangles) == len(FACES) and np.allclose(scan.points[order[0]], POINTS[order[1]], atol=1e-3)
    assert np.array_equal(scan.colors[order[0]], colors[order[1]])
    with pytest.raises(ReadError, match="Draco-compressed mesh cannot be decoded"):
        readers.read(glb(tree, bytes(len(packed))), "a.glb")


@pytest.mark.parametrize("mode", [4, 5, 6], ids=["triangles", "strip", "fan"])
def test_corners_from_draco_are_those_of_triangles_whatever_the_mode_says(mode, monkeypatch):
    """With a stand-in for the decoder, which is an extra."""
    mesh = SimpleNamespace(points=POINTS, faces=FACES, get_attribute_by_unique_id=lambda number: {"data": POINTS})
    monkeypatch.setitem(sys.modules, "DracoPy", SimpleNamespace(decode=lambda data: mesh))
    packed = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    scan = readers.read(glb(document(primitives=[PRIMITIVE | {"mode": mode, "extensions": packed}]), BINARY), "a.glb")
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])
