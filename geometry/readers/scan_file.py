"""A file handed to a reader: its name, its bytes and the neighbours that may belong to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from geometry.errors import ReadError

EXPORT_AGAIN = "copy or export the file again"


@dataclass(frozen=True)
class ScanFile:
    """source: how messages name the file (a path, `archive.zip!member`); sidecars: file name → bytes of its neighbours."""

    source: str
    data: bytes
    sidecars: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's own name, without folders or archive."""
        return file_name(self.source)

    def sidecar_name(self, suffix: str) -> str:
        """NAME.json for NAME.png and ".json"."""
        return self.name.rpartition(".")[0] + suffix if "." in self.name else self.name + suffix

    def sidecar(self, name: str) -> bytes | None:
        """The neighbour of that file name, or None."""
        return next((data for path, data in self.sidecars.items() if file_name(path) == name), None)

    def error(self, fault: str, remedy: str = EXPORT_AGAIN) -> ReadError:
        return ReadError(self.source, fault, remedy)


def file_name(source: str) -> str:
    """The last part of a path, a URL or an `archive.zip!member`."""
    return re.split(r"[/\\!]", source)[-1]
