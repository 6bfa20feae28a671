"""Landmarks on a model: the shipped schemes by name, and where each of their points lies on a model's surface.

"ibug68" is the Multi-PIE / iBUG 300-W mark-up (Sagonas et al. 2016), counted from 0; left and right are the subject's.
What a scheme is, and its file format: `geometry.model.landmark_scheme`.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np

from geometry.errors import ModelError
from geometry.model.landmark_scheme import LandmarkScheme, Place, parse_scheme
from geometry.model.morphable_model import MorphableModel

NOSE_TIP = 30  # in ibug68; the origin of the model frame


@cache
def shipped_schemes() -> Mapping[str, LandmarkScheme]:
    """Scheme name → scheme, of the files in geometry/data/schemes."""
    files = sorted((resources.files("geometry") / "data" / "schemes").iterdir(), key=lambda file: file.name)
    schemes = (parse_scheme(file.read_bytes(), file.name) for file in files if file.name.endswith(".json"))
    return MappingProxyType({scheme.name: scheme for scheme in schemes})


def scheme(name_or_file: str | Path) -> LandmarkScheme:
    """A shipped scheme by its name, or the user's own from a JSON file. Raises ModelError."""
    name = str(name_or_file)
    if shipped := shipped_schemes().get(name):
        return shipped
    path = Path(name)
    if path.suffix.lower() != ".json" and not path.is_file():
        raise ModelError(_unknown(name, shipped_schemes()))
    try:
        own = parse_scheme(path.read_bytes(), path.name)
    except OSError as error:
        raise ModelError(f"landmark scheme {name}: cannot be opened ({error.strerror or error}); check the path") from error
    if own.name in shipped_schemes():
        raise ModelError(
            f"landmark scheme {path.name}: its name {own.name!r} is that of a shipped scheme; "
            f'give it a "name" of its own, or say {own.name} instead of the file for the shipped one'
        )
    return own


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"unknown landmark scheme {name!r}; known schemes: {', '.join(sorted(known))}, or the path of a scheme's JSON file{hint}"
    )


def landmarks_on(model: MorphableModel, vertices: np.ndarray, scheme: str | LandmarkScheme = "ibug68") -> np.ndarray:
    """vertices (n, 3) in the model's topology, any frame → (l, 3) landmark positions in that frame. Raises ModelError.

    scheme: shipped, a file's path, one that the model itself brings (`model.landmarks`), or a `LandmarkScheme`. A shipped name
    means the shipped scheme, whatever the model has under it; ibug68 is where the model says.
    """
    if isinstance(scheme, str) and _is_of_model(scheme, model):
        _check_topology(model, vertices)
        return vertices[model.landmarks[scheme]]
    return points_of(_scheme_of(model, scheme), model, vertices)


def _is_of_model(name: str | Path | LandmarkScheme, model: MorphableModel) -> bool:
    """Does the model itself say which vertices these are? Of the shipped schemes it does so for ibug68 alone."""
    return isinstance(name, str) and name in model.landmarks and (name == "ibug68" or name not in shipped_schemes())


def _scheme_of(model: MorphableModel, name: str | Path | LandmarkScheme) -> LandmarkScheme:
    if isinstance(name, LandmarkScheme):
        return name
    if str(name) not in shipped_schemes() and not Path(name).suffix and not Path(name).is_file():
        raise ModelError(f"model {model.name!r}: " + _unknown(str(name), {*shipped_schemes(), *model.landmarks}))
    return scheme(name)


def points_of(scheme: LandmarkScheme, model: MorphableModel, vertices: np.ndarray) -> np.ndarray:
    """(l, 3) points of a scheme on vertices (n, 3) in the model's topology, in their frame. Raises ModelError."""
    _check_topology(model, vertices)
    corners, weights = embedding(scheme, model)
    return np.einsum("lc,lcd->ld", weights, np.asarray(vertices, float)[corners])


def _check_topology(model: MorphableModel, vertices: np.ndarray) -> None:
    if vertices.shape != model.mean.shape:
        raise ModelError(
            f"model {model.name!r}: vertices have shape {vertices.shape}, expected {model.mean.shape}; "
            "pass vertices in the model's own topology"
        )


@lru_cache(maxsize=64)
def embedding(scheme: LandmarkScheme, model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """(corners (l, 3) vertex numbers, weights (l, 3), rows sum to 1): where the points lie on the model's triangles.

    Raises ModelError where the scheme is of another model.
    """
    if scheme.model and scheme.model != model.name:
        raise ModelError(f"landmark scheme {scheme.name!r} counts the vertices of model {scheme.model!r}, not of {model.name!r}")
    skin = _skin_triangles(model)
    placed = [
        _placed(place, f"landmark scheme {scheme.name!r}, {name!r}", model, skin)
        for name, place in zip(scheme.names, scheme.places)
    ]
    corners, weights = (np.array(column) for column in zip(*placed))
    for array in (corners, weights):
        array.setflags(write=False)  # shared by every caller
    return corners, weights


def _placed(place: Place, where: str, model: MorphableModel, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(corners (3,), weights (3,)) of one point."""
    ibug68 = model.landmarks["ibug68"]
    if place.kind == "between":
        return _dropped(np.array(place.weights) @ model.mean[ibug68[list(place.indices)]], model.mean, skin)
    if place.kind == "point":
        return _dropped(np.array(place.position), model.mean, skin)
    if place.kind == "ibug68":
        return _at_vertex(int(ibug68[place.indices[0]]), model.triangles)
    if max(place.indices) >= model.n_vertices:
        raise ModelError(f"{where}: vertex {max(place.indices)}; model {model.name!r} has {model.n_vertices}, counted from 0")
    if place.kind == "vertex":
        return _at_vertex(place.indices[0], model.triangles)
    if not (np.sort(model.triangles, axis=1) == np.sort(place.indices)).all(axis=1).any():
        raise ModelError(f"{where}: vertices {', '.join(map(str, place.indices))} are no triangle of model {model.name!r}")
    return np.array(place.indices), np.array(place.weights)


def _at_vertex(vertex: int, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A vertex as the first corner of a triangle of its own, so that the point has a surface about it."""
    about = np.flatnonzero((triangles == vertex).any(1))[:1]
    corners = triangles[about[0]] if len(about) else np.full(3, vertex)
    return np.roll(corners, -int(np.argmax(corners == vertex))).astype(np.int64), np.array([1.0, 0.0, 0.0])


def _skin_triangles(model: MorphableModel) -> np.ndarray:
    """(k, 3) triangles of the outer skin: a point is not dropped on the lining of a nostril or of the mouth."""
    inside = np.zeros(model.n_vertices, bool)
    for region in ("mouth_interior", "cavities"):
        inside |= model.regions.get(region, False)
    skin = model.triangles[~inside[model.triangles].any(1)]
    return skin if len(skin) else model.triangles


def _dropped(point: np.ndarray, mean: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point of the triangles (k, 3) to a point (3,): corners and barycentric weights.

    The nearest point of a triangle is the nearest of its plane where that lies inside, else the nearest on its three edges.
    """
    weights = np.concatenate([_on_planes(point, mean[triangles]), _on_edges(point, mean[triangles])])
    corners = np.tile(triangles, (4, 1))
    distance = np.linalg.norm(np.einsum("kc,kcd->kd", weights, mean[corners]) - point, axis=1)
    distance[(weights < 0).any(1) | ~np.isfinite(distance)] = np.inf
    best = int(np.argmin(distance))
    return corners[best].astype(np.int64), weights[best]


def _on_planes(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(k, 3) barycentric weights of a point's foot on the planes of triangles (k, 3, 3); negative where it lies outside."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    to_point = point - corners[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # triangles without area: their edges serve
        scale = 1 / (normal**2).sum(1)
        v = (np.cross(to_point, second) * normal).sum(1) * scale
        w = (np.cross(first, to_point) * normal).sum(1) * scale
    return np.stack([1 - v - w, v, w], axis=1)


def _on_edges(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(3k, 3) weights of a point's feet on the three edges of triangles (k, 3, 3)."""
    edges = np.roll(corners, -1, axis=1) - corners
    along = ((point - corners) * edges).sum(2) / np.maximum((edges**2).sum(2), 1e-30)
    along = np.clip(along, 0, 1).T[..., None]
    starts, ends = np.eye(3)[:, None], np.roll(np.eye(3), 1, axis=1)[:, None]
    return ((1 - along) * starts + along * ends).reshape(-1, 3)
