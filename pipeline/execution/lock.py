"""One run at a time writes to an output folder: OUT/.lock says which.

On this machine, and wherever the filesystem knows locks, the kernel holds the lock and lets it go with the process, however
that ends: what a killed run leaves is taken over at once. Beside that the file says whose it is, and its time is the holder's
last sign of life, so that a run on another machine, or at a URL, is seen too; that one counts as dead after `STALE_SECONDS`
without a sign.
"""

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from geometry.errors import ConfigError
from pipeline.inputs.archives import one_line
from pipeline.store import storage

NAME = ".lock"
BEAT_SECONDS = 30.0
STALE_SECONDS = 300.0
_BEGINNING = b'{"run": "'  # of a lock


@contextlib.contextmanager
def held(out: str, option: str = "--output") -> Iterator[None]:
    """A context in which no other run writes to `out`. Raises ConfigError where one does, or where nothing can be written."""
    refuse_pattern(out, option)
    path = storage.join(out, NAME)
    own = _identity()
    try:
        handle = _acquired(path, own, out, option)
    except OSError as error:
        what = error.strerror or one_line(error)
        raise ConfigError(f"{option} {out}: cannot be written ({what}); give another folder or Beam URL") from error
    try:
        with _beating(path, handle, own):
            yield
    finally:
        _release(path, handle, own)


def refuse_pattern(out: str, option: str = "--output") -> None:
    """Raises ConfigError for a URL that Beam would take for a pattern: a run that removes a file there would remove others."""
    if storage.is_pattern(out):
        raise ConfigError(f"{option} {out}: at a URL *, ? and [ stand for other names; give one without them")


def _acquired(path: str, own: dict[str, Any], out: str, option: str) -> int | None:
    """The lock file, open and locked by the kernel; None where no kernel locks it. Raises ConfigError where a run has it."""
    handle = None if storage.is_url(out) else _kernel_lock(path, out, option)
    try:
        _refuse_other(path, out, option)
        _refuse_living(path, out, option, by_kernel=handle is not None)
        _write(path, handle, own)
        if handle is None and not _is_own(path, own):  # of two that write at a time, the later has it
            raise _in_use(_content(path), out, option)
    except BaseException:
        if handle is not None:
            os.close(handle)  # the file stays: it is another run's
        raise
    return handle


def _identity() -> dict[str, Any]:
    who = {"run": uuid.uuid4().hex[:12], "host": socket.gethostname(), "process": os.getpid(), "began": round(time.time())}
    return who | ({"boot": boot} if (boot := _boot()) else {})


def _boot() -> str:
    """What the running kernel is known by, in all of its containers; "" where it does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _is_own(path: str, own: dict[str, Any]) -> bool:
    return _content(path).get("run") == own["run"]


def _is_anothers(path: str, own: dict[str, Any]) -> bool:
    """Whether the file says so; one that cannot be read for a while, or is gone, does not."""
    return _content(path).get("run", own["run"]) != own["run"]


def _kernel_lock(path: str, out: str, option: str) -> int | None:
    """The open lock file, locked; None where the filesystem knows no locks. Raises ConfigError where another process has it."""
    import fcntl

    os.makedirs(out, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.fstat(handle).st_ino == os.stat(path).st_ino:
                return handle
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                content = _content(path)
                os.close(handle)
                raise _in_use(content, out, option) from None
            os.close(handle)
            return None
        os.close(handle)  # its holder removed it between the two calls


def _content(path: str) -> dict[str, Any]:
    """What the lock file says; {} for one that is empty, damaged, gone or cannot be read."""
    try:
        content = json.loads(storage.read_head(path, 4096) or b"{}")
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _refuse_other(path: str, out: str, option: str) -> None:
    """Raises ConfigError where the file is no lock, nor what a machine that stopped left of one: it is somebody's own."""
    try:
        beginning = storage.read_head(path, 4096).strip(b"\0")
    except OSError:  # there is none, or it cannot be read for a while
        return
    if not (beginning.startswith(_BEGINNING) or _BEGINNING.startswith(beginning)):
        raise ConfigError(f"{option} {out}: {path} is no lock of a run; move it away, or give another folder")


def _refuse_living(path: str, out: str, option: str, by_kernel: bool) -> None:
    """Raises ConfigError where the file is a living run's of another machine, which this machine's kernel may not know. A
    container has a host's name of its own, and the same kernel."""
    content = _content(path)
    is_here = content.get("host") == socket.gethostname() or (content.get("boot") or None) == _boot()
    if not content or (by_kernel and is_here):
        return
    if (silent := _silent_seconds(path)) is not None and silent < STALE_SECONDS:
        raise _in_use(content, out, option, silent)


def _silent_seconds(path: str) -> float | None:
    """Since the holder's last sign of life, by the clock of the filesystem, which may be another than this machine's; None where
    it cannot be told."""
    try:
        from apache_beam.io.filesystems import FileSystems

        last = FileSystems.last_updated(path)
        return max(0.0, _now_at(path) - last)
    except Exception:  # not every filesystem tells times
        return None


def _now_at(path: str) -> float:
    """The time that the filesystem gives a file which is written now."""
    from apache_beam.io.filesystems import FileSystems

    probe = storage.partial_name(path)
    try:
        storage.write_bytes(probe, b"")
        return FileSystems.last_updated(probe)
    except Exception:  # where nothing can be written, that is told by the lock itself
        return time.time()
    finally:
        with contextlib.suppress(Exception):
            storage.delete([probe])


def _in_use(content: dict[str, Any], out: str, option: str, silent: float | None = None) -> ConfigError:
    began = content.get("began")
    age = f"for {max(0, round(time.time() - began))} s" if isinstance(began, int) else "since an unknown time"
    run, host, process = (content.get(key, "unknown") for key in ("run", "host", "process"))
    who = f"run {run} on {host}, process {process}"
    sign = (
        ""
        if silent is None
        else f", last sign of life {silent:.0f} s ago (without one for {STALE_SECONDS:.0f} s it is taken over)"
    )
    return ConfigError(f"{option} {out}: {who}, writes there {age}{sign}; wait for it to end, or give another folder")


def _write(path: str, handle: int | None, content: dict[str, Any]) -> None:
    data = json.dumps(content).encode() + b"\n"
    if handle is None:
        storage.write_bytes(path, data)
    else:
        os.ftruncate(handle, 0)
        os.pwrite(handle, data, 0)


@contextlib.contextmanager
def _beating(path: str, handle: int | None, own: dict[str, Any]) -> Iterator[None]:
    """Gives a sign of life from time to time, as long as no other run has taken the lock over."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):  # a filesystem that does not answer now may at the next beat
                if _is_anothers(path, own):
                    return
                if handle is None:
                    _write(path, None, own)
                else:
                    os.utime(handle)

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _release(path: str, handle: int | None, own: dict[str, Any]) -> None:
    """Removes the lock file, unless it is another run's by now."""
    try:
        with contextlib.suppress(OSError):
            if _is_own(path, own) and (handle is None or os.fstat(handle).st_ino == os.stat(path).st_ino):
                storage.delete([path])
    finally:
        if handle is not None:
            os.close(handle)
