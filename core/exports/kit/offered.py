"""The reproduce kit as what a person takes: with the examples, or without."""

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

from core import models
from core.errors import UserError
from core.exports.adapter import file_name
from core.exports.archive import files_in, pack
from core.exports.formats import Format, Say
from core.exports.kit.examples import tell
from core.exports.kit.facts import FOUND, facts_of
from core.exports.kit.split import split_of
from core.exports.kit.written import WRITTEN, requirements, written
from core.files import size_of, write_json, write_jsonl, write_text
from core.methods import METHODS
from core.runs import Run


def lacks(run: Run) -> str:
    """Why its training can't be handed out; empty where it can."""
    result, method = run.result or {}, METHODS[run.config.method]
    if run.adapter is None or not result.get("step"):
        return "It has not learned anything yet."
    if not run.plan:
        return "It was not trained here, so there is no training to do again."
    if method.begins in FOUND and not (run.path / "start").is_dir():
        return f"It was trained when the first weights that {method.title} finds were not kept yet."
    if run.plan["dtype"] == "float16":
        return "It learned in 16-bit floats of an older GPU, which need more than a short program."
    return ""


def disk(run: Run, data: bool = True) -> int:
    """Bytes, at most: what is in it may shrink."""
    files = [run.path / "start"]
    if data:
        files += [run.path / "train.jsonl", run.path / "eval.jsonl"]
    if run.config.base_model == "starter":
        files.append(models.STARTER)
    return sum(map(size_of, files)) + 100_000


def make(run: Run, folder: Path, say: Say, data: bool = True) -> Path:
    """The zip, in `folder`; `data`: with the examples. Raises UserError where it can't be made."""
    if lack := lacks(run):
        raise UserError(lack, "Take the adapter.")
    base = models.find(run.config.base_model)
    if base.path is None:
        raise UserError(
            f"{base.title} is not on this machine any more.", "Download it, then try again."
        )
    told = tell(run, base.path, say)
    kit = folder / "kit"
    kit.mkdir()
    say("Writing the program", 0, 0)
    sha256 = {}
    for name, lines in told.files.items():
        if lines is None:
            shutil.copyfile(run.path / name, kit / name)
        else:
            write_jsonl(kit / name, lines)
        sha256[name] = _sha256(kit / name)
        if not data:
            (kit / name).unlink()
    facts = facts_of(run, told) | {"data": data, "sha256": sha256}
    for name in WRITTEN:
        write_text(kit / name, written(name, facts))
    write_text(kit / "requirements.txt", requirements(facts))
    write_json(kit / "split.json", split_of(run))
    if facts["template"]:
        write_text(kit / "chat_template.jinja", told.template)
    if facts["starts"]:
        shutil.copytree(run.path / "start", kit / "start")
        _forget_path(kit / "start" / "adapter_config.json", facts["base"])
    if facts["base"] == "starter":
        shutil.copytree(models.STARTER, kit / "base")
    say("Packing", 0, 0)
    target = pack(folder / f"{file_name(run.name) or run.id} kit.zip", files_in(kit))
    shutil.rmtree(kit)
    return target


def _forget_path(file: Path, base: str) -> None:
    """Of an adapter's configuration: the base model by its name, not by its place here."""
    told = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, told | {"base_model_name_or_path": "base" if base == "starter" else base})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


FORMATS = (
    Format(
        id="kit",
        title="Reproduce kit",
        sentence="The training as a short program without Graft, with its settings and the "
        "examples: to do it again elsewhere, or to learn how it is done.",
        make=make,
        disk=disk,
        lacks=lacks,
    ),
    Format(
        id="kit-without-data",
        title="Reproduce kit without the examples",
        sentence="The same, to show how it was trained and keep the examples to yourself.",
        make=partial(make, data=False),
        disk=partial(disk, data=False),
        lacks=lacks,
    ),
)
