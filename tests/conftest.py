"""Shared by the tests of the pipeline: a Beam filesystem in memory."""

import io

import pytest

_FILES: dict[str, bytes] = {}
_CLASSES: list[type] = []


def _filesystem_class():
    from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

    class Writer(io.BytesIO):
        def __init__(self, path):
            super().__init__()
            self.path = path

        def close(self):
            if not self.closed:
                _FILES[self.path] = self.getvalue()
            super().close()

    class MemoryFileSystem(FileSystem):
        """The least that a remote filesystem is: no folders, no append, rename by copy."""

        @classmethod
        def scheme(cls):
            return "inmemory"

        def join(self, basepath, *paths):
            return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

        def split(self, path):
            return tuple(path.rsplit("/", 1))

        def mkdirs(self, path):
            pass

        def has_dirs(self):
            return False

        def _list(self, dir_or_prefix):
            found = (path for path in sorted(_FILES) if path.startswith(dir_or_prefix))
            yield from (FileMetadata(path, len(_FILES[path]), 0.0) for path in found)

        def create(self, path, mime_type="application/octet-stream", compression_type=None):
            return Writer(path)

        def open(self, path, mime_type="application/octet-stream", compression_type=None):
            if path not in _FILES:
                raise FileNotFoundError(path)
            return io.BytesIO(_FILES[path])

        def copy(self, source_file_names, destination_file_names):
            for source, destination in zip(source_file_names, destination_file_names):
                _FILES[destination] = _FILES[source]

        def rename(self, source_file_names, destination_file_names):
            for source, destination in zip(source_file_names, destination_file_names):
                _FILES[destination] = _FILES.pop(source)

        def exists(self, path):
            return path in _FILES

        def size(self, path):
            return len(_FILES[path])

        def last_updated(self, path):
            return 0.0

        def checksum(self, path):
            return str(len(_FILES[path]))

        def metadata(self, path):
            if path not in _FILES:
                raise BeamIOError(f"no {path}")
            return FileMetadata(path, len(_FILES[path]), 0.0)

        def delete(self, paths):
            for path in paths:
                _FILES.pop(path, None)

    return MemoryFileSystem


@pytest.fixture
def memory_filesystem():
    """The scheme of a Beam filesystem that lives in this process; empty at the start of each test."""
    if not _CLASSES:
        _CLASSES.append(_filesystem_class())  # Beam finds it as a subclass of FileSystem
    _FILES.clear()
    return "inmemory"
