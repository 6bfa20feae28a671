"""What there is to process: scan files below a path, a glob, in archives, or on any Beam filesystem; and what is passed over.

Nothing is unpacked to disk: a member of an archive is read into memory when its turn comes, never past the size limit.
A scan is known by its POSIX path below a root, however the input was given. Everything else that lies there is told with its kind
and the reason (`passed_over`), but for the sidecars that scans make use of, and what lies below OUT.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from geometry import readers
from geometry.errors import ConfigError
from geometry.readers import depth_png, landmark_files
from pipeline.inputs import archives, passed_over, reading, walking
from pipeline.inputs.archives import ARCHIVE_ERRORS, LOCK, ArchiveRefused, one_line, opened
from pipeline.inputs.passed_over import PassedOver, kind_of
from pipeline.inputs.source import Source
from pipeline.inputs.walking import File
from pipeline.store import storage

_CAMERA = re.compile(  # the keys of a depth image's sidecar, in the words of any program
    rb'"(fx|fy|cx|cy|ppx|ppy|depth_unit\w*|depth_scale|intrinsic\w*|camera_matrix|focal_length\w*)"\s*:', re.IGNORECASE
)
SIDECAR_BYTES = 4096
NAMING, NAMING_BYTES = (".gltf",), 2**26  # scans whose content names further files; of larger ones these are not asked for


@dataclass(frozen=True)
class Bounds:
    """What an archive may hold and become (limits.archive_members, limits.archive_ratio); whether links are followed."""

    archive_members: int = 1_000_000
    archive_ratio: int = archives.RATIO
    follow_links: bool = True


@dataclass(frozen=True)
class Listing:
    """root: below which the sources have their names; sources sorted by name; passed: what gets no line, sorted by name."""

    root: str
    sources: tuple[Source, ...]
    passed: tuple[PassedOver, ...]


@dataclass(frozen=True)
class _Picture:
    """A PNG that is no depth image by its header, beside a sidecar that says otherwise: a scan, if the sidecar is no other's."""

    source: Source
    sidecar: str


_Entry = Source | PassedOver | _Picture


def list_sources(path: str, out: str | None = None, archive_members: int = 1_000_000) -> list[Source]:
    """The scans at PATH, sorted by name. Raises ConfigError where PATH names nothing or holds no scan."""
    return list(list_input(path, out, Bounds(archive_members)).sources)


def list_input(path: str, out: str | None = None, bounds: Bounds | None = None, root: str | None = None) -> Listing:
    """The scans at PATH, named below `root` (by default PATH's own), and what is passed over.

    Raises ConfigError where PATH names nothing, lies outside of the root, or holds no scan."""
    bounds = bounds or Bounds()
    root = walking.natural_root(path) if root is None else root if storage.is_url(root) else os.path.abspath(root)
    if not walking.contains(root, walking.natural_root(path)):
        raise ConfigError(f"--input {path}: lies outside of the root {root}; give --root FOLDER, a folder that holds the input")
    found = list(walking.found_below(path, root, out, bounds.follow_links))
    files = [entry for entry in found if isinstance(entry, File)]
    exists = _existence(path, {file.path for file in files}, bounds.follow_links)
    with ThreadPoolExecutor(16) as pool:  # a head costs a round trip on a remote filesystem
        entries = [entry for some in pool.map(lambda file: _entries_of(file, exists, bounds), files) for entry in some]
    settled = _settled(bounds, [*(entry for entry in found if isinstance(entry, PassedOver)), *entries])
    sources = sorted((entry for entry in settled if isinstance(entry, Source)), key=lambda source: (source.name, source.path))
    passed = sorted(entry for entry in settled if isinstance(entry, PassedOver))
    if not sources:
        told = "; ".join(entry.strip() for entry in passed_over.summary(passed_over.tally(passed))[1:])
        raise ConfigError(
            f"--input {path}: no scan among {len(files)} file{'s' * (len(files) != 1)}; expected PLY, OBJ, STL, OFF, GLB, PCD, "
            "depth PNG with its JSON sidecar, depth NPZ or TrueDepth files, in folders or archives (see README)"
            + (f"; not read: {told}" if told else "")
        )
    return Listing(root, tuple(sources), tuple(passed))


def in_reading_order(sources: list[Source]) -> list[Source]:
    """Members of an archive in the order in which they lie there, so that a compressed tar is unpacked once."""
    return sorted(sources, key=lambda source: (source.path, source.position, source.name))


def _existence(path: str, listed: set[str], follow_links: bool) -> Callable[[str], bool]:
    """Is there such a file? A folder's listing knows all that lie in it; a glob's or a single file does not."""
    if path in listed or walking.is_glob(path):
        # a pipe of a sidecar's name must not be waited for
        is_there = lambda place: os.path.isfile(place) and (follow_links or not os.path.islink(place))
        return lambda place: place in listed or (storage.exists(place) if storage.is_url(place) else is_there(place))
    return listed.__contains__


def _settled(bounds: Bounds, entries: list[_Entry]) -> list[Source | PassedOver]:
    """One scan to a name; pictures as scans or not; what is a sidecar of a scan is not passed over."""
    settled: list[Source | PassedOver] = []
    names: set[str] = set()
    claimed = {place for entry in entries if isinstance(entry, Source) for place in _places(entry)}
    for entry in entries:
        if isinstance(entry, _Picture):
            archive = entry.source.path if entry.source.member else entry.sidecar
            meant = (archive, entry.sidecar) not in claimed
            entry = entry.source if meant else PassedOver(entry.source.name, kind_of(entry.source.name), passed_over.PICTURE)
        if isinstance(entry, Source) and entry.name in names:
            entry = PassedOver(entry.name, kind_of(entry.name), passed_over.TWICE)
        if isinstance(entry, Source):
            names.add(entry.name)
        settled.append(entry)
    sources = [entry for entry in settled if isinstance(entry, Source)]
    used = {name for source in sources for name in _as_named(source, [place for _, place in _places(source)])}
    if len(sources) < len(settled):
        naming = [source for source in sources if source.name.lower().endswith(NAMING)]
        known = {entry.name for entry in settled}
        used |= {name for source in naming for name in _neighbours(source, known, bounds)}
    is_used = lambda entry: entry.name in used and entry.reason != archives.REPEATED
    return [entry for entry in settled if isinstance(entry, Source) or not is_used(entry)]


def _places(source: Source) -> Iterator[tuple[str, str]]:
    """Where a scan's sidecars lie: (archive, member), or twice the same folder's file."""
    return ((source.path if source.member else place, place) for _, place in source.sidecars)


def _neighbours(source: Source, known: set[str], bounds: Bounds) -> Iterator[str]:
    """The files that a scan's content names, by the names that they have among the `known`, each at the first of its places."""
    folder = posixpath.dirname(source.member or source.path)
    for places in reading.neighbours(source, NAMING_BYTES, bounds.archive_ratio):
        names = _as_named(source, [posixpath.join(folder, place) for place in places])
        yield from [name for name in names if name in known][:1]


def _as_named(source: Source, places: list[str]) -> list[str]:
    """Files beside a scan, or members of its archive, as they would be named if they were scans."""
    if source.member is None:
        folder, here = (path[: len(path) - len(posixpath.basename(path))] for path in (source.name, source.path))
        return [folder + place.removeprefix(here) for place in places]
    archive = source.name[: len(source.name) - len(_below(source.member))]
    return [archive + _below(place) for place in places]


def _below(member: str) -> str:
    return archives.below(member) or member


def _entries_of(file: File, exists: Callable[[str], bool], bounds: Bounds) -> list[_Entry]:
    path, name = file
    if name.lower().endswith(archives.SUFFIXES):
        return _of_archive(path, name, bounds)
    if landmark_files.suffix_of(name):
        return [PassedOver(name, kind_of(name), passed_over.LANDMARKS)]
    head, fault, closed = b"", "", ""
    try:
        head = storage.read_head(path, readers.HEAD_SIZE)
    except OSError as error:
        fault, closed = f"cannot be opened ({one_line(error)})", f"{passed_over.CLOSED} ({error.strerror})"
    places = [place for place in _sidecar_names(path) if exists(place)]
    source = Source(name, path, sidecars=tuple((posixpath.basename(place), place) for place in places), fault=fault)
    if readers.claims(posixpath.basename(name), head):
        return [source]
    if not head.startswith(depth_png.SIGNATURE):
        return [PassedOver(name, kind_of(name), closed or passed_over.UNKNOWN)]
    sidecar = _sidecar_names(path)[0]
    reason = _why_no_depth(head, _head_of(sidecar)) if sidecar in places else passed_over.PICTURE
    return [PassedOver(name, kind_of(name), reason) if reason else _Picture(source, sidecar)]


def _head_of(path: str) -> bytes:
    try:
        return storage.read_head(path, readers.HEAD_SIZE)
    except OSError:
        return b""


def _why_no_depth(picture: bytes, sidecar: bytes) -> str:
    """Why a PNG beside a JSON is no scan; "" where that says that depth was meant: it has a camera's keys, or beside a grey
    picture it is no JSON. The colour picture of a frame lies beside its camera as well."""
    text = sidecar.replace(b"\0", b"")  # in UTF-16 too
    has_camera, kind = bool(_CAMERA.search(text)), picture[25:26]
    if kind in (b"\2", b"\3", b"\6"):  # red, green and blue; of a palette; with alpha
        return passed_over.COLOUR if has_camera else passed_over.PICTURE
    is_meant = has_camera or (kind in (b"\0", b"\4") and text.strip()[-1:] not in (b"}", b"]"))
    return "" if is_meant else passed_over.PICTURE


def _sidecar_names(name: str) -> list[str]:
    """NAME.json, NAME.landmarks.json and the like beside NAME.png, the first of them the camera's."""
    stem = name[: len(name) - len(posixpath.basename(name))] + posixpath.basename(name).rpartition(".")[0]
    return [stem + suffix for suffix in (*readers.sidecar_suffixes(name), *landmark_files.SUFFIXES) if stem + suffix != name]


def _of_archive(path: str, name: str, bounds: Bounds) -> list[_Entry]:
    """What lies in an archive; where it is damaged, what was found before that, and a line for the archive itself."""
    archive = _Archive(path, name, bounds)
    try:
        with LOCK:
            archive.read()
    except ArchiveRefused as error:
        return [Source(name, path, fault=f"the archive is refused ({one_line(error)})")]
    except ARCHIVE_ERRORS as error:
        what = "is damaged" if archive.members else "cannot be opened"
        return [*archive.entries(), Source(name, path, fault=f"the archive {what} ({one_line(error)})")]
    return archive.entries()


@dataclass(frozen=True)
class _Head:
    """What is remembered of a member: whether a reader claims it, whether it can be read, and of a JSON or PNG its beginning."""

    position: int
    is_scan: bool
    is_readable: bool
    beginning: bytes


class _Archive:
    """The members of one archive, read once, in its order."""

    def __init__(self, path: str, name: str, bounds: Bounds):
        self.path, self.name, self.bounds = path, name, bounds
        self.members: dict[str, _Head] = {}
        self._passed: list[PassedOver] = []

    def read(self) -> None:
        """Reads the heads. Raises one of ARCHIVE_ERRORS; what came before stays known."""
        most = self.bounds.archive_members
        for number, member in enumerate(opened(self.path, self.bounds.archive_ratio).members(), 1):
            if number > most:
                raise ArchiveRefused(
                    f"it has more than {most} members; raise limits.archive_members if it is meant to have so many"
                )
            if member.passed:
                self._passed.append(PassedOver(f"{self.name}!{member.name}", kind_of(member.name), member.passed))
                continue
            if member.name in self.members:
                self._passed.append(PassedOver(f"{self.name}!{_below(member.name)}", kind_of(member.name), archives.REPEATED))
            head, suffix = member.head or b"", member.name.lower()[-5:]
            kept = head[:64] if suffix.endswith(".png") else b""
            if suffix == ".json":  # a camera's sidecar is short; of others nothing is kept that would fill the memory
                kept = head if len(head) < SIDECAR_BYTES else head[:SIDECAR_BYTES] + b"}"
            claimed = readers.claims(posixpath.basename(member.name.replace("\\", "/")), head)
            self.members[member.name] = _Head(len(self.members), claimed, member.head is not None, kept)

    def entries(self) -> list[_Entry]:
        return [*self._passed, *(self._entry(member, head) for member, head in self.members.items())]

    def _entry(self, member: str, head: _Head) -> _Entry:
        below = archives.below(member)
        name = f"{self.name}!{_below(member)}"
        places = [place for place in _sidecar_names(member) if place in self.members]
        sidecars = tuple((posixpath.basename(place.replace("\\", "/")), place) for place in places)
        fault = "" if head.is_readable else "the member cannot be read (encrypted or damaged)"
        if below is None:
            fault = "its path leads out of the archive, and such members are refused"
        source = Source(name, self.path, member, head.position, sidecars, fault)
        reason = self._reason(below or posixpath.basename(member.replace("\\", "/")), head)
        if reason == passed_over.PICTURE:
            sidecar = _sidecar_names(member)[0]
            if sidecar in places:
                reason = _why_no_depth(head.beginning, self.members[sidecar].beginning)
            if not reason:
                return _Picture(source, sidecar)
        return PassedOver(name, kind_of(name), reason) if reason else source

    def _reason(self, below: str, head: _Head) -> str:
        """Why a member is no scan, or ""."""
        if walking.is_hidden(below):
            return passed_over.HIDDEN
        if below.endswith(storage.PARTIAL_SUFFIX):
            return passed_over.PARTIAL
        if landmark_files.suffix_of(below):
            return passed_over.LANDMARKS
        if head.is_scan:
            return ""
        if below.lower().endswith(archives.SUFFIXES):
            return passed_over.NESTED
        return passed_over.PICTURE if head.beginning.startswith(depth_png.SIGNATURE) else passed_over.UNKNOWN
