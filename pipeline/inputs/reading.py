"""The bytes of a scan: from its file, from a member of an archive, never past the size limit, and never unpacked to disk."""

import errno
import os
import posixpath
import stat

from geometry import readers
from geometry.errors import ReadError
from pipeline.inputs.archives import ARCHIVE_ERRORS, LOCK, RATIO, one_line, opened
from pipeline.inputs.source import Source
from pipeline.store import storage

NO_FILE = (FileNotFoundError, NotADirectoryError)  # KeyError is that of a member, while these are its archive's
CHECK = "check the file and its permissions"


def read(source: Source, limit_bytes: int, archive_ratio: int = RATIO) -> tuple[bytes, dict[str, bytes]]:
    """The scan's bytes and its sidecars' by file name. Raises ReadError.

    archive_ratio: the most bytes that a byte of a compressed archive may become."""
    if source.fault:
        raise ReadError(source.name, source.fault, "repair the file or copy it again")
    data = _read(source, source.member or source.path, limit_bytes, archive_ratio)
    beside = {name: _read(source, place, limit_bytes, archive_ratio, name) for name, place in source.sidecars}
    return data, beside | _referenced(source, data, limit_bytes, archive_ratio)


def _referenced(source: Source, data: bytes, limit_bytes: int, archive_ratio: int) -> dict[str, bytes]:
    """Of the files that the scan's content names, below its folder or in its archive, those that there are, each at the first of
    its places; what it misses the reader says. Nothing else is ever opened at a scan's word, and no pipe, for which a run would
    wait.

    Raises ReadError where one is there, or may be behind an archive's damage, and cannot be read: without it, or with another of
    its name, the scan would be another."""
    found: dict[str, bytes] = {}
    for places in readers.neighbours(source.file_name, data):
        for name in places:
            if name not in found and (content := _neighbour(source, name, limit_bytes, archive_ratio)) is not None:
                found[name] = content
            if name in found:
                break
    return found


def _neighbour(source: Source, name: str, limit_bytes: int, archive_ratio: int) -> bytes | None:
    """The bytes of the file of that path below the scan's folder; None where there is none. Raises ReadError."""
    place = posixpath.join(posixpath.dirname(source.member or source.path), name)
    try:
        is_there = source.member is not None or _is_file(place)
        return _read(source, place, limit_bytes, archive_ratio, name) if is_there else None
    except OSError as error:
        raise ReadError(source.name, f"{_its(name)}cannot be read ({one_line(error)})", CHECK) from error
    except ReadError as error:
        if not isinstance(error.__cause__, KeyError if source.member is not None else NO_FILE):
            raise
        return None


def _is_file(place: str) -> bool:
    """Whether there is a plain file. Raises OSError where that cannot be told, as of a folder that may not be entered."""
    if storage.is_url(place):
        return storage.exists(place)
    try:
        return stat.S_ISREG(os.stat(place).st_mode)
    except (*NO_FILE, ValueError):  # ValueError: no name that a file can have
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _its(name: str) -> str:
    """The beginning of a sentence about the scan itself, where `name` is "", or a neighbour."""
    return f"its file {name[:80]!r} " if name else ""


def neighbours(source: Source, limit_bytes: int, archive_ratio: int = RATIO) -> list[tuple[str, ...]]:
    """The files that a scan's content names, as `readers.neighbours` has them; none where it cannot be read."""
    if source.fault:
        return []
    try:
        return readers.neighbours(source.file_name, _read(source, source.member or source.path, limit_bytes, archive_ratio))
    except ReadError:  # told when the scan's turn comes
        return []


def _read(source: Source, place: str, limit_bytes: int, archive_ratio: int, name: str = "") -> bytes:
    """place: a file, or a member of the archive that the source lies in; name: of a neighbour. Raises ReadError that names it."""
    try:
        if source.member:
            with LOCK:
                data = opened(source.path, archive_ratio).read(place, limit_bytes + 1)
        else:
            data = storage.read_head(place, limit_bytes + 1)
    except ARCHIVE_ERRORS as error:
        raise ReadError(source.name, f"{_its(name)}cannot be read ({one_line(error)})", CHECK) from error
    if len(data) > limit_bytes:
        size = f"{_its(name)}is larger than {limit_bytes // 2**20} MiB"
        raise ReadError(source.name, size, "raise limits.file_mib if it is meant to be so large")
    return data
