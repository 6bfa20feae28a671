"""The shipped template is a clean head, open where heads are, and building one keeps the promises of its docstring."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sampled_faces import default_model as model
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from shared_files import ICT, needs

from geometry.learning.model_learning import mirror_name
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
    return is_oriented(mesh) and len(boundary_loops(mesh.triangles)) == 1 and euler_characteristic(mesh) == 1


def is_oriented(mesh):
    """One piece, without a loose vertex, that each direction of an edge has once."""
    half_edges = mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    return (
        mesh.is_edge_manifold
        and len(np.unique(mesh.component_labels)) == 1
        and len(np.unique(mesh.triangles)) == len(mesh.vertices)
        and len(np.unique(half_edges, axis=0)) == len(half_edges)
    )


def euler_characteristic(mesh):
    return len(mesh.vertices) - len(mesh.edges) + len(mesh.triangles)


PIECES = ("mouth_cavity", "nostril_cavities", "eyeballs")


def test_it_is_a_head_of_skin_open_at_neck_eyes_and_mouth_alone():
    assert is_oriented(skin()) and 12_000 < len(mean().vertices) < 16_000
    loops = boundary_loops(skin().triangles)
    middle = np.array(sorted((skin().vertices[loop].mean(axis=0) for loop in loops), key=lambda at: at[1]))
    assert len(loops) == 4 and euler_characteristic(skin()) == 2 - 4, "a sphere with four holes: nostrils and ears are closed"
    marks = mean().vertices[model().landmarks["ibug68"]]
    eyes = sorted((marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)), key=lambda at: at[0])
    assert middle[0, 1] < marks[8, 1] - 15 and np.linalg.norm(middle[1] - marks[60:68].mean(axis=0)) < 5, "neck, mouth"
    assert np.linalg.norm(middle[2:][np.argsort(middle[2:, 0])] - eyes, axis=1).max() < 5


def test_behind_its_skin_lie_a_disc_in_the_mouth_and_in_each_nostril_and_two_eyeballs():
    mesh, regions = mean(), model().regions
    assert len(np.unique(mesh.component_labels)) == 6
    assert regions["cavities"][len(skin().vertices) :].all() and not regions["cavities"][: len(skin().vertices)].any()
    assert np.array_equal(regions["cavities"].astype(int), np.sum([regions[name] for name in PIECES], axis=0))
    left = mesh.vertices[:, 0] > 0
    sides = [regions[name] & side for name in PIECES[1:] for side in (left, ~left)]
    assert all(is_oriented_disc(mesh.submesh(piece)[0]) for piece in (regions["mouth_cavity"], *sides))
    assert (regions["mouth_interior"] >= regions["mouth_cavity"]).all() and (regions["eyes"] >= regions["eyeballs"]).all()
    outer = set(regions) - {"cavities", "mouth_interior", "eyes", *PIECES}
    assert not any((regions[name] & regions["cavities"]).any() for name in outer)


def test_eyeballs_begin_on_the_lids_rim_vertex_by_vertex_in_every_face_and_expression():
    """A ray through a gap of 0.3 mm meets the back of the skull."""
    eyes, eyeballs = (model().regions[name] & mean().boundary_vertices for name in ("eyes", "eyeballs"))
    rims, balls = np.flatnonzero(eyes & ~eyeballs), np.flatnonzero(eyeballs)
    nearest = rims[cKDTree(mean().vertices[rims]).query(mean().vertices[balls])[1]]
    assert len(balls) == len(rims) == len(np.unique(nearest)) > 80
    for motions in (mean().vertices[None], model().identity_basis, model().expression_basis):
        assert np.abs(motions[:, balls] - motions[:, nearest]).max() < 1e-5


def test_the_mouth_cavity_is_a_bag_that_begins_at_the_lips_seen_from_inside():
    cavity = mean().submesh(model().regions["mouth_cavity"])[0]
    lips = mean().vertices[model().landmarks["ibug68"][60:68]]
    rim = cavity.vertices[cavity.boundary_vertices]
    of_lips = skin().vertices[model().regions["mouth_interior"][: len(skin().vertices)]]
    assert len(rim) == len(of_lips) and cKDTree(of_lips).query(rim)[0].max() < 1e-9, "vertex by vertex"
    assert cavity.vertices[:, 2].min() < -100 and np.abs(cavity.vertices[:, 2].max() - lips[:, 2].max()) < 1
    # a ray down the middle from the roof's side: it leaves the roof's face and meets the floor's
    scene = raycasting_scene(cavity)
    z = np.arange(-110.0, -35.0, 5.0)
    middle = np.stack([0 * z + 0.5, np.interp(z, [-110, -80], [-42, -36]), z], 1)
    for direction in ((0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0)):
        distance, _, _, normals = first_hits(scene, middle, np.tile(direction, (len(z), 1)))
        assert np.isfinite(distance).all() and (normals @ direction < 0).all()


class Front:
    """What rays 1 mm apart meet from the front within `half` (x, y) mm of the nose: piece (k,) name, "skin" or None; inner (k,)
    bool: a surface's inner side; over_skin (k,) bool: something before the skin that would be seen there without it."""

    def __init__(self, vertices, half=(45, 60)):
        triangles, x, y = model().triangles, *np.meshgrid(*(np.arange(-reach, reach, 1.0) for reach in half))
        self.origins = np.stack([x, y, np.full_like(x, 300.0)], axis=-1).reshape(-1, 3)
        distance, self.triangle, self.inner = self._cast(vertices, triangles)
        alone, hit, inner = self._cast(vertices, triangles[~model().regions["cavities"][triangles].any(axis=1)])
        self.over_skin = (hit >= 0) & ~inner & (distance < alone - 1e-3)
        names = np.full(len(triangles), "skin", dtype=object)
        for name in PIECES:
            names[model().regions[name][triangles].all(axis=1)] = name
        self.piece = np.where(self.triangle >= 0, names[self.triangle], None)

    def _cast(self, vertices, triangles):
        scene = raycasting_scene(TriangleMesh(vertices, triangles))
        distance, triangle, _, normals = first_hits(scene, self.origins, np.tile([0, 0, -1], (len(self.origins), 1)))
        return distance, triangle, (triangle >= 0) & (normals[:, 2] < 0)

    def seen(self, name):
        """mm²."""
        return int((self.piece == name).sum())


def identity(seed):
    return np.random.default_rng(seed).standard_normal(model().n_identity)


EXPRESSIONS = [
    (),
    ("eyeBlink_L", "eyeBlink_R"),
    ("eyeWide_L", "eyeWide_R"),
    ("jawOpen",),
    ("mouthSmile_L", "mouthSmile_R"),
    ("mouthPucker",),
    ("mouthClose", "jawOpen"),
    ("mouthFunnel",),
    ("jawForward",),
    ("jawLeft", "mouthRight"),
    ("mouthUpperUp_L", "mouthUpperUp_R", "mouthLowerDown_L"),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_no_cavity_and_no_eyeball_shows_through_the_skin_and_nothing_shows_a_hole(expression):
    """Whatever is seen of the skin alone is seen with all that lies behind it, and between lids and lips there is no gap."""
    assert set(expression) <= set(model().expression_names)
    front = Front(posed(**dict.fromkeys(expression, 1.0)).vertices)
    assert not front.over_skin.any() and not front.inner.any() and None not in front.piece
    assert front.seen("nostril_cavities") == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_cavity_shows_through_any_face_and_hardly_an_eyeball(seed):
    """An eyeball follows its own modes, the lids theirs: at an eye's corner it may stand before a lid."""
    front = Front(model().instance(identity(seed)))
    assert front.seen("nostril_cavities") == 0 and set(front.piece[front.over_skin]) <= {"eyeballs"}
    assert front.over_skin.sum() < 0.01 * front.seen("eyeballs")


def test_an_opening_jaw_shows_the_mouth_cavity_and_parts_the_lips():
    closed, opened = posed(), posed(jawOpen=1.0)
    marks = opened.vertices[model().landmarks["ibug68"]]
    assert marks[62, 1] - marks[66, 1] > 20
    assert Front(opened.vertices, (45, 90)).seen("mouth_cavity") > 400 > 60 > Front(closed.vertices).seen("mouth_cavity")
    rim = np.flatnonzero(mean().boundary_vertices & model().regions["mouth_cavity"])
    assert np.ptp(opened.vertices[rim, 1]) > np.ptp(closed.vertices[rim, 1]) + 20
    between = np.linspace(marks[62], marks[66], 12)[1:-1] * (1, 1, 0) + (0, 0, 300)
    _, triangle, _, _ = first_hits(raycasting_scene(opened), between, np.tile([0, 0, -1], (10, 1)))
    assert model().regions["mouth_cavity"][model().triangles[triangle]].all()


def test_triangles_are_neither_slivers_nor_folds():
    mesh, regions = mean(), model().regions
    angle = smallest_angles(mesh.vertices[mesh.triangles])
    in_face = regions["face"][mesh.triangles].any(axis=1)
    assert angle[in_face].min() >= 18 and np.median(angle) >= 38 and np.median(angle[in_face]) >= 38
    assert angle.min() > 15 and np.percentile(angle, 1) > 28
    normal = mesh.triangle_area_vectors / np.linalg.norm(mesh.triangle_area_vectors, axis=1, keepdims=True)
    corners = mesh.vertex_normals[mesh.triangles]
    # the edges of lids and lips turn by 180°
    crease = (regions["eyes"] | regions["mouth_interior"])[mesh.triangles].any(axis=1)
    assert (corners * normal[:, None]).sum(axis=2)[~crease].min() > 0
    assert ((corners.sum(axis=1) * normal).sum(axis=1) > 0).mean() > 0.998


def test_edges_are_short_where_faces_have_detail():
    regions = model().regions
    rims = regions["eyes"] & ~regions["eyeballs"]
    assert 2.4 < np.median(edge_lengths(mean(), regions["cheeks"])) < 3.0
    for mask, longest in (
        (rims, 1.3),
        (regions["lids"], 1.5),
        (regions["mouth"], 1.6),
        (regions["lips"], 1.6),
        (regions["perioral"], 1.9),
        (regions["ala"], 2.1),  # edges grow from the landmarks at its lower end
        (regions["nose"], 2.3),
    ):
        assert 1.0 < np.median(edge_lengths(mean(), mask)) < longest
    assert np.median(edge_lengths(mean(), regions["ears"])) < 3.0 < np.median(edge_lengths(mean(), regions["neck"]))
    assert np.median(edge_lengths(mean(), regions["scalp"])) > 5.0


def test_it_is_its_own_mirror_image():
    """The pairing is exact, of vertices, triangles, landmarks, regions and curves; so are mean, modes and blendshapes."""
    pair, scheme, marks = model().mirror_vertex, shipped_schemes()["ibug68"], model().landmarks["ibug68"]
    assert np.array_equal(pair[pair], np.arange(model().n_vertices))
    assert np.abs(model().mean[pair] * MIRROR - model().mean).max() <= 1e-6
    rolled = lambda triangles: {tuple(np.roll(corners, -corners.argmin())) for corners in triangles}
    assert rolled(pair[model().triangles][:, ::-1]) == rolled(model().triangles)
    assert np.array_equal(pair[marks], marks[list(scheme.mirror)]) and len(set(marks.tolist())) == 68
    assert all(np.array_equal(mask[pair], mask) for mask in model().regions.values())
    for name, curve in model().curves.items():
        other = name.replace("left_", "right_") if "left_" in name else name.replace("right_", "left_")
        assert set(pair[curve]) == set(model().curves[other]), name


def test_its_modes_are_symmetric_or_antisymmetric_and_its_blendshapes_are_paired():
    mirrored = lambda basis: basis[:, model().mirror_vertex] * MIRROR
    size = lambda motions: np.linalg.norm(motions.reshape(len(motions), -1), axis=1)
    modes, names = model().identity_basis, list(model().expression_names)
    even, odd = (size(mirrored(modes) - sign * modes) / size(modes) for sign in (1, -1))
    assert np.minimum(even, odd).max() <= 1e-4 and min((even <= 1e-4).sum(), (odd <= 1e-4).sum()) > 20
    image = [names.index(mirror_name(name)) for name in names]
    assert np.abs(mirrored(model().expression_basis)[image] - model().expression_basis).max() < 0.01  # a quantum


def test_it_reaches_crown_back_and_neck():
    low, high = mean().vertices.min(axis=0), mean().vertices.max(axis=0)
    assert high[0] > 85 and high[1] > 135 and low[1] < -115 and low[2] < -205
    regions, marks = model().regions, mean().vertices[model().landmarks["ibug68"]]
    names = ("face", "forehead", "brows", "lids", "nose", "ala", "nostrils", "cheeks", "lips", "mouth", "chin", "jaw")
    assert all(regions[name].any() for name in (*names, "ears", "neck", "scalp", "stable", "eyes", "mouth_interior"))
    assert mean().vertices[regions["neck"], 1].min() < marks[8, 1] - 35
    assert not (regions["face"] & (regions["ears"] | regions["mouth_interior"] | regions["scalp"] | regions["cavities"])).any()
    assert 20_000 < mean().vertex_areas[regions["face"]].sum() < 60_000  # mm²


def posed(**weights):
    names = model().expression_names
    return model().mesh(expression=np.array([weights.get(name, 0.0) for name in names]))


def test_a_blink_closes_the_lids_over_the_eyeballs():
    """Of an eyeball the source's own blink leaves a slit to see, 8 of 170 mm²; nowhere does the ball come through a lid."""
    shut, marks = posed(eyeBlink_L=1.0, eyeBlink_R=1.0), model().landmarks["ibug68"]
    gap = lambda mesh: np.linalg.norm(mesh.vertices[marks[[43, 44]]].mean(axis=0) - mesh.vertices[marks[[46, 47]]].mean(axis=0))
    before, after = Front(mean().vertices), Front(shut.vertices)
    assert before.seen("eyeballs") > 250 and after.seen("eyeballs") < 0.1 * before.seen("eyeballs")
    assert gap(shut) < 0.25 * gap(mean()) and not after.over_skin.any()
    wide = Front(posed(eyeWide_L=1.0, eyeWide_R=1.0).vertices)
    assert wide.seen("eyeballs") > 1.2 * before.seen("eyeballs")


@pytest.mark.parametrize("seed", range(3))
def test_no_view_of_any_face_shows_a_hole_or_an_inside_out_triangle(seed):
    rng = np.random.default_rng(seed)
    some = rng.random(model().n_expression) * (rng.random(model().n_expression) < 0.1)
    front = Front(model().instance(rng.standard_normal(model().n_identity), some * (seed > 0)))
    assert None not in front.piece
    assert not model().regions["face"][model().triangles[front.triangle[front.inner]]].any()
    assert front.inner.mean() < 1e-3  # a lip rolled over the rim of the other
    assert front.seen("eyeballs") > 50


def inner_side_seen(vertices, yaw, pitch=0.0):
    """mm² about the eyes that show a surface's inner side, in a view turned by so many degrees."""
    turn = Rotation.from_euler("YX", [yaw, pitch], degrees=True).as_matrix()
    turned = vertices @ turn.T
    eyes = turned[np.concatenate([model().landmarks["ibug68"][36:48]])]
    low, high = eyes.min(axis=0) - 3, eyes.max(axis=0) + 3
    x, y = np.meshgrid(np.arange(low[0], high[0], 0.5), np.arange(low[1], high[1], 0.5))
    origins = np.stack([x, y, np.full_like(x, 300.0)], axis=-1).reshape(-1, 3)
    scene = raycasting_scene(TriangleMesh(turned, model().triangles))
    _, triangle, _, normals = first_hits(scene, origins, np.tile([0, 0, -1], (len(origins), 1)))
    return ((triangle >= 0) & (normals[:, 2] < 0)).sum() / 4


@pytest.mark.parametrize("yaw, pitch", [(-55, 0), (-35, 0), (35, 0), (55, 0), (0, -30), (0, 30), (35, 25)])
@pytest.mark.parametrize("seed", [None, 3])
def test_no_view_looks_past_an_eyeball(seed, yaw, pitch):
    """Seeds of faces whose eyeballs did not fill the corners of their eyes: what is seen of a ball begins on the lids' rim."""
    vertices = mean().vertices if seed is None else model().instance(identity(seed))
    assert inner_side_seen(vertices, yaw, pitch) == 0


def source_in_the_frame_of(model):
    """The source with the origin at the model's nose tip; the model remembers where the source's own mark lies."""
    source = load_model(ICT)
    shift = model.earlier_mark_ups[1][30] - source.mean[source.landmarks["ibug68"][30]]
    return replace(source, mean=source.mean + shift)


@needs(ICT)
def test_its_mean_lies_on_the_source_within_a_chord():
    source = source_in_the_frame_of(model())
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
def test_behind_a_heads_open_lids_and_lips_lie_eyeballs_and_mouth():
    template, mesh = coarse()
    skin = mesh.submesh(~template.regions["cavities"])[0]
    assert len(np.unique(mesh.component_labels)) == 6 and len(boundary_loops(skin.triangles)) == 4 and is_oriented(skin)
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
