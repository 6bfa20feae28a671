"""Fixtures that several tests share."""

import pytest
from hypothesis import settings
from sampled_faces import default_model, known_face

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def model():
    return default_model()


@pytest.fixture(scope="session")
def face():
    return known_face(1)


@pytest.fixture
def memory_filesystem():
    """The scheme of a Beam filesystem that lives in this process; empty at the start of each test."""
    import memory_filesystem  # only where it is asked for: Beam takes a second to load

    memory_filesystem.FILES.clear()
    return "inmemory"
