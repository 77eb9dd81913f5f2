"""What an engine's texts are as tokens: the same ids, stops and limits whichever library runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from cai_bootstrap.engines import model_files
from cai_bootstrap.engines.engine import GenerationRequest, require_fit
from cai_bootstrap.errors import RecordError, UserError
from cai_bootstrap.store.provenance import digest, file_sha256

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx")
_last_read: dict[str, PreTrainedTokenizerBase] = {}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`; do not change it. Raises UserError as `model_files.load_tokenizer` does.

    All models of a curriculum have the same one, and a large one takes longer to read than its model: when the same files were
    read last, it is given once more.
    """
    # Everything that may tell of it, the model's type and chat templates included.
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix not in _WEIGHTS]
    content = digest({str(file.relative_to(folder)): file_sha256(file) for file in files})
    if content not in _last_read:
        tokenizer = model_files.load_tokenizer(folder)
        _last_read.clear()
        _last_read[content] = tokenizer
    return _last_read[content]


def eos_token_ids(configured: object, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every id that ends a text: `configured`, the generation config's, one or several, and the tokenizer's."""
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if isinstance(i, int))


class Tokens:
    """A model's tokenizer and context."""

    def __init__(self, folder: Path, context: int) -> None:
        """`context` is the number of tokens that prompt and answer may have together."""
        self.tokenizer = load_tokenizer(folder)
        self.context = context

    def encode(self, text: str) -> list[int]:
        """Prompt ids with exactly one BOS in front, where the model has a BOS."""
        ids = self.encode_continuation(text)
        bos = self.tokenizer.bos_token_id
        return ids if bos is None else [int(bos), *ids]

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of a text that follows another one: no BOS, and special tokens inside the text are plain characters."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [int(i) for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, special tokens included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def prompts(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        """The ids of the requests' prompts. Raises RecordError for one that does not fit, UserError for no tokens to write."""
        encoded = [self.prompt(request.prompt) for request in requests]
        for ids, request in zip(encoded, requests, strict=True):
            if request.max_tokens < 1:
                raise UserError(f"max_tokens={request.max_tokens} is not valid: write 1 or more")
            self.require_fit(len(ids) + request.max_tokens, request.prompt)
        return encoded

    def prompt(self, text: str) -> list[int]:
        """As `encode`. Raises RecordError for a text that gives no ids: nothing for the model to go on from."""
        ids = self.encode(text)
        if not ids:
            raise RecordError("an empty prompt is not valid for a model without BOS: write some text")
        return ids

    def require_fit(self, num_tokens: int, text: str) -> None:
        """Raises RecordError where the context is too short."""
        require_fit(num_tokens, self.context, text)

    def choices(self, choices: Sequence[str]) -> list[int]:
        """The first ids of texts to choose between. Raises UserError for empty ones and for two that begin alike."""
        if not all(choices):
            raise UserError(f"choices {list(choices)!r} hold an empty text: write texts that begin with a token")
        firsts = [self.encode_continuation(choice)[0] for choice in choices]
        if len(set(firsts)) != len(firsts):
            raise UserError(f"choices {list(choices)!r} begin with the same token: write choices that differ at once")
        return firsts
