"""What there is to process: scan files below a path, a glob, in archives, or on any Beam filesystem.

Nothing is unpacked to disk: a member of an archive is read into memory when its turn comes, never past the size limit.
Files whose name starts with a dot (and `__MACOSX/`) are not data and are left out, as is everything below OUT.
"""

import glob
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from geometry import readers
from geometry.errors import ConfigError
from geometry.readers import landmark_files
from pipeline.inputs.reading import ARCHIVE_ERRORS, LOCK, one_line, opened
from pipeline.inputs.source import Source
from pipeline.store import storage

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_GLOB = re.compile(r"[*?\[]")


def list_sources(path: str, out: str | None = None, archive_members: int = 1_000_000) -> list[Source]:
    """The scans at PATH, sorted by name. Raises ConfigError where PATH names nothing or holds no scan."""
    files = [(file, name) for file, name in _expanded(path) if not _hidden(name) and not (file != path and _below(file, out))]
    exists = _existence(path, {file for file, _ in files})
    with ThreadPoolExecutor(16) as pool:  # a head costs a round trip on a remote filesystem
        found = [
            source for some in pool.map(lambda at: _sources_of(at[0], at[1], exists, archive_members), files) for source in some
        ]
    if not found:
        raise ConfigError(
            f"--input {path}: no scan among {len(files)} file{'s' * (len(files) != 1)}; expected PLY, OBJ, STL, OFF, GLB, PCD, "
            "depth PNG with its JSON sidecar, depth NPZ or TrueDepth files, in folders or archives (see README)"
        )
    return sorted(found)


def _existence(path: str, listed: set[str]) -> Callable[[str], bool]:
    """Is there such a file? A folder's listing knows all that lie in it; a glob's or a single file does not."""
    if path in listed or _GLOB.search(path):
        return lambda place: place in listed or storage.exists(place)
    return listed.__contains__


def in_reading_order(sources: list[Source]) -> list[Source]:
    """Members of an archive in the order in which they lie there, so that a compressed tar is unpacked once."""
    return sorted(sources, key=lambda source: (source.path, source.position, source.name))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")) or name.endswith(storage.PARTIAL_SUFFIX)


def _below(file: str, folder: str | None) -> bool:
    if folder is None or storage.is_url(file) != storage.is_url(folder):
        return False
    if storage.is_url(file):
        return file.startswith(folder.rstrip("/") + "/")
    return os.path.realpath(file).startswith(os.path.realpath(folder) + os.sep)


def _expanded(path: str) -> Iterator[tuple[str, str]]:
    """(file, POSIX name below PATH) of every file that PATH stands for."""
    if storage.is_url(path):
        yield from _expanded_url(path)
    elif os.path.isfile(path):
        yield path, os.path.basename(path)
    elif os.path.isdir(path):
        yield from ((file, os.path.relpath(file, path).replace(os.sep, "/")) for file in _walk(path))
    elif _GLOB.search(path):
        root = path[: _GLOB.search(path).start()]
        root = os.path.dirname(root) or ("." if not root.startswith(os.sep) else os.sep)
        for match in sorted(glob.glob(path, recursive=True)):
            for file in _walk(match) if os.path.isdir(match) else [match]:
                yield file, os.path.relpath(file, root).replace(os.sep, "/")
    else:
        raise ConfigError(f"--input {path}: no such file or folder; give a file, a folder, a glob in quotes, an archive or a URL")


def _expanded_url(path: str) -> Iterator[tuple[str, str]]:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        matches = [match.path for match in FileSystems.match([path])[0].metadata_list]
        root = path[: _GLOB.search(path).start()].rpartition("/")[0] if _GLOB.search(path) else posixpath.dirname(path)
        if not matches:
            matches, root = storage.list_files(path), path.rstrip("/")
    except (BeamIOError, ValueError) as error:
        raise ConfigError(f"--input {path}: cannot be listed ({one_line(error)})") from error
    if not matches:
        raise ConfigError(f"--input {path}: nothing there; check the URL and your access to it")
    yield from ((file, file[len(root) :].lstrip("/")) for file in sorted(matches))


def _walk(folder: str) -> Iterator[str]:
    """Files below `folder`, sorted; linked folders are entered once."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (os.path.join(here, name) for name in sorted(names))


def _sources_of(file: str, name: str, exists: Callable[[str], bool], archive_members: int) -> list[Source]:
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        try:
            return list(_members(file, name, archive_members))
        except ARCHIVE_ERRORS as error:
            return [Source(name, file, fault=f"the archive cannot be opened ({one_line(error)})")]
    if landmark_files.suffix_of(name):
        return []
    head, fault = b"", ""
    try:
        head = storage.read_head(file, readers.HEAD_SIZE)
    except OSError as error:
        fault = f"cannot be opened ({one_line(error)})"
    if not readers.claims(posixpath.basename(name), head):
        return []
    places = (place for place in _sidecar_names(file) if exists(place))
    return [Source(name, file, sidecars=tuple((posixpath.basename(place), place) for place in places), fault=fault)]


def _sidecar_names(name: str) -> list[str]:
    """NAME.json, NAME.landmarks.json and the like beside NAME.png."""
    stem = name[: len(name) - len(posixpath.basename(name))] + posixpath.basename(name).rpartition(".")[0]
    return [stem + suffix for suffix in (*readers.SIDECAR_SUFFIXES, *landmark_files.SUFFIXES) if stem + suffix != name]


def _members(file: str, name: str, most: int) -> Iterator[Source]:
    with LOCK:
        heads: dict[str, bytes | None] = {}
        for member, head in opened(file).heads():
            heads[member] = head
            if len(heads) > most:
                raise ValueError(f"more than {most} members; raise limits.archive_members if it is meant to have so many")
    for position, (member, head) in enumerate(heads.items()):
        below = member.removeprefix("./")
        if _hidden(below) or landmark_files.suffix_of(below) or not readers.claims(posixpath.basename(member), head or b""):
            continue
        sidecars = tuple((posixpath.basename(place), place) for place in _sidecar_names(member) if place in heads)
        fault = "" if head is not None else "the member cannot be read (encrypted or damaged)"
        yield Source(f"{name}!{below}", file, member, position, sidecars, fault)
