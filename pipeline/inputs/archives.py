"""Archives as they lie there: what a zip or a tar holds, and a member's bytes. Nothing is unpacked to disk.

What an archive may cost is bounded before it is paid: a byte of a compressed archive becomes at most `ratio` bytes (beyond the
first `FREE_BYTES`), a header of a tar is of an ordinary size, and a member is read to a given length and no further.
"""

import bz2
import functools
import gzip
import lzma
import os
import posixpath
import stat
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from geometry import readers
from pipeline.store import storage

# what the archive libraries raise on damaged, encrypted (RuntimeError) or unknown (NotImplementedError) content
ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    KeyError,
)
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
RATIO = 200  # limits.archive_ratio
FREE_BYTES = 256 * 2**20  # a small archive of zeros does no harm: range grids of old scanners are such
HEADER_BYTES = 64 * 2**20  # of a tar: names and extended attributes
PIECE_BYTES = 16 * 2**20
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda handle: gzip.GzipFile(fileobj=handle, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
LINK = "links and devices in an archive hold no data"
SECOND_NAME = "second names, in an archive, of files that are listed under their first"
REPEATED = "a later member of the archive has the same name"
LOCK = threading.RLock()  # archive handles have one position each


class ArchiveRefused(ValueError):
    """An archive that would cost more than is allowed; none of it is read."""


class Member(NamedTuple):
    """name: as the archive has it; head: its first bytes, None where they cannot be read; passed: why it is no data, or ""."""

    name: str
    head: bytes | None
    passed: str = ""


class _Bounded:
    """A stream that is read in pieces, to a position and no further."""

    def __init__(self, stream: Any, most: float, refusal: str):
        self._stream, self._most, self._refusal = stream, most, refusal
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def write(self, data: bytes) -> int:
        raise OSError("an archive is only read")

    def read(self, size: int = -1) -> bytes:
        if size > HEADER_BYTES:  # members are asked for in pieces: only a header can want so much at once
            raise ArchiveRefused(f"it has a header of {size // 2**20} MiB, at most {HEADER_BYTES // 2**20} MiB are read")
        data = self._stream.read(size)
        if self._stream.tell() > self._most:
            raise ArchiveRefused(self._refusal)
        return data


def _most_bytes(packed: int, ratio: int) -> int:
    return max(FREE_BYTES, packed * ratio)


def _refusal(ratio: int) -> str:
    return f"it unpacks to more than {ratio} times its size; raise limits.archive_ratio if that is meant"


class Zip:
    """A zip, whose members may be read in any order."""

    def __init__(self, handle: IO[bytes], ratio: int):
        self._archive, self._ratio = zipfile.ZipFile(handle), ratio

    def members(self) -> Iterator[Member]:
        """In the archive's order; of several with one name the last, as every program unpacks them."""
        last = {info.filename: info for info in self._archive.infolist()}
        for info in sorted(self._archive.infolist(), key=lambda info: info.header_offset):
            mode = info.external_attr >> 16
            if info.is_dir() or info.filename.endswith("\\"):
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG) and info.create_system == 3:
                yield Member(info.filename, None, LINK)
            elif last[info.filename] is not info:
                yield Member(info.filename, None, REPEATED)
            else:
                try:
                    yield Member(info.filename, self.read(info.filename, readers.HEAD_SIZE))
                except ARCHIVE_ERRORS:
                    yield Member(info.filename, None)

    def read(self, name: str, size: int) -> bytes:
        """At most `size` bytes of a member. Raises one of ARCHIVE_ERRORS."""
        info = self._archive.getinfo(name)
        if size > readers.HEAD_SIZE and info.file_size > _most_bytes(info.compress_size, self._ratio):
            raise ArchiveRefused(_refusal(self._ratio))
        with self._archive.open(info) as handle:
            return handle.read(size)


class Tar:
    """A tar, compressed or not, that is best read in its own order."""

    def __init__(self, handle: IO[bytes], ratio: int):
        opener = next(
            (opener for magic, opener in _COMPRESSED.items() if handle.read(len(magic)) == magic or handle.seek(0)), None
        )
        packed = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        most = float("inf") if opener is None else _most_bytes(packed, ratio)
        self._stream: Any = _Bounded(handle if opener is None else opener(handle), most, _refusal(ratio))
        self._archive = tarfile.TarFile(fileobj=self._stream)  # its own opener would take the stream for a file to be unpacked
        self._infos: dict[str, tarfile.TarInfo] = {}
        self._others: dict[str, tarfile.TarInfo] | None = None  # what is no plain file, once that was asked for
        self._damage: Exception | None = None

    def members(self) -> Iterator[Member]:
        """In the archive's order; of several with one name each comes, and the last is the one that is read.

        Raises ValueError at a damaged header, where the library would stop as at the end."""
        for info in self._archive:
            if info.isreg():
                self._infos[info.name] = info
                yield Member(info.name, self._piece(info, readers.HEAD_SIZE))
            elif info.islnk() and info.linkname in self._infos:
                yield Member(info.name, None, SECOND_NAME)
            elif not info.isdir():
                yield Member(info.name, None, LINK)
        self._check_end()

    def _check_end(self) -> None:
        self._stream.seek(self._archive.offset)
        if self._stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise ValueError(f"damaged or cut off after {len(self._infos)} files")

    def read(self, name: str, size: int) -> bytes:
        """At most `size` bytes of a member. Raises one of ARCHIVE_ERRORS."""
        return self._piece(self._infos.get(name) or self._info(name), size)

    def _info(self, name: str) -> tarfile.TarInfo:
        """A member, also where this process has not listed them; of a damaged archive what lies before the damage.

        Raises KeyError where there is none, or another of ARCHIVE_ERRORS where it may lie behind the damage."""
        if self._others is None:
            self._others = {}
            try:
                for info in self._archive:
                    (self._infos if info.isreg() else self._others)[info.name] = info
                self._check_end()
            except ARCHIVE_ERRORS as error:
                self._damage = error
        found = self._infos.get(name) or self._others.get(name)
        if found is None:
            raise self._damage or KeyError(f"no member {name}")
        return found

    def _piece(self, info: tarfile.TarInfo, size: int) -> bytes:
        handle, pieces = self._archive.extractfile(info), []
        if handle is None:
            raise KeyError(f"{info.name} is no file")
        while size > 0 and (piece := handle.read(min(size, PIECE_BYTES))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


@functools.lru_cache(maxsize=2)
def _archive(path: str, version: float, ratio: int) -> Zip | Tar:
    """An open archive, kept for the next member; one on a remote filesystem is copied to a nameless temporary file."""
    if storage.is_url(path):
        handle: IO[bytes] = tempfile.TemporaryFile()
        handle.write(storage.read_bytes(path))
        handle.seek(0)
    else:
        handle = open(path, "rb")
    return Zip(handle, ratio) if path.lower().endswith(".zip") else Tar(handle, ratio)


def opened(path: str, ratio: int = RATIO) -> Zip | Tar:
    """The archive, opened once in a process while the file stays the same. Its handle is to be used under `LOCK`."""
    from apache_beam.io.filesystems import FileSystems

    return _archive(path, FileSystems.last_updated(path), ratio)


def below(name: str) -> str | None:
    """A member's name as a POSIX path below the archive; None where it leads out of it.

    Programs on Windows write backslashes between folders, which no archive should have."""
    path = name if "/" in name else name.replace("\\", "/")
    if path.startswith("/") or path[1:3] == ":/" or ".." in path.split("/"):
        return None
    return posixpath.normpath(path)


def one_line(error: BaseException) -> str:
    """What an error says, for a message of ours."""
    return " ".join(str(error).split()) or type(error).__name__
