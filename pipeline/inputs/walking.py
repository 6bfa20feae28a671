"""The files below a path, a glob or a URL, each under its name below a root. Only plain files are ever opened."""

import glob
import heapq
import os
import posixpath
import re
import stat
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from geometry.errors import ConfigError
from pipeline.inputs import passed_over
from pipeline.inputs.archives import one_line
from pipeline.inputs.passed_over import PassedOver, kind_of
from pipeline.store import storage

_GLOB = re.compile(r"[*?\[]")
_SPECIAL = (  # stat.S_IFMT → kind
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


class File(NamedTuple):
    """A plain file (or a link to nowhere, which fails when it is read): its path, and its POSIX name below the root."""

    path: str
    name: str


Found = File | PassedOver


def is_glob(path: str) -> bool:
    """Whether `path` is a pattern, and names no file or folder as it stands."""
    return bool(_GLOB.search(path)) and (storage.is_url(path) or not os.path.lexists(path))


def natural_root(path: str) -> str:
    """Below which the scans of PATH have their names where no other root is stated: a folder itself, the folder of a file, the
    longest literal parent of a glob. An absolute path, or a URL."""
    if storage.is_url(path):
        if _GLOB.search(path):
            return path[: _GLOB.search(path).start()].rpartition("/")[0]
        return posixpath.dirname(path) if storage.exists(path) else path.rstrip("/")
    if is_glob(path):
        head = path[: _GLOB.search(path).start()]
        return os.path.abspath(os.path.dirname(head) or (os.sep if head.startswith(os.sep) else "."))
    return os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path) or ".")


def contains(root: str, path: str) -> bool:
    """Whether `path` lies at or below `root`, links in either resolved where that helps."""
    if storage.is_url(root) or storage.is_url(path):
        return path == root or path.startswith(root.rstrip("/") + "/")
    pairs = ((os.path.abspath(root), os.path.abspath(path)), (os.path.realpath(root), os.path.realpath(path)))
    return any(inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep) for outer, inner in pairs)


def found_below(path: str, root: str, out: str | None, follow_links: bool) -> Iterator[Found]:
    """Everything that PATH stands for, in no particular order. Raises ConfigError where it names nothing."""
    if storage.is_url(path):
        yield from _of_url(path, root, out)
        return
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        if not is_glob(path):
            what = "no such file or folder" if isinstance(error, FileNotFoundError | ValueError) else one_line(error)
            hint = "give a file, a folder, a glob in quotes, an archive or a URL"
            raise ConfigError(f"--input {path}: {what}; {hint}") from error
        walk = _Walk(root, out, follow_links, natural_root(path))
        yield from walk.of_glob(path)
    else:
        if is_folder and not os.access(path, os.R_OK | os.X_OK):
            raise ConfigError(f"--input {path}: the folder cannot be opened; check its permissions")
        yield from _Walk(root, out, follow_links, natural_root(path)).at(path, is_given=True)


class _Walk:
    """One walk over folders: links to folders are followed last, and no folder is entered twice.

    base: `natural_root` of what was given; the user knows what is hidden above it."""

    def __init__(self, root: str, out: str | None, follow_links: bool, base: str):
        self.root, self.follow_links, self.base = root, follow_links, base
        self.out = None if out is None or storage.is_url(out) else os.path.realpath(out)
        self.out_place = _identity(self.out) if self.out and os.path.isdir(self.out) else None
        self._entered: set[tuple[int, int]] = set()
        self._listed: set[str] = set()
        self._matched: set[tuple[tuple[int, int], str]] = set()  # by a glob: the folder, and the name in it

    def name(self, path: str) -> str:
        given = os.path.abspath(path)
        if not given.startswith(self.root.rstrip(os.sep) + os.sep) and given != self.root:  # one of both has links
            folder, own = os.path.split(given)  # a link to a file has the name of its own place
            real = os.path.join(os.path.realpath(folder), own)
            given = os.path.join(self.root, os.path.relpath(real, os.path.realpath(self.root)))
        return os.path.relpath(given, self.root).replace(os.sep, "/")

    def of_glob(self, pattern: str) -> Iterator[Found]:
        """All that a pattern matches, in the order of a walk; a file that several paths lead to once, under the first of them."""
        again: list[str] = []
        seen: set[str] = set()
        waiting = [self._order(path) for path in globbed(pattern, self.follow_links, again)]
        heapq.heapify(waiting)
        while waiting:
            links, _, path = heapq.heappop(waiting)
            if path in seen:  # `**/**` finds a path twice
                continue
            seen.add(path)
            folder, own = os.path.split(path)
            if links and not self.follow_links:
                yield PassedOver(self.name(path), "folder" if os.path.isdir(path) else "link", passed_over.LINKED)
                continue
            place, is_folder = (_identity(folder or "."), own), os.path.isdir(path)
            is_walked = not is_folder and place[0] in self._entered and path not in self._listed
            if place in self._matched or is_walked:
                yield PassedOver(self.name(path), kind_of(self.name(path)), passed_over.ENTERED)
                continue
            self._matched.add(place)
            later: deque[str] = deque()
            yield from self._below(path, later) if is_folder else self._entry(path)
            for link in later:
                heapq.heappush(waiting, self._order(link))
        for path in sorted(set(again) - seen):
            yield PassedOver(self.name(path), "folder", passed_over.ENTERED)

    def _order(self, path: str) -> tuple[int, list[tuple[list[str], str]], str]:
        """By which paths, without a last slash, are sorted as a walk comes to them: those through links last, in the order of
        these; first how many there are."""
        path = path.rstrip(os.sep) or path
        links = (os.path.split(link) for link in self._links(path))
        places = [(folder.split(os.sep), own) for folder, own in links]
        return len(places), places, path

    def _links(self, path: str) -> list[str]:
        """The links among the folders on the way from what was given to a match, the match itself included; outermost first."""
        path, links = os.path.abspath(path), []
        here = path if os.path.isdir(path) else os.path.dirname(path)
        while len(here) > len(self.base):
            if os.path.islink(here):
                links.append(here)
            here = os.path.dirname(here)
        return links[::-1]

    def at(self, path: str, is_given: bool) -> Iterator[Found]:
        """A file, or all below a folder, sorted; a folder that is given may be a link, a file that is given may lie below OUT."""
        if not os.path.isdir(path):
            yield from self._entry(path, is_given)
            return
        later: deque[str] = deque()
        yield from self._below(path, later)
        while later:
            yield from self._tree(later.popleft(), later)

    def _below(self, path: str, later: deque[str]) -> Iterator[Found]:
        """All below a folder but for links to folders, which wait in `later`."""
        if self._hides(path):
            yield PassedOver(self.name(path), "folder", passed_over.OWN)
        else:
            yield from self._tree(path, later)

    def _hides(self, path: str) -> bool:
        if self.out is None:
            return False
        real = os.path.realpath(path)
        return real == self.out or real.startswith(self.out + os.sep)

    def _tree(self, top: str, later: deque[str]) -> Iterator[Found]:
        """All below a folder, depth first; links to folders are put off until `later`."""
        stack = [top]
        while stack:
            here = stack.pop()
            if here in self._listed:  # as a folder of its own, by another match of a glob
                continue
            self._listed.add(here)
            try:
                place = _identity(here)
                if place in self._entered or place == self.out_place:
                    reason = passed_over.OWN if place == self.out_place else passed_over.ENTERED
                    yield PassedOver(self.name(here), "folder", reason)
                    continue
                self._entered.add(place)
                with os.scandir(here) as entries:
                    names = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
            except OSError as error:
                yield PassedOver(self.name(here), "folder", f"{passed_over.CLOSED} ({error.strerror or one_line(error)})")
                continue
            folders = []
            for name, is_folder, is_link in names:
                path = os.path.join(here, name)
                if is_folder and is_hidden(name):
                    yield PassedOver(self.name(path), "folder", passed_over.HIDDEN)
                elif is_folder and is_link and self.follow_links:
                    later.append(path)
                elif is_folder and not is_link:
                    folders.append(path)
                elif (place, name) in self._matched and path not in self._listed:
                    yield PassedOver(self.name(path), kind_of(name), passed_over.ENTERED)
                else:
                    yield from self._entry(path, is_walked=True)
            stack += reversed(folders)

    def _entry(self, path: str, is_given: bool = False, is_walked: bool = False) -> Iterator[Found]:
        """What is no folder. is_walked: its folder does not lie below OUT."""
        if path in self._listed:  # by another match of a glob
            return
        self._listed.add(path)
        name = self.name(path)
        is_link = os.path.islink(path)
        if is_link and not (self.follow_links or is_given):
            yield PassedOver(name, "link", passed_over.LINKED)
            return
        if not is_given and (is_link or not is_walked) and self._hides(path):
            yield PassedOver(name, kind_of(name), passed_over.OWN)
            return
        try:
            mode = os.stat(path).st_mode
        except OSError:  # a link to nowhere: fails when it is read, if it is named like a scan
            mode = stat.S_IFREG
        kind = next((kind for is_kind, kind in _SPECIAL if is_kind(mode)), "")
        below = os.path.relpath(os.path.abspath(path), self.base).replace(os.sep, "/")
        yield PassedOver(name, kind, passed_over.SPECIAL) if kind else plain(path, name, below)


def globbed(pattern: str, follow_links: bool, again: list[str]) -> Iterator[str]:
    """As `glob.glob(pattern, recursive=True)`, but `**` enters no folder twice, whatever links lead to it; such paths are added
    to `again`. A final `**` stands for the folders before it."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    at = parts.index("**")
    head, rest = os.sep.join(parts[:at]), os.sep.join(part for part in parts[at + 1 :])
    tops = glob.glob(head) if head else [os.sep if pattern.startswith(os.sep) else ""]
    for top in filter(lambda top: os.path.isdir(top or "."), tops):
        for folder in _folders(top, follow_links, again) if rest.strip(os.sep) else [top or "."]:
            yield from globbed(os.path.join(glob.escape(folder), rest), follow_links, again) if rest else [folder]


def _folders(top: str, follow_links: bool, again: list[str]) -> Iterator[str]:
    """A folder and all below it that are not hidden, links last."""
    entered: set[tuple[int, int]] = set()
    later = deque([top])
    while later:
        stack = [later.popleft()]
        while stack:
            here = stack.pop()
            try:
                place = _identity(here or ".")
                with os.scandir(here or ".") as entries:
                    found = sorted(
                        (entry.name, entry.is_symlink()) for entry in entries if _is_folder(entry) and not is_hidden(entry.name)
                    )
            except OSError:  # a folder that cannot be opened matches nothing, as with any glob
                continue
            if place in entered:
                again.append(here)
                continue
            entered.add(place)
            yield here
            paths = [(os.path.join(here, name), is_link) for name, is_link in found]
            stack += [path for path, is_link in reversed(paths) if not is_link]
            later += [path for path, is_link in paths if is_link and follow_links]


def _identity(folder: str) -> tuple[int, int]:
    """What a folder is known by, whatever path leads to it. Raises OSError."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, is hidden."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def plain(path: str, name: str, below: str) -> Found:
    """A file, unless its name says that it is no data. below: its name below what was given, which may itself be hidden."""
    if is_hidden(below):
        return PassedOver(name, kind_of(name), passed_over.HIDDEN)
    if name.endswith(storage.PARTIAL_SUFFIX):
        return PassedOver(name, kind_of(name), passed_over.PARTIAL)
    return File(path, name)


def _of_url(path: str, root: str, out: str | None) -> Iterator[Found]:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        matches = [match.path for match in FileSystems.match([path])[0].metadata_list] or storage.list_files(path)
    except (BeamIOError, ValueError) as error:
        raise ConfigError(f"--input {path}: cannot be listed ({one_line(error)})") from error
    if not matches:
        raise ConfigError(f"--input {path}: nothing there; check the URL and your access to it")
    base = natural_root(path)
    for file in sorted(matches):
        if out is None or file == path or not contains(out, file):
            yield plain(file, file[len(root) :].lstrip("/"), file[len(base) :].lstrip("/"))
    if out is not None and any(file != path and contains(out, file) for file in matches):
        yield PassedOver(out[len(root) :].strip("/") if contains(root, out) else out, "folder", passed_over.OWN)
