"""The project's own model file (docs/reference/model_format.md): quantised arrays in an npz."""

import json
from pathlib import Path

import numpy as np

from geometry.model.model_file import ModelFile
from geometry.model.morphable_model import MARK_UP, MorphableModel
from geometry.model.texture_layout import TextureLayout

FORMAT_TAG = "face-relief morphable model"
FORMAT_VERSION = 2
_OLD_TOPOLOGY = (
    "its mesh is the face of earlier versions, which ended at the hairline and had other landmarks; what is measured and learned "
    "on today's whole head, such as the landmarks' calibration, does not hold for it"
)
_REGIONS = ("face", "eyes", "mouth_interior")
_QUANTA = 32767  # int16, symmetric about zero


def save_model(path: str | Path, model: MorphableModel) -> None:
    """Write the project's own format; the same model gives the same bytes (numpy stamps its archives 1980)."""
    arrays: dict[str, np.ndarray] = {
        "format": np.array(FORMAT_TAG),
        "version": np.array(FORMAT_VERSION, np.int32),
        "name": np.array(model.name),
        "mean": np.asarray(model.mean, np.float32),
        "triangles": np.asarray(model.triangles, np.int32),
        "expression_names": np.array(list(model.expression_names), dtype=np.str_),
        "expression_range": np.array([] if model.expression_range is None else model.expression_range, np.float32),
        "notes": np.array(json.dumps(model.notes, sort_keys=True)),
    }
    for title, basis in (("identity", model.identity_basis), ("expression", model.expression_basis)):
        arrays[f"{title}_basis"], arrays[f"{title}_scale"] = quantise(basis)
    for prefix, named in (("landmarks_", model.landmarks), ("curve_", model.curves)):
        arrays |= {prefix + name: np.asarray(indices, np.int32) for name, indices in named.items()}
    arrays |= {f"region_{region}": np.packbits(mask) for region, mask in model.regions.items()}
    if model.mirror_vertex is not None:
        arrays["mirror_vertex"] = np.asarray(model.mirror_vertex, np.int32)
    if model.texture is not None:
        arrays["uv"], arrays["uv_triangles"] = model.texture.uv.astype(np.float32), model.texture.triangles.astype(np.int32)
    if model.mark_up != MARK_UP:
        arrays["mark_up"] = np.array(model.mark_up, np.int32)
    arrays |= {f"mark_up_{number}": np.asarray(points, np.float32) for number, points in model.earlier_mark_ups.items()}
    np.savez_compressed(path, allow_pickle=False, **dict(sorted(arrays.items())))


def quantise(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, n, 3) mm → int16 of the same shape and (K,) float32 mm per unit; the error is at most half a unit."""
    largest = np.abs(basis).max(axis=(1, 2), initial=0.0)
    scale = np.maximum(largest, 1e-12).astype(np.float32) / np.float32(_QUANTA)  # a mode that moves nothing has a scale, too
    return np.clip(np.rint(basis / scale[:, None, None]), -_QUANTA, _QUANTA).astype(np.int16), scale


def dequantise(integers: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The inverse of `quantise`: (K, n, 3) float32 mm."""
    return integers.astype(np.float32) * scale.astype(np.float32)[:, None, None]


def is_face_relief(file: ModelFile) -> bool:
    """Whether the arrays of a model file of this project are in it."""
    return {"format", "version", "identity_scale"} <= file.keys


def load_face_relief(file: ModelFile) -> MorphableModel:
    arrays = file.arrays()
    tag, version = str(arrays["format"]), int(arrays["version"])
    if tag != FORMAT_TAG or version != FORMAT_VERSION:
        raise file.fault(
            f"format {tag!r} version {version}, this program reads {FORMAT_TAG!r} version {FORMAT_VERSION}"
            + (f": {_OLD_TOPOLOGY}" if version == 1 else ""),
            "learn the model again (face-relief learn-model)" if version == 1 else "update the program, or get the file again",
        )
    missing = [name for name in _REGIONS if f"region_{name}" not in arrays]
    if missing:
        raise file.fault(f"it lacks the region {' and the region '.join(missing)}", "see docs/reference/model_format.md")
    try:
        n = len(arrays["mean"])
        low_high = arrays["expression_range"]
        return MorphableModel(
            name=str(arrays["name"]),
            mean=arrays["mean"].astype(np.float64),
            triangles=arrays["triangles"].astype(np.int32),
            identity_basis=dequantise(arrays["identity_basis"], arrays["identity_scale"]),
            expression_basis=dequantise(arrays["expression_basis"], arrays["expression_scale"]),
            landmarks=_indices(arrays, "landmarks_"),
            regions={key.removeprefix("region_"): _unpacked(arrays[key], n) for key in arrays if key.startswith("region_")},
            mark_up=int(arrays.get("mark_up", MARK_UP)),
            earlier_mark_ups={
                int(key.removeprefix("mark_up_")): array.astype(np.float64)
                for key, array in arrays.items()
                if key.startswith("mark_up_")
            },
            expression_names=tuple(str(name) for name in arrays["expression_names"]),
            expression_range=(float(low_high[0]), float(low_high[1])) if len(low_high) == 2 else None,
            notes=json.loads(str(arrays["notes"])),
            curves=_indices(arrays, "curve_"),
            mirror_vertex=arrays["mirror_vertex"].astype(np.int64) if "mirror_vertex" in arrays else None,
            texture=_texture(arrays) if "uv" in arrays else None,
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        remedy = "get it again where it is damaged; docs/reference/model_format.md has the arrays of a file of your own"
        raise file.fault(f"an array is missing or has the wrong shape ({error})", remedy) from error


def _indices(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Name → vertex indices, int64, of the arrays whose keys begin with the prefix."""
    return {key.removeprefix(prefix): array.astype(np.int64) for key, array in arrays.items() if key.startswith(prefix)}


def _texture(arrays: dict[str, np.ndarray]) -> TextureLayout:
    uv, corners = arrays["uv"].astype(np.float64), arrays["uv_triangles"].astype(np.int32)
    corner_vertex = np.zeros(len(uv), np.int64)
    corner_vertex[corners] = arrays["triangles"]
    return TextureLayout(uv, corners, corner_vertex)


def _unpacked(bits: np.ndarray, n: int) -> np.ndarray:
    """(⌈n/8⌉,) uint8 → (n,) bool; a shorter array is not padded in silence."""
    if bits.shape != ((n + 7) // 8,):
        raise ValueError(f"a region has {bits.size} bytes for {n} vertices")
    return np.unpackbits(bits, count=n).astype(bool)
