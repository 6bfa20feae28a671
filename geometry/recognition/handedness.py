"""Is a scan a mirror image? What gives it away, and the error that it then is.

A face and its mirror image are both faces: shape alone does not tell. What does is whatever a mirror (one coordinate negated, two
exchanged, a left-handed frame read as a right-handed one) turns round while the shape's outer side, the one that shows a face,
stays outside:

- the **winding** of triangles, or the turn from rows to columns of a pixel grid: it then faces inward;
- **normals** in the file that were left as they were: they fit the shape only with that coordinate negated;
- **landmarks** given with the scan: the subject's left ones lie to the right.

A mesh that is merely wound inside out, and a grid whose rows are stored from below, look the same, and so does a mirrored mesh
whose normals went through the mirror too. They are told apart by given landmarks, which then are not mirrored, or by the user
(`INSIDE_OUT`); until then the scan is an error.
A mesh that was mirrored *and* wound anew, a mirrored depth image and a mirrored bare cloud show nothing: they pass as what they
look like, somebody's mirror image, and nothing is mended.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from geometry.errors import MirroredScan, NoFaceFound
from geometry.locating.cloud_normals import with_believable_normals
from geometry.locating.location import Location
from geometry.locating.mean_face_field import field_of
from geometry.locating.winding import ENOUGH
from geometry.model.morphable_model import MorphableModel
from geometry.recognition.trial_fit import trial_fit_is_face
from geometry.scan import Scan
from geometry.surfaces.normals import plane_normals
from geometry.surfaces.triangulation import surface_of
from geometry.transforms import MIRROR, SimilarityTransform

# what a user may declare: nothing (every scan is checked), or that the coordinates are right though triangles, grids, normals or
# landmarks of the archive say otherwise
CHECKED, INSIDE_OUT = "checked", "inside_out"
FACE_RADIUS_MM = 130.0  # about the nose: here is all of the face
ON_FACE_MM = 8.0  # from the mean face: a scan point so near is a point of the face
TURNED_AWAY = -0.5  # mean sign of the winding on the face: below it the surface faces inward, whatever hair and lips do
NORMALS_FIT, NORMALS_GAIN = 0.8, 0.1  # mean |cosine| between normals of file and shape: with a coordinate negated, and its lead
SAMPLED = 4000  # points at which normals are compared
LANDMARKS_GAIN = 0.5  # the mirrored face explains landmarks that leave it less than this share of the residual
REMEDY = "undo the mirror; or, where its coordinates are known to be right, set input.handedness: inside_out for such scans"


def facing(scan: Scan, location: Location, model: MorphableModel) -> float:
    """Mean sign in [−1, 1], by area, of what the scan's triangles or grid call outward against the located face's outside: 1
    where all agree, −1 where the surface faces inward; NaN where the scan has no surface at the face, or hardly any whose winding
    is its file's: a guess says nothing, and leaves the rest its say.

    scan: cleaned, as it is wound in its file, in any unit; location: of the head in it.
    """
    whole = scan.in_unit(location.scan.unit_mm, location.scan.scale_is_metric) if scan.unit_mm is None else scan
    near = np.linalg.norm(location.scan_to_model.apply(whole.points), axis=1) < FACE_RADIUS_MM
    whole = whole.keep(near)
    surface, field = surface_of(whole), field_of(model)
    if not len(surface.triangles):
        return float("nan")
    index, inside = field.look_up(location.scan_to_model.apply(surface.vertices))
    on_face = inside & field.is_face[index] & (np.abs(field.distance[index]) < ON_FACE_MM)
    outward = field.normal[index[on_face]] @ location.scan_to_model.rotation
    cosine = (outward * surface.vertex_normals[on_face]).sum(1)
    area = surface.vertex_areas[on_face]
    speaking = area if whole.guessed_winding is None else np.where(whole.guessed_winding[on_face], 0.0, area)
    if not speaking.sum() > ENOUGH * area.sum():
        return float("nan")
    return float((speaking * np.sign(cosine)).sum() / speaking.sum())


def with_checked_normals(scan: Scan, declared: str = CHECKED) -> Scan:
    """The cleaned scan, without its file's normals where they tell less than its points do. Raises MirroredScan where they fit
    its shape only in a mirror; where it is declared INSIDE_OUT, they are dropped instead."""
    axis = mirrored_axis(scan)
    if axis is None:
        return with_believable_normals(scan)
    if declared == INSIDE_OUT:
        return replace(scan, normals=None).with_note(f"normals that fit the shape only with {axis} negated were dropped")
    seen = f"its normals fit its shape only with {axis} negated: coordinates or normals were mirrored, and not both"
    raise MirroredScan(scan.source, seen, "export it with normals that belong to it, or without any; or else " + REMEDY)


def mirrored_axis(scan: Scan) -> str | None:
    """ "x", "y" or "z", whose negation makes the file's normals fit the shape; None where they fit, and where there are none."""
    if scan.normals is None or len(scan.points) < 100:
        return None
    at = np.arange(0, len(scan.points), max(1, len(scan.points) // SAMPLED))
    surface = surface_of(scan)
    shape = surface.vertex_normals[at] if len(surface.triangles) else plane_normals(scan.points, at)
    products = scan.normals[at] * shape
    products = products[np.linalg.norm(scan.normals[at], axis=1) > 0.5]  # a file's zeros mean nothing
    if len(products) < 100:
        return None
    as_given = np.abs(products.sum(1)).mean()
    negated = [np.abs(products.sum(1) - 2 * products[:, k]).mean() for k in range(3)]
    best = int(np.argmax(negated))
    is_mirrored = negated[best] > NORMALS_FIT and negated[best] > as_given + NORMALS_GAIN
    return "xyz"[best] if is_mirrored else None


def landmarks_are_mirrored(landmarks: np.ndarray, model: MorphableModel) -> bool | None:
    """Do landmarks (68, 3), iBUG order, NaN where unknown, fit the mirrored mean face far better than the mean face? True, or
    False where it is the other way round; None where they do not tell, as with fewer than five of them."""
    known = np.isfinite(landmarks).all(1)
    if known.sum() < 5:
        return None
    given, mean = landmarks[known], model.mean[np.asarray(model.landmarks["ibug68"])[known]]
    residual = lambda target: np.linalg.norm(SimilarityTransform.umeyama(given, target).apply(given) - target)
    straight, mirrored = residual(mean), residual(mean * MIRROR)
    if mirrored < LANDMARKS_GAIN * straight:
        return True
    return False if straight < LANDMARKS_GAIN * mirrored else None


def require_unmirrored(
    scan: Scan, location: Location, model: MorphableModel, declared: str = CHECKED, check: Callable[[], None] = lambda: None
) -> str:
    """Raises MirroredScan where the located head's surface or its given landmarks say that the scan is a mirror image;
    NoFaceFound where they say so of what is no face. Where the surface alone says so and the landmarks speak against it, it is
    merely wound inside out: that is returned as a note, else "".

    scan: cleaned, as it was given to the locator; `check` may raise, which ends this."""
    if declared == INSIDE_OUT:
        return ""
    marks = None if location.landmarks is None else landmarks_are_mirrored(location.landmarks, model)
    if marks:
        seen = (
            "the landmarks given with it fit only the mirror image of a face: the scan is mirrored, "
            "or left and right are exchanged in them"
        )
        raise MirroredScan(scan.source, seen, "undo the mirror, or name the subject's left and right, not the viewer's")
    if scan.camera is not None or not facing(scan, location, model) < TURNED_AWAY:
        return ""
    if marks is False:
        return "its surface faces inward, but the landmarks given with it are no mirror image's: it is wound inside out"
    if trial_fit_is_face(location, model, check, thorough=True) is None:
        raise NoFaceFound("no face found: the only candidate is seen from the inner side of the surface, and is not convincing")
    raise MirroredScan(scan.source, _seen(scan), REMEDY)


def _seen(scan: Scan) -> str:
    if scan.is_cloud:
        return (
            "its pixel grid faces inward on the face: the scan is mirrored (a coordinate negated, or a left-handed frame), "
            "or its rows or columns are stored in reverse"
        )
    contradicted = scan.normals is not None and (scan.normals * surface_of(scan).vertex_normals).sum(1).mean() < -0.5
    though = " though its normals face outward" if contradicted else ""
    mirrored = "the scan is mirrored (a coordinate negated, or a left-handed frame), or wound inside out"
    return f"its triangles face inward{though}: {mirrored}"
