"""Files of landmarks that people pick on scans: bytes in, names and points out. What each point is called is kept as written.

Coordinates stay in the file's own unit and frame. A row that the file leaves open (null, nan, an inactive point) is NaN.
A further format is one function, whose errors need not name the file, and one line in `FORMATS`. Read here, because no library
reads more than one of these formats.
"""

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.parsers import expat

import numpy as np

from geometry.errors import ReadError

MOST_BYTES = 4 * 2**20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")
_UNKNOWN = {"nan", "-nan", "null", "none", "na"}


@dataclass(frozen=True)
class LandmarkFile:
    """format: a key of FORMATS; points (n, 3), NaN rows unknown; names (n,) as the file has them, or None where it has none;
    scheme: what the file itself says its points are, or None."""

    format: str
    points: np.ndarray
    names: tuple[str, ...] | None = None
    scheme: str | None = None


_Content = tuple[Sequence[list[float]], tuple[str, ...] | None, str | None]  # rows, names and scheme of a file


def suffix_of(name: str) -> str | None:
    """The landmark suffix that a file name ends with, or None."""
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def read_landmarks(name: str, data: bytes) -> LandmarkFile:
    """The landmarks in a file; its name's suffix decides the format. Raises ReadError that says what was expected."""
    suffix = suffix_of(name)
    if suffix is None:
        raise ReadError(name, "is no landmark file by its name", f"accepted are {', '.join(SUFFIXES)}")
    if len(data) > MOST_BYTES:
        raise ReadError(name, f"has {len(data)} bytes, more than any set of landmarks", f"no {suffix} of landmarks? rename it")
    try:
        rows, names, scheme = FORMATS[suffix](data)
    except ReadError as error:
        raise ReadError(name, error.fault, error.remedy) from None
    if not rows:
        raise ReadError(name, "holds no point", "write it again, or give NAME.landmarks.json")
    return LandmarkFile(suffix, np.array(rows, float), names, scheme)


def _json(data: bytes) -> _Content:
    """{"scheme": …, "points": [[x, y, z] or null, …]} with optional "names" and "seen", as a run's landmarks.json; or
    "points" by name. A point that a run inferred ("seen" false) was never observed, and is left open."""
    remedy = 'expected {"scheme": "ibug68", "frame": "scan", "points": [[x, y, z] or null, …]}, as in a run\'s landmarks.json'
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError("", f"is no JSON text ({str(error)[:80]})", remedy) from None
    points = content.get("points") if isinstance(content, dict) else None
    if not isinstance(points, list | dict):
        raise ReadError("", 'lacks "points"', remedy)
    if content.get("frame", "scan") != "scan":
        raise ReadError("", f'"frame" is {content["frame"]!r}; landmarks beside a scan are in its own frame and unit', remedy)
    names, scheme = content.get("names"), content.get("scheme")
    if isinstance(points, dict):
        names, points = list(points), list(points.values())
    elif scheme is None and names is None:
        scheme = "ibug68"
    if not (names is None or _texts(names, len(points))) or not (scheme is None or isinstance(scheme, str)):
        raise ReadError("", f'"names" or "scheme" is malformed; expected {len(points)} texts and one text', remedy)
    seen = content.get("seen", [True] * len(points))
    if not isinstance(seen, list) or len(seen) != len(points) or not all(value in (True, False) for value in seen):
        raise ReadError("", f'"seen" is malformed; expected true or false for each of the {len(points)} points', remedy)
    rows = [_json_row(point if shown else None, number, remedy) for number, (point, shown) in enumerate(zip(points, seen))]
    return rows, None if names is None else tuple(names), scheme


def _texts(values: object, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(value, str) for value in values)


def _json_row(point: object, number: int, remedy: str) -> list[float]:
    if point is None or point == [None, None, None]:
        return [math.nan] * 3
    if isinstance(point, list) and len(point) == 3 and all(type(x) in (int, float) and abs(x) < 1e300 for x in point):
        return [float(value) for value in point]
    raise ReadError("", f"point {number} is {json.dumps(point)[:60]}; expected three finite numbers or null", remedy)


def _picked_points(data: bytes) -> _Content:
    """MeshLab's PickedPoints XML."""
    remedy = 'expected MeshLab\'s <PickedPoints> with <point name="…" x="…" y="…" z="…" active="1"/>'
    try:
        _refuse_entities(data.strip(), remedy)
        root = ElementTree.fromstring(data.strip())
    except (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError) as error:
        raise ReadError("", f"is no XML ({error})", remedy) from None
    points = list(root.iter("point"))
    if root.tag != "PickedPoints" or not points:
        raise ReadError("", f"holds no points (its root is <{root.tag[:40]}>)", remedy)
    rows, names = [], []
    for number, point in enumerate(points):
        missing = [key for key in ("x", "y", "z") if key not in point.attrib]
        if missing:
            raise ReadError("", f"point {number} lacks {missing[0]!r}", remedy)
        active = point.get("active", "1").strip().lower() not in ("0", "false")
        rows.append(_row([point.get(key, "") for key in "xyz"] if active else ["nan"] * 3, f"point {number}"))
        names.append(point.get("name", str(number)).strip())
    return rows, tuple(names), None


def _refuse_entities(data: bytes, remedy: str) -> None:
    """Raises ReadError where a document declares entities, in whatever encoding: what they stand for may grow without end, or be
    another file. Raises ExpatError for what is no XML."""
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ReadError("", "declares XML entities", remedy)

    parser.EntityDeclHandler = refuse
    parser.Parse(data, True)


def _pts(data: bytes) -> _Content:
    """iBUG's `version: 1 / n_points: N / { … }`, with three coordinates a line, or a bare list of such lines."""
    remedy = "expected `version: 1`, `n_points: N` and N lines x y z between braces, or lines x y z alone"
    lines = _lines(data)
    head = [line for line in lines if ":" in line]
    counts = [line.partition(":")[2].strip() for line in head if line.lower().startswith("n_points")]
    body = [line for line in lines if ":" not in line and line not in ("{", "}")]
    if head and not ("{" in lines and "}" in lines):
        raise ReadError("", "has no { … } block after its header: cut off?", remedy)
    if not head and body and re.fullmatch(r"\d+", body[0]):
        counts, body = [body[0]], body[1:]
    rows = _rows(body, remedy)
    if counts and counts[0] != str(len(rows)):
        raise ReadError("", f"announces {counts[0][:20]} points and has {len(rows)}", remedy)
    return rows, None, None


def _lm3(data: bytes) -> _Content:
    """Bosphorus: comments, `N landmarks:`, then a line with a label and one with x y z for each."""
    remedy = "expected `N landmarks:`, then for each a line with its label and a line x y z"
    lines = _lines(data)
    start = next((number for number, line in enumerate(lines) if re.fullmatch(r"\d+ +landmarks?:?", line, re.I)), None)
    if start is None:
        raise ReadError("", "has no line `N landmarks:`", remedy)
    count, labels, places = int(lines[start].split()[0][:9]), lines[start + 1 :: 2], lines[start + 2 :: 2]
    if not len(labels) == len(places) == count:
        raise ReadError("", f"announces {count} landmarks and has {len(labels)} labels and {len(places)} places", remedy)
    return _rows(places, remedy), tuple(labels), "bosphorus22"


def _bnd(data: bytes) -> _Content:
    """BU-3DFE: lines `index x y z`, sorted by index here."""
    remedy = "expected lines `index x y z`, as BU-3DFE's 83"
    rows = {}
    for number, line in enumerate(_lines(data)):
        index, *place = _tokens(line)
        if not re.fullmatch(r"\d{1,6}", index) or int(index) in rows:
            raise ReadError("", f"line {number} begins with {index[:20]!r}; expected another whole number", remedy)
        rows[int(index)] = _row(place, f"line {number}", remedy)
    return [rows[index] for index in sorted(rows)], None, "bu3dfe83"


def _amira(data: bytes) -> _Content:
    """Amira and Avizo, ASCII: `define Markers N`, `Markers { float[3] Coordinates } @1`, then the rows after `@1`. Of several
    sets the first."""
    remedy = "expected `# Avizo 3D ASCII` or `# AmiraMesh 3D ASCII`, `define Markers N` and N lines x y z after `@1`"
    first = data[:80].decode("latin-1").splitlines()[:1]
    if not first or not re.match(r"#\s*(Avizo|AmiraMesh)\b.*\bASCII\b", first[0], re.I):
        raise ReadError("", f"begins with {(first or [''])[0][:40]!r}", remedy)
    lines = _lines(data)
    counts = [match[1] for line in lines if (match := re.match(r"define\s+Markers\s+(\d{1,6})\b", line))]
    if not counts or "@1" not in lines:
        raise ReadError("", "lacks `define Markers N` or the block `@1`", remedy)
    block = lines[lines.index("@1") + 1 :]
    end = next((number for number, line in enumerate(block) if line.startswith("@")), len(block))
    rows = _rows(block[:end], remedy)
    if len(rows) != int(counts[0]):
        raise ReadError("", f"announces {int(counts[0])} markers and has {len(rows)}", remedy)
    return rows, None, None


def _lines(data: bytes) -> list[str]:
    """Stripped lines without the empty ones and comments."""
    text = data.decode("utf-8-sig", errors="replace")
    return [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith(("#", "//"))]


def _tokens(line: str) -> list[str]:
    return line.replace(",", " ").replace(";", " ").split() or [""]


def _rows(lines: Iterable[str], remedy: str) -> list[list[float]]:
    return [_row(_tokens(line), f"point {number}", remedy) for number, line in enumerate(lines)]


def _row(tokens: Sequence[str], where: str, remedy: str = "expected three finite numbers") -> list[float]:
    if len(tokens) == 2:
        raise ReadError("", f"{where} has two coordinates: a landmark on a picture, not on a scan", remedy)
    if len(tokens) == 3:
        if all(token.lower() in _UNKNOWN for token in tokens):
            return [math.nan] * 3
        if all(_NUMBER.match(token) and math.isfinite(float(token)) for token in tokens):
            return [float(token) for token in tokens]
    raise ReadError("", f"{where} is {' '.join(tokens)[:60]!r}; expected three finite numbers", remedy)


FORMATS: dict[str, Callable[[bytes], _Content]] = {
    ".landmarks.json": _json,
    ".pp": _picked_points,
    ".pts": _pts,
    ".lm3": _lm3,
    ".bnd": _bnd,
    ".landmarkAscii": _amira,
}
SUFFIXES = tuple(FORMATS)
