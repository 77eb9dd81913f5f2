"""A copy of a merged model for other people's tools, with a chat template that renders exactly the trained ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import Config
from cai_bootstrap.engines import model_files
from cai_bootstrap.errors import CaiError, CorruptArtifact, MissingArtifact, UserError
from cai_bootstrap.store.artifacts import Artifact, is_scripted_model, read_manifest
from cai_bootstrap.store.files import full_disk, sync_folder
from cai_bootstrap.store.run import read_run, run_folder

TEMPLATE_FILE = "chat_template.jinja"
CARD_FILE = "README.md"
_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


def export_stage(config: Config, target: Path, card: str) -> str:
    """Copy the stage's merged model to `target` with a chat template and its card; returns a line that says so."""
    root = Path(config.paths.root)
    state = read_run(root, config.run) or {"stages": {}}
    steps = state["stages"].get(config.stage.name, {}).get("steps", {})
    models = [step for step in steps if step.split("-")[0] == "model"]
    if not models:
        raise MissingArtifact(
            f"run={config.run} has no trained model of stage={config.stage.name}: run "
            f"`python -m cai_bootstrap stage={config.stage.name} run={config.run}` first"
        )
    folder = run_folder(root, config.run) / config.stage.name / models[-1] / "model"
    if is_scripted_model(folder):
        raise UserError(
            f"the model of stage {config.stage.name} of run={config.run} is scripted and claims nothing: outside it would "
            "carry no stamp; export one of another run=NAME"
        )
    export_model(folder, target, card)
    return f"exported {config.run}/{config.stage.name} to {target}"


def export_model(model_folder: Path, target: Path, card: str = "") -> None:
    """Copy the merged model in `model_folder` to `target`, a new or empty folder, with `chat_template`, `card` as README.md.

    The template takes one user message, and one assistant message after it; it refuses what was never trained (a system
    message, several turns) and texts that hold special tokens, which training saw as plain characters. The folder
    appears whole or not at all. Raises UserError for a target that holds something or cannot be written, CorruptArtifact
    for a file that is not as its manifest says, DiskFull.
    """
    files = _files(model_folder)
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UserError(f"{str(target)!r} is there already and is not an empty folder: write the name of a new one")
    partial = target.absolute().with_name(f".{target.absolute().name}.being-written")
    try:
        if partial.exists():  # left by a kill
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, partial / file.name)
        _add_template(partial)
        if card:
            (partial / CARD_FILE).write_text(card, encoding="utf-8")
        sync_folder(partial)
        partial.rename(target.absolute())
    except CaiError:  # some are OSErrors too
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        full = full_disk(error, target)
        if full is not None:
            raise full from error
        raise UserError(f"{str(target)!r} cannot be written ({error.strerror}): write a folder of your own") from error


def chat_template(bos: str | None, eos: str, special: list[str]) -> str:
    """The Jinja template: for one user message BOS and `templates.cued`, for an assistant message the response and EOS.

    `special` are the tokens that a message must not spell.
    """
    head, tail = (_literal(part) for part in templates.cued(_MARK).split(_MARK))
    before, after = (_literal(part) for part in templates.response(_MARK).split(_MARK))
    # Without a generation prompt the text ends after the instruction: each rendering is a prefix of the longer ones.
    return (
        "{%- if not messages or messages[0]['role'] != 'user' -%}"
        "{{- raise_exception('This model was trained on one user message only: leave the system message out') -}}"
        "{%- elif messages|length > 2 or (messages|length == 2 and (messages[1]['role'] != 'assistant' or "
        "add_generation_prompt)) -%}"
        "{{- raise_exception('This model was trained on single turns only: give one user message') -}}"
        "{%- endif -%}"
        "{%- for message in messages -%}"
        "{%- if message['content'] is not string -%}"
        "{{- raise_exception('This model reads text only: give content as a string') -}}"
        "{%- endif -%}"
        f"{{%- for token in {json.dumps(special)} -%}}"
        "{%- if token in message['content'] -%}"
        "{{- raise_exception('A message holds the special token ' + token + ', which was never trained as text') -}}"
        "{%- endif -%}"
        "{%- endfor -%}"
        "{%- endfor -%}"
        f"{{{{- {_literal(bos or '')} + {head} + messages[0]['content'] -}}}}"
        "{%- if add_generation_prompt or messages|length == 2 -%}"
        f"{{{{- {tail} -}}}}"
        "{%- endif -%}"
        "{%- if messages|length == 2 -%}"
        f"{{{{- {before} + messages[1]['content'] + {after} + {_literal(eos)} -}}}}"
        "{%- endif -%}"
    )


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _files(folder: Path) -> list[Path]:
    """The files to copy, each checked against the manifest where the model is an artifact."""
    model_files.read_config(folder)
    files = [folder / "config.json", *model_files.weight_files(folder), *model_files.tokenizer_files(folder)]
    files += [path for name in ("generation_config.json", model_files.INDEX) if (path := folder / name).is_file()]
    if not model_files.tokenizer_files(folder):
        raise UserError(f"{folder} has no tokenizer.json: put the model's tokenizer files beside its weights")
    artifact_folder = folder.resolve().parent
    manifest = read_manifest(artifact_folder)
    if manifest is not None:
        artifact = Artifact(manifest["stage"], manifest["name"], manifest["digest"], artifact_folder, manifest)
        for file in files:
            artifact.file(f"{folder.resolve().name}/{file.name}")
    return files


def _add_template(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    config = _read_json(path)
    bos, eos = (_content(config.get(name)) for name in ("bos_token", "eos_token"))
    if eos is None:
        raise UserError(f"{path} names no eos_token: export a model made by this package")
    added = _read_json(folder / "tokenizer.json").get("added_tokens", [])
    # Gemma reserves 6,242 `<unusedN>`; nobody writes them, and a template that lists them would be slow and unreadable.
    special = [str(token["content"]) for token in added if token["special"] and "unused" not in token["content"]]
    template = chat_template(bos, eos, special)
    # Newer libraries read the file, others the key.
    (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    text = json.dumps({**config, "chat_template": template}, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _content(token: Any) -> str | None:
    """A token's text; tokenizer files hold it alone or in an object."""
    content = token["content"] if isinstance(token, dict) else token
    return None if content is None else str(content)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError) as error:
        raise CorruptArtifact(f"{path} cannot be read ({error}): make the model anew") from error
