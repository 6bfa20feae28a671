"""The scans of a finished run with their surfaces, all in the model frame and in mm, for benchmarks that look at both."""

import json
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import common
import numpy as np

from geometry import readers
from geometry.locating.cleaning import CleaningOptions, clean
from geometry.mesh import TriangleMesh
from geometry.model.morphable_model import MorphableModel
from geometry.scan import Scan
from geometry.surfaces.normals import with_normals
from geometry.surfaces.triangulation import surface_of
from geometry.transforms import SimilarityTransform

CAMERA_TO_UPRIGHT = np.array([1.0, -1.0, -1.0])  # a camera looks along z, and its y points down


@dataclass(frozen=True, eq=False)
class FinishedScan:
    """One line of a run's manifest. run: its OUT; path: of the scan's file; settings: the run's configuration."""

    run: pathlib.Path
    path: pathlib.Path
    line: dict
    settings: dict

    @property
    def source(self) -> str:
        return self.line["source"]

    @property
    def is_ok(self) -> bool:
        """Whether it has surfaces; the others have no model frame either."""
        return self.line["status"] == "ok"

    @cached_property
    def file_to_model(self) -> tuple[SimilarityTransform, float]:
        """From the coordinates of the scan's file to the model frame in mm, and mm in one unit of the file."""
        fit = common.fit_of(self.run, self.line)
        return SimilarityTransform.from_matrix(np.array(fit["scan_to_model"])), fit["unit_mm"]

    @cached_property
    def scan(self) -> Scan:
        """The cleaned scan with normals, in the model frame; in its own frame, upright, where it has no place in a model's."""
        unit = self.settings["input"]["unit"]
        read = readers.read(self.path, unit=None if unit == "auto" else unit)
        cleaned = with_normals(clean(read, CleaningOptions(**self.settings["clean"])))
        if self.is_ok:
            to_model, unit_mm = self.file_to_model
            in_file = cleaned.points / (unit_mm if cleaned.unit_mm else 1.0)
            points, normals = to_model.apply(in_file), to_model.apply_to_directions(cleaned.normals)
        else:
            turn = CAMERA_TO_UPRIGHT if cleaned.camera is not None else np.ones(3)
            points, normals = cleaned.points * turn, cleaned.normals * turn
        # pixels are triangulated before they are moved: how depth jumps are told depends on the camera's place
        triangles = surface_of(cleaned).triangles
        return replace(cleaned, points=points, normals=normals, triangles=triangles, camera=None)

    def mesh(self, name: str) -> TriangleMesh:
        """ "coarse", "refined" or "registered", in the model frame."""
        surface = surface_of(readers.read(self.run / self.line["files"][name]))
        return surface.with_vertices(self.file_to_model[0].apply(surface.vertices))


def finished_scans(run: pathlib.Path, scans: pathlib.Path | None = None) -> Iterator[FinishedScan]:
    """Those of a run, in the manifest's order. scans: the folder that it read, if it is not where the run says."""
    told = json.loads((run / "run.json").read_text())
    folder = pathlib.Path(told["input"]) if scans is None else scans
    for line in common.manifest(run):
        path = folder if folder.is_file() else folder / line["source"]
        yield FinishedScan(run, path, line, told["config"])


def skin_triangles(model: MorphableModel) -> np.ndarray:
    """(k, 3) of a model's triangles those of neither eyeballs, mouth bag nor what lies behind the nostrils."""
    inner = model.regions.get("cavities", np.zeros(model.n_vertices, bool))
    return model.triangles[~inner[model.triangles].any(axis=1)]
