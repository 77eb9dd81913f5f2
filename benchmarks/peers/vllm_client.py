"""This side of vllm_generate.py: a process in the peers' environment, loaded once, asked many times."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCRIPT = Path(__file__).resolve().parent / "vllm_generate.py"


class VllmProcess:
    """vLLM with one batch size. `run` continues prompts, given as token ids."""

    def __init__(self, python: Path, model: Path, threads: int, batch_size: int) -> None:
        """`python` is the interpreter of the environment that peers/setup.sh made."""
        arguments = [str(python), str(SCRIPT), str(model), str(threads), str(batch_size)]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, prompts: list[list[int]], max_tokens: int, stop: list[str]) -> tuple[list[str], float]:
        """The texts, in order, and the seconds that they took."""
        assert self._process.stdin is not None
        print(json.dumps({"prompts": prompts, "max_tokens": max_tokens, "stop": stop}), file=self._process.stdin, flush=True)
        answer = self._read()
        return answer["texts"], answer["seconds"]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"vLLM ended with exit code {self._process.wait()}: see its messages above")
        return json.loads(line)
