"""The batch pipeline: scans in, registered and refined geometry, records and a report out. `face-relief` is its command."""

import importlib.util
from pathlib import Path


def require_own(*names: str) -> None:
    """Raises ImportError where a top-level package of this project is hidden by something else of its name."""
    for name in names:
        spec = importlib.util.find_spec(name)
        found = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), "")
        if Path(found or "").resolve().parent.parent != Path(__file__).resolve().parents[1]:
            raise ImportError(
                f"face-relief needs its own package {name!r} beside {Path(__file__).parent}, and Python finds {found or 'none'}; "
                f"rename that file or folder, or run from another folder and without PYTHONPATH"
            )


require_own("geometry", "gan")
