"""PLY, OBJ, STL, OFF and glTF: what goes in comes out, whatever the encoding; colours and normals too."""

import io
import json
import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from geometry import readers
from geometry.errors import ReadError
from geometry.readers import obj

PLY_TYPES = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
float32s = st.floats(-1e4, 1e4, width=32)
# a rough ball of 162 vertices and 320 triangles
SPHERE = trimesh.creation.icosphere(subdivisions=2, radius=80.0)
POINTS = np.asarray(SPHERE.vertices + np.random.default_rng(0).normal(size=SPHERE.vertices.shape), np.float32)
FACES = SPHERE.faces.astype(np.int32)
COLORS = np.random.default_rng(1).integers(0, 256, POINTS.shape).astype(np.uint8)
MESH = trimesh.Trimesh(POINTS, FACES, vertex_colors=COLORS, process=False)
point_arrays = hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(3)), elements=float32s)


def ply(points, faces=None, colors=None, normals=None, encoding="binary_little_endian", index_name="vertex_indices"):
    """A PLY with an odd property, an odd element and a comment, which readers must pass over."""
    columns = [(name, points[:, k], "f4", "float") for k, name in enumerate("xyz")] + [("quality", points[:, 0], "f8", "double")]
    if normals is not None:
        columns += [(f"n{axis}", normals[:, k], "f4", "float") for k, axis in enumerate("xyz")]
    if colors is not None:
        columns += [(name, colors[:, k], "u1", "uchar") for k, name in enumerate(("red", "green", "blue"))]
    header = [
        "ply",
        f"format {encoding} 1.0",
        "comment made by a test",
        "element camera 2",
        "property list uchar short ids",
        "property int k",
    ]
    header += [f"element vertex {len(points)}"] + [f"property {ply_type} {name}" for name, _, _, ply_type in columns]
    if faces is not None:
        header += [f"element face {len(faces)}", f"property list uchar int {index_name}", "property uchar flag"]
    order = PLY_TYPES[encoding]
    cameras = [([1, 2, 3], 7), ([], 8)]
    polygons = [] if faces is None else [(face, 1) for face in faces]
    vertices = np.rec.fromarrays(
        [column for _, column, _, _ in columns], [(name, (order or "=") + dtype) for name, _, dtype, _ in columns]
    )
    if order is None:
        lines = [" ".join(map(str, [len(ids), *ids, last])) for ids, last in cameras]
        lines += [" ".join(map(repr, row)) for row in vertices.tolist()]
        lines += [" ".join(map(str, [len(ids), *ids, last])) for ids, last in polygons]
        body = ("\n".join(lines) + "\n").encode()
    else:
        body = b"".join(struct.pack(f"{order}B{len(ids)}hi", len(ids), *ids, last) for ids, last in cameras)
        body += vertices.tobytes()
        body += b"".join(struct.pack(f"{order}B{len(ids)}iB", len(ids), *ids, last) for ids, last in polygons)
    return "\n".join([*header, "end_header", ""]).encode() + body


@pytest.mark.parametrize("encoding", PLY_TYPES)
def test_a_ply_mesh_keeps_points_faces_colors_and_normals(encoding):
    normals = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    scan = readers.read(ply(POINTS, FACES, COLORS, normals * 3, encoding), "face.ply")
    assert np.array_equal(scan.points, POINTS) and np.array_equal(scan.triangles, FACES) and np.array_equal(scan.colors, COLORS)
    assert np.allclose(scan.normals, normals, atol=1e-6)
    assert (scan.format, scan.unit_mm, scan.scale_is_metric, scan.source) == ("ply", None, False, "face.ply")


@pytest.mark.parametrize("encoding", PLY_TYPES)
def test_ply_polygons_of_any_size_are_triangulated(encoding):
    points = np.array([[0, 0, 0], [1, 0, 0], [2, 1, 0], [1, 2, 0], [0, 1, 0]], np.float32)
    scan = readers.read(
        ply(points, [[0, 1, 2], [0, 2, 3, 4], [0, 1, 2, 3, 4], [1, 2]], None, None, encoding, "vertex_index"), "p.ply"
    )
    assert scan.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


@settings(max_examples=20, deadline=None)
@given(point_arrays, st.sampled_from(sorted(PLY_TYPES)))
def test_a_ply_cloud_round_trips(points, encoding):
    scan = readers.read(ply(points, encoding=encoding), "c")
    assert scan.is_cloud and np.array_equal(scan.points, points)


@pytest.mark.parametrize("line_break", [b"\r\n", b"\r"])
def test_ply_headers_may_end_lines_as_windows_and_old_macintosh_did(line_break):
    header, end, rows = ply(POINTS, FACES).partition(b"end_header\n")
    scan = readers.read((header + end).replace(b"\n", line_break) + rows, "face.ply")
    assert np.array_equal(scan.points, POINTS) and len(scan.triangles) == len(FACES)


def test_ply_triangle_strips_become_triangles_that_face_one_way():
    text = (
        "ply\nformat ascii 1.0\nelement vertex 6\nproperty float x\nproperty float y\nproperty float z\n"
        "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
        "0 0 0\n0 1 0\n1 0 0\n1 1 0\n2 0 0\n2 1 0\n8 1 0 3 2 -1 3 2 5\n"
    )
    scan = readers.read(text.encode(), "strip.ply")
    a, b, c = (scan.points[scan.triangles[:, k]] for k in range(3))
    assert len(scan.triangles) == 3 and (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_ply_colors_may_be_floats_or_sixteen_bit():
    base = "ply\nformat ascii 1.0\nelement vertex 2\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    names = ("red", "green", "blue")
    floats = base + "".join(f"property float {n}\n" for n in names) + "end_header\n0 0 0 1 0.5 0\n1 0 0 0 0 0.2\n"
    assert readers.read(floats.encode(), "c").colors.tolist() == [[255, 128, 0], [0, 0, 51]]
    header = base.replace("ascii", "binary_little_endian") + "".join(f"property ushort {n}\n" for n in names) + "end_header\n"
    rows = b"".join(struct.pack("<3f3H", 0, 0, k, 65535, 257, 0) for k in range(2))
    assert readers.read(header.encode() + rows, "c").colors.tolist() == [[255, 1, 0]] * 2


def test_the_content_decides_and_not_the_suffix():
    for name in ("scan.txt", "scan.obj", "scan.png", "scan"):
        assert readers.read(ply(POINTS, FACES), name).format == "ply"
    assert readers.read(exported(MESH, "stl"), "scan.ply").format == "stl"


def test_not_finite_points_go_with_their_triangles_and_leave_a_note():
    points = POINTS.copy()
    points[7] = np.nan
    scan = readers.read(ply(points, FACES, COLORS), "hole.ply")
    assert len(scan.points) == len(scan.colors) == len(points) - 1 and np.isfinite(scan.points).all()
    assert len(scan.triangles) == len(FACES) - (FACES == 7).any(1).sum()
    assert "1 of 162 points" in scan.notes[0]


def test_triangles_without_area_are_dropped_and_leave_a_note():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]], np.float32)
    scan = readers.read(ply(points, [[0, 1, 2], [0, 0, 2], [0, 1, 3]]), "t.ply")
    assert scan.triangles.tolist() == [[0, 1, 2]] and "2 triangles" in scan.notes[0]


@pytest.mark.parametrize("index", [-1, 162, 2**31 - 1])
def test_a_face_without_its_vertex_is_a_read_error(index):
    with pytest.raises(ReadError, match="bad.ply.*face.*vertices 0 to 161"):
        readers.read(ply(POINTS, [*FACES.tolist(), [0, 1, index]]), "bad.ply")


def test_an_obj_keeps_points_polygons_and_colors_and_needs_no_material():
    text = """# a comment\r
mtllib nowhere.mtl
o face
v 0 0 0 1 0 0
v 1 0 0 0 1 0
v 1 1 0 0 0 1
v 0 1 0 0.5 0.5 0.5
vt 0 0
vn 0 0 1
usemtl skin
f 1/1/1 2/1/1 3/1/1 4/1/1
f 1//1 2//1 \\
3//1
f -4 -3 -1
"""
    scan = readers.read(text.encode(), "face.obj")
    assert scan.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 1, 3]]
    assert scan.colors.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]
    assert scan.format == "obj"


def test_negative_obj_indices_count_back_from_where_they_stand():
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 0 0\nv 6 0 0\nv 5 1 0\nf -3 -2 -1\n"
    assert readers.read(text, "a.obj").triangles.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("chunk", [obj.CHUNK, 100], ids=["one piece", "many"])
def test_an_obj_is_read_alike_in_one_piece_and_in_many(chunk, monkeypatch):
    monkeypatch.setattr(obj, "CHUNK", chunk)
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in POINTS.tolist()] + [f"f {a} {b} {c}" for a, b, c in (FACES + 1).tolist()]
    scan = readers.read("\n".join(lines).encode(), "a.obj")
    assert np.array_equal(scan.points, POINTS) and np.array_equal(scan.triangles, FACES)


def test_an_obj_without_faces_is_a_cloud_with_its_normals():
    scan = readers.read(b"v 0 0 0\nvn 0 0 2\nv 1 0 0\nvn 0 2 0\n", "a.obj")
    assert scan.is_cloud and scan.normals.tolist() == [[0, 0, 1], [0, 1, 0]]


def exported(mesh, kind):
    data = mesh.export(file_type=kind)
    return data if isinstance(data, bytes) else data.encode()


@pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
def test_stl_corners_that_are_equal_become_one_vertex(kind):
    scan = readers.read(exported(MESH, kind), "face.stl")
    assert len(scan.points) == len(POINTS) and len(scan.triangles) == len(FACES)
    assert np.allclose(scan.points[scan.triangles], POINTS[FACES], atol=1e-4)  # text has eight decimals of a float


def test_a_binary_stl_may_begin_with_the_word_solid():
    scan = readers.read(b"solid made by a program\nfacet".ljust(80) + exported(MESH, "stl")[80:], "face.stl")
    assert np.array_equal(scan.points[scan.triangles], POINTS[FACES])


@settings(max_examples=20, deadline=None)
@given(point_arrays)
def test_an_off_cloud_round_trips(points):
    body = "\n".join(" ".join(map(repr, p)) for p in points.tolist())
    assert np.array_equal(readers.read(f"OFF\n# a comment\n{len(points)} 0 0\n\n{body}\n".encode(), "a.off").points, points)


def test_an_off_mesh_keeps_polygons_and_colors():
    text = (
        b"COFF 4 2 0\n0 0 0 255 0 0 255\n1 0 0 0 255 0 255\n1 1 0 0 0 255 255\n0 1 0 9 9 9 255\n4 0 1 2 3\n3 0 1 2 0.5 0.5 0.5\n"
    )
    scan = readers.read(text, "a.off")
    assert scan.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert scan.colors.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]


@pytest.mark.parametrize("kind", ["glb", "gltf"])
def test_a_gltf_scene_is_read_in_scene_coordinates_with_its_colors(kind):
    scene = trimesh.Scene()
    pose = trimesh.transformations.rotation_matrix(0.4, [1, 2, 3], [4, 5, 6])
    scene.add_geometry(MESH, transform=pose)
    scene.add_geometry(MESH.copy(), transform=np.eye(4))
    files = scene.export(file_type=kind)  # of .gltf a dict: the text, and its buffers
    data, sidecars = (files, {}) if kind == "glb" else (files["model.gltf"], files)
    scan = readers.read(data, "face." + kind, sidecars)
    expected = trimesh.transform_points(POINTS, pose)
    order = np.argmin(np.linalg.norm(scan.points - expected[0], axis=1))
    assert np.allclose(scan.points[order // 162 * 162 :][:162], expected, atol=1e-4)
    assert len(scan.triangles) == 2 * len(FACES) and np.array_equal(scan.colors[:162], COLORS)
    assert scan.unit_mm is None and "metre" in scan.notes[0]


def gltf(accessors, binary, primitive, views=None, **more):
    """A .gltf text with one primitive and its buffer embedded."""
    import base64

    document = {
        "asset": {"version": "2.0"},
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "buffers": [
            {"byteLength": len(binary), "uri": "data:application/octet-stream;base64," + base64.b64encode(binary).decode()}
        ],
        "bufferViews": views or [{"buffer": 0, "byteLength": len(binary)}],
    } | more
    return json.dumps(document).encode()


def test_quantized_gltf_positions_are_scaled_and_mirrored_nodes_keep_the_outside_outside():
    quantized = np.array([[0, 0, 0], [32767, 0, 0], [0, 32767, 0]], "<i2").tobytes()
    accessor = {"bufferView": 0, "componentType": 5122, "type": "VEC3", "count": 3, "normalized": True}
    nodes = {"scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "scale": [-2, 3, 1]}]}
    scan = readers.read(gltf([accessor], quantized, {"attributes": {"POSITION": 0}}, **nodes), "q.gltf")
    assert np.allclose(scan.points, [[0, 0, 0], [-2, 0, 0], [0, 3, 0]])
    a, b, c = scan.points[scan.triangles[0]]
    assert np.cross(b - a, c - a)[2] > 0


def test_a_gltf_texture_colors_the_vertices():
    texture = io.BytesIO()
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)).save(texture, "PNG")
    uv = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]], "<f4").tobytes()
    binary = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes() + uv + texture.getvalue()
    views = [{"buffer": 0, "byteOffset": at, "byteLength": n} for at, n in ((0, 36), (36, 24), (60, len(binary) - 60))]
    accessors = [{"bufferView": k, "componentType": 5126, "type": t, "count": 3} for k, t in ((0, "VEC3"), (1, "VEC2"))]
    more = {
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 2, "mimeType": "image/png"}],
    }
    scan = readers.read(
        gltf(accessors, binary, {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}, views, **more), "t.gltf"
    )
    assert scan.colors.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


DRACO = {"extensions": {"KHR_draco_mesh_compression": {"bufferView": 0}}}


@pytest.mark.parametrize(
    ("accessor", "primitive", "more", "words"),
    [
        ({}, DRACO, {}, "Draco.*plain"),
        ({}, {}, {}, "sparse"),
        ({"bufferView": 0}, {}, {"buffers": [{"byteLength": 36, "uri": "http://a.b/c.bin"}]}, "missing.*glb"),
        ({"bufferView": 0}, {}, {"scenes": [{"nodes": [0]}], "nodes": [{"children": [0, 0]}]}, "within themselves"),
    ],
    ids=["compressed", "sparse", "its buffer is elsewhere", "its nodes contain themselves"],
)
def test_gltf_that_cannot_be_read_whole_is_refused_and_not_read_as_zeros(accessor, primitive, more, words):
    accessors = [{"componentType": 5126, "type": "VEC3", "count": 3} | accessor]
    with pytest.raises(ReadError, match=words):
        readers.read(gltf(accessors, b"\0" * 36, {"attributes": {"POSITION": 0}} | primitive, **more), "a.gltf")
