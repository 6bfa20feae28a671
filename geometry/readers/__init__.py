"""Readers: bytes of a scan file in, `Scan` out. Content decides the format; a suffix settles only what content leaves open.

A further format is one file with `sniff` and `read`, and one line in FORMATS.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from geometry.errors import ReadError
from geometry.readers import (
    depth_npz,
    depth_png,
    gltf,
    obj,
    off,
    pcd,
    ply,
    stl,
    truedepth,
)
from geometry.readers.scan_file import ScanFile
from geometry.readers.text_encoding import plain_text
from geometry.scan import Scan

UNITS_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "inch": 25.4, "unknown": None}
HEAD_SIZE = 65_536
"""Bytes from the beginning of a file that suffice for `claims`."""


@dataclass(frozen=True)
class Format:
    """suffixes: the names under which a damaged file is still claimed, so that it is reported and not passed over."""

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[str, bytes], bool]  # (file name, first bytes) → is it this format?
    read: Callable[[ScanFile], Scan]


FORMATS = (  # the first that recognises the content reads it: special cases before general ones, signatures before guesses
    Format("truedepth_ply", (), truedepth.sniff, truedepth.read),
    Format("ply", (".ply",), ply.sniff, ply.read),
    Format("depth_png", (".png",), depth_png.sniff, depth_png.read),
    Format("depth_npz", (".npz",), depth_npz.sniff, depth_npz.read),
    Format("gltf", (".glb", ".gltf"), gltf.sniff, gltf.read),
    Format("pcd", (".pcd",), pcd.sniff, pcd.read),
    Format("off", (".off",), off.sniff, off.read),
    Format("stl", (".stl",), stl.sniff, stl.read),
    Format("obj", (".obj",), obj.sniff, obj.read),
)


def read(
    data: bytes | Path | str,
    source: str | None = None,
    sidecars: Mapping[str, bytes] | None = None,
    unit: str | float | None = None,
) -> Scan:
    """A scan from a file's bytes, or from a path.

    source: how messages and the scan name it; the file's name by default.
    sidecars: file name → bytes of its neighbours; for a path they are looked up beside it (`sidecar_suffixes`).
    unit: of meshes and clouds, a key of UNITS_MM or mm per unit; None leaves it open. Depth formats carry their own.
    Raises ReadError for whatever is wrong with the file, ValueError for an unknown unit.
    """
    unit_mm = _unit_mm(unit)
    file = _open(data, source, sidecars)
    if not file.data:
        raise file.error("it is empty (0 bytes)")
    file = replace(file, data=plain_text(file.data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of damage that becomes a ReadError here
        scan = _read_as(_format_of(file), file)
    if unit_mm is None or scan.unit_mm is not None:
        return scan
    return scan.in_unit(unit_mm, is_metric=True)


def neighbours(name: str, data: bytes) -> list[tuple[str, ...]]:
    """Of each further file that a scan's content names (buffers and pictures of a .gltf) the paths, below the scan's own folder,
    where it may lie, best first: where one names a folder, the file's name alone follows. The first at which there is a file is
    meant; the reader takes that as one of `sidecars` under this path."""
    return gltf.neighbours(name, data)


def sidecar_suffixes(name: str) -> tuple[str, ...]:
    """Of the neighbours that a source listing hands over with a scan: NAME.json, and NAME.bin with NAME.gltf, whose buffer it is
    where that was renamed with it."""
    return (".json", ".bin") if name.lower().endswith(".gltf") else (".json",)


def claims(name: str, head: bytes) -> bool:
    """Is this a scan file? By its first bytes (HEAD_SIZE are enough), or by a scan suffix, so that a damaged scan is reported."""
    head = plain_text(head)
    if any(format.sniff(name, head) for format in FORMATS):
        return True
    if name.lower().endswith(".png"):  # a whole 8-bit picture is no scan; a PNG without its beginning may have been one
        return not head.startswith(depth_png.SIGNATURE) or len(head) < 26
    return any(name.lower().endswith(format.suffixes) for format in FORMATS)


def _unit_mm(unit: str | float | None) -> float | None:
    if unit is None:
        return None
    if isinstance(unit, str) and unit in UNITS_MM:
        return UNITS_MM[unit]
    if isinstance(unit, int | float) and not isinstance(unit, bool) and 0 < unit < float("inf"):
        return float(unit)
    raise ValueError(f"unit {unit!r}: expected one of {', '.join(UNITS_MM)}, or millimetres per unit as a positive number")


def _open(data: bytes | Path | str, source: str | None, sidecars: Mapping[str, bytes] | None) -> ScanFile:
    if isinstance(data, bytes | bytearray | memoryview):
        return ScanFile(source or "<bytes>", bytes(data), sidecars or {})
    path = Path(data)
    try:
        file = ScanFile(source or path.name, path.read_bytes(), sidecars or {})
        if sidecars is None:
            beside = (path.with_name(ScanFile(path.name, b"").sidecar_name(suffix)) for suffix in sidecar_suffixes(path.name))
            # a sidecar answers to the name that `source` gives the file
            found = {file.sidecar_name(p.suffix): p.read_bytes() for p in beside if p.is_file() and p != path}
            named = (_first_of(places, path.parent) for places in neighbours(path.name, file.data))
            file = replace(file, sidecars=found | {place: (path.parent / place).read_bytes() for place in named if place})
        return file
    except OSError as error:
        raise ReadError(
            source or str(path), f"it cannot be opened ({error.strerror or error})", "check the path and its permissions"
        ) from None


def _first_of(places: tuple[str, ...], folder: Path) -> str | None:
    return next((place for place in places if (folder / place).is_file()), None)


def _format_of(file: ScanFile) -> Format:
    by_content = (format for format in FORMATS if format.sniff(file.name, file.data))
    by_suffix = (format for format in FORMATS if file.name.lower().endswith(format.suffixes))
    found = next(itertools.chain(by_content, by_suffix), None)
    if found is None:
        names = ", ".join(format.name for format in FORMATS)
        raise file.error(f"its content is none of the formats {names}", "convert it to PLY, OBJ or a depth image")
    return found


def _read_as(format: Format, file: ScanFile) -> Scan:
    try:
        return format.read(file)
    except ReadError:
        raise
    except Exception as error:  # damage that no check foresaw must fail this file alone, with its name
        raise file.error(f"it cannot be decoded as {format.name} ({type(error).__name__}: {error})") from error
