"""Fixtures that several tests share."""

import pytest
from hypothesis import settings
from sampled_faces import default_model, known_face, mesh_scan, nearly_located

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def model():
    return default_model()


@pytest.fixture(scope="session")
def face():
    return known_face(1)


@pytest.fixture(scope="session")
def scan(face):
    """The face as a mesh."""
    return mesh_scan(face.scan_points)


@pytest.fixture(scope="session")
def location(scan, face):
    """The scan as a good search finds it."""
    return nearly_located(scan, face)


@pytest.fixture
def memory_filesystem():
    """The scheme of a Beam filesystem that lives in this process; empty at the start of each test."""
    import memory_filesystem  # only where it is asked for: Beam takes a second to load

    memory_filesystem.FILES.clear()
    return "inmemory"
