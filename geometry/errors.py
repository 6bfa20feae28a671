"""What can go wrong with a scan, each with a message that names the value, the expectation and the remedy."""


class FaceReliefError(Exception):
    """Base of every error that a user can meet."""


class FileError(FaceReliefError):
    """A fault of one file, with what the user can do about it."""

    def __init__(self, source: str, fault: str, remedy: str) -> None:
        super().__init__(f"{source}: {fault}; {remedy}")
        self.source, self.fault, self.remedy = source, fault, remedy

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.source, self.fault, self.remedy)


class ReadError(FileError):
    """A file that cannot be read as a scan."""


class ModelError(FaceReliefError):
    """A morphable-model file that cannot be used."""


class NoFaceFound(FaceReliefError):
    """The scan was read, but holds no usable face (a rejection, not a failure)."""


class MirroredScan(FileError):
    """A scan that looks like a mirror image of a face: an error of its export, which is reported and never mended silently."""


class FitError(FaceReliefError):
    """The fit could not be computed."""


class ConfigError(FaceReliefError):
    """A wrong option, key or value; found before any work starts."""


class OutputError(FaceReliefError, OSError):
    """A file that cannot be written: a full disk, a read-only folder, a limit on sizes."""


class TimeLimitExceeded(FaceReliefError):
    """One scan took longer than `limits.seconds_per_scan`; it fails alone."""
