"""A landmark scheme: which points a set of landmarks means. Schemes are data: JSON files, shipped or the user's own.

    {"name": "mine", "points": [
        {"name": "nose_tip", "ibug68": 30},                                that iBUG-68 point of the model
        {"name": "bridge", "between": [[27, 0.5], [28, 0.5]]},             affine combination of iBUG points, dropped on the mean
        {"name": "left_cheek", "triangle": [10, 11, 12], "weights": [0.2, 0.3, 0.5]},         on the model's own vertices
        {"name": "right_ear", "vertex": 711},
        {"name": "forehead", "point": [0.0, 80.0, -25.0]}]}                model frame, mm, dropped on the mean surface

Optional: "description"; "model", the name of the model whose vertices the file counts; per point "label", its name in
the data set's own files, and "definition", a text for the reader; "mirror", the name of each point's reflection (without it:
the names with left and right exchanged); "groups", name → point names. Left and right are the subject's; iBUG points are
counted from 0.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geometry.errors import ModelError

IBUG_POINTS = 68
NO_POINT = -1  # in `in_ibug68` and `mirror`: there is none
_SUM_TOLERANCE = 1e-3
_SCHEME_KEYS = {"name", "description", "model", "points", "mirror", "groups"}
_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}


@dataclass(frozen=True)
class Place:
    """Where a point lies on a model. kind: "ibug68", "between", "triangle", "vertex" or "point".

    indices, weights: of iBUG points (ibug68, between) or of vertices (triangle, vertex), the weights sum to 1;
    position: of a "point", model frame, mm.
    """

    kind: str
    indices: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    position: tuple[float, ...] = ()


@dataclass(frozen=True)
class LandmarkScheme:
    """name; names (l,) of the points in order; groups: name → positions in the scheme.

    in_ibug68 (l,): each point's number among the iBUG-68, −1 where it is none of them. mirror (l,): position of the point's
    image under left-right reflection (a point on the midline is its own), −1 where the scheme lacks it. places (l,): where
    the points lie on a model; labels (l,): their names in the data set's own files; model: whose vertices are meant, or "".
    """

    name: str
    names: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]] = field(hash=False)
    in_ibug68: tuple[int, ...]
    mirror: tuple[int, ...]
    places: tuple[Place, ...]
    labels: tuple[str, ...]
    model: str = ""

    def __len__(self) -> int:
        return len(self.names)


def parse_scheme(data: bytes, source: str) -> LandmarkScheme:
    """The JSON text of a scheme. Raises ModelError that names the file, the point and what was expected."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _fault(source, f"is no JSON text ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("points"), list) or not content["points"]:
        raise _fault(source, 'expected an object with "name" and a list "points" of at least one point')
    if unknown := sorted(set(content) - _SCHEME_KEYS):
        raise _fault(source, f"has the unknown key {unknown[0]!r}; known are {', '.join(sorted(_SCHEME_KEYS))}")
    points = [_point(entry, f"{source}: point {number}") for number, entry in enumerate(content["points"])]
    names = tuple(name for name, _, _ in points)
    position = {name: place for place, name in enumerate(names)}
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise _fault(source, f"has several points named {repeated!r}; names must differ")
    for key in ("name", "model", "description"):
        if not isinstance(content.get(key, ""), str):
            raise _fault(source, f'"{key}" is {content[key]!r}; expected a text')
    if not content.get("name"):
        raise _fault(source, 'lacks "name"; expected a text such as "mine"')
    return LandmarkScheme(
        content["name"],
        names,
        _groups(content, position, source),
        tuple(place.indices[0] if place.kind == "ibug68" else NO_POINT for _, place, _ in points),
        _mirror(content, position, source),
        tuple(place for _, place, _ in points),
        tuple(label for _, _, label in points),
        content.get("model", ""),
    )


def _fault(where: str, fault: str) -> ModelError:
    return ModelError(f"landmark scheme {where}: {fault}")


def _point(entry: Any, where: str) -> tuple[str, Place, str]:
    """(name, place, label) of one entry of "points"."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise _fault(where, f'expected an object with a "name", found {_short(entry)}')
    where = f'{where} ("{entry["name"]}")'
    given = [kind for kind in _PLACES if kind in entry]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise _fault(where, f"expected exactly one of {', '.join(_PLACES)}; found {found}")
    allowed = {"name", "label", "definition", given[0]} | ({"weights"} if given[0] == "triangle" else set())
    if unknown := sorted(set(entry) - allowed):
        raise _fault(where, f'has the unknown key {unknown[0]!r} beside "{given[0]}"')
    for key in ("label", "definition"):
        if not isinstance(entry.get(key, ""), str):
            raise _fault(where, f'"{key}" is {_short(entry[key])}; expected a text')
    return entry["name"], _PLACES[given[0]](entry, where), entry.get("label", "")


def _ibug68(entry: Mapping, where: str) -> Place:
    return Place("ibug68", (_index(entry["ibug68"], IBUG_POINTS, where, "ibug68"),), (1.0,))


def _between(entry: Mapping, where: str) -> Place:
    pairs = entry["between"]
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise _fault(where, f'"between" is {_short(pairs)}; expected [[iBUG point, weight], …]')
    indices = tuple(_index(pair[0], IBUG_POINTS, where, "between") for pair in pairs)
    return Place("between", indices, _weights([pair[1] for pair in pairs], len(pairs), where, "between"))


def _triangle(entry: Mapping, where: str) -> Place:
    corners = entry["triangle"]
    if not isinstance(corners, list) or len(corners) != 3:
        raise _fault(where, f'"triangle" is {_short(corners)}; expected three vertex numbers')
    indices = tuple(_index(corner, None, where, "triangle") for corner in corners)
    return Place("triangle", indices, _weights(entry.get("weights"), 3, where, "weights"))


def _vertex(entry: Mapping, where: str) -> Place:
    return Place("vertex", (_index(entry["vertex"], None, where, "vertex"),), (1.0,))


def _position(entry: Mapping, where: str) -> Place:
    return Place("point", position=_numbers(entry["point"], 3, where, "point"))


_PLACES: dict[str, Callable[[Mapping, str], Place]] = {
    "ibug68": _ibug68,
    "between": _between,
    "triangle": _triangle,
    "vertex": _vertex,
    "point": _position,
}


def _index(value: Any, count: int | None, where: str, key: str) -> int:
    if type(value) is int and value >= 0 and (count is None or value < count):
        return value
    raise _fault(where, f'"{key}" holds {_short(value)}; expected a whole number {f"from 0 to {count - 1}" if count else "≥ 0"}')


def _numbers(values: Any, count: int, where: str, key: str) -> tuple[float, ...]:
    good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count
    if good and all(type(value) in (int, float) and math.isfinite(value) for value in values):
        return tuple(float(value) for value in values)
    raise _fault(where, f'"{key}" is {_short(values)}; expected {count} finite number{"s" * (count != 1)}')


def _weights(values: Any, count: int, where: str, key: str) -> tuple[float, ...]:
    weights = _numbers(values, count, where, key)
    total = sum(weights)
    if abs(total - 1) > _SUM_TOLERANCE:
        raise _fault(where, f"its weights sum to {total:g}; expected 1")
    return tuple(weight / total for weight in weights)


def _mirror(content: Mapping, position: dict[str, int], source: str) -> tuple[int, ...]:
    names = list(position)
    if "mirror" not in content:
        exchanged = [re.sub("|".join(_SIDES), lambda match: _SIDES[match[0]], name) for name in names]
        return tuple(position.get(name, NO_POINT) for name in exchanged)
    given = content["mirror"]
    if not isinstance(given, list) or len(given) != len(names) or not all(isinstance(name, str) for name in given):
        raise _fault(source, f'"mirror" is {_short(given)}; expected the name of each of the {len(names)} points\' reflection')
    if unknown := next((name for name in given if name not in position), None):
        raise _fault(source, f'"mirror" names {unknown!r}, which is no point of the scheme')
    mirror = tuple(position[name] for name in given)
    if wrong := next((names[place] for place, image in enumerate(mirror) if mirror[image] != place), None):
        raise _fault(source, f'"mirror": the reflection of the reflection of {wrong!r} is another point')
    return mirror


def _groups(content: Mapping, position: dict[str, int], source: str) -> dict[str, tuple[int, ...]]:
    groups = content.get("groups", {})
    if not isinstance(groups, dict) or not all(isinstance(members, list) for members in groups.values()):
        raise _fault(source, f'"groups" is {_short(groups)}; expected group name → list of point names')
    for group, members in groups.items():
        if unknown := next((name for name in members if not isinstance(name, str) or name not in position), None):
            raise _fault(source, f"group {group!r} names {unknown!r}, which is no point of the scheme")
    return {group: tuple(position[name] for name in members) for group, members in groups.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
