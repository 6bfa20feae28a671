"""Generator weights on disk: `NAME.weights.h5` in float16 beside `NAME.json`, the card, and `NAME.md`, the same for people.

The card names the network's configuration, the training configuration, the data, the figures and the
file's SHA-256, which loading checks.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.config import GeneratorConfig, LandmarkNetConfig, TrainingConfig
from geometry.errors import FaceReliefError
from geometry.settings.loading import from_dict, nearest
from geometry.settings.options import to_dict

if TYPE_CHECKING:
    import keras

SUFFIX = ".weights.h5"
FORMAT = 1
# Name → file stem in the package's weights/
SHIPPED = {"default": "refiner", "refiner": "refiner", "coarse": "refiner_coarse", "landmarks": "landmarks"}
# Network → the section of its configuration
SECTIONS = {"refiner": ("generator", GeneratorConfig), "landmarks": ("landmarks", LandmarkNetConfig)}


class WeightsError(FaceReliefError):
    """Weights that are missing, damaged or not what their card says."""


def locate(name_or_path: str | Path) -> Path:
    """A shipped name or a path → the .weights.h5 file. Raises WeightsError."""
    name = str(name_or_path)
    if name in SHIPPED:
        path = Path(str(resources.files("gan") / "weights" / f"{SHIPPED[name]}{SUFFIX}"))
        if not path.exists():
            missing = f"not in this installation ({path.name} is missing)"
            raise WeightsError(f"weights {name!r}: {missing}; train them with python -m gan.train")
        return path
    path = Path(name)
    if not path.exists():
        raise WeightsError(f"weights {name!r}: no such file, nor a shipped name ({', '.join(SHIPPED)}){nearest(name, SHIPPED)}")
    return path


def card_path(path: Path, suffix: str = ".json") -> Path:
    """refiner.weights.h5 → refiner.json."""
    return path.with_name(path.name.removesuffix(SUFFIX) + suffix)


def read_card(name_or_path: str | Path, network: str | None = None) -> dict:
    """The card, after checking the file's hash against it, and that the weights are of `network`. Free of TensorFlow. Raises
    WeightsError."""
    path = locate(name_or_path)
    try:
        card = json.loads(card_path(path).read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        name = card_path(path).name
        raise WeightsError(f"{path}: its card {name} cannot be read ({error}); keep both files together") from None
    found = sha256(path)
    if card.get("format") != FORMAT or card.get("sha256") != found:
        raise WeightsError(
            f"{path}: format {card.get('format')} and SHA-256 {card.get('sha256')} on the card, "
            f"format {FORMAT} and {found} expected; the file is damaged or belongs to another card or version: fetch both anew"
        )
    if network is not None and card["network"] != network:
        raise WeightsError(f"{path}: are weights of the network {card['network']!r}; expected {network!r}")
    return card


def load(name_or_path: str | Path, build: Callable[[Any], "keras.Model"], network: str = "refiner") -> tuple["keras.Model", dict]:
    """A `network` of `SECTIONS`, made by `build` from its configuration, with its weights, and the card. Raises WeightsError."""
    path = locate(name_or_path)
    card = read_card(path, network)
    section, kind = SECTIONS[network]
    built = build(from_dict(kind, card[section]))
    try:
        built.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise WeightsError(f"{path}: does not fit the network on its card: {error}") from None
    return built, card


def save(
    path: Path | str, network: "keras.Model", config: TrainingConfig, data: dict, figures: dict, **calibration: float
) -> dict:
    """Write the weights, the card and its Markdown; the same weights give the same bytes. Returns the card.

    calibration: such as sigma_scale, what the network's σ is multiplied by so that 68 % of validation errors lie within it."""
    import keras

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        full, half = Path(folder) / f"full{SUFFIX}", Path(folder) / "half.h5"
        network.save_weights(full)
        _write_float16(full, half)
        half.replace(path)
    training, section = to_dict(config), SECTIONS[config.network][0]
    card = {
        "format": FORMAT,
        "network": config.network,
        section: training[section],
        "parameters": network.count_params(),
        "training": training,
        "data": data,
        "figures": figures,
        "keras": keras.__version__,
        "sha256": sha256(path),
        **{name: round(value, 4) for name, value in calibration.items()},
    }
    write_card(path, card)
    return card


def write_card(path: Path, card: dict) -> None:
    """The JSON and Markdown beside the weights."""
    write_json(card_path(path), card)
    card_path(path, ".md").write_text(card_markdown(card))


def write_json(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_markdown(card: dict) -> str:
    """The card for people: what it is, on what it was trained, what it reaches on the validation split."""
    best = f"best of {card.get('step', 0)} steps by validation error."
    if card["network"] == "landmarks":
        counts = sorted(card["data"].get("views", {}).items())
        views = "; ".join(f"{split}: {sum(sensors.values())}" for split, sensors in counts)
        about = [f"{card['landmarks']['landmarks']} landmarks ({card['landmarks']['scheme']}), {best}"]
        about += ["", f"Views: {views or 'not recorded'}."]
    else:
        counts = sorted(card["data"].get("pairs", {}).items())
        listed = lambda sensors: ", ".join(f"{n} {sensor}" for sensor, n in sorted(sensors.items()))
        pairs = "; ".join(f"{split}: {listed(sensors)}" for split, sensors in counts)
        about = [f"Condition `{card['generator']['condition']}`, {best}", "", f"Training pairs: {pairs or 'not recorded'}."]
    size = f"{card['parameters'] / 1e6:.2f} M parameters, stored as float16"
    lines = [f"# Weights: {card['network']}", "", f"{size}; Keras {card['keras']}; SHA-256 `{card['sha256']}`.", "", *about, ""]
    if card["figures"]:
        lines += _landmark_table(card) if card["network"] == "landmarks" else _refiner_table(card)
    return "\n".join(lines) + "\n"


def _refiner_table(card: dict) -> list[str]:
    sensors = list(next(iter(card["figures"].values())))
    lines = [
        f"Validation ({card.get('images', 0)} images), on the pixels that the scan saw: "
        "mean depth error in mm / mean normal angle in degrees",
        "",
        "| surface | " + " | ".join(sensors) + " |",
        "| --- |" + " --- |" * len(sensors),
    ]
    for method, errors in card["figures"].items():
        cells = [f"{errors[s]['observed_depth_mm']:.3f} / {errors[s]['observed_angle_degrees']:.2f}" for s in sensors]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    if "coverage" in card:
        shares = ", ".join(f"{sensor} {100 * share:.0f} %" for sensor, share in card["coverage"].items())
        lines += ["", f"Observed pixels whose error lies within the predicted σ (68 % wanted): {shares}."]
    return [
        *lines,
        "",
        "`smooth_N`: the coarse surface plus the scan's residual smoothed by N pixels; `smooth_oracle`: the best width for",
        "each image, chosen with the truth.",
    ]


def _landmark_table(card: dict) -> list[str]:
    return [
        f"Validation ({card.get('images', 0)} views), visible landmarks of the inner 51, error in the picture's plane:",
        "",
        "| views | mean mm | within 2 mm | within 4 mm |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {row['mean_mm']:.2f} | {100 * row['within_2']:.1f} % | {100 * row['within_4']:.1f} % |"
            for name, row in card["figures"].items()
        ),
    ]


def _write_float16(source: Path, target: Path) -> None:
    """Copy a Keras weights file with every float32 array rounded to float16 and compressed."""
    import h5py
    import numpy as np

    def copy(from_group: h5py.Group, to_group: h5py.Group) -> None:
        # Layers' running names (conv2d_7) stay out: they count what else the process has built.
        to_group.attrs.update({key: value for key, value in from_group.attrs.items() if key != "name"})
        for name in sorted(from_group):
            item = from_group[name]
            if isinstance(item, h5py.Group):
                copy(item, to_group.create_group(name))
            else:
                values = item[()]
                half = values.astype(np.float16) if values.dtype == np.float32 else values
                options = {"compression": "gzip", "shuffle": True} if half.ndim else {}
                to_group.create_dataset(name, data=half, **options)

    with h5py.File(source, "r") as from_file, h5py.File(target, "w") as to_file:
        copy(from_file, to_file)
