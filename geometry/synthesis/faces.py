"""Faces sampled from a morphable model, with what no linear model holds: shape beyond its span, and fine detail.

    S = B soften(S̄ + U_d α_d + U_e α_e + n δ_beyond + w t) + n δ_detail

B subdivides the face so that detail is resolved (`geometry.surfaces.subdivision`); n are normals; δ_beyond is a band-limited
random field of 10–40 mm wavelength and 0.1–0.6 mm RMS, the size of what 100 modes leave of real scanned faces
(0.24–0.49 mm mean after a fit, which itself absorbs part of it), with a broader field of 40–100 mm below it;
t is a vector field that moves lids, lips and nostrils along the surface, where a model's lines never lie quite on a
person's, w its share of each vertex; `soften` blurs eyes, mouth or nostrils of some faces as scanners and surface fits
do; δ_detail is `geometry.synthesis.wrinkles`. The fields are drawn over the mean shape, half of their variance mirrored and half
not: faces are nearly symmetric, not quite.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.settings.options import Positive, Range, Share, options
from geometry.synthesis import occluders, random_fields, wrinkles
from geometry.synthesis.fine_surface import averaged, fine_surface
from geometry.synthesis.skin_contact import until_skin_meets
from geometry.transforms import MIRROR

MIRRORED_SHARE = 0.5  # of the variance of the beyond-span field
BEYOND_SLOPE = 1.7  # its amplitude grows as wavelength^1.7: anatomy is broad; equal steepness at 10 mm looks like lumps
NORMAL_ROUNDS = 30  # neighbour averages of normals, about 10 mm: thin parts (lids, ear rims, lips) move whole, and do not fold
MOUTH_DEPTH_MM = (3.0, 20.0)  # teeth to palate
MOUTH_SPREAD = 1.25  # the inside is wider than the opening, so that no gap shows past its edge


@options
class SynthesisOptions:
    """How faces are sampled. A range is (low, high), drawn uniformly for each face."""

    identity_spread: Range = (0.8, 1.2)
    """Standard deviation of the identity coefficients, in σ of the model."""
    expression_strength: Range = (0.0, 0.8)
    """Factor of the expression coefficients; 0 is a neutral face."""
    open_share: Share = 0.0
    """Share of faces whose jaw is opened by `open_jaw`, whatever the strength of their expression."""
    open_jaw: Range = (0.3, 1.0)
    """Weight of the blendshape `jawOpen` of those faces."""
    beyond_rms_mm: Range = (0.1, 0.6)
    """RMS in mm of the shape that lies outside the model's span."""
    beyond_wavelengths_mm: Range = (10.0, 40.0)
    """Band in mm of the wavelengths of that shape."""
    broad_rms_mm: Range = (0.0, 0.5)
    """RMS in mm of a further part of it, whose wavelengths are 40–100 mm."""
    feature_rms_mm: Range = (0.0, 0.9)
    """RMS in mm, in each of x, y and z, by which lids, lips and nostrils are moved against the model's."""
    feature_wavelengths_mm: Range = (14.0, 45.0)
    """Band in mm of the wavelengths of that motion."""
    soft_share: Share = 0.35
    """Share of faces whose eyes are blurred, as scanners do; the same share holds for mouth and nose, drawn apart."""
    soft_rounds: Range = (2.0, 14.0)
    """How many times each vertex of a blurred part is averaged with its neighbours."""
    smooth_share: Share = 0.2
    """Share of faces with hardly any fine detail."""
    aged_share: Share = 0.3
    """Share of faces with strong fine detail."""
    edge_mm: Positive = 1.2
    """Longest edge in the face, in mm: longer ones are split, at most twice, so that fine detail is resolved."""
    hair_share: Share = 0.25
    """Share of faces with hair that hides part of the scalp, forehead or temples."""
    beard_share: Share = 0.15
    """Share of faces with a beard or stubble, which is part of the surface that a scan shows."""
    glasses_share: Share = 0.12
    """Share of faces that wear glasses."""
    hand_share: Share = 0.1
    """Share of faces with a hand before them."""


@dataclass(frozen=True)
class SampledFace:
    """mesh: the true surface, model frame, mm, fine in the face; identity (K,), expression (E,) coefficients of its core;
    landmarks (68, 3), iBUG order; excluded (m,) bool: triangles of the mouth's inside; occluders: things before the face;
    displacement (n,): the fine detail in mm along the normal; detail_strength: 0 (smooth) to 1 (aged);
    mouth_depth_mm: how far behind the lips the inside of an open mouth is."""

    mesh: TriangleMesh
    identity: np.ndarray
    expression: np.ndarray
    landmarks: np.ndarray
    excluded: np.ndarray
    occluders: tuple[TriangleMesh, ...]
    displacement: np.ndarray
    detail_strength: float
    mouth_depth_mm: float

    @property
    def skin(self) -> TriangleMesh:
        """The true surface without the membrane that closes the model's mouth: what a sensor looks at."""
        return TriangleMesh(self.mesh.vertices, self.mesh.triangles[~self.excluded])

    @property
    def surroundings(self) -> list[TriangleMesh]:
        """Everything else that a sensor sees: tongue and teeth in an open mouth, in the shape of the membrane moved back,
        and the occluders."""
        triangles = self.mesh.triangles[self.excluded]
        membrane, _ = TriangleMesh(self.mesh.vertices, triangles).submesh(np.isin(np.arange(len(self.mesh.vertices)), triangles))
        if not len(membrane.triangles):
            return list(self.occluders)
        centre = membrane.vertices.mean(0)
        moved = centre + MOUTH_SPREAD * (membrane.vertices - centre) - [0, 0, self.mouth_depth_mm]
        return [membrane.with_vertices(moved), *self.occluders]


def normals_without_thin_parts(mesh: TriangleMesh, averaging: sparse.csr_matrix) -> np.ndarray:
    """(n, 3) unit normals of the shape without its thin parts."""
    normals = averaged(mesh.vertex_normals, averaging, NORMAL_ROUNDS)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def generator(seed: int, role: int, number: int) -> np.random.Generator:
    """The random numbers of one thing: the same for it whatever else is made, in whatever order and process."""
    return np.random.default_rng(np.random.SeedSequence([seed, role, number]))


def sample_identity(model: MorphableModel, rng: np.random.Generator, options: SynthesisOptions) -> np.ndarray:
    """(K,) coefficients, N(0, spread²), cut at 3 σ: beyond that a linear model stops being a face."""
    return np.clip(rng.standard_normal(model.n_identity), -3, 3) * rng.uniform(*options.identity_spread)


def sample_expression(
    model: MorphableModel, identity: np.ndarray, rng: np.random.Generator, options: SynthesisOptions
) -> np.ndarray:
    """(E,) coefficients for a face of the (K,) identity: drawn, and blendshapes (a model with an `expression_range`) only as far
    as skin meets skin."""
    drawn = drawn_expression(model, rng, options)
    return drawn if model.expression_range is None else until_skin_meets(model, identity, drawn)


def drawn_expression(model: MorphableModel, rng: np.random.Generator, options: SynthesisOptions) -> np.ndarray:
    """(E,) coefficients. Gaussian modes: N(0, strength²). Blendshapes: a few are active, left and right alike up to a fifth.
    `mouthClose` closes an open jaw: it is at most `jawOpen`, lest lips pass through each other."""
    strength = rng.uniform(*options.expression_strength)
    if model.expression_range is None:
        return np.clip(rng.standard_normal(model.n_expression), -2.5, 2.5) * strength
    names = model.expression_names or tuple(map(str, range(model.n_expression)))
    stems = {name: name.removesuffix("_L").removesuffix("_R") for name in names}
    level = {stem: rng.beta(1.2, 2.5) * (rng.random() < 0.12) for stem in dict.fromkeys(stems.values())}
    low, high = model.expression_range
    weights = np.array([level[stems[name]] for name in names]) * rng.uniform(0.8, 1.2, len(names)) * strength * 1.3
    if options.open_share and rng.random() < options.open_share and "jawOpen" in names:
        weights[names.index("jawOpen")] = rng.uniform(*options.open_jaw)
    if {"mouthClose", "jawOpen"} <= set(names):
        closes, opens = names.index("mouthClose"), names.index("jawOpen")
        weights[closes] = min(weights[closes], weights[opens])
    return np.clip(low + weights * (high - low), low, high)


def discrepancy(points: np.ndarray, rng: np.random.Generator, options: SynthesisOptions) -> np.ndarray:
    """The field that no mode holds, at points (n, 3) of the mean shape → (n,) mm."""
    total = np.zeros(len(points))
    for band, rms in ((options.beyond_wavelengths_mm, options.beyond_rms_mm), ((40.0, 100.0), options.broad_rms_mm)):
        total += rng.uniform(*rms) * _partly_mirrored_noise(points, band, rng)
    return total


def feature_shift(points: np.ndarray, rng: np.random.Generator, options: SynthesisOptions) -> np.ndarray:
    """The vector field that moves features, at points (n, 3) of the mean shape → (n, 3) mm, x mirrored with the points."""
    amplitude, band = rng.uniform(*options.feature_rms_mm), options.feature_wavelengths_mm
    return amplitude * np.stack([_partly_mirrored_noise(points, band, rng, 24, sign) for sign in (-1.0, 1.0, 1.0)], axis=1)


def _partly_mirrored_noise(
    points: np.ndarray, band: tuple[float, float], rng: np.random.Generator, waves: int = 48, sign: float = 1.0
) -> np.ndarray:
    """Points (n, 3) → (n,) a field of unit variance, of which `MIRRORED_SHARE` is `sign` times its own mirror image."""
    state = rng.integers(2**63)
    one, other = (
        random_fields.smooth_noise(side, band, np.random.default_rng(state), waves, BEYOND_SLOPE)
        for side in (points, points * MIRROR)
    )
    free = random_fields.smooth_noise(points, band, rng, waves, BEYOND_SLOPE)
    return np.sqrt(MIRRORED_SHARE / 2) * (one + sign * other) + np.sqrt(1 - MIRRORED_SHARE) * free


def soften(
    vertices: np.ndarray, model: MorphableModel, averaging: sparse.csr_matrix, rng: np.random.Generator, options: SynthesisOptions
) -> np.ndarray:
    """Vertices (n, 3) with some of eyes, mouth and nose blurred, fading at the region's border. Eyeballs stay as they are."""
    skin = ~model.regions.get("cavities", np.zeros(model.n_vertices, bool))
    for region in ("eyes", "mouth", "nose"):
        chosen, rounds = rng.random() < options.soft_share, int(rng.uniform(*options.soft_rounds))
        if not chosen or region not in model.regions:
            continue
        weight = averaged(model.regions[region].astype(float), averaging, 3) * skin
        reach = np.flatnonzero(weight > 0.01)
        local = averaging[reach]
        blurred = vertices.copy()
        for _ in range(rounds):
            blurred[reach] += weight[reach, None] * (local @ blurred - blurred[reach])
        vertices = blurred
    return vertices


def sample_strength(rng: np.random.Generator, options: SynthesisOptions) -> float:
    """Strength of the fine detail: smooth, ordinary or aged."""
    draw = rng.random()
    if draw < options.smooth_share:
        return rng.uniform(0.0, 0.05)
    return rng.uniform(0.6, 1.0) if draw > 1 - options.aged_share else rng.uniform(0.05, 0.6)


def sample_face(
    model: MorphableModel,
    rng: np.random.Generator,
    options: SynthesisOptions = SynthesisOptions(),
    person: np.random.Generator | None = None,
) -> SampledFace:
    """One face, drawn from `rng` alone: the same generator state gives the same face.

    person: where given, identity, shape beyond the span and detail come from it, and only expression and occluders from
    `rng`: several pictures of one subject.
    """
    person = rng if person is None else person
    surface = fine_surface(model, options.edge_mm)
    identity = sample_identity(model, person, options)
    expression = sample_expression(model, identity, rng, options)
    core = TriangleMesh(model.instance(identity, expression), model.triangles)
    shaped = core.vertices + discrepancy(model.mean, person, options)[:, None] * normals_without_thin_parts(
        core, surface.averaging
    )
    shaped = shaped + surface.features[:, None] * feature_shift(model.mean, person, options)
    shaped = soften(shaped, model, surface.averaging, person, options)
    ball, rim = surface.held.T
    shaped[ball] = core.vertices[ball] + (shaped - core.vertices)[rim]  # what is done to a lid's rim is done to what it holds
    fine = TriangleMesh(surface.subdivision.apply(shaped), surface.subdivision.triangles)
    strength = sample_strength(person, options)
    landmark_indices = model.landmarks["ibug68"]
    displacement = np.zeros(len(fine.vertices))
    points, marks = surface.mean[surface.detailed], model.mean[landmark_indices]
    displacement[surface.detailed] = surface.weight * wrinkles.detail(points, marks, strength, person)
    if person.random() < options.beard_share:
        displacement[surface.detailed] += surface.weight * wrinkles.beard(points, marks, person)
    mesh = TriangleMesh(fine.vertices + displacement[:, None] * fine.vertex_normals, fine.triangles)
    landmarks = mesh.vertices[landmark_indices]
    before = []
    if rng.random() < options.hair_share:
        before.append(occluders.hair(TriangleMesh(shaped, model.triangles), landmarks, rng))
    if rng.random() < options.glasses_share:
        before.append(occluders.glasses(landmarks, rng))
    if rng.random() < options.hand_share:
        before.append(occluders.hand(landmarks, rng))
    shown = tuple(mesh for mesh in before if len(mesh.triangles))
    mouth_depth = rng.uniform(*MOUTH_DEPTH_MM)
    return SampledFace(mesh, identity, expression, landmarks, surface.excluded, shown, displacement, strength, mouth_depth)
