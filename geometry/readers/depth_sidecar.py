"""The camera of a depth image, from its JSON sidecar or from arrays: checked value by value."""

import json
import math
from collections.abc import Mapping

from geometry.camera import PinholeCamera
from geometry.readers.scan_file import ScanFile

KEYS = ("fx", "fy", "cx", "cy", "depth_unit_mm")
EXAMPLE = '{"width": %d, "height": %d, "fx": 525.0, "fy": 525.0, "cx": %.1f, "cy": %.1f, "depth_unit_mm": 1.0}'


def example(width: int, height: int) -> str:
    """A sidecar's content for an image of that size, to show in a message."""
    return EXAMPLE % (width, height, (width - 1) / 2, (height - 1) / 2)


def camera_from_sidecar(file: ScanFile, width: int, height: int) -> tuple[PinholeCamera, float]:
    """The camera and `depth_unit_mm`. Raises ReadError that says which file to write, with an example of its content."""
    name = file.sidecar_name(".json")
    remedy = f"write {name} beside it with the camera and unit of your sensor, for example {example(width, height)}"
    text = file.sidecar(name)
    if text is None:
        text = file.sidecar(file.name + ".json")
    if text is None:
        raise file.error(f"a depth image needs its camera and unit, and its sidecar {name} is missing", remedy)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise file.error(f"its sidecar {name} is not JSON ({error})", remedy) from None
    if not isinstance(values, dict):
        raise file.error(f"its sidecar {name} is not a JSON object", remedy)
    for key, actual in (("width", width), ("height", height)):
        if key in values and values[key] != actual:
            raise file.error(f"its sidecar {name} says {key} {values[key]!r}, but the image has {actual}", remedy)
    return camera_from_values(file, values, width, height, f"its sidecar {name}", remedy)


def camera_from_values(
    file: ScanFile, values: Mapping[str, object], width: int, height: int, where: str, remedy: str
) -> tuple[PinholeCamera, float]:
    """`values` must hold finite numbers under KEYS, focal lengths and unit positive. Raises ReadError."""
    missing = [key for key in KEYS if key not in values]
    if missing:
        raise file.error(f"{where} lacks {', '.join(missing)}", remedy)
    numbers = {}
    for key in KEYS:
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:  # also refuses NaN
            raise file.error(f"{where} gives {key} as {str(value)[:40]!r}, expected a number", remedy)
        numbers[key] = float(value)
        if key in ("fx", "fy", "depth_unit_mm") and not (numbers[key] > 1e-9 and math.isfinite(numbers[key])):
            raise file.error(f"{where} gives {key} as {value!r}, expected a positive number", remedy)
    camera = PinholeCamera(width, height, numbers["fx"], numbers["fy"], numbers["cx"], numbers["cy"])
    return camera, numbers["depth_unit_mm"]
