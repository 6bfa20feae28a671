"""Files on any Beam filesystem: a local path or a URL such as gs://bucket/out.

Every write goes to a temporary name and is renamed into place, so a reader (or a run that resumes after
kill −9) sees a whole file or none. Beam is imported where it is used, so that this module loads instantly.

To Beam every path that it removes or lists is a pattern, and a folder's name may look like one. Local files are removed and
listed without Beam, and a URL that looks like a pattern is nothing to write to (`is_pattern`).
"""

import contextlib
import errno
import gzip
import io
import json
import os
import re
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from geometry.errors import OutputError

PARTIAL_SUFFIX = ".partial"
_URL = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")
_PATTERN = re.compile(r"[*?\[]")
_PARTIAL_DIGITS = 12  # hexadecimal ones, by which a writer's file is told from other programs'
_PARTIAL = re.compile(rf"\.[0-9a-f]{{{_PARTIAL_DIGITS}}}{re.escape(PARTIAL_SUFFIX)}$")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: no clock in the bytes


def is_url(path: str) -> bool:
    return bool(_URL.match(str(path)))


def is_pattern(path: str) -> bool:
    """Whether it is a URL that Beam would take for a pattern, and remove what matches it; it knows no way to quote one."""
    return is_url(path) and bool(_PATTERN.search(str(path)))


def partial_name(path: str) -> str:
    """A new name beside `path`, of a file that is not to stay; `remove_partials` knows it."""
    return f"{path}.{uuid.uuid4().hex[:_PARTIAL_DIGITS]}{PARTIAL_SUFFIX}"


def _filesystems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def join(base: str, *parts: str) -> str:
    """`base` and path components below it, in the manner of the filesystem of `base`."""
    return _filesystems().join(str(base), *parts) if is_url(base) else os.path.join(str(base), *parts)


def exists(path: str) -> bool:
    return _filesystems().exists(str(path))


def read_bytes(path: str) -> bytes:
    """Raises OSError where the file is missing or unreadable."""
    return read_head(path, -1)


def read_head(path: str, size: int) -> bytes:
    """At most `size` bytes from the start of the file; -1: all."""
    from apache_beam.io.filesystem import CompressionTypes

    with _filesystems().open(str(path), compression_type=CompressionTypes.UNCOMPRESSED) as handle:
        return handle.read(size)


@contextlib.contextmanager
def open_atomic(path: str) -> Iterator[BinaryIO]:
    """A binary handle whose bytes appear at `path` only when the block ends without an exception. Raises OutputError where they
    cannot be written."""
    from apache_beam.io.filesystem import CompressionTypes

    filesystems, path = _filesystems(), str(path)
    partial = partial_name(path)
    try:
        handle = filesystems.create(partial, compression_type=CompressionTypes.UNCOMPRESSED)
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        yield handle
    except BaseException as error:  # KeyboardInterrupt too must leave no partial file behind
        _discard(partial, handle)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise _unwritten(path, error) from error
        raise
    try:
        handle.close()
        filesystems.rename([partial], [path])
    except OSError as error:
        _discard(partial, handle)
        raise _unwritten(path, error) from error
    except BaseException:
        _discard(partial, handle)
        raise


def _discard(partial: str, handle: Any) -> None:
    """What a failed writer leaves; on a full disk closing it fails as well."""
    with contextlib.suppress(OSError):
        handle.close()
    with contextlib.suppress(OSError):
        delete([partial] if exists(partial) else [])


def _unwritten(path: str, error: OSError) -> OutputError:
    what = error.strerror or " ".join(str(getattr(error, "exception_details", "") or error).split())
    remedy = "free space or check the folder, and give the same command again: what is finished stays finished"
    return OutputError(f"{path}: cannot be written ({what}); {remedy}")


def write_bytes(path: str, data: bytes) -> None:
    with open_atomic(path) as handle:
        handle.write(data)


def write_text(path: str, text: str) -> None:
    """As UTF-8; a lone surrogate, which stands for a byte of a name that is not UTF-8, as an escape that JSON knows."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str, value: Any, indent: int | None = 1) -> None:
    """Keys keep their order; NaN and infinities are refused (ValueError): they are not JSON."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def list_files(base: str) -> list[str]:
    """Every file below `base`, sorted; [] where there is none."""
    base = str(base)
    if not is_url(base):
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(base) for name in names)
    # Beam's `**` crosses folders; a prefix filesystem has no folders to walk
    pattern = base.rstrip("/") + "/**"
    return sorted(match.path for match in _filesystems().match([pattern])[0].metadata_list)


def delete(paths: list[str]) -> None:
    """Removes files, and no folders; a local one that is gone already is none to remove. Raises OutputError where a local one
    cannot be removed, and what Beam raises at URLs."""
    for path in (str(path) for path in paths if not is_url(path)):
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            what = error.strerror or str(error)
            raise OutputError(f"{path}: cannot be removed ({what}); check the folder, and give the same command again") from error
    if urls := [str(path) for path in paths if is_url(path)]:
        _filesystems().delete(urls)


def remove_partials(base: str) -> None:
    """Removes what writers that were killed left below `base`; a partial file of another program stays."""
    delete([path for path in list_files(base) if _PARTIAL.search(path)])


def remove_folder(path: str) -> None:
    """Removes a local folder that is empty; on a filesystem without folders there is none."""
    if not is_url(path):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """As `numpy.savez_compressed`, but the same arrays give the same bytes: no clock, one fixed order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in arrays:
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=1)  # level 6: 1 % smaller, in a fifth more time
    return buffer.getvalue()


def gzip_writer(handle: BinaryIO) -> gzip.GzipFile:
    """A gzip stream over `handle` that holds neither a file name nor a time. Level 1: geometry images become 10 % larger than at
    level 6, in a seventh of the time (0.05 s instead of 0.33 s a training pair)."""
    return gzip.GzipFile(filename="", mode="wb", fileobj=handle, mtime=0, compresslevel=1)
