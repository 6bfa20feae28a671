"""The packages, for which pyproject.toml has no words: configs/ lies at the top of a checkout and inside an installed package."""

from setuptools import find_packages, setup

NAMES = ("face_relief", "geometry", "gan", "pipeline")

setup(
    packages=[*find_packages(include=[*NAMES, *(f"{name}.*" for name in NAMES)]), "geometry.settings.configs"],
    package_dir={"geometry.settings.configs": "configs"},
    include_package_data=False,  # only what is named here
    package_data={
        "": ["py.typed"],
        "gan": ["weights/*"],
        "geometry": ["data/*", "data/schemes/*.json"],
        "geometry.settings.configs": ["*.yaml"],
        "pipeline": ["templates/*"],
    },
)
