"""The configuration files that ship: the folder `configs/` of a checkout, and its copy in the installed package."""

import re
from importlib import resources
from pathlib import Path

_SHIPPED_NAME = re.compile(r"(configs/)?(?P<name>\w+)(\.yaml)?")


def folder() -> Path:
    """Where the shipped files are."""
    installed = Path(str(resources.files("geometry") / "settings" / "configs"))
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


def config_path(given: str | Path) -> Path:
    """The file that a user means by `given`: a path, or a shipped file as the documents write it (`configs/train_refiner.yaml`)
    or by its name (`train_refiner`), so that their commands work in any folder. The user's own files come first; a path that is
    neither is returned as it is, for the reader to complain of."""
    match = _SHIPPED_NAME.fullmatch(str(given))
    shipped = folder() / f"{match['name']}.yaml" if match else None
    return shipped if shipped is not None and shipped.is_file() and not Path(given).is_file() else Path(given)


def names() -> list[str]:
    return sorted(file.stem for file in folder().glob("*.yaml"))
