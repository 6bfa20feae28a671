"""16-bit grey PNG depth images with a JSON sidecar (width, height, fx, fy, cx, cy, depth_unit_mm); 0 = no depth.

Pillow decodes; the header is checked here first, so that a picture is told from a depth image and a huge one is refused.
"""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from geometry.readers.depth_sidecar import MOST_PIXELS, camera_from_sidecar, check_principal_point, sidecar_remedy
from geometry.readers.scan_file import ScanFile
from geometry.scan import Scan

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def sniff(name: str, head: bytes) -> bool:
    """By the header chunk: 16 bits, grey. Any other PNG is a picture."""
    return head.startswith(SIGNATURE) and head[24:26] == b"\x10\x00"


def read(file: ScanFile) -> Scan:
    if not file.data.startswith(SIGNATURE) or len(file.data) < 33:
        raise file.error("it is no PNG image, or only its beginning")
    width, height, bits, color_type = (
        *(int.from_bytes(file.data[k : k + 4], "big") for k in (16, 20)),
        file.data[24],
        file.data[25],
    )
    if (bits, color_type) != (16, 0):
        raise file.error(
            f"a PNG of {bits} bits and colour type {color_type} is a picture, not a depth image",
            "give depth as 16-bit grey PNG with a JSON sidecar, or as .npz",
        )
    if not 0 < width * height <= MOST_PIXELS:
        raise file.error(
            f"its header promises {width} × {height} pixels, at most {MOST_PIXELS} are read", "give a smaller depth image"
        )
    camera, unit_mm, size_is_told = camera_from_sidecar(file, width, height)
    try:
        with Image.open(io.BytesIO(file.data), formats=["PNG"]) as image:
            depth = np.asarray(image).astype(np.float64)
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for a damaged file
        raise file.error(f"its PNG data are damaged or truncated ({error})") from None
    if depth.shape != (height, width):
        raise file.error(f"its PNG data decode to the shape {depth.shape}, expected {(height, width)}")
    if not (depth > 0).any():
        raise file.error("every pixel is 0, that is without depth", "check the sensor's export")
    remedy = sidecar_remedy(file, width, height) + "; of an image that was cut out of a larger one give width and height, too"
    check_principal_point(file, camera, f"its sidecar {file.sidecar_name('.json')}", remedy, size_is_told)
    return replace(Scan.from_depth(depth * unit_mm, camera, file.source, "depth_png"), depth_unit_mm=unit_mm)
