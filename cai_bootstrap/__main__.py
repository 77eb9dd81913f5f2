"""The command line: `python -m cai_bootstrap`. The only module that knows Hydra.

Hydra composes and types the configuration; the loop over jobs is ours, since Hydra's own multirun knows neither that a
failed gate stops the later stages of its run, nor that a mistake in the command should stop everything.
"""

from __future__ import annotations

import dataclasses
import itertools
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap import __version__, engines
from cai_bootstrap.commands import STEPWISE, Request, complain, did_you_mean, expected, help_text, parse
from cai_bootstrap.config import Config, ModelSource
from cai_bootstrap.engines import classifiers
from cai_bootstrap.errors import CaiError, MissingArtifact, Terminated, UserError, first_line
from cai_bootstrap.redact import redacted_outputs
from cai_bootstrap.resources import resource
from cai_bootstrap.store.artifacts import is_scripted_model
from cai_bootstrap.store.provenance import digest
from cai_bootstrap.training import readiness
from cai_bootstrap.training.launch import ACCELERATE_FOLDER

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, gives its exit code: 0 done, 1 failed gate or run, 2 user's mistake, 130 Ctrl-C, 143 SIGTERM."""
    with redacted_outputs():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> int:
    try:
        text = f"cai_bootstrap {__version__}\n" if words == ["--version"] else help_text(words)
        if text is not None:
            sys.stdout.write(text)
            return 0
        with ending_at_sigterm():
            return dispatch(words)
    except CaiError as error:
        return complain(error)
    except Terminated as end:
        print("terminated; the same command goes on where it stopped", file=sys.stderr)
        return end.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


@contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """SIGTERM raises Terminated in the block, once. Only a main thread can receive signals; elsewhere nothing changes."""

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is being saved now is not to be interrupted by a second one
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def dispatch(words: list[str]) -> int:
    """Does what the words ask for. Everything heavy is imported inside the branch that needs it."""
    from cai_bootstrap.stages import CURRICULUM

    request = parse(words, CURRICULUM)
    if request.verb == "plan":
        request.stages = request.stages or list(CURRICULUM)
    elif request.verb in ("status", "doctor", "verify", "gc"):
        # They belong to no stage; the first real one completes their configuration.
        request.stages = request.stages or ["explicit"]
    # Every job is composed before the first one runs: a mistake in the tenth must not cost nine runs.
    combinations = list(jobs(request))
    planned = request.verb == "plan"
    chains = [
        [compose_job(stage, overrides, suffix, planned=planned) for stage in request.stages]
        for overrides, suffix in combinations
    ]
    own = what_differs([overrides for overrides, _ in combinations])
    configs = list(itertools.chain(*chains))
    if request.show_config:
        print("---\n".join(as_yaml(config) for config in configs), end="")
        return 0
    if request.verb == "verify":
        from cai_bootstrap.report.upkeep import verify

        return verify(Path(configs[0].paths.root), only_run(request, configs[0]))
    if request.verb == "gc":
        from cai_bootstrap.report.upkeep import collect

        return collect(Path(configs[0].paths.root), yes=request.yes, partial=request.partial)
    if request.verb not in ("run", *STEPWISE):
        print(answer(request, chains, own).rstrip("\n"))
        return 0
    check_memory(configs)
    from cai_bootstrap.report.sweep import Job
    from cai_bootstrap.sweep import run_jobs

    numbered = enumerate(zip(own, chains, strict=True), start=1)
    listed = [Job(number=n, overrides=o, chain=chain) for n, (o, chain) in numbered]
    until = STEPWISE.get(request.verb, "gate")
    if request.launcher:
        from cai_bootstrap.launcher import launch_jobs, require_launcher

        require_launcher(request.launcher, configs)
        return launch_jobs(listed, until, request.launcher)
    return run_jobs(listed, until)


def answer(request: Request, chains: list[list[Config]], own: list[list[str]]) -> str:
    """What a verb other than a run prints. Raises what the verb raises."""
    configs = list(itertools.chain(*chains))
    if request.verb == "status":
        from cai_bootstrap.report.status import status

        return status(Path(configs[0].paths.root), run=only_run(request, configs[0]), as_json=request.as_json)
    if request.verb == "doctor":
        from cai_bootstrap.report.doctor import doctor

        return doctor(configs[0], request.as_json)
    if request.verb == "export":
        from cai_bootstrap.report.card import model_card
        from cai_bootstrap.steps.export import export_stage

        return export_stage(configs[0], Path(str(request.target)), model_card(configs[0]))
    from cai_bootstrap.planning import plan

    return plan(configs, {chain[0].run: " ".join(texts) for chain, texts in zip(chains, own, strict=True)})


def only_run(request: Request, config: Config) -> str | None:
    """The run that was named, None where none was."""
    return config.run if any(word.startswith("run=") for word in request.overrides) else None


def jobs(request: Request) -> Iterator[tuple[list[str], str]]:
    """Each combination's plain overrides, and what a multirun adds to its run's name.

    The addition is the digest of the overrides other than `stage` (and than `run` and `paths.root`, which say where,
    not what), so the same sweep typed again finds its runs. Without such overrides it is empty: `-m stage=1,2` belongs
    to the same run as `stage=1`.
    """
    parsed = [parse_override(text) for text in request.overrides]
    if not request.multirun:
        for text, override in zip(request.overrides, parsed, strict=True):
            if override.is_sweep_override():
                raise UserError(
                    f"{text} has several values: add -m to run each, write key=[a,b] for a list, or for a text with a comma "
                    "put quotes in it too: key=\"'a, b'\""
                )
        yield request.overrides, ""
        return
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [text]
        for text, override in zip(request.overrides, parsed, strict=True)
    ]
    for combination in dict.fromkeys(itertools.product(*choices)):  # a value written twice is one job
        values = {o.get_key_element(): o.get_value_element_as_str() for o in map(parse_override, combination)}
        values = {key: value for key, value in values.items() if key not in ("run", "paths.root")}
        yield list(combination), f"-{digest(values)[:8]}" if values else ""


def what_differs(combinations: list[list[str]]) -> list[list[str]]:
    """Of each combination the overrides that not all of them have."""
    shared = set[str]().union(*combinations).intersection(*combinations)
    return [[text for text in overrides if text not in shared] for overrides in combinations]


def parse_override(text: str) -> Override:
    """One `key=value`, read by Hydra's grammar. Raises UserError when it cannot be read, or does not set a key."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ValueType
    from hydra.errors import HydraException

    key, _, value = text.partition("=")
    if text[0] in "+~" or "@" in key or not key:
        raise UserError(f"{text} is not valid: keys can be set, not added, removed or moved; write key=value")
    if key.partition(".")[0].partition("/")[0] == "hydra":
        raise UserError(f"{text} has no effect here: paths.root=DIR says where things are written; use -m to sweep")
    try:
        override: Override = OverridesParser.create().parse_override(text)
        kind = override.value_type
    except HydraException:
        raise UserError(f"{text} cannot be read: put the value in quotes, {key}='\"{value}\"'") from None
    if kind in (ValueType.GLOB_CHOICE_SWEEP, ValueType.INTERVAL_SWEEP):
        raise UserError(f"{text} names no finite list of values: write {key}=a,b,c or {key}=range(1,4)")
    return override


def compose_job(stage: str, overrides: list[str], name_suffix: str, *, planned: bool = False) -> Config:
    """The checked configuration of one stage of one run. Raises UserError, before anything heavy is imported.

    What is only `planned` may be for another machine: no engine has to be installed here.
    """
    config = to_config(compose([f"stage={stage}", *overrides]))
    check_model_path(config)
    classifiers.check(config.safety)
    check_engine(config, planned=planned)
    if not planned:
        readiness.require_ready(config.train, config.engine)
    return dataclasses.replace(config, run=config.run + name_suffix)


def compose(overrides: list[str]) -> DictConfig:
    """The configuration that Hydra composes from `conf/`, typed by the schema. Raises UserError, with what to write."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    conf = resource("conf")
    check_groups(overrides, conf)
    ConfigStore.instance().store(name="config_schema", node=Config)
    try:
        with hydra.initialize_config_dir(str(conf), version_base="1.3", job_name="cai_bootstrap"):
            return hydra.compose("config", overrides)
    except (HydraException, OmegaConfBaseException, AssertionError) as error:  # asserted: a key inside of a block that is null
        groups = [text for text in overrides if text.partition("=")[0] in group_options(conf)]
        if groups != overrides:
            check_keys([text for text in overrides if text not in groups], groups)
        raise UserError(f"conf/ does not compose: {first_line(error.__cause__ or error)}") from None


def group_options(conf: Path) -> dict[str, list[str]]:
    """Every group of `conf/` with the names of its options."""
    folders = [path for path in conf.iterdir() if path.is_dir() and path.name != ACCELERATE_FOLDER]
    groups = {path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in folders}
    return {group: options for group, options in groups.items() if options}


def check_groups(overrides: list[str], conf: Path) -> None:
    """Raises UserError for a group option that does not exist."""
    groups = group_options(conf)
    for text in overrides:
        key, _, value = text.partition("=")
        if key in groups and value not in groups[key]:
            options = ", ".join(groups[key])
            raise UserError(f"{text} does not exist{did_you_mean(value, groups[key])}; write one of {options}")


def check_keys(overrides: list[str], groups: list[str]) -> None:
    """Finds the override that does not fit the schema, by setting one at a time, and raises UserError for it."""
    import hydra
    from hydra.errors import HydraException

    conf = resource("conf")
    with hydra.initialize_config_dir(str(conf), version_base="1.3", job_name="cai_bootstrap"):
        values = leaves(hydra.compose("config", groups))
        keys = list(values)
        for text in overrides:
            key, _, value = text.partition("=")
            if key not in keys:
                empty = next((known for known in keys if key.startswith(f"{known}.") and values[known] is None), None)
                if empty:
                    group, _, option = empty.partition(".")
                    way_out = (
                        f"write {group}={option} as well" if option in group_options(conf).get(group, ()) else "leave it out"
                    )
                    raise UserError(f"{text} has no effect: with {' '.join(groups)} {empty} is empty; {way_out}")
                inside = [known for known in keys if known.startswith(f"{key}.")]
                if inside:
                    raise UserError(f"{text} is not valid: {key} is a block; set one of {', '.join(inside)}")
                raise UserError(f"{text}: there is no key {key}{did_you_mean(key, keys)}; stage=1 --cfg job lists them")
            try:
                hydra.compose("config", [*groups, text])
            except HydraException:
                raise UserError(f"{key}={value!r} is not valid: write {expected(Config, key)}") from None


def leaves(composed: DictConfig) -> dict[str, Any]:
    """The dotted keys of a composed configuration with their values, interpolations as written; a list is one value."""
    from omegaconf import OmegaConf

    def walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict):
            for name, value in node.items():
                yield from walk(value, f"{key}.{name}" if key else str(name))
        else:
            yield key, node

    return dict(walk(OmegaConf.to_container(composed, resolve=False), ""))


def to_config(composed: DictConfig) -> Config:
    """Plain objects from a composed configuration. Raises UserError for a missing value or one that a check refuses."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    presets = list(composed.stage.presets)
    if composed.preset not in presets:
        near = did_you_mean(composed.preset, presets)
        raise UserError(f"preset={composed.preset} does not exist{near}; write one of {', '.join(presets)}")
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} is missing: write {missing[0]}=VALUE")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration is not valid: {first_line(error)}") from None
    assert isinstance(config, Config)
    return config


def check_model_path(config: Config) -> None:
    """Raises when the model's path is missing, is not there, has no effect, or is a scripted model's."""
    model = config.model
    if model.source is not ModelSource.path:
        if model.path is not None:
            raise UserError(f"model.path={model.path} has no effect with model={model.name}: write model=path as well")
        return
    if model.path is None:
        raise UserError("model.path is missing: write model=path model.path=DIR")
    path = Path(model.path)
    wanted = "write a folder with config.json and safetensors, or a .gguf file"
    if not path.exists():
        raise MissingArtifact(f"model.path={model.path} does not exist: {wanted}")
    if path.is_file() and path.suffix == ".gguf":
        with path.open("rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise UserError(f"model.path={model.path} is not a GGUF file (it begins {magic!r}): {wanted}")
    elif not (path / "config.json").is_file():
        raise UserError(f"model.path={model.path} holds no model: {wanted}")
    if is_scripted_model(path):
        raise UserError(f"model.path={model.path} is scripted and claims nothing: {wanted} of a real model")


def check_memory(configs: Sequence[Config]) -> None:
    """Raises UserError for a model that this machine's memory cannot hold, before any work."""
    from cai_bootstrap.engines import machine
    from cai_bootstrap.report.fit import require_fit

    for config in configs:
        here = dataclasses.replace(config.machine, name="auto", device="auto", memory_gib=0, ram_gib=0)
        require_fit(config, machine.known(here, config.engine, Path(config.paths.root), config.run, rates=False))


def check_engine(config: Config, *, planned: bool = False) -> None:
    """Raises UserError for an engine that cannot start, and for a scripted one with a model that might be taken for trained."""
    if not planned:
        engines.require_ready(config.engine)
    if config.engine.is_scripted and config.model.source is not ModelSource.tiny_random:
        raise UserError(f"engine=scripted plays no real model, and model={config.model.name} is one: write model=tiny-random")


def as_yaml(config: Config) -> str:
    """A configuration as YAML, as `--cfg job` prints it."""
    from omegaconf import OmegaConf

    from cai_bootstrap.config import to_dict

    return OmegaConf.to_yaml(OmegaConf.create(to_dict(config)))


if __name__ == "__main__":
    sys.exit(main())
