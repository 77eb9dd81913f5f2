"""vLLM on the CPU, in an environment of its own (see setup.sh): one request a line in, one answer a line out.

    .venv-peers/bin/python benchmarks/peers/vllm_generate.py MODEL THREADS BATCH

A request is {"prompts": [[ids]], "max_tokens": n, "stop": [texts]}, an answer {"texts": […], "seconds": s}. Loaded once; fp32,
eager (compiling takes minutes and is for long services), prefix caching on. Imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Serve standard input until it ends."""
    model, threads, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints is no answer
    os.environ |= {
        "OMP_NUM_THREADS": threads,
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # an engine process would poll while the other side is being timed
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=model,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=batch,
        max_num_batched_tokens=8192,
        enable_prefix_caching=True,
        disable_log_stats=True,
    )
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        settings = SamplingParams(temperature=0.0, max_tokens=request["max_tokens"], stop=request["stop"] or None)
        llm.reset_prefix_cache()  # every run begins with an empty cache, as every stage does
        begin = time.perf_counter()
        found = llm.generate([{"prompt_token_ids": ids} for ids in request["prompts"]], settings, use_tqdm=False)
        seconds = time.perf_counter() - begin
        answer = {"texts": [output.outputs[0].text for output in found], "seconds": seconds}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
