"""The bytes of a scan: from its file, from a member of an archive, never past the size limit, and never unpacked to disk."""

import contextlib
import os
import posixpath

from geometry import readers
from geometry.errors import ReadError
from pipeline.inputs.archives import ARCHIVE_ERRORS, LOCK, RATIO, one_line, opened
from pipeline.inputs.source import Source
from pipeline.store import storage


def read(source: Source, limit_bytes: int, archive_ratio: int = RATIO) -> tuple[bytes, dict[str, bytes]]:
    """The scan's bytes and its sidecars' by file name. Raises ReadError.

    archive_ratio: the most bytes that a byte of a compressed archive may become."""
    if source.fault:
        raise ReadError(source.name, source.fault, "repair the file or copy it again")
    try:
        place = source.member or source.path
        data = _read(source, place, limit_bytes, archive_ratio)
        beside = {name: _read(source, place, limit_bytes, archive_ratio) for name, place in source.sidecars}
        return data, beside | _referenced(source, data, limit_bytes, archive_ratio)
    except ARCHIVE_ERRORS as error:
        raise ReadError(source.name, f"cannot be read ({one_line(error)})", "check the file and its permissions") from error


def _referenced(source: Source, data: bytes, limit_bytes: int, archive_ratio: int) -> dict[str, bytes]:
    """Of the files that the scan's content names, below its folder or in its archive, those that there are. Nothing else is ever
    opened at a scan's word, and no pipe, for which a run would wait."""
    found, folder = {}, posixpath.dirname(source.member or source.path)
    for name in readers.neighbours(source.file_name, data):
        place = posixpath.join(folder, name)
        if source.member is None and not storage.is_url(place) and not os.path.isfile(place):
            continue
        with contextlib.suppress(*ARCHIVE_ERRORS):  # what cannot be opened is not there: the reader says what it misses
            found[name] = _read(source, place, limit_bytes, archive_ratio)
    return found


def neighbours(source: Source, limit_bytes: int, archive_ratio: int = RATIO) -> list[str]:
    """The files that a scan's content names, as `readers.neighbours` has them; none where it cannot be read."""
    if source.fault:
        return []
    try:
        return readers.neighbours(source.file_name, _read(source, source.member or source.path, limit_bytes, archive_ratio))
    except (ReadError, *ARCHIVE_ERRORS):  # told when the scan's turn comes
        return []


def _read(source: Source, place: str, limit_bytes: int, archive_ratio: int) -> bytes:
    """place: a file, or a member of the archive that the source lies in."""
    if source.member:
        with LOCK:
            data = opened(source.path, archive_ratio).read(place, limit_bytes + 1)
    else:
        data = storage.read_head(place, limit_bytes + 1)
    if len(data) > limit_bytes:
        size = f"is larger than {limit_bytes // 2**20} MiB"
        raise ReadError(source.name, size, "raise limits.file_mib if it is meant to be so large")
    return data
