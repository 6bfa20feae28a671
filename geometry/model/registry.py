"""Morphable-model files: one registry, chosen by content, never by suffix.

A format is a `ModelFormat(name, sniff, load)`; another one (BFM, FLAME, LSFM, eos …) is one more entry in `FORMATS`.
The project's own format (docs/reference/model_format.md) keeps its bases as 16-bit integers with one scale per mode.
"""

import hashlib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

from geometry.errors import ModelError
from geometry.mesh import TriangleMesh
from geometry.model.format_face_relief import is_face_relief, load_face_relief
from geometry.model.format_ict import is_ict, load_ict
from geometry.model.landmark_embedding import NOSE_TIP
from geometry.model.model_file import ModelFile, ModelFormat
from geometry.model.morphable_model import MorphableModel
from geometry.model.texture_layout import TextureLayout
from geometry.transforms import MIRROR

SHIPPED = {"default": "face_relief_model.npz"}  # name → file in geometry/data
_MAX_VERTICES = 2_000_000
_EYES_MM = (40.0, 180.0)  # far beyond every face, so that only another unit fails
_MIRROR_MM = 10.0  # a model need not be symmetric
_FRAME = "bring it to mm, x to the subject's left, y up, z out of the face, triangles counter-clockwise seen from outside"
_REMEDY = "give 'default' or a whole file of one of these formats"


def load_model(name_or_file: str | Path = "default") -> MorphableModel:
    """The model of a shipped name ("default") or of a file, in the model frame (origin at the mean's nose tip).

    Raises ModelError for an unknown name, a missing file, an unknown format or a damaged file.
    """
    file = _open(name_or_file)
    if not file.data:
        raise file.fault("the model file is empty", _REMEDY)
    for model_format in FORMATS:
        if model_format.sniff(file):
            model = model_format.load(file)
            _check(model, file)
            nose = np.asarray(model.mean, np.float64)[model.landmarks["ibug68"][NOSE_TIP]]
            return replace(
                model,
                mean=np.asarray(model.mean, np.float64) - nose,
                earlier_mark_ups={number: points - nose for number, points in model.earlier_mark_ups.items()},
                sha256=hashlib.sha256(file.data).hexdigest(),
            )
    known = ", ".join(known_format.name for known_format in FORMATS)
    raise file.fault(f"not a known morphable-model format (known: {known})", _REMEDY)


def _open(name_or_file: str | Path) -> ModelFile:
    name = str(name_or_file)
    if name in SHIPPED:
        resource = resources.files("geometry") / "data" / SHIPPED[name]
        try:
            return ModelFile(name, resource.read_bytes())
        except OSError as error:
            raise ModelError(
                f"model '{name}': the installation lacks geometry/data/{SHIPPED[name]} ({error}); install the package again"
            ) from error
    try:
        return ModelFile(name, Path(name_or_file).read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name!r}: no such morphable model ({error}); known names: {', '.join(SHIPPED)}, or the path of a model file"
        ) from error


def _check(model: MorphableModel, file: ModelFile) -> None:
    """Everything the rest of the program relies on; raises ModelError."""
    n = len(model.mean)
    faults = [
        (model.mean.shape != (n, 3) or not 3 <= n <= _MAX_VERTICES, f"the mean has shape {model.mean.shape}, expected (n, 3)"),
        (model.triangles.shape[1:] != (3,), f"triangles have shape {model.triangles.shape}, not (m, 3)"),
        (_outside(model.triangles, n), f"a triangle is outside the {n} vertices"),
    ]
    for title, basis in (("identity", model.identity_basis), ("expression", model.expression_basis)):
        faults.append((basis.shape[1:] != (n, 3), f"the {title} basis has shape {basis.shape}, expected (k, {n}, 3)"))
        faults.append((not np.isfinite(basis).all(), f"the {title} basis holds NaN or infinite numbers"))
    indices = model.landmarks.get("ibug68", np.empty(0, np.int64))
    faults += [
        (not np.isfinite(model.mean).all(), "the mean holds NaN or infinite numbers"),
        (indices.shape != (68,), f"{indices.size} ibug68 landmarks, expected 68"),
        (any(_outside(each, n) for each in model.landmarks.values()), f"a landmark is outside the {n} vertices"),
        (not _is_range(model.expression_range), f"the expression weights' range is {model.expression_range}"),
        (model.mirror_vertex is not None and not _is_pairing(model.mirror_vertex, n), "mirror_vertex pairs no vertices"),
        (model.texture is not None and not _is_flat(model.texture.uv), "uv is no list of (t, 2) numbers in [0, 1]"),
        (model.texture is not None and not _covers(model.texture, model.triangles), "uv_triangles do not match the triangles"),
        (
            any(points.shape != (68, 3) or not np.isfinite(points).all() for points in model.earlier_mark_ups.values()),
            "an earlier mark-up does not have 68 points",
        ),
        (any(mask.shape != (n,) for mask in model.regions.values()), f"a region does not have {n} entries"),
        *(
            (curve.ndim != 1 or _outside(curve, n), f"curve {name!r} is no list of vertices below {n}")
            for name, curve in model.curves.items()
        ),
        (not _lips_meet(model.curves), "upper_lip_rim and lower_lip_rim do not share their ends"),
        (len(model.expression_names) not in (0, model.n_expression), "expression names and modes differ in number"),
    ]
    for is_fault, text in faults:
        if is_fault:
            raise file.fault(text, "the file is damaged or not what it says: get it again")
    _check_frame(model, file)


def _check_frame(model: MorphableModel, file: ModelFile) -> None:
    """That the mean is in the model frame and in millimetres, and shows its outside; raises ModelError."""
    right, left, bridge, tip, chin = model.mean[model.landmarks["ibug68"][[36, 45, 27, NOSE_TIP, 8]]].astype(float)
    apart_mm, face = np.linalg.norm(left - right), model.regions.get("face", np.zeros(len(model.mean), bool))
    outward = TriangleMesh(model.mean, model.triangles[face[model.triangles].all(axis=1)]).triangle_area_vectors.sum(axis=0)[2]
    behind = model.regions.get("cavities", ~face & face)
    paired = model.mean if model.mirror_vertex is None else model.mean[model.mirror_vertex] * MIRROR
    off_mm = float(np.linalg.norm(paired - model.mean, axis=1).mean())
    faults = [
        (not (face & ~behind).any(), 'its region "face" is empty, or lies in "cavities"'),
        (not _EYES_MM[0] < apart_mm < _EYES_MM[1], f"the mean's eyes are {apart_mm:.3g} wide, not 60 to 130 mm"),
        (left[0] < right[0], "the mean's left eye is at smaller x than its right one"),
        (bridge[1] < chin[1], "the mean's chin is above its eyes"),
        (tip[2] < (left[2] + right[2]) / 2, "the mean's nose points to smaller z"),
        (outward <= 0, "the triangles of the face show their inside to the front, or nothing"),
        (off_mm > _MIRROR_MM, f"mirror_vertex pairs vertices {off_mm:.0f} mm from each other's mirror image (mean)"),
    ]
    for is_fault, text in faults:
        if is_fault:
            raise file.fault(text, _FRAME)


def _is_range(low_high: tuple[float, float] | None) -> bool:
    return low_high is None or bool(np.isfinite(low_high).all() and low_high[0] < low_high[1])


def _is_pairing(image: np.ndarray, n: int) -> bool:
    return image.shape == (n,) and not _outside(image, n) and bool((image[image] == np.arange(n)).all())


def _is_flat(uv: np.ndarray) -> bool:
    return uv.shape == (len(uv), 2) and bool(((uv >= 0) & (uv <= 1)).all())


def _lips_meet(curves: dict[str, np.ndarray]) -> bool:
    rims = [curves[name] for name in ("upper_lip_rim", "lower_lip_rim") if name in curves]
    return all(len(rim) > 1 for rim in rims) and len({frozenset(rim[[0, -1]].tolist()) for rim in rims}) < 2


def _covers(texture: TextureLayout, triangles: np.ndarray) -> bool:
    return not _outside(texture.triangles, len(texture.uv)) and bool(
        (texture.corner_vertex[texture.triangles] == triangles).all()
    )


def _outside(indices: np.ndarray, n: int) -> bool:
    return bool(indices.size) and not 0 <= indices.min() <= indices.max() < n


FORMATS: tuple[ModelFormat, ...] = (
    ModelFormat("face-relief .npz", is_face_relief, load_face_relief),
    ModelFormat("ICT Face Model Light .npz", is_ict, load_ict),
)
