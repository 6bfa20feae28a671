"""What every stage of a run needs, and what a process loads once: the model, the networks."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from geometry.charts import chart as charts
from geometry.charts.chart import Chart
from geometry.charts.rasterize import image_from_depth
from geometry.charts.rasterize import rasterize as rasterize_mesh
from geometry.errors import ModelError
from geometry.landmarks.views import VIEW_CHART
from geometry.model.morphable_model import MorphableModel
from geometry.model.registry import load_model
from pipeline.scans import methods
from pipeline.scans.config import ChartConfig
from pipeline.scans.landmarking import finder


@dataclass(frozen=True)
class Job:
    """What every stage of a run needs, small enough to travel with the graph.

    model_sha256: of the model that the run's results are recorded under; result_hash: of all that decides results;
    journal: a folder on the launching machine where workers note finished scans, for its progress bar.
    """

    config: Any  # a ChainConfig: of a run Config, of a training set SynthesisConfig
    out: str = ""
    model_sha256: str = ""
    result_hash: str = ""
    force: bool = False
    journal: str = ""

    @property
    def model(self) -> MorphableModel:
        return model_of(self.config.model.name, self.model_sha256)

    @property
    def landmarks_only(self) -> bool:
        return self.config.output.stages == "landmarks"

    @property
    def chart(self) -> Chart:
        return chart_of(self.config.chart)

    @property
    def refine(self) -> methods.Refine:
        return refiner_of(self.config.refine)


_loaded_model = functools.lru_cache(maxsize=1)(load_model)


def model_of(name: str, sha256: str = "") -> MorphableModel:
    """The model, loaded once per process. Raises ModelError where it is not the one that the run began with."""
    model = _loaded_model(name)
    if sha256 and model.sha256 != sha256:
        raise ModelError(f"model {name!r} changed while the run was going on; start the run again")
    return model


@functools.lru_cache(maxsize=1)
def refiner_of(settings: Any) -> methods.Refine:
    """The refiner, built (networks loaded) once per process."""
    return methods.REFINERS[settings.method](settings)


@functools.lru_cache(maxsize=1)
def warm_up(job: Job) -> None:
    """Loads the model and the landmark network and imports Open3D, once per process."""
    rasterize_mesh(job.model.mesh(), charts.OrthographicChart(height=1, width=1))
    if job.config.uses_landmark_network:
        empty = np.zeros((VIEW_CHART.height, VIEW_CHART.width))
        finder(job.config.landmarks.weights)([image_from_depth(empty, empty > 0, VIEW_CHART)])


def chart_of(settings: ChartConfig) -> Chart:
    given = {name: value for name, value in vars(settings).items() if name != "kind" and value is not None}
    return charts.KINDS[settings.kind](**given)
