"""`engine=ray`: another engine on the workers of a Ray cluster, each a process with a model of its own.

Shards go to whichever worker is free, and what one call asks for is spread over all of them; the records are those of one
process. A worker that dies is started again and its part made once more. Without an address the cluster is on this machine and
ends with this process. On another machine the package and the root's folder have to be where they are here.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import queue
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cai_bootstrap.config import EngineConfig, RayConfig
from cai_bootstrap.engines.engine import Engine, Generation, GenerationRequest, OnDone
from cai_bootstrap.errors import CaiError, RecordError, UserError
from cai_bootstrap.redact import redact_outputs

T = TypeVar("T")
Build = Callable[[Path, EngineConfig], Engine]
_RETRIES = 2
"""How often what a worker died on is tried again before it counts as that record's fault."""
_REACH_S = 5.0
_AUTH_MODE = "RAY_AUTH_MODE"
_NO_SERVER = ("Starting Ray client server failed", "Proxy failed to Connect to backend")
"""A cluster says so of the process that it starts for each client: it ended while it was forked, or took too long."""
_JOINS = 3
"""How often a cluster is asked for it."""
_PATIENCE = "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S"


class _Worker:
    """What each process of the cluster holds."""

    def __init__(self, build: Build, folder: Path, config: EngineConfig) -> None:
        redact_outputs()
        self._engine = build(folder, config)

    def call(self, name: str, *args: Any) -> Any:
        value = getattr(self._engine, name)
        return value(*args) if callable(value) else value


class RayEngine:
    """The engine protocol, spoken to all workers. Threads may call it side by side."""

    def __init__(self, folder: Path, config: EngineConfig, build: Build) -> None:
        """`build` makes a worker's engine; a module's function, since it travels. Raises UserError for a lost address."""
        import ray

        own = config.ray
        assert own is not None  # checked by EngineConfig
        connect(own.address, own.workers * own.cpus_per_worker)
        _require_room(own)
        worker = dataclasses.replace(config, name=own.engine, ray=None, in_process=True, threads=own.cpus_per_worker)
        actor = ray.remote(
            num_cpus=own.cpus_per_worker, num_gpus=own.gpus_per_worker, max_restarts=-1, max_task_retries=_RETRIES
        )(_Worker)
        self._ray = ray
        self._per_task = config.batch_size
        self._workers = [actor.remote(build, folder, worker) for _ in range(own.workers)]
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for each in self._workers:
            self._idle.put(each)
        self._threads = ThreadPoolExecutor(own.workers)
        self.description = {**self._call("description"), "workers": own.workers, "ray": ray.__version__}
        """What runs on a worker, and on how many."""

    def encode(self, text: str) -> list[int]:
        """See the protocol."""
        ids: list[int] = self._call("encode", text)
        return ids

    def generate(self, requests: Sequence[GenerationRequest], on_done: OnDone | None = None) -> list[Generation]:
        """See the protocol."""
        return self._spread("generate", requests, (), on_done)

    def choice_logprobs(
        self, prompts: Sequence[str], choices: Sequence[str], on_done: OnDone | None = None
    ) -> list[tuple[float, ...]]:
        """See the protocol."""
        return self._spread("choice_logprobs", prompts, (list(choices),), on_done)

    def completion_logprobs(self, pairs: Sequence[tuple[str, str]], on_done: OnDone | None = None) -> list[tuple[float, int]]:
        """See the protocol."""
        return self._spread("completion_logprobs", pairs, (), on_done)

    def close(self) -> None:
        """End the workers; who waits for one gets an error."""
        for each in self._workers:
            self._ray.kill(each)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _spread(self, name: str, items: Sequence[Any], more: tuple[Any, ...], on_done: OnDone | None) -> list[Any]:
        """The results for all items, in order, of as many calls as there are batches of them."""
        parts = [list(items[at : at + self._per_task]) for at in range(0, len(items), self._per_task)]
        found: list[Any] = []
        for made in self._threads.map(lambda part: self._call(name, part, *more), parts):
            found += made
            if on_done is not None:
                on_done(len(found))
        return found

    def _call(self, name: str, *args: Any) -> Any:
        errors = self._ray.exceptions
        worker = self._idle.get()
        try:
            return self._ray.get(worker.call.remote(name, *args))
        except errors.RayTaskError as error:
            if isinstance(error.cause, CaiError):
                raise error.cause from None
            raise
        except errors.RayActorError as error:
            raise RecordError(f"a worker of the cluster ended on it, tried {_RETRIES + 1} times ({error})") from error
        finally:
            self._idle.put(worker)


def connect(address: str | None, num_cpus: int | None, *, key: str = "engine.ray.address", shows_output: bool = False) -> None:
    """Join the cluster, or start one on this machine, which counts as having `num_cpus` cores, or as many as it has.

    `shows_output`: what workers print is printed here. Raises UserError, with the `key` of the configuration, where nothing
    answers at the address, or the cluster there started no server for this client in three attempts.
    """
    import ray

    if ray.is_initialized():
        return
    require_reachable(address, key)
    local: dict[str, Any] = {"num_cpus": num_cpus, "include_dashboard": False}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for left in reversed(range(_JOINS)):
        try:
            ray.init(
                address=address or "local",
                log_to_driver=shows_output,
                logging_level="ERROR",
                **({} if address else local),
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            if not any(known in str(error) for known in _NO_SERVER):
                raise _unreached(address, key, error) from error
            if not left:
                told = f"it started no server for this client in {_JOINS} attempts: if it is busy, start it with"
                raise UserError(f"{key}={address}: {told} {_PATIENCE}=180, where Ray waits for 30 seconds ({error})") from error
            print(f"{key}={address}: it started no server for this client; trying again", file=sys.stderr, flush=True)
        else:
            return


def _unreached(address: str | None, key: str, error: Exception) -> UserError:
    # A cluster that began where Ray has run before asks for a token, and who names its address shows none by default.
    token = f"; if it asks for a token, set {_AUTH_MODE}=token" if address and _AUTH_MODE not in os.environ else ""
    return UserError(f"{_lost(address, key)}{token} ({error})")


def _require_room(own: RayConfig) -> None:
    """Raises UserError where the cluster has too few cores or GPUs: it would be waited for without end."""
    import ray

    held = ray.cluster_resources()
    wanted = {"CPU": ("cpus_per_worker", float(own.cpus_per_worker)), "GPU": ("gpus_per_worker", own.gpus_per_worker)}
    for what, (key, each) in wanted.items():
        there = held.get(what, 0.0)
        if own.workers * each > there:
            told = f"engine.ray.workers={own.workers} with {key}={each:g}"
            raise UserError(f"{told} do not fit the cluster, which has {there:g} {what}s: write fewer")


def require_reachable(address: str | None, key: str = "engine.ray.address") -> None:
    """Raises UserError where an address names a host and a port and nothing answers there within 5 seconds, and for one of
    Ray's client where that cannot run.
    """
    if address is None or address in ("auto", "local"):
        return
    if address.startswith("ray://") and importlib.util.find_spec("grpc") is None:
        raise UserError(
            f"{key}={address} needs Ray's client, and its grpcio is not installed: run `pip install -e '.[ray]'`, or write "
            "auto on a machine of that cluster"
        )
    told = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        if told.hostname is None or told.port is None:
            raise UserError(f"{key}={address} is not valid: write auto, HOST:PORT or ray://HOST:PORT")
        socket.create_connection((told.hostname, told.port), timeout=_REACH_S).close()
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{_lost(address, key)} ({error})") from error


def _lost(address: str | None, key: str) -> str:
    return f"{key}={address} cannot be reached: start that cluster, or leave the address out for one on this machine"
