"""Options from a YAML file and `--set section.key=value`, checked as a whole; a fault names key, value, place and remedy.

Values come, later ones winning, from the defaults, the file, and the settings in their order. A section with a `method`,
`name` or `kind` may be given as that one value (`refine: smooth`).
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import AfterValidator, TypeAdapter, ValidationError

from geometry.errors import ConfigError
from geometry.settings.options import RULES
from geometry.settings.shipped import config_path, names

T = TypeVar("T")
Layer = tuple[str, Mapping[str, Any]]  # where the values stand, for messages; nested values
SHORTHANDS = ("method", "name", "kind")
_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")  # YAML 1.1 leaves 1e-3 a text
_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


def load(kind: type[T], file: str | None = None, settings: Iterable[str] = ()) -> T:
    """Defaults of an options class, then the YAML `file`, then `settings`. Raises ConfigError."""
    layers: list[Layer] = [] if file is None else [(f"in {file}", _read_yaml(str(config_path(file))))]
    layers += [_setting(text) for text in settings]
    return build(kind, *layers)


def build(kind: type[T], *layers: Layer) -> T:
    """An options class from nested values, later layers winning. Raises ConfigError."""
    merged: dict[str, Any] = {}
    try:
        for where, content in layers:
            merged = _merged(kind, merged, _expanded(kind, content, where))
        # as JSON, since that alone is strict about 1 and true, and still takes lists for tuples and 1 for 1.0
        return TypeAdapter(kind).validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        raise ConfigError(_explained(kind, merged, error.errors(), layers)) from None
    except RecursionError:
        raise ConfigError("keys or values are nested too deeply; expected sections of keys and values") from None


def from_dict(kind: type[T], values: Mapping[str, Any]) -> T:
    """An options class from what `to_dict` made of one. Raises ConfigError."""
    return build(kind, ("", values))


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """'; did you mean …?', with a prefix to what is meant, or an empty text."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {prefix + near[0]!r}?" if near else ""


def _read_yaml(file: str) -> Mapping[str, Any]:
    try:
        with open(file, encoding="utf-8") as handle:
            content = _parse_yaml(handle.read(), file)
    except (OSError, UnicodeDecodeError) as error:
        shipped = ", ".join(names())
        raise ConfigError(
            f"--config {file}: cannot be read ({error}); `face-relief config` prints one; shipped: {shipped}"
        ) from error
    content = {} if content is None else content
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"--config {file}: is a {type(content).__name__}; expected sections, such as refine: {{method: smooth}}"
        )
    return content


def _setting(setting: str) -> Layer:
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set {setting!r}: expected section.key=value, such as --set refine.method=smooth")
    value = _parse_yaml(text, f"--set {setting}")
    for name in reversed(key.strip().split(".")):
        value = {name: value}
    return f"in --set {setting}", value


def _parse_yaml(text: str, where: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e-3 as a number and 2026-01-01 as a text, and refuses a key that stands twice."""

        yaml_implicit_resolvers = {
            first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise ValueError(f"the key {twice!r} stands twice")
            return node

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _SCIENTIFIC, list("-+.0123456789"))
    try:
        value = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
        json.dumps(value)  # raises where it is no plain values: a set, bytes, a list within itself
        return value
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML of plain values ({' '.join(str(error).split())})") from error


def fields_of(kind: Any) -> dict[str, Any]:
    """Name → pydantic's description of the field, of an options class; empty for other types."""
    return getattr(kind, "__pydantic_fields__", {})


def section_of(annotation: Any) -> Any:
    """The options class that an annotation means, also as the items of a list; None for other types."""
    inside = [item for item in typing.get_args(annotation) if fields_of(item)]
    return annotation if fields_of(annotation) else inside[0] if inside else None


def _expanded(kind: Any, content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Nested values with shorthands written out."""
    found = {}
    for name, value in content.items():
        section = fields_of(kind).get(str(name))
        if section is not None and fields_of(section.annotation):
            if not isinstance(value, Mapping):
                keys = fields_of(section.annotation)
                short = next((key for key in SHORTHANDS if key in keys), None)
                if short is None or value is None:
                    raise ConfigError(f"{name!r} {where}: is {value!r}, expected keys of the section: {', '.join(keys)}")
                value = {short: value}
            value = _expanded(section.annotation, value, where)
        found[str(name)] = value
    return found


def _merged(kind: Any, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key in sections; a value that is no section is replaced as a whole, also where it has keys itself."""
    sections = {name: field.annotation for name, field in fields_of(kind).items() if fields_of(field.annotation)}
    both = {name: _merged(sections[name], below[name], above[name]) for name in sections if name in below and name in above}
    return {**below, **above, **both}


def _explained(kind: type, merged: Mapping[str, Any], errors: Sequence[Any], layers: Sequence[Layer]) -> str:
    """The first fault, as a sentence: an unknown key before a wrong value."""
    errors = sorted(errors, key=lambda error: error["type"] != "unexpected_keyword_argument")
    if errors[0]["type"] == "json_invalid":  # JSON of our own making: half a character, as in a path that is no UTF-8
        return "a key or value is no Unicode text, or nested too deeply; give paths in UTF-8"
    if errors[0]["type"] == "value_error":  # a rule over several keys
        place = ".".join(map(str, errors[0]["loc"]))
        return (place and place + ": ") + errors[0]["msg"].removeprefix("Value error, ")
    owner, field, path = _field_at(kind, errors[0]["loc"])
    where = next((" " + where for where, content in reversed(layers) if where and _holds(content, path)), "")
    if field is None:
        *section, name = path
        nested = isinstance(merged.get(name), Mapping) and not section
        prefix = "".join(part + "." for part in section)
        hint = nearest(name, fields_of(owner), prefix)[2:]
        known = f"{hint + ' ' if hint else ''}Known: {', '.join(fields_of(owner))}"
        return f"unknown {'section' if nested else 'key'} {prefix + name!r}{where}; {known}"
    value = _value_at(merged, path)
    kinds = {error["type"] for error in errors if _field_at(kind, error["loc"])[2] == path}
    fault, hint, choices = f"is of type {type(value).__name__}", "", choices_of(field)
    if "missing" in kinds and value is None:  # and not an item of a list of a fixed length
        return f"{'.'.join(path)}{where}: is missing; expected {expected(field)}"
    if kinds & set(_OUT_OF_RANGE):
        fault = "is out of range"
    elif "too_short" in kinds:
        fault = "is empty"
    elif isinstance(value, str) and choices:
        fault, hint = "is unknown", nearest(value, choices)[2:]
    return f"{'.'.join(path)}{where}: {value!r} {fault}; {hint + ' ' if hint else ''}expected {expected(field)}"


def _field_at(kind: Any, location: Sequence[Any]) -> tuple[Any, Any, list[str]]:
    """(class, field or None where it has no such field, path) of what an error's location names."""
    owner, field, path = kind, None, []
    for part in location:
        if isinstance(part, int) and field is not None and section_of(field.annotation):
            path.append(str(part))
            continue
        if field is not None:
            section = section_of(field.annotation)
            if section is None:
                break  # the branches of a union and the items of a list belong to their field
            owner = section
        field = fields_of(owner).get(part)
        path.append(str(part))
        if field is None:
            break
    return owner, field, path


def _value_at(content: Any, path: Sequence[str]) -> Any:
    for part in path:
        content = content[int(part)] if isinstance(content, list) else content.get(part)
    return content


def _holds(content: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return not isinstance(content, Mapping)
        content = content[part]
    return True


def _kinds(field: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """(type, constraints) of everything that a field accepts: the members of a union, without their annotations."""
    is_union = typing.get_origin(field.annotation) in (typing.Union, types.UnionType)
    members = typing.get_args(field.annotation) if is_union else (field.annotation,)
    return [(kind, (*constraints, *field.metadata)) for kind, constraints in map(_parts, members)]


def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its annotations, and these."""
    if typing.get_origin(kind) is not typing.Annotated:
        return kind, ()
    plain, *extras = typing.get_args(kind)
    return plain, tuple(item for extra in extras for item in getattr(extra, "metadata", [extra]))


def choices_of(field: Any) -> list[str]:
    """What a field accepts, where that is a list; empty where it is not."""
    known = [text for _, metadata in _kinds(field) for item in metadata for text in getattr(item, "known", ())]
    literals = [kind for kind, _ in _kinds(field) if typing.get_origin(kind) is typing.Literal]
    return known + [str(value) for literal in literals for value in typing.get_args(literal)]


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
_ITEMS = {str: "texts", int: "whole numbers", float: "numbers"}
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def expected(field: Any) -> str:
    """What a field accepts, in words: "a whole number ≥ 1", "one of gan, smooth, none"."""
    choices = choices_of(field)
    rest = [kind for kind in _kinds(field) if not (choices and (kind[0] is str or typing.get_origin(kind[0]) is typing.Literal))]
    return " or ".join(([f"one of {', '.join(choices)}"] if choices else []) + [_described(*kind) for kind in rest])


def _described(kind: Any, metadata: Sequence[Any]) -> str:
    if typing.get_origin(kind) is tuple:
        first, *others = typing.get_args(kind)
        count = "" if others[-1] is Ellipsis else f"{1 + len(others)} "
        rules = "".join(RULES[item.func] for item in metadata if isinstance(item, AfterValidator))
        plain, constraints = _parts(first)
        return f"a list of {count}{_ITEMS.get(plain, 'sections')}" + _bounds(constraints) + rules
    if typing.get_origin(kind) is dict:
        keys, values = typing.get_args(kind)
        known = [text for item in _parts(keys)[1] for text in item.known]
        return f"keys among {', '.join(known)}, each with {_described(*_parts(values))}"
    if fields_of(kind):
        return "keys and values"
    return _NAMES.get(kind, str(kind)) + ("" if kind is type(None) else _bounds(metadata))


def _bounds(metadata: Sequence[Any]) -> str:
    return " and".join(
        f" {sign} {getattr(item, name):.12g}" for item in metadata for name, sign in _BOUNDS.items() if hasattr(item, name)
    )
