"""Sweeps whose jobs run side by side on a Ray cluster: `-m hydra/launcher=ray`, by Hydra's own Ray launcher.

What a job is and what it prints is as without it; a step that several jobs need is made by one of them, and the others wait.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap.config import Config
from cai_bootstrap.engines import NEEDS
from cai_bootstrap.errors import UserError, first_line
from cai_bootstrap.redact import redact_outputs
from cai_bootstrap.report.sweep import Job, print_summary
from cai_bootstrap.resources import resource
from cai_bootstrap.sweep import run_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

_QUIET = ("hydra/job_logging=disabled", "hydra/hydra_logging=disabled", "hydra.output_subdir=null", "hydra.job.chdir=false")
"""A job's own files tell what it did; Hydra's folder of outputs would hold nothing."""


def require_launcher(words: Sequence[str], configs: Sequence[Config]) -> None:
    """Raises UserError for a launcher that is not known or not installed, and for one inside of another."""
    name = next((word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")), None)
    if name != "ray":
        raise UserError(f"{words[0]} is not valid: write hydra/launcher=ray, or leave it out to run one job after the other")
    for module, remedy in (("ray", NEEDS["ray"]), ("hydra_plugins", "run `pip install --no-deps hydra-ray-launcher`")):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"hydra/launcher=ray needs {module}, which is not installed: {remedy}")
    if any(config.engine.ray is not None for config in configs):
        raise UserError("hydra/launcher=ray and engine=ray wait for each other's workers: write one of them")


def launch_jobs(jobs: Sequence[Job], until: str, words: Sequence[str]) -> int:
    """As `sweep.run_jobs`, side by side. `words` are those for the launcher, such as `hydra.launcher.ray.init.address=…`."""
    import hydra
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException
    from hydra.types import HydraContext, RunMode

    from cai_bootstrap.engines.ray import connect

    held = [dataclasses.replace(job, chain=[_at_home(config) for config in job.chain]) for job in jobs]
    folder = held[0].root / "data" / "sweeps" / "launcher"
    own = ["hydra/launcher=ray", *_QUIET, f"hydra.sweep.dir={folder}"]
    with hydra.initialize_config_dir(str(resource("conf")), version_base="1.3", job_name="cai_bootstrap"):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        first = f"stage={held[0].stages[0]}"  # something to compose
        try:
            composed = composer.compose_config(
                "config", [*own, *words, first], run_mode=RunMode.MULTIRUN, with_log_configuration=False
            )
        except HydraException as error:
            settings = " ".join(word for word in words if not word.startswith("hydra/"))
            reason = first_line(error.__cause__ or error)
            raise UserError(f"{settings} is not valid for Hydra's Ray launcher: {reason}") from None
        # Before the launcher does: it asks a running cluster for memory as if it were to start one.
        connect(composed.hydra.launcher.ray.init.get("address"), None, key="hydra.launcher.ray.init.address", shows_output=True)
        context = HydraContext(config_loader=composer.config_loader, callbacks=Callbacks(composed))
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=functools.partial(_run, held, until), config=composed
        )
        returned = [each.return_value for each in launcher.launch([[first] for _ in held], 0)]
    print_summary([job for _, job in returned])
    codes: list[int] = [code for code, _ in returned]
    return max(codes)


def _at_home(config: Config) -> Config:
    """A worker has a working directory of its own."""
    return dataclasses.replace(config, paths=dataclasses.replace(config.paths, root=str(Path(config.paths.root).absolute())))


def _run(jobs: Sequence[Job], until: str, composed: DictConfig) -> tuple[int, Job]:
    """One job, in a worker; what Hydra composed for it only tells its number."""
    from hydra.core.hydra_config import HydraConfig

    redact_outputs()
    job: Any = jobs[HydraConfig.get().job.num]
    return run_job(job, until, len(jobs)), job
