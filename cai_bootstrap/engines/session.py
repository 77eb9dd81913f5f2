"""The one loaded model of a run: started when a step first asks for it, closed before another one is loaded."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from cai_bootstrap import engines
from cai_bootstrap.config import EngineConfig
from cai_bootstrap.engines.engine import Engine


class Session:
    """Hands out engines, one at a time: generation and training never keep each other's memory."""

    def __init__(self, config: EngineConfig) -> None:
        """`config` is resolved: no `auto` in it."""
        self.config = config
        self._engine: Engine | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def engine(self, folder: Path) -> Engine:
        """The engine for the model in `folder`; the same one as before when the folder is the same."""
        if self._engine is None or self._folder != folder:
            before, self._engine, self._folder = self._engine, None, None
            started = engines.start(self.config, folder) if before is None else engines.switch(before, self.config, folder)
            self._engine, self._folder = started, folder
        return self._engine

    def release(self) -> None:
        """Give the model's memory back."""
        if self._engine is not None:
            self._engine.close()
        self._engine = self._folder = None
