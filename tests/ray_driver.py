"""A process that joins a running cluster: `ray_driver.py ADDRESS FOLDER` writes what its engine answers into FOLDER/told.json.

A process of its own for each address: Ray's client stays in the place of Ray's own functions.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import ray
from ray_workers import CONFIG, build

from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.ray import RayEngine
from cai_bootstrap.errors import RecordError


def main(address: str, folder: Path) -> None:
    assert CONFIG.ray is not None
    engine = RayEngine(Path(), dataclasses.replace(CONFIG, ray=dataclasses.replace(CONFIG.ray, address=address)), build)

    def say(*prompts: str) -> list[str]:
        return [made.text for made in engine.generate([GenerationRequest(prompt=prompt, max_tokens=4) for prompt in prompts])]

    def refused(*prompts: str) -> str:
        try:
            say(*prompts)
        except RecordError as error:
            return str(error)
        return "nothing was refused"

    numbers = [f"number {number}" for number in range(20)]
    told = {
        "workers": engine.description["workers"],
        "before": sorted(set(say(*["who"] * 40))),
        "numbers": say(*numbers),
        "lost": say(*numbers, f"once {folder / 'died'}", "the end"),
        "after": sorted(set(say(*["who"] * 40))),
        "poison": refused("a", "poison"),
        "die": refused("a", "die"),
        "at last": say("a"),
    }
    engine.close()
    ray.shutdown()
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
