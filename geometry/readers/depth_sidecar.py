"""The camera of a depth image, from its JSON sidecar or from arrays: checked value by value."""

import math
from collections.abc import Mapping

from geometry.camera import PinholeCamera
from geometry.readers.scan_file import ScanFile

KEYS = ("fx", "fy", "cx", "cy", "depth_unit_mm")
EXAMPLE = '{"width": %d, "height": %d, "fx": 525.0, "fy": 525.0, "cx": %.1f, "cy": %.1f, "depth_unit_mm": 1.0}'
MOST_PIXELS = 64_000_000
WIDEST_DEG = 65.0  # from its axis, to which a depth camera sees


def camera_from_sidecar(file: ScanFile, width: int, height: int) -> tuple[PinholeCamera, float, bool]:
    """The camera, `depth_unit_mm`, and whether width and height of the image are told beside them. Raises ReadError that says
    which file to write, with an example of its content."""
    name, remedy = file.sidecar_name(".json"), sidecar_remedy(file, width, height)
    text = file.sidecar(name, file.name + ".json")
    if text is None:
        raise file.error(f"a depth image needs its camera and unit, and its sidecar {name} is missing", remedy)
    values = file.json_object(text, f"its sidecar {name} is", remedy)
    for key, actual in (("width", width), ("height", height)):
        if key in values and values[key] != actual:
            raise file.error(f"its sidecar {name} says {key} {values[key]!r}, but the image has {actual}", remedy)
    camera, unit_mm = camera_from_values(file, values, width, height, f"its sidecar {name}", remedy)
    return camera, unit_mm, "width" in values and "height" in values


def sidecar_remedy(file: ScanFile, width: int, height: int) -> str:
    """Which file to write, with an example of its content."""
    example = EXAMPLE % (width, height, (width - 1) / 2, (height - 1) / 2)
    return f"write {file.sidecar_name('.json')} beside it with the camera and unit of your sensor, for example {example}"


def camera_from_values(
    file: ScanFile, values: Mapping[str, object], width: int, height: int, where: str, remedy: str
) -> tuple[PinholeCamera, float]:
    """`values` must hold finite numbers under KEYS, focal lengths and unit positive. Raises ReadError."""
    missing = [key for key in KEYS if key not in values]
    if missing:
        raise file.error(f"{where} lacks {', '.join(missing)}", remedy)
    numbers = {key: float(file.number(values, key, f"{where} gives", remedy)) for key in KEYS}
    for key in ("fx", "fy", "depth_unit_mm"):
        if numbers[key] <= 1e-9:
            raise file.error(f"{where} gives {key} as {values[key]!r}, expected a positive number", remedy)
    *camera, unit_mm = numbers.values()
    return PinholeCamera(width, height, *camera), unit_mm


def check_principal_point(file: ScanFile, camera: PinholeCamera, where: str, remedy: str, size_is_told: bool) -> None:
    """Raises ReadError where it lies so far outside the image that the camera is another image's: at more than `WIDEST_DEG` from
    what the image shows, or, where the camera's own size is not told and so may be another one's, by more than the image's size.
    Nearer, the image may have been cut out of a larger one, as a region of interest is."""
    widest = math.tan(math.radians(WIDEST_DEG))
    for key, value, size, focal in (
        ("cx", camera.cx, camera.width, camera.fx),
        ("cy", camera.cy, camera.height, camera.fy),
    ):
        outside = max(-0.5 - value, value - (size - 0.5))
        if outside <= 0 or ((size_is_told or outside <= size) and outside + size <= widest * focal):
            continue
        middle = (size - 1) / 2
        larger = f" (a camera of {value / middle:.3g} times the resolution?)" if value > middle > 0 else ""
        fault = f"{where} gives {key} as {value:g}, far outside the image of {size} pixels, whose middle is {middle:g}"
        raise file.error(fault + larger, remedy)
