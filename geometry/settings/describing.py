"""Every key of an options class with its default, what it accepts and what it means: as YAML to edit, or as tables to read."""

import textwrap
from collections.abc import Iterator
from typing import Any

from geometry.settings.loading import expected, fields_of, section_of
from geometry.settings.options import to_dict

WIDTH = 110


def as_yaml(kind: Any) -> str:
    """A configuration file that says what the defaults are; what it is of stands above each key."""
    return "\n".join(_yaml_lines(kind, to_dict(kind()), "")) + "\n"


def _yaml_lines(kind: Any, values: dict[str, Any], indent: str) -> Iterator[str]:
    for name, field in fields_of(kind).items():
        value, is_section = values[name], bool(fields_of(field.annotation))
        if is_section and not indent:
            yield ""
        comment = _meaning(field) if is_section else f"{_meaning(field)} [{accepted(name, field)}]".strip()
        yield from textwrap.wrap(comment, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if is_section:
            yield f"{indent}{name}:"
            yield from _yaml_lines(field.annotation, value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{name}:"
            yield from (f"{indent}  - {_flow(item)}" for item in value)
        else:
            yield f"{indent}{name}: {_flow(value)}"


def _flow(value: Any) -> str:
    """One value on one line of YAML."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()


def as_markdown(kind: Any) -> str:
    """A table for each section: key, default, what it accepts, meaning. Sections that are lists describe one item."""
    return "\n".join(_markdown_lines(kind, to_dict(kind()), "")) + "\n"


def _markdown_lines(kind: Any, values: dict[str, Any], prefix: str) -> Iterator[str]:
    plain = {name: field for name, field in fields_of(kind).items() if not fields_of(field.annotation)}
    if plain:
        yield from (f"### `{prefix.rstrip('.')}`" if prefix else "### Top level", "", (kind.__doc__ or "").strip(), "")
        yield from ("| key | default | accepts | meaning |", "| --- | --- | --- | --- |")
    for name, field in plain.items():
        default = "as `face-relief config` prints" if section_of(field.annotation) else f"`{_flow(values[name])}`"
        yield f"| `{prefix}{name}` | {default} | {_cell(accepted(name, field))} | {_cell(_meaning(field))} |"
    yield ""
    for name, field in fields_of(kind).items():
        if fields_of(field.annotation):
            yield from _markdown_lines(field.annotation, values[name], f"{prefix}{name}.")
        elif section_of(field.annotation) and values[name]:
            yield from _markdown_lines(section_of(field.annotation), values[name][0], f"{prefix}{name}[…].")


UNITS = {"_mm": "mm", "_mm2": "mm²", "_deg": "degrees", "_px": "pixels", "_mib": "MiB"}


def accepted(name: str, field: Any) -> str:
    """What a key accepts, with its unit, which its name ends in."""
    unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "s" if name.startswith("seconds") else "")
    return expected(field) + (f", in {unit}" if unit else "")


def _meaning(field: Any) -> str:
    return " ".join((field.description or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
