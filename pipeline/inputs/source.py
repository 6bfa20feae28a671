"""One scan to process."""

import hashlib
import os
import posixpath
import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Source:
    """One scan to process. name: the contract's `source`; path: its file, or the archive that holds `member`;
    position: of the member in its archive; sidecars: (file name, path or member) of neighbours a reader may need;
    fault: why it could not even be opened, or ""."""

    name: str
    path: str
    member: str | None = None
    position: int = 0
    sidecars: tuple[tuple[str, str], ...] = ()
    fault: str = ""

    @property
    def scan_id(self) -> str:
        """A slug of the name and 8 hex digits of its SHA-256, so that names never collide."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.")[:80]
        digits = hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"{slug or 'scan'}-{digits}"

    @property
    def file_name(self) -> str:
        return posixpath.basename((self.member or self.name).replace(os.sep, "/"))
