"""From a refined image and the scan to the surfaces that a run writes: the refined one, and the model's topology on it.

Two things tell of a face. The **refined image**, lifted, is what a network made of a noisy scan, as far as its chart sees: it is
cut short at the sides of the face and folds away nostrils and ears. The **scan itself** shows these, with all of its noise. The
surer of the two decides where both see, by their standard deviations: the scan where it is a clean mesh, the image of a depth
camera; elsewhere whichever sees.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from geometry.charts.geometry_image import GeometryImage
from geometry.fitting.encoding import scan_surface
from geometry.fitting.result import FitResult
from geometry.model.morphable_model import MorphableModel
from geometry.reconstruction.dense_surface import DenseSurface, dense_surface
from geometry.reconstruction.dense_template import dense_template
from geometry.reconstruction.lifting import LiftedSurface, lift
from geometry.reconstruction.mouth_lining import inside_of_mouth, with_lining
from geometry.reconstruction.surface_target import SurfaceTarget, fade_in
from geometry.reconstruction.template_registration import drawn_onto, joined_vertices, register_to_targets
from geometry.scan import Scan
from geometry.surfaces.raycasting import first_hits

UNSUPPORTED = 0.05  # weight of what no scan supports in a refined image; what it supports counts 1
STEEP = (0.15, 0.4)  # cosines of surface and ray: a chart's pixels say nothing up to the first, all from the second on
AROUND_MM = 15.0  # of the fit: farther away nothing is of the head
FRONT_MM = 3.0  # before the fit: hair
SMOOTH_MM = 0.03  # roughness of a refined image: it has been smoothed, and its error is broad
VERTEX_MM2 = 0.3  # area of a vertex of the dense template
DETAIL_MM = 0.3  # what a fit leaves at one length; noise that is larger there is not followed
OPEN_MM = 3.0  # a scan that lies this far behind the rims of the lips shows an open mouth
OPEN_GAP_MM = 2.0  # where the scan does not show it: the fit's lips are open from here on
FLAT_MM, FOLDED_FLAT_MM = 0.025, 0.05  # what flat triangles of the model's size are off besides; where skin is folded
CORNERS = 8  # of a rim's vertices at each end, where lips meet whether the mouth is open or not


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """refined: the dense surface; registered (n, 3): the model's vertices, mm, with observed (n,) uint8 and sigma_mm (n,), all in
    the model frame; sigma_mm of the refined (N,), where nothing was seen the fit's; lifted: the refined image's own surface."""

    refined: DenseSurface
    refined_sigma_mm: np.ndarray
    registered: np.ndarray
    observed: np.ndarray
    sigma_mm: np.ndarray
    lifted: LiftedSurface


def reconstruct(
    model: MorphableModel, fit: FitResult, scan: Scan, refined: GeometryImage, observed: np.ndarray, follow_scan: bool = True
) -> Reconstruction:
    """refined and observed (h, w): as of `lift`. follow_scan: whether the scan itself has a say beside the image."""
    lifted = lift(refined, observed, refined.channels.get("confidence"))
    front = image_target(lifted, refined, fit)
    around = scan_target(scan, fit, model) if follow_scan else None
    registered = register_to_targets(model, fit.vertices, front, refined.chart, around)
    template, targets = dense_template(model), [front]
    if around is not None:
        targets = sorted(
            [front, around], key=lambda target: float(np.median(target.sigma_mm)) if len(target.sigma_mm) else np.inf
        )
    inside = inside_of_mouth(model, registered, around)
    if inside is not None:
        registered = inside.registered
    dense = dense_surface(template, registered, targets, inside is None and mouth_is_closed(model, registered, around))
    registered = drawn_onto(model, registered, fit.vertices, dense, template)
    stated = np.full(model.n_vertices, np.nan) if fit.posterior is None else fit.posterior.sigma_mm
    sigma = np.where(dense.observed > 0, dense.sigma_mm, template.linear @ stated)
    seen, of_vertices = np.zeros(model.n_vertices, np.uint8), np.array(stated, float)
    (own, fine), flat = template.own.T, np.hypot(FLAT_MM, FOLDED_FLAT_MM * template.folded)
    seen[own], of_vertices[own] = dense.observed[fine], np.where(dense.observed > 0, np.hypot(sigma, flat), sigma)[fine]
    if inside is not None and around is not None:
        met = inside.lining.vertices[inside.observed]
        seen[met], of_vertices[met] = 1, np.hypot(inside.sigma_mm[inside.observed], FOLDED_FLAT_MM)
        dense, linear = with_lining(dense, template, inside.lining, registered, around)
        added = dense.sigma_mm[len(sigma) :]
        sigma = np.append(sigma, np.where(np.isfinite(added), added, linear @ stated))
    first = joined_vertices(model)
    return Reconstruction(dense, sigma, registered, seen[first], of_vertices[first], lifted)


def image_target(lifted: LiftedSurface, image: GeometryImage, fit: FitResult) -> SurfaceTarget:
    """What a chart's refined image shows."""
    mesh = lifted.mesh
    outward = image.chart.outward_directions(image.chart.project(mesh.vertices)[0])
    facing = fade_in((mesh.vertex_normals * outward).sum(axis=1), *STEEP)
    support = np.where(lifted.observed > 0, 1.0, UNSUPPORTED) * facing
    if "sigma_mm" in image.channels:
        stated = np.where(image.valid_mask, image["sigma_mm"], image["sigma_mm"].max()).ravel()[lifted.pixels].astype(float)
    else:
        stated = np.full(len(mesh.vertices), 0.5 * noise_of(fit)[0])
    return SurfaceTarget(mesh, support, stated, SMOOTH_MM)


def noise_of(fit: FitResult) -> tuple[float, float]:
    """σ of a scan's point, mm, and the noise's spectral density, mm⁴."""
    return (fit.noise_mm, 4 * fit.noise_mm**2) if fit.noise is None else (fit.noise.sigma_mm, fit.noise.density_mm4)


def scan_target(scan: Scan, fit: FitResult, model: MorphableModel) -> SurfaceTarget:
    """The scan itself near the fitted head. A mesh is as its maker has smoothed it, and its noise is its vertices'; a depth
    image's or a cloud's is alike over millimetres, and each vertex of a dense surface knows as little of it as its area tells."""
    surface = scan_surface(scan, fit, model)
    near = np.isfinite(cKDTree(fit.vertices).query(surface.vertices, distance_upper_bound=AROUND_MM)[0])
    mesh = surface.submesh(near)[0]
    sigma, density = noise_of(fit)
    is_mesh = scan.pixels is None and len(scan.triangles)
    each = sigma if is_mesh else max(sigma, np.sqrt(density / VERTEX_MM2))
    shortest = np.sqrt(density / 3) / DETAIL_MM
    return SurfaceTarget(
        mesh, np.ones(len(mesh.vertices)), np.full(len(mesh.vertices), each), float(each), FRONT_MM, float(shortest)
    )


def mouth_is_closed(model: MorphableModel, registered: np.ndarray, around: SurfaceTarget | None) -> bool:
    """Whether lips meet along most of their rims: the scan shows a surface between them, or where it shows none, the fit's hardly
    gape."""
    if not {"upper_lip_rim", "lower_lip_rim"} <= model.curves.keys():
        return True
    upper, lower = (model.curves[name] for name in ("upper_lip_rim", "lower_lip_rim"))
    pair = lower[cKDTree(model.mean[lower]).query(model.mean[upper])[1]]
    inner = slice(CORNERS, -CORNERS)
    between = ((registered[upper] + registered[pair]) / 2)[inner]
    closed = np.linalg.norm(registered[upper] - registered[pair], axis=1)[inner] < OPEN_GAP_MM
    if around is None or not len(around.mesh.triangles):
        return bool(closed.mean() > 0.5)
    starts = between + [0.0, 0.0, 2 * AROUND_MM]
    behind = first_hits(around.scene, starts, np.tile([0.0, 0.0, -1.0], (len(starts), 1)))[0] - 2 * AROUND_MM
    return bool(np.where(np.isfinite(behind), behind < OPEN_MM, closed).mean() > 0.5)
