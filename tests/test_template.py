"""The shipped template is a clean disc, and building one keeps the promises of its docstring."""

from functools import cache

import numpy as np
import pytest
from sampled_faces import default_model as model
from scipy.spatial import cKDTree
from shared_files import ICT, needs

from geometry.charts.chart import OrthographicChart
from geometry.charts.rasterize import rasterize
from geometry.mesh import TriangleMesh
from geometry.model.landmark_embedding import shipped_schemes
from geometry.model.registry import load_model
from geometry.surfaces.closest_point import surface_distance
from geometry.surfaces.raycasting import first_hits, raycasting_scene
from geometry.template.remeshing import smallest_angles
from geometry.template.skin_patch import boundary_loops
from geometry.template.template import TemplateOptions, build_template
from geometry.template.texture_layout import layout_figures, texture_layout
from geometry.transforms import MIRROR


@cache
def mean():
    return model().mesh()


def edge_lengths(mesh, mask):
    chosen = mesh.edges[mask[mesh.edges].all(axis=1)]
    return np.linalg.norm(mesh.vertices[chosen[:, 0]] - mesh.vertices[chosen[:, 1]], axis=1)


@cache
def skin():
    """The mean without the cavities' vertices, which come last."""
    return mean().submesh(~model().regions["cavities"])[0]


def is_oriented_disc(mesh):
    half_edges = mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    return (
        mesh.is_edge_manifold
        and len(np.unique(mesh.component_labels)) == 1
        and len(boundary_loops(mesh.triangles)) == 1
        and len(np.unique(mesh.triangles)) == len(mesh.vertices)
        and len(mesh.vertices) - len(mesh.edges) + len(mesh.triangles) == 1
        and len(np.unique(half_edges, axis=0)) == len(half_edges)  # orientable: each direction of an edge once
    )


def test_it_is_a_disc_of_skin_and_behind_it_a_disc_in_the_mouth_and_in_each_nostril():
    mesh, regions = mean(), model().regions
    assert len(np.unique(mesh.component_labels)) == 4 and is_oriented_disc(skin())
    assert regions["cavities"][len(skin().vertices) :].all() and not regions["cavities"][: len(skin().vertices)].any()
    assert np.array_equal(regions["cavities"], regions["mouth_cavity"] | regions["nostril_cavities"])
    left = regions["nostril_cavities"] & (mesh.vertices[:, 0] > 0)
    for piece in (regions["mouth_cavity"], left, regions["nostril_cavities"] & ~left):
        assert is_oriented_disc(mesh.submesh(piece)[0])
    assert (regions["mouth_interior"] >= regions["mouth_cavity"]).all() and 250 < regions["mouth_cavity"].sum() < 450
    assert not any(
        (mask & regions["cavities"]).any()
        for name, mask in regions.items()
        if name not in ("cavities", "mouth_cavity", "nostril_cavities", "mouth_interior", "eyeballs", "eyes")
    )


def test_the_mouth_cavity_is_a_bag_behind_the_lips_seen_from_inside():
    cavity = mean().submesh(model().regions["mouth_cavity"])[0]
    lips = mean().vertices[model().landmarks["ibug68"][60:68]]
    rim = cavity.vertices[cavity.boundary_vertices]
    contour = cKDTree(skin().vertices[model().regions["mouth_interior"][: len(skin().vertices)]]).query(rim)[0]
    assert contour.min() > 0.8 and contour.max() < 3.5
    assert cavity.vertices[:, 2].min() < -100 and cavity.vertices[:, 2].max() < lips[:, 2].max() - 1
    # a ray down the middle from the roof's side: it leaves the roof's face and meets the floor's
    scene = raycasting_scene(cavity)
    z = np.arange(-110.0, -35.0, 5.0)
    middle = np.stack([0 * z + 0.5, np.interp(z, [-110, -80], [-42, -36]), z], 1)
    for direction in ((0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0)):
        distance, _, _, normals = first_hits(scene, middle, np.tile(direction, (len(z), 1)))
        assert np.isfinite(distance).all() and (normals @ direction < 0).all()


def identical_from_the_front(vertices):
    chart = OrthographicChart(height=192, width=192, pixel_mm=1.0)
    with_cavity = rasterize(TriangleMesh(vertices, model().triangles), chart)
    without = rasterize(TriangleMesh(vertices[: len(skin().vertices)], skin().triangles), chart)
    return np.array_equal(with_cavity.valid_mask, without.valid_mask) and all(
        np.array_equal(with_cavity[channel], without[channel]) for channel in with_cavity.channels
    )


@pytest.mark.parametrize(
    "expression",
    [
        (),
        ("eyeBlink_L", "eyeBlink_R"),
        ("jawOpen",),
        ("mouthSmile_L", "mouthSmile_R"),
        ("mouthPucker",),
        ("mouthClose", "jawOpen"),
        ("mouthFunnel",),
        ("jawForward",),
        ("jawLeft", "mouthRight"),
        ("mouthUpperUp_L", "mouthUpperUp_R", "mouthLowerDown_L"),
    ],
)
def test_no_cavity_shows_through_the_face(expression):
    assert set(expression) <= set(model().expression_names)
    assert identical_from_the_front(posed(**dict.fromkeys(expression, 1.0)).vertices)


@pytest.mark.parametrize("seed", range(3))
def test_no_cavity_shows_through_any_face(seed):
    assert identical_from_the_front(model().instance(np.random.default_rng(seed).standard_normal(model().n_identity)))


def test_the_mouth_cavity_opens_with_the_jaw():
    rim = np.flatnonzero(mean().boundary_vertices & model().regions["mouth_cavity"])
    height = lambda mesh: np.ptp(mesh.vertices[rim, 1])
    assert height(posed(jawOpen=1.0)) > height(mean()) + 15


def test_triangles_are_neither_slivers_nor_folds():
    mesh = mean()
    angle = smallest_angles(mesh.vertices[mesh.triangles])
    assert angle.min() > 10 and np.percentile(angle, 1) > 28
    normal = mesh.triangle_area_vectors / np.linalg.norm(mesh.triangle_area_vectors, axis=1, keepdims=True)
    corners = mesh.vertex_normals[mesh.triangles]
    # the edges of lids and lips turn by 180°
    crease = (model().regions["eyes"] | model().regions["mouth_interior"])[mesh.triangles].any(axis=1)
    assert (corners * normal[:, None]).sum(axis=2)[~crease].min() > 0
    assert ((corners.sum(axis=1) * normal).sum(axis=1) > 0).mean() > 0.998


def test_edges_are_short_where_faces_have_detail():
    regions = model().regions
    assert 2.4 < np.median(edge_lengths(mean(), regions["cheeks"])) < 3.0
    for name, longest in (("eyes", 1.5), ("mouth", 1.9), ("nose", 2.2)):
        assert 1.0 < np.median(edge_lengths(mean(), regions[name])) < longest
    assert np.median(edge_lengths(mean(), regions["neck"])) > 3.0


def test_it_is_mirror_symmetric():
    vertices, scheme = mean().vertices, shipped_schemes()["ibug68"]
    gap, mirror_vertex = cKDTree(vertices).query(vertices * (-1, 1, 1))
    assert gap.max() < 0.06 and np.array_equal(mirror_vertex[mirror_vertex], np.arange(len(vertices)))
    marks = model().landmarks["ibug68"]
    assert np.array_equal(mirror_vertex[marks], marks[list(scheme.mirror)]) and len(set(marks.tolist())) == 68
    assert all((mask[mirror_vertex] == mask).mean() > 0.999 for mask in model().regions.values())


def test_it_reaches_ear_to_ear_chin_and_hairline():
    low, high = mean().vertices.min(axis=0), mean().vertices.max(axis=0)
    assert high[0] > 85 and high[1] > 110 and low[1] < -105 and low[2] < -140
    regions = model().regions
    names = ("face", "eyes", "mouth_interior", "nose", "mouth", "forehead", "cheeks", "chin", "ears", "neck")
    assert all(regions[name].any() for name in names)
    assert not (regions["face"] & (regions["ears"] | regions["mouth_interior"])).any()
    assert 0.4 < mean().vertex_areas[regions["face"]].sum() / mean().vertex_areas.sum() < 0.9


def posed(**weights):
    names = model().expression_names
    return model().mesh(expression=np.array([weights.get(name, 0.0) for name in names]))


def lid_gap(mesh):
    marks = mesh.vertices[model().landmarks["ibug68"]]
    return np.linalg.norm(marks[[43, 44]].mean(axis=0) - marks[[46, 47]].mean(axis=0))


def test_a_blink_closes_the_lids_and_leaves_no_bulge():
    open_eye, shut = mean(), posed(eyeBlink_L=1.0, eyeBlink_R=1.0)
    assert lid_gap(shut) < 0.2 * lid_gap(open_eye)
    # seen from the front the lid covers the eyeball: nothing of the patch's inside stands before the closed lids' line
    patch = model().regions["eyes"] & (shut.vertices[:, 0] > 25) & (shut.vertices[:, 0] < 40)
    assert shut.vertices[patch, 2].max() < shut.vertices[model().landmarks["ibug68"]][42:48, 2].max() + 2.0


def test_the_mouth_patch_spans_the_lips_when_the_jaw_opens():
    mouth = model().regions["mouth_interior"] & ~model().regions["mouth_cavity"]
    patch = model().triangles[mouth[model().triangles].all(axis=1)]
    opened = posed(jawOpen=1.0)
    area_open, area_closed = (TriangleMesh(mesh.vertices, patch).vertex_areas.sum() for mesh in (opened, mean()))
    assert area_open > 400 > 60 > area_closed
    marks = opened.vertices[model().landmarks["ibug68"]]
    assert marks[62, 1] - marks[66, 1] > 20


@pytest.mark.parametrize("seed", range(3))
def test_no_view_of_any_face_shows_a_hole_or_an_inside_out_triangle(seed):
    rng = np.random.default_rng(seed)
    some = rng.random(model().n_expression) * (rng.random(model().n_expression) < 0.1)
    scene = raycasting_scene(model().mesh(rng.standard_normal(model().n_identity), some * (seed > 0)))
    origins = np.stack([*np.meshgrid(np.arange(-45, 45.0), np.arange(-60, 60.0)), np.full((120, 90), 300.0)], 2).reshape(-1, 3)
    distance, triangle, _, normals = first_hits(scene, origins, np.tile([0, 0, -1], (len(origins), 1)))
    inside_out = normals[:, 2] < 0
    assert np.isfinite(distance).all()
    assert not model().regions["face"][model().triangles[triangle[inside_out]]].any()
    assert inside_out.mean() < 1e-3  # a lip rolled over its patch


@needs(ICT)
def test_its_mean_lies_on_the_source_within_a_chord():
    source = load_model(ICT)
    skin = source.triangles[source.regions["skin"][source.triangles].all(axis=1)]
    face = mean().triangles[model().regions["face"][mean().triangles].all(axis=1)]
    rng = np.random.default_rng(0)
    corners = mean().vertices[face[rng.choice(len(face), 5000)]]
    gap = surface_distance((corners * rng.dirichlet((1, 1, 1), 5000)[:, :, None]).sum(axis=1), TriangleMesh(source.mean, skin))
    assert gap.mean() < 0.03 and np.percentile(gap, 99) < 0.2


@cache
def coarse():
    """A coarse template of the source, and it on the source's mean."""
    edges = {"cheek_edge": 9, "lip_edge": 3.5, "eye_edge": 3.5, "nose_edge": 4, "bridge_edge": 5, "outer_edge": 12, "ear_edge": 7}
    template = build_template(load_model(ICT), TemplateOptions(rounds=3, **edges))
    return template, TriangleMesh(template.mean(load_model(ICT).mean), template.triangles)


@needs(ICT)
def test_building_a_coarse_template_carries_the_source_over():
    source, (template, mesh) = load_model(ICT), coarse()
    assert mesh.vertices[:, 2].min() == pytest.approx(-217, abs=4) and mesh.vertices[:, 1].max() == pytest.approx(140, abs=4)
    assert np.array_equal(template.mirror_vertex[template.mirror_vertex], np.arange(len(mesh.vertices)))
    assert np.allclose(mesh.vertices[template.mirror_vertex] * MIRROR, mesh.vertices, atol=0.06)  # as the source's, to 0.05 mm
    assert np.allclose(template.weights.sum(axis=1), 1)
    shift = np.tile([3.0, -2.0, 5.0], (source.n_vertices, 1))
    assert np.allclose(template.transfer(shift), shift[0], atol=1e-9)
    a, b = np.random.default_rng(1).normal(size=(2, source.n_vertices, 3))
    assert np.allclose(template.transfer(a + 2 * b), template.transfer(a) + 2 * template.transfer(b))


@needs(ICT)
def test_a_head_is_open_at_neck_eyes_and_mouth_alone():
    template, mesh = coarse()
    skin = mesh.submesh(~template.regions["cavities"])[0]
    assert mesh.is_edge_manifold and len(np.unique(mesh.component_labels)) == 6
    assert len(np.unique(skin.component_labels)) == 1 and len(boundary_loops(skin.triangles)) == 4
    assert is_oriented_disc(mesh.submesh(template.regions["mouth_cavity"])[0])


@needs(ICT)
def test_behind_a_heads_open_lids_and_lips_lie_eyeballs_and_mouth():
    template, mesh = coarse()
    skin = mesh.submesh(~template.regions["cavities"])[0]
    rims = skin.vertices[np.concatenate(boundary_loops(skin.triangles)[1:])]
    behind = mesh.submesh(template.regions["mouth_cavity"] | template.regions["eyeballs"])[0]
    assert surface_distance(rims, behind).max() < 1.5 and surface_distance(rims, behind).mean() < 0.5
    jaw = load_model(ICT).expression_basis[load_model(ICT).expression_names.index("jawOpen")]
    opened = mesh.vertices + template.transfer(jaw)
    lining = template.regions["mouth_cavity"] & mesh.boundary_vertices
    on_skin = cKDTree(opened[~template.regions["cavities"]]).query(opened[lining])[0]
    assert lining.sum() > 20 and on_skin.max() < 1e-9, "no slit between the lips and what is behind them"
    upper, lower = opened[template.landmarks[[62, 66]]]
    assert upper[1] - lower[1] > 25
    scene = raycasting_scene(mesh.with_vertices(opened))
    _, triangle, _, _ = first_hits(scene, [[0.0, (upper[1] + lower[1]) / 2, 100.0]], [[0.0, 0.0, -1.0]])
    assert template.regions["mouth_cavity"][mesh.triangles[triangle[0]]].all()


@needs(ICT)
def test_a_texture_covers_a_template_symmetrically_without_overlap():
    template, mesh = coarse()
    pair, face = template.mirror_vertex, template.regions["face"]
    layout = texture_layout(mesh.vertices, mesh.triangles, pair, template.regions)
    figures = layout_figures(mesh.vertices, mesh.triangles, layout, face, pair)
    assert (figures.turned, figures.overlap) == (0, 0) and figures.asymmetry < 1e-12
    assert figures.angle[0] < 1.05 and figures.texels[1] > 9
    split = np.flatnonzero(np.bincount(layout.corner_vertex) > 1)
    assert len(split) > 5 and np.array_equal(pair[split], split) and not face[split].any()
