"""The bytes of a scan: from its file, from a member of an archive, never past the size limit, and never unpacked to disk."""

import contextlib
import functools
import posixpath
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from geometry import readers
from geometry.errors import ReadError
from pipeline.inputs.source import Source
from pipeline.store import storage

# what the archive libraries raise on damaged, encrypted (RuntimeError) or unknown (NotImplementedError) content
ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    RuntimeError,
    NotImplementedError,
    ValueError,
    KeyError,
)


def read(source: Source, limit_bytes: int) -> tuple[bytes, dict[str, bytes]]:
    """The scan's bytes and its sidecars' by file name. Raises ReadError."""
    if source.fault:
        raise ReadError(source.name, source.fault, "repair the file or copy it again")
    try:
        place = source.member or source.path
        data = _read(source, place, limit_bytes)
        beside = {name: _read(source, place, limit_bytes) for name, place in source.sidecars}
        return data, beside | _referenced(source, place, data, limit_bytes)
    except ARCHIVE_ERRORS as error:
        raise ReadError(source.name, f"cannot be read ({one_line(error)})", "check the file and its permissions") from error


def _referenced(source: Source, place: str, data: bytes, limit_bytes: int) -> dict[str, bytes]:
    """Of the files that the scan's content names, below its folder or in its archive, those that there are. Nothing else is ever
    opened at a scan's word."""
    found = {}
    for name in readers.neighbours(source.file_name, data):
        with contextlib.suppress(*ARCHIVE_ERRORS):  # what cannot be opened is not there: the reader says what it misses
            found[name] = _read(source, posixpath.join(posixpath.dirname(place), name), limit_bytes)
    return found


def _read(source: Source, place: str, limit_bytes: int) -> bytes:
    """place: a file, or a member of the archive that the source lies in."""
    if source.member:
        with LOCK:
            data = opened(source.path).read(place, limit_bytes + 1)
    else:
        data = storage.read_head(place, limit_bytes + 1)
    if len(data) > limit_bytes:
        size = f"is larger than {limit_bytes // 2**20} MiB"
        raise ReadError(source.name, size, "raise limits.file_mib if it is meant to be so large")
    return data


class _Zip:
    def __init__(self, handle: IO[bytes]):
        self._archive = zipfile.ZipFile(handle)

    def heads(self) -> Iterator[tuple[str, bytes | None]]:
        """(member, first bytes, or None where they cannot be read), in the archive's order."""
        for info in sorted(self._archive.infolist(), key=lambda info: info.header_offset):
            if info.is_dir():
                continue
            try:
                yield info.filename, self.read(info.filename, readers.HEAD_SIZE)
            except ARCHIVE_ERRORS:
                yield info.filename, None

    def read(self, member: str, size: int) -> bytes:
        with self._archive.open(member) as handle:
            return handle.read(size)


class _Tar:
    def __init__(self, handle: IO[bytes]):
        self._archive = tarfile.open(fileobj=handle, mode="r:*")
        self._infos: dict[str, tarfile.TarInfo] = {}

    def heads(self) -> Iterator[tuple[str, bytes | None]]:
        for info in self._archive:
            if info.isreg():  # links and devices are no data
                self._infos[info.name] = info
                yield info.name, self._archive.extractfile(info).read(readers.HEAD_SIZE)

    def read(self, member: str, size: int) -> bytes:
        info = self._infos.get(member) or self._archive.getmember(member)
        return self._archive.extractfile(info).read(size)


LOCK = threading.RLock()  # archive handles have one position each


@functools.lru_cache(maxsize=2)
def _archive(path: str, version: float) -> _Zip | _Tar:
    """An open archive, kept for the next member; one on a remote filesystem is copied to a nameless temporary file."""
    if storage.is_url(path):
        handle: IO[bytes] = tempfile.TemporaryFile()
        handle.write(storage.read_bytes(path))
        handle.seek(0)
    else:
        handle = open(path, "rb")
    return _Zip(handle) if path.lower().endswith(".zip") else _Tar(handle)


def opened(path: str) -> _Zip | _Tar:
    """The archive, opened once in a process while the file stays the same. Its handle is to be used under `LOCK`."""
    from apache_beam.io.filesystems import FileSystems

    return _archive(path, FileSystems.last_updated(path))


def one_line(error: BaseException) -> str:
    """What an error says, for a message of ours."""
    return " ".join(str(error).split()) or type(error).__name__
