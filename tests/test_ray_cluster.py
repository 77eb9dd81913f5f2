"""A Ray cluster that runs already is joined, at its address and through Ray's client. A real one of two cores on this machine.

Without Ray there is nothing of it to test.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray_workers import ON_PATH


def environment() -> dict[str, str]:
    """Of a cluster that asks nobody for a token, and of who joins it: by default that hangs on what ran here before."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**plain, **ON_PATH, "RAY_AUTH_MODE": "disabled", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("", 0))
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


if importlib.util.find_spec("ray"):
    import ray

    @pytest.fixture(scope="module")
    def running() -> Iterator[dict[str, str]]:
        """A cluster of two cores as `ray start` leaves it: by the way to join it its address."""
        # Beside other tests the server of a client takes more than Ray's 30 seconds at times.
        patient = {**environment(), "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "180"}
        host, (port, client_port) = ray.util.get_node_ip_address(), free_ports(2)
        words = [f"--port={port}", f"--ray-client-server-port={client_port}", "--min-worker-port=0", "--max-worker-port=0"]
        words += ["--num-cpus=2", "--include-dashboard=false", "--dashboard-agent-listen-port=0", "--disable-usage-stats"]
        with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # paths of sockets are short
            log = Path(folder) / "head"
            command = [
                sys.executable,
                "-m",
                "ray.scripts.scripts",
                "start",
                "--head",
                "--block",
                *words,
                f"--temp-dir={folder}",
            ]
            with (
                log.open("w") as told,
                subprocess.Popen(command, env=patient, stdout=told, stderr=subprocess.STDOUT, start_new_session=True) as head,
            ):
                try:
                    deadline = time.monotonic() + 120
                    while not (answers(host, port) and answers(host, client_port)):
                        assert head.poll() is None, log.read_text()
                        assert time.monotonic() < deadline, log.read_text()
                        time.sleep(0.2)
                    yield {"address": f"{host}:{port}", "client": f"ray://{host}:{client_port}"}
                finally:
                    members = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
                    head.terminate()
                    _, alive = psutil.wait_procs(members, timeout=20)
                    for each in alive:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            each.kill()
                    head.kill()

    @pytest.mark.slow
    @pytest.mark.parametrize("way", ["address", "client"])
    def test_a_running_cluster_is_joined(running: dict[str, str], tmp_path: Path, way: str) -> None:
        command = [sys.executable, str(Path(__file__).parent / "ray_driver.py"), running[way], str(tmp_path)]
        done = subprocess.run(
            command, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads((tmp_path / "told.json").read_bytes())
        numbers = [f"NUMBER {number}" for number in range(20)]
        assert told["workers"] == len(told["before"]) == len(told["after"]) == 2
        assert told["numbers"] == numbers
        assert told["lost"] == [*numbers, f"once {tmp_path / 'died'}".upper(), "THE END"]
        assert (tmp_path / "died").exists()
        assert told["after"] != told["before"]
        assert "generation failed: ValueError: it is poisoned" in told["poison"]
        assert "a worker of the cluster ended on it, tried 3 times" in told["die"]
        assert told["at last"] == ["A"]
