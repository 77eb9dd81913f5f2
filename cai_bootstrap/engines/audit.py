"""The prompt audit: what the model really receives, and whether it then behaves like the base model it should be.

A lost BOS, lost tokenizer merges, or a chat template that leaks in all give plausible-looking garbage without an error.
The audit looks at token ids and at a few completions that every base model gets right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap.engines.engine import Engine, GenerationRequest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE_PROMPT = "Instruction: Name the capital of France.\nResponse:"
KNOWN_SENTENCE = "Translate the following sentence into French, and explain in a few words why the answer is correct."
MIN_CHARACTERS_PER_TOKEN = 2.5
"""English text has four to five characters a token with an intact vocabulary, near one where the merges were lost."""

SENTINELS = (
    ("Water freezes at", r"\b(0|32|zero)\b|32°|0°"),
    ("The Eiffel Tower is in the city of", r"\bParis\b"),
    ("The capital of Japan is", r"\bTokyo\b"),
    ("1, 2, 3, 4,", r"^\s*5\b"),
    ("Monday, Tuesday, Wednesday,", r"\bThursday\b"),
    ("January, February, March,", r"\bApril\b"),
    ("The opposite of hot is", r"\bcold\b"),
    ("The chemical symbol for water is", r"\bH2O\b|H₂O"),
)
"""(prompt, regular expression that the greedy continuation must match)."""
MIN_SENTINEL_SHARE = 0.75
"""Small models miss one now and then; a model that reads its prompts wrongly misses nearly all."""
UNKNOWABLE = (("The secret word that the lighthouse keeper of Varnholt chose for his cat was", r"\bquillfeather\b"),)
"""Made-up facts. Nobody can complete them: a match means that this very audit was in the training data."""
PROBES = (
    "Name the capital of France.",
    "What colour is the sky on a clear day?",
    "List three animals.",
    "Write a short sentence about the sea.",
    "What is two plus three?",
    "Complete the sentence: The sun rises in the",
    "Give one word that means the opposite of hot.",
    "Translate 'hello' into French.",
    "Name a fruit that is yellow.",
    "How many days are in a week?",
    "Write a title for a story about a dragon.",
    "Say hello politely.",
)
MAX_PROPER_ENDS = 3
"""Of 12 zero-shot answers, ended by EOS within 48 tokens. Measured: Gemma 3 270M base 0, SmolLM2-135M-Instruct 7."""
_PROBE_TOKENS, _SENTINEL_TOKENS = 48, 10
_TEMPLATE = re.compile(
    r"^(<start_of_turn>|<end_of_turn>|<\|im_(start|end|sep)\|>|<\|(start|end)_header_id\|>|<\|eot_id\|>|\[/?INST\]|"
    r"<\|(system|user|assistant|end|turn)\|>|<turn\|>)$"
)


def audit(engine: Engine, model_folder: Path, *, sentinels: bool) -> dict[str, Any]:
    """Check the ids that `engine` feeds the model in `model_folder`, and with `sentinels` what the model completes.

    `sentinels` is False for a random model: then nothing is generated, and the vocabulary's quality is not judged.
    Returns {passed, failures, warnings, model_type, bos_token, eos_token, chat_template, sample: {prompt, ids, tokens},
    characters_per_token, sentinels: [{prompt, output, wanted, passed}], unknowable: [...], proper_ends: {ended, total}
    or None}. `failures` make the model unusable; `warnings` concern the validity of results and belong to the run.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model_folder), local_files_only=True, trust_remote_code=False)
    model_type = str(json.loads((model_folder / "config.json").read_text(encoding="utf-8")).get("model_type"))
    failures: list[str] = []
    warnings: list[str] = []
    ids = engine.encode(SAMPLE_PROMPT)
    failures += check_ids(ids, tokenizer, model_type)
    own = [int(i) for i in tokenizer(SAMPLE_PROMPT)["input_ids"]]
    if own != ids:
        failures.append(f"the engine feeds {ids[:6]}…, the saved tokenizer gives {own[:6]}…: training would see other ids")
    failures += _check_forgery(engine, tokenizer)
    density = len(KNOWN_SENTENCE) / max(1, len(engine.encode(KNOWN_SENTENCE)) - (tokenizer.bos_token_id is not None))
    if sentinels and density < MIN_CHARACTERS_PER_TOKEN:
        failures.append(
            f"{density:.2f} characters per token on a known sentence, at least {MIN_CHARACTERS_PER_TOKEN} expected: "
            "the tokenizer's merges are lost"
        )
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if has_template:
        warnings.append("the tokenizer has a chat template; it is not used here, but other tools may apply it")
    outcome: dict[str, Any] = {"sentinels": [], "unknowable": [], "proper_ends": None}
    if sentinels:
        outcome = _generate(engine)
        passed = sum(row["passed"] for row in outcome["sentinels"])
        if passed < MIN_SENTINEL_SHARE * len(SENTINELS):
            missed = next(row for row in outcome["sentinels"] if not row["passed"])
            failures.append(
                f"{passed} of {len(SENTINELS)} completions that every base model knows are right; "
                f"{missed['prompt']!r} gave {missed['output']!r}"
            )
        if any(row["passed"] for row in outcome["unknowable"]):
            warnings.append("the model completes a made-up fact of this audit: it was trained on the audit's text")
        ended, total = outcome["proper_ends"]["ended"], outcome["proper_ends"]["total"]
        if ended >= MAX_PROPER_ENDS:
            warnings.append(
                f"looks instruction-tuned: {ended} of {total} zero-shot answers end with EOS by themselves, a base "
                f"model's fewer than {MAX_PROPER_ENDS}"
            )
    return {
        "passed": not failures,
        "failures": failures,
        "warnings": warnings,
        "model_type": model_type,
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "chat_template": has_template,
        "sample": {"prompt": SAMPLE_PROMPT, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)},
        "characters_per_token": round(density, 3),
        **outcome,
    }


def check_ids(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, model_type: str) -> list[str]:
    """What is wrong with a prompt's ids: BOS missing, doubled or not first, or a special or template token inside."""
    failures = []
    bos = tokenizer.bos_token_id
    if bos is None and model_type.startswith("gemma"):
        failures.append("the tokenizer names no BOS, and a Gemma model without its <bos> writes garbage")
    if bos is not None:
        count = list(ids).count(bos)
        if count != 1 or ids[0] != bos:
            place = "first" if list(ids[:1]) == [bos] else "not first"
            failures.append(f"BOS ({tokenizer.bos_token}, id {bos}) occurs {count} times and is {place}: once, first")
    added = tokenizer.added_tokens_decoder
    special = {i for i, token in added.items() if token.special or _TEMPLATE.match(token.content)}
    inside = sorted({i for i in ids if i in special and i != bos})
    if inside:
        names = ", ".join(added[i].content for i in inside)
        failures.append(f"the prompt's ids contain special tokens that its text does not ask for: {names}")
    return failures


def _check_forgery(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Text that spells out special tokens must stay text."""
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    ids = engine.encode(f"a{tokenizer.eos_token} b{tokenizer.bos_token or ''} c")
    if eos in ids or (bos is not None and ids.count(bos) != 1):
        return ["text that spells a special token becomes that token: generated text could forge ends and beginnings"]
    return []


def _generate(engine: Engine) -> dict[str, Any]:
    known = [*SENTINELS, *UNKNOWABLE]
    requests = [GenerationRequest(prompt=prompt, max_tokens=_SENTINEL_TOKENS) for prompt, _ in known]
    # A base model that goes on with the next instruction has not ended properly, and need not go on to the last token.
    requests += [
        GenerationRequest(prompt=f"Instruction: {probe}\nResponse:", max_tokens=_PROBE_TOKENS, stop=("\nInstruction:",))
        for probe in PROBES
    ]
    outputs = engine.generate(requests)
    rows = [
        {
            "prompt": prompt,
            "output": output.text,
            "wanted": pattern,
            "passed": re.search(pattern, output.text, re.IGNORECASE) is not None,
        }
        for (prompt, pattern), output in zip(known, outputs, strict=False)
    ]
    ended = sum(output.finish == "eos" for output in outputs[len(known) :])
    return {
        "sentinels": rows[: len(SENTINELS)],
        "unknowable": rows[len(SENTINELS) :],
        "proper_ends": {"ended": ended, "total": len(PROBES)},
    }
