"""What can go wrong with a scan, each with a message that names the value, the expectation and the remedy."""


class FaceReliefError(Exception):
    """Base of every error that a user can meet."""


class ReadError(FaceReliefError):
    """A file that cannot be read as a scan."""

    def __init__(self, source: str, fault: str, remedy: str):
        super().__init__(f"{source}: {fault}; {remedy}")
        self.source, self.fault, self.remedy = source, fault, remedy

    def __reduce__(self):
        return type(self), (self.source, self.fault, self.remedy)


class ModelError(FaceReliefError):
    """A morphable-model file that cannot be used."""


class NoFaceFound(FaceReliefError):
    """The scan was read, but holds no usable face (a rejection, not a failure)."""


class FitError(FaceReliefError):
    """The fit could not be computed."""
