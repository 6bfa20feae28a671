"""The configuration: sections of frozen dataclasses, checked key by key before any work starts.

Values come, later ones winning, from the defaults below (written out in configs/default.yaml), a `--config` file,
`--set section.key=value` and the flags. A section with a `method` or `name` may be given as that one value
(`refine: smooth`). Every fault is a `ConfigError` that names the key, the value and what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import ConfigError
from pipeline.scans import methods

UNITS = ("auto", "m", "cm", "mm", "inch")


def option(default: Any, expected: str = "", choices: Iterable[str] = (), low: float | None = None, high: float | None = None):
    """A key with its default and what it accepts; `choices` may be a live registry."""
    return field(default=default, metadata={"expected": expected, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class InputConfig:
    """unit: of the scans' coordinates; "auto" infers it from the size of a head; a number is mm per unit. handedness: "checked"
    refuses a mirrored scan; "inside_out" declares that triangles facing inward are merely wound so."""

    unit: str | float = option("auto", f"one of {', '.join(UNITS)}, or the millimetres in one unit", low=1e-9)
    handedness: str = option("checked", choices=("checked", "inside_out"))


@dataclass(frozen=True)
class ModelConfig:
    """name: a shipped model ("default") or a model file."""

    name: str = option("default")


@dataclass(frozen=True)
class LocateConfig:
    method: str = option("landmarks", choices=methods.LOCATORS)


@dataclass(frozen=True)
class FitConfig:
    """identity_modes, expression_modes: at most so many; regularization_weight: scales both priors; landmark_sigma_mm: trust in
    landmarks that come with a scan; found_sigma_factor: landmarks that the locator found count with so many times the larger of
    their own standard deviation and landmark_sigma_mm, 0: not at all."""

    method: str = option("gauss_newton", choices=methods.FITTERS)
    identity_modes: int = option(100, low=1)
    expression_modes: int = option(60, low=0)
    regularization_weight: float = option(1.0, low=0.0)
    landmark_sigma_mm: float = option(2.0, low=1e-3)
    found_sigma_factor: float = option(1.0, low=0.0)


@dataclass(frozen=True)
class ChartConfig:
    """The chart of the geometry images; null takes the kind's own value (orthographic: 256 × 256, cylindrical: 256 × 384)."""

    kind: str = option("orthographic", choices=("orthographic", "cylindrical"))
    height: int | None = option(None, low=16, high=4096)
    width: int | None = option(None, low=16, high=4096)
    pixel_mm: float | None = option(None, low=0.05, high=10.0)
    centre_y: float | None = option(None)


@dataclass(frozen=True)
class RefineConfig:
    """weights: a shipped generator or a weights file; batch_size: images a step of the network, padded to exactly so many.

    More than one a step pays on a GPU only, and there the last bits of an image depend on its place in the batch, so
    that outputs are no longer the same bytes for any number of workers."""

    method: str = option("gan", choices=methods.REFINERS)
    weights: str = option("default")
    batch_size: int = option(1, low=1, high=64)


@dataclass(frozen=True)
class LandmarksConfig:
    """method: of a full run; scheme: shipped, or a JSON file; weights: shipped heatmap network, or a weights file."""

    method: str = option("fused", choices=methods.LANDMARKERS)
    scheme: str = option("ibug68")
    weights: str = option("landmarks")


@dataclass(frozen=True)
class OutputConfig:
    """stages: all of them, or only those that landmarks on the raw scan need (also --stages); previews: pictures of the
    people scanned; records: TFRecords, `scans_per_shard` to a file."""

    stages: str = option("all", choices=("all", "landmarks"))
    previews: bool = option(True)
    records: bool = option(True)
    scans_per_shard: int = option(32, low=1)


@dataclass(frozen=True)
class LimitsConfig:
    """seconds_per_scan: a scan's own working time; file_mib: largest scan file; archive_members: most files in an archive."""

    seconds_per_scan: float = option(120.0, low=0.0)
    file_mib: int = option(4096, low=1)
    archive_members: int = option(1_000_000, low=1)


@dataclass(frozen=True)
class Config:
    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    locate: LocateConfig = LocateConfig()
    fit: FitConfig = FitConfig()
    chart: ChartConfig = ChartConfig()
    refine: RefineConfig = RefineConfig()
    landmarks: LandmarksConfig = LandmarksConfig()
    output: OutputConfig = OutputConfig()
    limits: LimitsConfig = LimitsConfig()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return dataclasses.asdict(self)

    def result_hash(self, **identities: str) -> str:
        """SHA-256 of everything that decides a finished scan's outputs: the configuration without the limits and the
        packing of records, and `identities` such as the hashes of model and weights."""
        decisive = {name: section for name, section in self.to_dict().items() if name != "limits"}
        decisive["output"] = {"previews": self.output.previews, "stages": self.output.stages}
        text = json.dumps({"config": decisive, "identities": identities}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


SECTIONS = {section.name: section.default for section in dataclasses.fields(Config)}


def load(file: str | None = None, settings: Iterable[str] = ()) -> Config:
    """Defaults, then the YAML `file`, then `settings` such as "refine.method=smooth". Raises ConfigError."""
    config = Config()
    if file is not None:
        config = _merged(config, _read_yaml(file), f"in {file}")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r}: expected section.key=value, such as --set refine.method=smooth")
        section, dot, name = key.strip().partition(".")
        value = _parse_yaml(text, f"--set {setting}")
        config = _merged(config, {section: {name: value} if dot else value}, f"in --set {setting}")
    return config


def _read_yaml(file: str) -> Mapping[str, Any]:
    try:
        with open(file, encoding="utf-8") as handle:
            content = _parse_yaml(handle.read(), file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {file}: cannot be read ({error}); give a YAML file such as configs/default.yaml") from error
    if not isinstance(content or {}, Mapping):
        raise ConfigError(
            f"--config {file}: is a {type(content).__name__}; expected sections, such as refine: {{method: smooth}}"
        )
    return content or {}


def _parse_yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error


def _merged(config: Config, content: Mapping[str, Any], where: str) -> Config:
    changed = {}
    for name, values in content.items():
        _refuse_unknown(str(name), SECTIONS, "section", where)
        section = getattr(config, name)
        changed[name] = _merged_section(name, section, values, where)
    return dataclasses.replace(config, **changed)


def _merged_section(name: str, section: Any, values: Any, where: str) -> Any:
    keys = {key.name: key for key in dataclasses.fields(section)}
    if not isinstance(values, Mapping):
        shorthand = next((key for key in ("method", "name", "kind") if key in keys), None)
        if shorthand is None or values is None:
            raise ConfigError(f"{name!r} {where}: is {values!r}, expected keys of the section: {', '.join(keys)}")
        values = {shorthand: values}
    types_of = typing.get_type_hints(type(section))
    checked = {}
    for key, value in values.items():
        _refuse_unknown(str(key), keys, f"key of section {name!r}", where, prefix=f"{name}.")
        checked[key] = _checked(f"{name}.{key}", value, types_of[key], keys[key].metadata, where)
    return dataclasses.replace(section, **checked)


def _refuse_unknown(given: str, known: Mapping[str, Any], kind: str, where: str, prefix: str = "") -> None:
    if given in known:
        return
    near = difflib.get_close_matches(given, known, 1, 0.5)
    hint = f"did you mean {prefix + near[0]!r}? " if near else ""
    raise ConfigError(f"unknown {kind} {prefix + given!r} {where}; {hint}Known: {', '.join(known)}")


def _checked(key: str, value: Any, kind: Any, metadata: Mapping[str, Any], where: str) -> Any:
    """`value` as the annotated type, within the declared choices and bounds. Raises ConfigError."""
    accepted = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    converted = _converted(value, accepted)
    choices, low, high = metadata["choices"], metadata["low"], metadata["high"]
    expected = metadata["expected"] or _description(accepted, choices, low, high)
    if converted is _WRONG:
        raise ConfigError(f"{key} {where}: {value!r} is a {type(value).__name__}; expected {expected}")
    if isinstance(converted, str) and choices and converted not in choices:
        near = difflib.get_close_matches(converted, choices, 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{key} {where}: {converted!r} is unknown; {hint}expected {expected}")
    is_number = isinstance(converted, int | float) and not isinstance(converted, bool)
    least, most = -sys.float_info.max if low is None else low, sys.float_info.max if high is None else high
    if is_number and not least <= converted <= most:
        raise ConfigError(f"{key} {where}: {converted!r} is out of range; expected {expected}")  # NaN and infinity too
    if key == "input.unit" and isinstance(converted, str) and converted not in UNITS:
        raise ConfigError(f"{key} {where}: {converted!r} is unknown; expected {expected}")
    return converted


_WRONG = object()


def _converted(value: Any, accepted: tuple[type, ...]) -> Any:
    if value is None:
        # YAML reads `refine: none` as the word, but `null` and an empty value as nothing
        return None if type(None) in accepted else _WRONG
    if isinstance(value, bool):
        return value if bool in accepted else _WRONG
    if isinstance(value, int):
        return value if int in accepted else float(value) if float in accepted else _WRONG
    if isinstance(value, float):
        return value if float in accepted else int(value) if int in accepted and value.is_integer() else _WRONG
    if isinstance(value, str):
        if float in accepted:
            try:  # YAML 1.1 leaves 1e-3 a text
                return float(value)
            except ValueError:
                pass
        return value if str in accepted else _WRONG
    return _WRONG


def _description(accepted: tuple[type, ...], choices: Iterable[str], low: float | None, high: float | None) -> str:
    if choices:
        return f"one of {', '.join(choices)}"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    text = " or ".join(names[kind] for kind in accepted)
    if low is not None:
        text += f" ≥ {low:g}"
    if high is not None:
        text += f" and ≤ {high:g}" if low is not None else f" ≤ {high:g}"
    return text
