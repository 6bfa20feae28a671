"""Where a Beam graph runs: on processes of this machine, or on the runner that the user names."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.execution import supervision, worker
from pipeline.execution.supervision import Limits


@dataclass(frozen=True)
class Runner:
    """`workers` processes here, 1: this process itself; or Beam's runner `name`, with Beam's own flags.

    limits: of a scan, which hold where workers are processes; is_watched: a single worker is one too; folder: for what workers
    leave while they run, a temporary one by default."""

    workers: int
    name: str | None = None
    flags: tuple[str, ...] = ()
    limits: Limits = Limits()
    is_watched: bool = False
    folder: str | None = None

    def run(self, build: Callable[[Any], Any], journal: str = "") -> None:
        """Runs the graph that `build` adds to a pipeline, to its end.

        Raises `supervision.WorkerLost` where a worker process of this machine dies; `journal` tells over what."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.transforms.environments import SubprocessSDKEnvironment

        def run(runner: Any, flags: list[str]) -> None:
            with beam.Pipeline(runner=runner, options=PipelineOptions([*flags, *self.flags])) as pipeline:
                build(pipeline)

        here = [f"--direct_num_workers={self.workers}", "--default_sdk_harness_log_level=ERROR"]
        if self.name:
            run(None, [f"--runner={self.name}"])
        elif self.workers == 1 and not self.is_watched:
            # FnApiRunner explicitly: Beam's "DirectRunner" first tries to download another runner
            run(FnApiRunner(), here)
        else:  # processes, as by --direct_running_mode=multi_processing, but with our own quiet worker
            if self.folder:
                os.makedirs(self.folder, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="face-relief-workers-", dir=self.folder) as folder:
                command = worker.command(folder, self.limits.worker_mib)
                processes = FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))
                supervision.run_watched(lambda: run(processes, here), journal, folder, self.limits)
