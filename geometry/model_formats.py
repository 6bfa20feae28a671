"""Morphable-model files: one registry, chosen by content, never by suffix.

A format is a `ModelFormat(name, sniff, load)`; another one (BFM, FLAME, LSFM, eos …) is one more entry in `FORMATS`.
The project's own format (docs/model_format.md) keeps its bases as 16-bit integers with one scale per mode.
"""
from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from geometry.errors import ModelError
from geometry.landmarks import NOSE_TIP
from geometry.morphable_model import MorphableModel

SHIPPED = {"default": "face_relief_model.npz"}  # name → file in geometry/data
FORMAT_TAG = "face-relief morphable model"
FORMAT_VERSION = 1
_QUANTA = 32767  # int16, symmetric about zero
_MAX_VERTICES = 2_000_000
_REMEDY = "give 'default' or a whole file of one of these formats"


@dataclass(frozen=True)
class ModelFile:
    """The bytes of a file that may hold a model, and where they came from (for messages)."""

    source: str
    data: bytes

    @cached_property
    def keys(self) -> frozenset[str]:
        """Array names where this is a .npz archive, else empty."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
            return frozenset()

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of the .npz; pickled ones are refused. Raises ModelError."""
        try:
            with np.load(io.BytesIO(self.data), allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, MemoryError, NotImplementedError) as error:
            raise self.fault(f"its arrays cannot be read ({error})", "copy the file again, it is damaged or truncated") from error
        except Exception as error:  # zlib.error has no public base but Exception
            if type(error).__module__ != "zlib":
                raise
            raise self.fault(f"its arrays cannot be unpacked ({error})", "copy the file again, it is damaged") from error

    def fault(self, fault: str, remedy: str) -> ModelError:
        return ModelError(f"{self.source}: {fault}; {remedy}")


@dataclass(frozen=True)
class ModelFormat:
    """name: shown to users; sniff(file): is it this format?; load(file): the model, not yet centred or hashed."""

    name: str
    sniff: Callable[[ModelFile], bool]
    load: Callable[[ModelFile], MorphableModel]


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
            return replace(model, mean=np.asarray(model.mean, np.float64) - nose, sha256=hashlib.sha256(file.data).hexdigest())
    known = ", ".join(known_format.name for known_format in FORMATS)
    raise file.fault(f"not a known morphable-model format (known: {known})", _REMEDY)


def _open(name_or_file: str | Path) -> ModelFile:
    name = str(name_or_file)
    if name in SHIPPED:
        resource = resources.files("geometry") / "data" / SHIPPED[name]
        try:
            return ModelFile(name, resource.read_bytes())
        except OSError as error:
            raise ModelError(f"model '{name}': the installation lacks geometry/data/{SHIPPED[name]} ({error}); "
                             "install the package again") from error
    try:
        return ModelFile(name, Path(name_or_file).read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{name!r}: no such morphable model ({error}); known names: {', '.join(SHIPPED)}, "
                         "or the path of a model file") from error


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
        (_outside(indices, n), f"a landmark is outside the {n} vertices"),
        (any(mask.shape != (n,) for mask in model.regions.values()), f"a region does not have {n} entries"),
        (len(model.expression_names) not in (0, model.n_expression), "expression names and modes differ in number"),
    ]
    for is_fault, text in faults:
        if is_fault:
            raise file.fault(text, "the file is damaged or not what it says: get it again")


def _outside(indices: np.ndarray, n: int) -> bool:
    return bool(indices.size) and not 0 <= indices.min() <= indices.max() < n


# --- the project's own format -------------------------------------------------------------------------------------------

def save_model(path: str | Path, model: MorphableModel) -> None:
    """Write the project's own format; the same model gives the same bytes (numpy stamps its archives 1980)."""
    arrays: dict[str, np.ndarray] = {
        "format": np.array(FORMAT_TAG), "version": np.array(FORMAT_VERSION, np.int32), "name": np.array(model.name),
        "mean": np.asarray(model.mean, np.float32), "triangles": np.asarray(model.triangles, np.int32),
        "expression_names": np.array(list(model.expression_names), dtype=np.str_),
        "expression_range": np.array([] if model.expression_range is None else model.expression_range, np.float32),
        "notes": np.array(json.dumps(model.notes, sort_keys=True)),
    }
    for title, basis in (("identity", model.identity_basis), ("expression", model.expression_basis)):
        arrays[f"{title}_basis"], arrays[f"{title}_scale"] = quantise(basis)
    arrays |= {f"landmarks_{scheme}": np.asarray(indices, np.int32) for scheme, indices in model.landmarks.items()}
    arrays |= {f"region_{region}": np.packbits(mask) for region, mask in model.regions.items()}
    np.savez_compressed(path, allow_pickle=False, **dict(sorted(arrays.items())))


def quantise(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, n, 3) mm → int16 of the same shape and (K,) float32 mm per unit; the error is at most half a unit."""
    largest = np.abs(basis).reshape(len(basis), -1).max(axis=1, initial=0.0)
    scale = np.maximum(largest, 1e-12).astype(np.float32) / np.float32(_QUANTA)  # a mode that moves nothing has a scale, too
    return np.clip(np.rint(basis / scale[:, None, None]), -_QUANTA, _QUANTA).astype(np.int16), scale


def dequantise(integers: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The inverse of `quantise`: (K, n, 3) float32 mm."""
    return integers.astype(np.float32) * scale.astype(np.float32)[:, None, None]


def _is_face_relief(file: ModelFile) -> bool:
    return {"format", "version", "identity_scale"} <= file.keys


def _load_face_relief(file: ModelFile) -> MorphableModel:
    arrays = file.arrays()
    tag, version = str(arrays["format"]), int(arrays["version"])
    if tag != FORMAT_TAG or version != FORMAT_VERSION:
        raise file.fault(f"format {tag!r} version {version}, this program reads {FORMAT_TAG!r} version {FORMAT_VERSION}",
                         "update the program or learn the model again (python -m geometry.model_learning)")
    try:
        n = len(arrays["mean"])
        low_high = arrays["expression_range"]
        return MorphableModel(
            name=str(arrays["name"]), mean=arrays["mean"].astype(np.float64), triangles=arrays["triangles"].astype(np.int32),
            identity_basis=dequantise(arrays["identity_basis"], arrays["identity_scale"]),
            expression_basis=dequantise(arrays["expression_basis"], arrays["expression_scale"]),
            landmarks={key.removeprefix("landmarks_"): array.astype(np.int64)
                       for key, array in arrays.items() if key.startswith("landmarks_")},
            regions={key.removeprefix("region_"): _unpacked(arrays[key], n) for key in arrays if key.startswith("region_")},
            expression_names=tuple(str(name) for name in arrays["expression_names"]),
            expression_range=(float(low_high[0]), float(low_high[1])) if len(low_high) == 2 else None,
            notes=json.loads(str(arrays["notes"])),
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise file.fault(f"an array is missing or has the wrong shape ({error})", "get the file again, it is damaged") from error


def _unpacked(bits: np.ndarray, n: int) -> np.ndarray:
    """(⌈n/8⌉,) uint8 → (n,) bool; a shorter array is not padded in silence."""
    if bits.shape != ((n + 7) // 8,):
        raise ValueError(f"a region has {bits.size} bytes for {n} vertices")
    return np.unpackbits(bits, count=n).astype(bool)


# --- ICT Face Model Light, packed as .npz ----------------------------------------------------------------------------------

def _is_ict(file: ModelFile) -> bool:
    return {"vertices", "triangles", "identity_basis", "expression_basis", "landmarks_68", "regions"} <= file.keys


def _load_ict(file: ModelFile) -> MorphableModel:
    """ICT-FaceKit light (© 2020 USC Institute for Creative Technologies, MIT): N(0, 1) identities, ARKit-like blendshapes."""
    arrays = file.arrays()
    try:
        n = len(arrays["vertices"])
        ranges = {name: _between(low, high, n) for name, (low, high) in json.loads(str(arrays["regions"])).items()}
        regions = {
            "face": ranges["narrow_face"],
            "eyes": np.any([mask for name, mask in ranges.items() if name.startswith("eye")], axis=0),
            "mouth_interior": ranges["mouth_socket"],
            "skin": ranges["face"],  # with the ears, the neck's start and the forehead up to the hairline
            "eyeballs": ranges["eyeball_left"] | ranges["eyeball_right"],
        }
        return MorphableModel(
            name="ict_facekit_light", mean=arrays["vertices"].astype(np.float64), triangles=arrays["triangles"].astype(np.int32),
            identity_basis=arrays["identity_basis"].astype(np.float32),
            expression_basis=arrays["expression_basis"].astype(np.float32),
            landmarks={"ibug68": arrays["landmarks_68"].astype(np.int64)}, regions=regions,
            expression_names=tuple(str(name) for name in arrays["expression_names"]), expression_range=(0.0, 1.0),
            notes={"licence": "MIT, © 2020 USC Institute for Creative Technologies"},
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise file.fault(f"not the packed ICT model it looks like ({error})", "pack or copy it again") from error


def _between(low: int, high: int, n: int) -> np.ndarray:
    index = np.arange(n)
    return (index >= low) & (index < high)


FORMATS: tuple[ModelFormat, ...] = (
    ModelFormat("face-relief .npz", _is_face_relief, _load_face_relief),
    ModelFormat("ICT Face Model Light .npz", _is_ict, _load_ict),
)
