"""The head's regions and curves: symmetric, whole, where anatomy has them, whatever the triangulation."""

import numpy as np
import pytest
from shared_files import ICT, needs
from test_template import coarse

from geometry.errors import ModelError
from geometry.template.face_curves import named_curves
from geometry.template.face_regions import UNITS
from geometry.template.feature_lines import CONCHA_PLANE
from geometry.template.half_face import half_face
from geometry.template.skin_patch import labels_among

pytestmark = needs(ICT)


def skin(template, mesh):
    """Its vertices come first."""
    return mesh.submesh(~template.regions["cavities"])[0]


def test_every_region_is_its_own_mirror_image_to_the_vertex():
    template, _ = coarse()
    assert all(np.array_equal(mask, mask[template.mirror_vertex]) for mask in template.regions.values())
    assert all(mask.any() for mask in template.regions.values())


def test_every_skin_vertex_is_in_one_unit_and_every_unit_in_one_piece_a_side():
    template, mesh = coarse()
    outer = ~template.regions["cavities"]
    masks = {name: template.regions[name] for name in UNITS} | {"nose": template.regions["nose"] & ~template.regions["ala"]}
    assert np.array_equal(np.sum(list(masks.values()), axis=0), outer.astype(int))
    for name, mask in masks.items():
        pieces = len(np.unique(labels_among(mesh, mask)[mask]))
        assert pieces == (2 if name in ("ala", "nostrils", "ears", "brows", "lids", "jaw", "cheeks") else 1), name


def test_regions_lie_where_anatomy_has_them():
    template, mesh = coarse()
    regions, y = template.regions, mesh.vertices[:, 1]
    height = {name: y[regions[name]].mean() for name in UNITS}
    for higher, lower in zip(("forehead", "brows", "lids", "nose", "ala", "lips", "chin"), UNITS_DOWN):
        assert height[higher] > height[lower], (higher, lower)
    marks = {"brows": range(17, 27), "nose": range(28, 31), "lids": range(36, 48), "lips": range(48, 68)}
    for name, indices in marks.items():
        assert regions[name][template.landmarks[indices]].all(), name
    assert (regions["stable"] <= regions["forehead"] | regions["nose"]).all() and not (regions["stable"] & regions["ala"]).any()
    assert not (regions["face"] & (regions["ears"] | regions["scalp"] | regions["mouth_interior"] | regions["cavities"])).any()
    assert (regions["eyes"] >= regions["eyeballs"]).all() and (regions["mouth_interior"] >= regions["mouth_cavity"]).all()
    assert 55 < np.ptp(y[regions["ears"]]) < 75


UNITS_DOWN = ("brows", "lids", "nose", "ala", "lips", "chin", "neck")


def test_curves_run_along_edges_and_visit_no_vertex_twice():
    template, mesh = coarse()
    n, edges = len(mesh.vertices), mesh.edges
    keys = edges[:, 0] * n + edges[:, 1]
    for name, curve in template.curves.items():
        closed = np.append(curve, curve[:1]) if name.endswith(("lid_rim", "nostril_rim", "concha")) else curve
        steps = np.sort(np.stack([closed[:-1], closed[1:]]), axis=0)
        assert (~np.isin(steps[0] * n + steps[1], keys)).sum() == (name == "midline"), f"{name}: it crosses the mouth once"
        assert len(np.unique(curve)) == len(curve), name


def test_curves_mirror_into_each_other():
    template, _ = coarse()
    mirror_vertex, curves = template.mirror_vertex, template.curves
    sides = [name for name in curves if name.startswith("left_")]
    names = "brow_line concha helix lid_rim lower_lid_edge nasolabial_fold nose_border nostril_rim upper_lid_edge"
    assert sorted(sides) == [f"left_{name}" for name in names.split()]
    assert all(np.array_equal(mirror_vertex[curves[name]], curves["right_" + name[5:]]) for name in sides)
    across = set(curves) - set(sides) - {"right_" + name[5:] for name in sides} - {"midline"}
    assert all(np.array_equal(mirror_vertex[curves[name]], curves[name][::-1]) for name in across)
    outer = ~template.regions["cavities"]
    own = np.flatnonzero(outer & (mirror_vertex == np.arange(len(outer))))
    assert np.array_equal(np.sort(curves["midline"]), own)


def test_the_rims_are_the_skins_whole_boundary_but_for_the_neck():
    template, mesh = coarse()
    rims = ("left_lid_rim", "right_lid_rim", "upper_lip_rim", "lower_lip_rim")
    outer, at = skin(template, mesh), np.concatenate([template.curves[name] for name in rims])
    neck = outer.vertices[:, 1] < -80
    assert set(np.flatnonzero(outer.boundary_vertices & ~neck)) == set(at)
    upper, lower = (outer.vertices[template.curves[name][1:-1], 1].mean() for name in rims[2:])
    assert upper > lower


def test_the_helix_runs_down_the_margin_of_the_ear_from_its_root_to_the_lobe():
    template, mesh = coarse()
    ear, helix = mesh.vertices[template.regions["ears"]], mesh.vertices[template.curves["left_helix"]]
    ear = ear[ear[:, 0] > 0]
    assert template.regions["ears"][template.curves["left_helix"][1:-1]].all()
    assert ear[:, 1].max() - helix[:, 1].max() < 3 and helix[-1, 1] - ear[:, 1].min() < 3
    assert helix[:, 2].min() - ear[:, 2].min() < 3 and ear[:, 0].max() - helix[:, 0].max() < 3
    highest = helix[:, 1].argmax()
    assert (np.diff(helix[highest:, 1]) < 0).all() and (np.diff(helix[: highest + 1, 1]) > 0).all()
    step = np.diff(helix, axis=0)
    step /= np.linalg.norm(step, axis=1)[:, None]
    assert np.degrees(np.arccos((step[1:] * step[:-1]).sum(axis=1))).max() < 60, "at edges of 7 mm"


def test_the_lips_border_is_smooth_but_at_the_corners_of_the_mouth():
    template, mesh = coarse()
    for lip in ("upper", "lower"):
        curve = mesh.vertices[template.curves[f"{lip}_lip_border"], :2]
        step = np.diff(curve, axis=0)
        assert np.degrees(np.abs(np.diff(np.arctan2(step[:, 1], step[:, 0])))).max() < 25, "at edges of 3.5 mm"
        assert np.linalg.norm(step, axis=1).max() < 4.5


def test_the_rim_of_the_concha_is_flat_and_parts_its_bowl_from_the_rest_of_the_ear():
    template, mesh = coarse()
    rim = template.curves["left_concha"]
    points = mesh.vertices[rim]
    assert np.abs(points @ CONCHA_PLANE[:3] - CONCHA_PLANE[3]).max() < 1e-5 and rim[0] == rim[points[:, 2].argmax()]
    off = np.isin(np.arange(len(mesh.vertices)), rim)
    label = labels_among(mesh, ~off)
    inside = (label == label[np.argmin(np.linalg.norm(mesh.vertices - BOWL, axis=1))]) & ~off
    assert template.regions["ears"][inside].all() and 5 < inside.sum() < template.regions["ears"].sum() / 6
    assert (mesh.vertices[inside] @ CONCHA_PLANE[:3] < CONCHA_PLANE[3]).all()
    assert 60 < np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum() < 76  # 74 mm before its corners are cut


BOWL = (68.0, -1.0, -128.0)  # deep in the left concha, mm


def test_curves_pass_through_their_landmarks_and_the_folds_beside_nose_and_mouth():
    template, mesh = coarse()
    marks, curves = template.landmarks, template.curves
    for name, indices in {
        "left_brow_line": range(22, 27),
        "left_upper_lid_edge": range(42, 46),
        "right_lower_lid_edge": [39, 40, 41, 36],
        "upper_lip_border": range(48, 55),
        "lower_lip_border": [48, *range(59, 53, -1)],
        "left_nose_border": [33, 27],
    }.items():
        position = [int(np.flatnonzero(curves[name] == marks[index])[0]) for index in indices]
        assert position == sorted(position), name
    start, end = mesh.vertices[curves["left_nasolabial_fold"][[0, -1]]]
    ala, corner = mesh.vertices[marks[[35, 54]]]
    assert ala[0] < start[0] < ala[0] + 13 and start[1] > ala[1]
    assert corner[0] + 4 < end[0] < corner[0] + 16 and abs(end[1] - corner[1]) < 6
    jaw = mesh.vertices[curves["jaw_line"]]
    assert np.linalg.norm(jaw - mesh.vertices[marks[8]], axis=1).min() < 15 and (jaw[:, 1] < -20).all()


def test_a_skin_with_another_number_of_rims_is_refused():
    template, mesh = coarse()
    outer = skin(template, mesh)
    n = len(outer.vertices)
    half = half_face(outer, template.landmarks, template.mirror_vertex[:n], outer.vertices)
    border = [template.curves[f"{lip}_lip_border"] for lip in ("lower", "upper")]
    lower, upper = (curve[np.isin(curve, half.vertex)] for curve in border)
    lines = {name: template.curves["left_" + name] for name in ("concha", "helix")} | {
        "lip_border": np.append(lower, upper[-2::-1])
    }
    with pytest.raises(ModelError, match="the skin has 4 rims"):
        named_curves(half, outer.triangles, np.zeros(n, bool), lines)
    with pytest.raises(ModelError, match="no ear"):
        half_face(
            outer.with_vertices(outer.vertices * (0.7, 1, 1)), template.landmarks, template.mirror_vertex[:n], outer.vertices
        )
