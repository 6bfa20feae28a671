"""The project's own model file (docs/reference/model_format.md): quantised arrays in an npz."""

import json
from pathlib import Path

import numpy as np

from geometry.model.model_file import ModelFile
from geometry.model.morphable_model import MARK_UP, MorphableModel
from geometry.model.texture_layout import TextureLayout

FORMAT_TAG = "face-relief morphable model"
FORMAT_VERSION = 2
_Layout = tuple[str, tuple[int | str | None, ...]]
_OLD_TOPOLOGY = (
    "its mesh is the face of earlier versions, which ended at the hairline and had other landmarks; what is measured and learned "
    "on today's whole head, such as the landmarks' calibration, does not hold for it"
)
_SEE = "see docs/reference/model_format.md, or get the file again where it is damaged"
_REGIONS = ("face", "eyes", "mouth_interior")
# Key or prefix → NumPy's letters for its kind of numbers, and its shape: equal letters are equal sizes, None is any.
_REQUIRED: dict[str, _Layout] = {
    "format": ("U", ()), "version": ("iu", ()), "name": ("U", ()), "notes": ("U", ()),
    "mean": ("f", ("n", 3)), "triangles": ("iu", ("m", 3)),
    "identity_basis": ("i", ("K", "n", 3)), "identity_scale": ("f", ("K",)),
    "expression_basis": ("i", ("E", "n", 3)), "expression_scale": ("f", ("E",)),
    "expression_names": ("U", (None,)), "expression_range": ("f", (None,)), "landmarks_ibug68": ("iu", (68,)),
}  # fmt: skip
_OPTIONAL: dict[str, _Layout] = {
    "mirror_vertex": ("iu", ("n",)), "uv": ("f", (None, 2)), "uv_triangles": ("iu", ("m", 3)), "mark_up": ("iu", ()),
}  # fmt: skip
_PREFIXED: dict[str, _Layout] = {
    "landmarks_": ("iu", (None,)), "region_": ("u", (None,)), "curve_": ("iu", (None,)), "mark_up_": ("f", (68, 3)),
}  # fmt: skip
_KINDS = {"U": "text", "iu": "integers", "i": "integers", "u": "bytes", "f": "floating-point numbers"}
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
    _check_layout(arrays, file, {key: _REQUIRED[key] for key in ("format", "version")})
    tag, version = str(arrays["format"]), int(arrays["version"])
    if tag != FORMAT_TAG or version != FORMAT_VERSION:
        raise file.fault(
            f"format {tag!r} version {version}, this program reads {FORMAT_TAG!r} version {FORMAT_VERSION}"
            + (f": {_OLD_TOPOLOGY}" if version == 1 else ""),
            "learn the model again (face-relief learn-model)" if version == 1 else "update the program, or get the file again",
        )
    _check_layout(arrays, file, _expected(arrays))
    try:
        n = len(arrays["mean"])
        low_high, notes = arrays["expression_range"], json.loads(str(arrays["notes"]))
        if len(low_high) not in (0, 2) or not isinstance(notes, dict):
            raise ValueError("expression_range has 0 or 2 numbers, notes is the JSON of an object")
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
            expression_range=(float(low_high[0]), float(low_high[1])) if len(low_high) else None,
            notes=notes,
            curves=_indices(arrays, "curve_"),
            mirror_vertex=arrays["mirror_vertex"].astype(np.int64) if "mirror_vertex" in arrays else None,
            texture=_texture(arrays) if "uv" in arrays else None,
        )
    except (ValueError, IndexError, OverflowError, RecursionError) as error:
        raise file.fault(f"an array is not what it says ({error})", _SEE) from error


def _expected(arrays: dict[str, np.ndarray]) -> dict[str, _Layout]:
    """Key → layout, of what a file must hold and of what else of these it holds."""
    expected = _REQUIRED | {f"region_{name}": _PREFIXED["region_"] for name in _REGIONS}
    expected |= {key: layout for key, layout in _OPTIONAL.items() if key in arrays}
    for prefix, layout in _PREFIXED.items():
        expected |= dict.fromkeys(sorted(key for key in arrays.keys() - expected.keys() if key.startswith(prefix)), layout)
    if "uv" in arrays or "uv_triangles" in arrays:
        expected |= {key: _OPTIONAL[key] for key in ("uv", "uv_triangles")}
    return expected


def _check_layout(arrays: dict[str, np.ndarray], file: ModelFile, expected: dict[str, _Layout]) -> None:
    """Raises ModelError for the first array that is missing, or of other numbers or another shape than expected."""
    sizes: dict[str, int] = {}
    for key, (kinds, shape) in expected.items():
        if key not in arrays:
            raise file.fault(f"it has no array {key!r}", _SEE)
        array = arrays[key]
        known = [sizes.setdefault(want, got) if isinstance(want, str) else want for want, got in zip(shape, array.shape)]
        agrees = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(known, array.shape))
        if array.dtype.kind not in kinds or not agrees:
            wanted = f"{_KINDS[kinds]} of shape {_shown(shape, sizes)}"
            raise file.fault(f"array {key!r} is {array.dtype} of shape {array.shape}, not {wanted}", _SEE)


def _shown(shape: tuple[int | str | None, ...], sizes: dict[str, int]) -> str:
    return f"({', '.join('any' if want is None else str(sizes.get(str(want), want)) for want in shape)})"


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
