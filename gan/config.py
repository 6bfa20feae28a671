"""Training configurations: YAML → frozen dataclasses, unknown keys refused with the nearest valid name.

Free of TensorFlow and Keras, so that a wrong key is reported at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from geometry.errors import FaceReliefError


class TrainingConfigError(FaceReliefError):
    """A wrong key or value in a training configuration."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The U-Net and its kernel-prediction head (`gan.refiner.networks.Generator`)."""

    condition: str = "coarse+scan"  # or "coarse", the papers' setting
    head: str = "kernels"  # weights over smoothings of the scan, or "residual": depth painted, as pix2pix does
    filters: int = 24  # of the first level (pix2pix's ngf), doubled at each level up to 8 times
    levels: int = 5
    norm: str = "pixel"  # pixel | group | none
    head_filters: int = 16
    stem: bool = True  # a 3 × 3 convolution before the first stride
    mix_layers: int = 2  # 3 × 3 convolutions at full resolution after the last
    precision: str = "float32"  # of the convolutions; mixed_bfloat16 or mixed_float16 on a GPU. Geometry stays float32
    pixel_mm: float = 0.75  # of the chart; the predicted normals need it
    residual_limit_mm: float = 15.0  # a scan farther from the coarse surface is hair, a hand, another object
    correction_limit_mm: float = 3.0  # bound of the extra residual δ
    clean_noise_mm: float = 0.012  # at and below: the scan passes through untouched
    noisy_noise_mm: float = 0.03  # at and above: the network alone decides
    widths_per_mm: float = 8.0  # prior: noise of 1 mm wants a smoothing of this many pixels


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The PatchGAN; three strided levels give the published 70 × 70 field."""

    filters: int = 16
    levels: int = 3
    norm: str = "pixel"


@dataclass(frozen=True)
class LossConfig:
    """Weights of the generator's losses; 0 leaves a term out, adversarial 0 the whole discriminator."""

    depth: float = 20.0  # per mm
    normal: float = 20.0  # of the predicted normals
    depth_normal: float = 10.0  # of the normals of the predicted depth
    adversarial: float = 0.1
    adversarial_kind: str = "bce"  # as published | lsgan | hinge
    uncertainty: float = 0.1  # of the predicted σ; it sees the error as a constant, so it does not trade accuracy for it
    feature: float = 3.0  # extra weight of strongly curved pixels (lids, lips, nostrils), where people look and errors live
    normal_kind: str = "chord"  # |n − n′| | cosine: 1 − n·n′
    depth_epsilon_mm: float = 0.02  # of the Charbonnier penalty: quadratic below, L1 above
    depth_saturation_mm: float = 2.0  # larger errors (occluders, the unseen) pull ever less
    unobserved: float = 0.05  # weight of pixels that the scan does not see: half an image, with errors that no one can know
    noise_balance: float = 0.5  # losses are divided by (noise + 0.1 mm) to this power: coarse sensors shall not drown fine ones


@dataclass(frozen=True)
class LandmarkNetConfig:
    """The heatmap network of `gan.landmarks.network`; its loss weights and the changes made to views as it is trained.

    widths: channels at 1/2, 1/4, … of the input's resolution; stacks: hourglasses after one another, each seeing the heatmaps
    of the one before; shift_px, shift_mm: random offsets of the picture and of its depth; hole_share, hole_px: pictures with
    a rectangle cut out, and its sides; hidden: weight of landmarks that the scan does not show; target_mm: width of the
    heatmaps' target; coordinate, heatmap, spread, visibility: weights of the losses."""

    widths: tuple[int, ...] = (48, 96, 128, 160)
    stacks: int = 1
    landmarks: int = 68  # of the scheme
    scheme: str = "ibug68"
    precision: str = "float32"
    shift_px: int = 6
    shift_mm: float = 12.0
    hole_share: float = 0.3
    hole_px: tuple[int, ...] = (6, 36)
    hidden: float = 0.15
    target_mm: float = 3.0
    coordinate: float = 1.0
    heatmap: float = 1.0
    spread: float = 0.2
    visibility: float = 0.5


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam for both networks; the learning rate falls to `final_fraction` over all steps by a cosine."""

    learning_rate: float = 1e-3
    warmup_steps: int = 200
    final_fraction: float = 0.02
    beta_1: float = 0.5
    beta_2: float = 0.99
    clip_norm: float = 0.0  # 0: no clipping
    ema_momentum: float = 0.998


@dataclass(frozen=True)
class DataConfig:
    """TFRecords (globs) of the schema in docs/; `cache: memory` keeps decoded pairs, about 2 MB each at 256²."""

    train: tuple[str, ...] = ("runs/pairs/*.tfrecord*",)
    validation: tuple[str, ...] = ()  # empty: the validation split of `train`
    crop: int = 128
    batch_size: int = 4
    crops_per_image: int = 1  # consecutive crops of one decoded image; raise it with `cache: none`
    mirror: bool = True
    cache: str = "memory"  # or "none": decode again every epoch
    shuffle_buffer: int = 4096  # images
    max_pairs: int = 0  # 0: all


@dataclass(frozen=True)
class ScheduleConfig:
    """Steps and what happens between them."""

    steps: int = 16000
    validate_every: int = 1000
    validation_images: int = 48
    checkpoint_every: int = 500
    log_every: int = 50
    samples_every: int = 2000
    sample_images: int = 4
    keep_checkpoints: int = 2
    growing: tuple[str, ...] = ()  # "factor:steps" phases of lower resolution first, e.g. ["4:1000", "2:3000"]
    patience: int = 0  # stop after so many validations without a better one; 0: never


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that `gan.train` needs. network: a name in `gan.train.TRAINERS`."""

    network: str = "refiner"
    output: str = "runs/refiner"
    seed: int = 1
    threads: int = 1
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    landmarks: LandmarkNetConfig = field(default_factory=LandmarkNetConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
CHOICES = {
    "generator.condition": ("coarse", "coarse+scan"),
    "generator.head": ("kernels", "residual"),
    "generator.norm": ("pixel", "group", "none"),
    "discriminator.norm": ("pixel", "group", "none"),
    "loss.adversarial_kind": ("bce", "lsgan", "hinge"),
    "generator.precision": PRECISIONS,
    "loss.normal_kind": ("chord", "cosine"),
    "data.cache": ("memory", "none"),
    "landmarks.precision": PRECISIONS,
    "landmarks.scheme": ("ibug68",),  # of the records
}
POSITIVE = (
    "generator.filters",
    "generator.levels",
    "generator.head_filters",
    "generator.mix_layers",
    "generator.pixel_mm",
    "discriminator.filters",
    "discriminator.levels",
    "optimizer.learning_rate",
    "data.crop",
    "data.batch_size",
    "data.crops_per_image",
    "landmarks.stacks",
    "landmarks.landmarks",
    "landmarks.target_mm",
    "schedule.steps",
    "schedule.validate_every",
    "schedule.checkpoint_every",
    "schedule.log_every",
    "threads",
)


def load_config(path: Path | str, overrides: Iterable[str] = ()) -> TrainingConfig:
    """A YAML file and `section.key=value` overrides → TrainingConfig. Raises TrainingConfigError."""
    path = Path(path)
    try:
        fields = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise TrainingConfigError(f"--config {path}: no such file; the shipped ones are in configs/") from None
    except yaml.YAMLError as error:
        raise TrainingConfigError(f"--config {path}: not YAML: {error}") from None
    if not isinstance(fields, dict):
        raise TrainingConfigError(f"--config {path}: expected keys and values, got {type(fields).__name__}")
    for override in overrides:
        _override(fields, override)
    return config_from_dict(fields)


def config_from_dict(fields: Mapping) -> TrainingConfig:
    """Nested mapping → TrainingConfig; missing keys take their defaults. Raises TrainingConfigError."""
    config = from_dict(TrainingConfig, fields)
    flat = flatten(config)
    for key, choices in CHOICES.items():
        if flat[key] not in choices:
            hint = nearest(str(flat[key]), choices)
            raise TrainingConfigError(f"{key}: {flat[key]!r} is not one of {', '.join(choices)}{hint}")
    for key in POSITIVE:
        if not flat[key] > 0:
            raise TrainingConfigError(f"{key}: expected a positive number, got {flat[key]!r}")
    if config.landmarks.landmarks != 68:
        raise TrainingConfigError(f"landmarks.landmarks: {config.landmarks.landmarks}; the scheme ibug68 has 68")
    multiple = 2**config.generator.levels
    if config.data.crop % multiple:
        fitting = multiple * max(1, config.data.crop // multiple)
        raise TrainingConfigError(
            f"data.crop: {config.data.crop} is no multiple of {multiple} = 2^generator.levels; take {fitting}"
        )
    return config


def to_dict(config: object) -> dict:
    """Nested plain dict (tuples become lists), as saved beside a checkpoint."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flatten(config: object, prefix: str = "") -> dict[str, object]:
    """Dotted key → value."""
    flat: dict[str, object] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{item.name}.")
        else:
            flat[prefix + item.name] = value
    return flat


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean …?' or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def from_dict(cls: type, fields: Mapping, prefix: str = ""):
    """A (nested) dataclass from a mapping, every value converted to its field's type. Raises TrainingConfigError."""
    if not isinstance(fields, Mapping):
        raise TrainingConfigError(f"{prefix.rstrip('.') or 'config'}: expected keys and values, got {fields!r}")
    types = typing.get_type_hints(cls)
    for key in fields:
        if key not in types:
            raise TrainingConfigError(f"unknown key {prefix}{key}{nearest(str(key), types) or '; known: ' + ', '.join(types)}")
    values = {}
    for key, value in fields.items():
        nested = dataclasses.is_dataclass(types[key])
        values[key] = from_dict(types[key], value, f"{prefix}{key}.") if nested else _convert(f"{prefix}{key}", types[key], value)
    return cls(**values)


def _convert(key: str, kind: type, value: object):
    if kind == tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or not value or not all(type(item) is int and item > 0 for item in value):
            raise TrainingConfigError(f"{key}: expected a list of positive whole numbers, got {value!r}")
        return tuple(value)
    if typing.get_origin(kind) is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise TrainingConfigError(f"{key}: expected a list of texts, got {value!r}")
        return tuple(items)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TrainingConfigError(f"{key}: expected {kind.__name__}, got {value!r}")
    return value


def _override(fields: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise TrainingConfigError(f"--set {override}: expected section.key=value")
    *sections, name = key.split(".")
    for section in sections:
        fields = fields.setdefault(section, {})
        if not isinstance(fields, dict):
            raise TrainingConfigError(f"--set {override}: {section} is no section")
    try:
        fields[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingConfigError(f"--set {override}: the value is not YAML ({' '.join(str(error).split())})") from None
