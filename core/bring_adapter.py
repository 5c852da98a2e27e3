"""Bringing an adapter that was made elsewhere: a zip, the files of a folder, or a model of the Hub.

What is brought is kept as an upload first (core.uploads), with nothing in it but the files that an
adapter is made of; then it is held against a base model, and becomes a run (core.origin). No
program code and no pickled weights are taken, and no name in an archive decides where a file goes.
"""

import hashlib
import random
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from shutil import copyfile
from stat import S_ISLNK
from typing import Any

from core import files, hub, models, origin, peft_format
from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.data.archives import copy_out, damaged, most_unpacked
from core.data.limits import FILES as MOST_FILES
from core.data.limits import Watch
from core.earlier import CONFIG, WEIGHTS
from core.errors import ModelProblem, NotFound, UserError
from core.models import BaseModel
from core.peft_format import Adapter
from core.prepare import NAME_LENGTH, dataset_of
from core.runs import Run
from core.settings import settings
from core.store import Store
from core.tokenizer import FILES as TOKENIZER
from core.tokenizer import Tokenizer
from core.uploads import LARGEST, Upload

ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<id>[\w.-]+/[\w.-]+)"
    r"(?:/(?:tree|blob|resolve)/\S*)?/?(?:[?#]\S*)?"
)
"""A model's page of the Hub, as a browser shows its address."""
PICKLED = ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin")
INSIDE = "adapter"  # the folder of an upload with what was brought
TEMPLATE, CARD, CHECKSUMS = "chat_template.jinja", "README.md", "CHECKSUMS"
TAKEN = {CONFIG, WEIGHTS, *TOKENIZER, TEMPLATE, CARD, CHECKSUMS}
SMALL = 64 << 20  # bytes of any of these files but the weights
MOST_TESTS = 200  # rows of a dataset that it is tested with
MOST_SAID = 5  # misfits that are told
CARD_LENGTH = 20_000  # characters of its own card that are kept


@dataclass(frozen=True)
class Look:
    """What was recognised, held against one base model."""

    adapter: Adapter
    base: BaseModel | None
    """None where none is chosen, or none at hand fits."""
    problem: str = ""
    """Why it can't be imported for this base model, in sentences; empty where it can."""
    notes: tuple[str, ...] = ()


def keep_files(store: Store, given: Sequence[tuple[Path, str]]) -> Upload:
    """Keep a zip, or the files of a folder, each with its name. Raises UserError where that is no
    adapter that Graft can use."""
    if not given:
        raise UserError("No file was chosen.", "Choose a zip, or the files of an adapter’s folder.")
    (first, name), *others = given
    packed = not others and name.lower().endswith(".zip")

    def fill(folder: Path) -> None:
        if packed:
            _unpack(first, name, folder)
            return
        _take({PurePosixPath(name).name: path for path, name in given}, folder)

    title = PurePosixPath(name).stem if packed else ""
    return _keep(store, title, name if packed else "the files of a folder", fill)


def keep_from(store: Store, source: str) -> Upload:
    """Keep the adapter of a folder on this machine, or of a model of the Hub, by its name or the
    address of its page."""
    source = source.strip()
    if not source:
        raise UserError("Nothing was named.", "Give owner/name, or the whole path of a folder.")
    if (found := _files_of(store, source)) is not None:
        name = Path(source).name
        return _keep(store, name, source, lambda folder: _take(found, folder))
    if pasted := ADDRESS.fullmatch(source):
        source = pasted["id"]
    if not models.HUB_ID.fullmatch(source):
        raise NotFound(
            f"There is no folder {source[:100]!r}.",
            "Give its whole path, or owner/name of the Hugging Face Hub.",
            field="source",
        )

    def fetch(folder: Path) -> None:
        there = hub.fetch(source, TAKEN, folder, LARGEST)
        _check_names(dict.fromkeys(there))

    return _keep(store, source.split("/")[1], source, fetch)


def _files_of(store: Store, source: str) -> dict[str, Path] | None:
    """The files of a folder on this machine, by their names; None where there is no such folder, or
    it is not the person's."""
    with suppress(OSError, ValueError, RuntimeError):
        path = Path(source).expanduser()
        if path.is_absolute() and path.is_dir() and not store.is_foreign(path):
            found = {file.name: file for file in path.iterdir() if file.is_file()}
            if not any(map(store.is_foreign, found.values())):
                return found
    return None


def _keep(store: Store, name: str, source: str, fill: Callable[[Path], object]) -> Upload:
    def kept(folder: Path) -> dict[str, Any]:
        inside = folder / INSIDE
        inside.mkdir()
        fill(inside)
        _check_sums(inside)
        peft_format.read(inside)
        said = {"name": name[:NAME_LENGTH], "file": source, "origin": {}, "options": {}}
        return {**said, "adapter": True}

    return store.create_upload(name or "adapter", kept)


# ---- what is taken


def _take(found: dict[str, Path], folder: Path) -> None:
    _check_names(found)
    for name in TAKEN & found.keys():
        _check_size(name, found[name].stat().st_size)
        copyfile(found[name], folder / name)


def _unpack(packed: Path, name: str, folder: Path) -> None:
    """The files of the one adapter in a zip, wherever in it they lie."""
    watch, limit = Watch(), most_unpacked(packed)
    try:
        with zipfile.ZipFile(packed) as archive:
            inside = _adapter_in(archive, name)
            _check_names(inside)
            for file in TAKEN & inside.keys():
                _check_size(file, inside[file].file_size)
                with archive.open(inside[file]) as stream:
                    copy_out(stream, folder / file, limit, name, watch)
                _check_size(file, (folder / file).stat().st_size)
    except RuntimeError as error:  # how zipfile says that a password is needed
        raise UserError(
            f"“{name}” is locked with a password.", "Unpack it first and bring the files inside."
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError) as error:
        raise damaged(name, "zip", error) from error


def _adapter_in(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """The files of the folder that has adapter_config.json, by their names."""
    listed = archive.infolist()
    if len(listed) > MOST_FILES:
        raise UserError(
            f"“{name}” has {len(listed):,} files in it; Graft looks through {MOST_FILES:,}.",
            "Zip the adapter’s folder alone.",
        )
    folders: dict[str, dict[str, zipfile.ZipInfo]] = {}
    for info in listed:
        if not info.is_dir() and not S_ISLNK(info.external_attr >> 16):
            path = PurePosixPath(info.filename.replace("\\", "/"))
            folders.setdefault(str(path.parent), {})[path.name] = info
    found = [folder for folder, inside in folders.items() if CONFIG in inside]
    if not found:
        every: dict[str, Any] = {
            name: info for one in folders.values() for name, info in one.items()
        }
        _check_names(every)
    outermost = min(len(PurePosixPath(folder).parts) for folder in found)
    found = [folder for folder in found if len(PurePosixPath(folder).parts) == outermost]
    if len(found) > 1:
        raise UserError(
            f"“{name}” has {len(found)} adapters in it: {', '.join(sorted(found)[:5])[:200]}.",
            "Zip the one that you want alone.",
        )
    return folders[found[0]]


def _check_names(found: dict[str, Any]) -> None:
    """Raise UserError, in words, where what an adapter is made of is not among these names."""
    if WEIGHTS not in found and (pickled := next((n for n in PICKLED if n in found), "")):
        raise peft_format.pickled_weights(pickled)
    if CONFIG not in found:
        if "config.json" in found and any(name.endswith(".safetensors") for name in found):
            raise UserError(
                "This is a whole model, not an adapter.",
                "Choose it on New as the model to teach: by its name on the Hub, or unpacked in a "
                "folder on this machine.",
            )
        if any(name.endswith(".gguf") for name in found):
            raise UserError(
                "This is a GGUF file, which is made for running only.",
                "Bring the adapter that it was made from: a folder with adapter_config.json.",
            )
        raise UserError(
            f"There is no {CONFIG} in it: this is no adapter in PEFT’s format.",
            "Zip the folder that holds adapter_config.json and adapter_model.safetensors.",
        )


def _check_size(name: str, bytes: int) -> None:
    if name != WEIGHTS and bytes > SMALL:
        raise UserError(
            f"{name} has {bytes / 1e6:,.0f} MB, which is too large for one.",
            "Bring the adapter without it, or mend it.",
        )


def _check_sums(folder: Path) -> None:
    """Raise UserError where a file is another than the adapter's own list of checksums says."""
    list_of = folder / CHECKSUMS
    if not list_of.is_file():
        return
    lines = list_of.read_text("utf-8", errors="replace").splitlines()
    said = {
        match[2]: match[1]  # each file once, however often it is listed
        for line in lines
        if (match := re.fullmatch(r"([0-9a-f]{64})  (\S+)", line))
    }
    for name in TAKEN & said.keys():
        if not (folder / name).is_file():
            continue
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != said[name]:
                raise UserError(
                    f"{name} is not what its {CHECKSUMS} says: it was changed or damaged on its "
                    "way here.",
                    f"Download it again, or take {CHECKSUMS} out if the change is yours.",
                )


# ---- held against a base model


def at_hand(store: Store) -> list[BaseModel]:
    """The base models on this machine that it may be for: the starter, those of the Hub that are
    here, and those that the person's runs have."""
    ids = [model.id for model in CATALOGUE]
    ids += [path.name.replace("--", "/", 1) for path in _downloaded()]
    ids += [run.config.base_model for run in store.runs() if run.status != "damaged"]
    found = []
    for id in dict.fromkeys(ids):
        with suppress(ModelProblem):
            here = id == "starter" or Path(id).is_dir()
            if here or (models.HUB_ID.fullmatch(id) and models.hub_folder(id)):
                found.append(models.find(id))
    return found


def _downloaded() -> Iterator[Path]:
    return (path.parent for path in sorted((settings().data / "models").glob("*/.complete")))


def look(store: Store, upload: Upload, chosen: str = "") -> Look:
    """What was recognised, for the base model of this id, or, of those at hand, for the one that it
    names, or that it fits. Raises UserError where the upload is gone, or there is no such model."""
    adapter = peft_format.read(_folder(upload))
    if chosen:
        return _held_against(upload, adapter, _on_disk(store, chosen))
    known = at_hand(store)
    named = [base for base in known if _is_named(adapter, base)]
    for base in [*named, *known]:
        found = _held_against(upload, adapter, base)
        if not found.problem:
            return found
    return _held_against(upload, adapter, named[0]) if named else Look(adapter, None)


def _folder(upload: Upload) -> Path:
    if not upload.facts.get("adapter"):
        raise NotFound("This upload is no adapter.", "Choose your file again.")
    return upload.path / INSIDE


def _on_disk(store: Store, id: str) -> BaseModel:
    try:
        path = Path(id).expanduser()
        foreign = path.exists() and store.is_foreign(path)
    except (RuntimeError, ValueError, OSError):  # ~nobody, or what no file can be called
        foreign = True
    if foreign:
        raise NotFound(f"There is no {id[:100]!r}.", field="base_model")
    base = models.find(id)
    if base.path is None:
        raise ModelProblem(
            f"{base.title} is not on this machine.",
            "Start a training with it once: that downloads it. Or choose another model.",
            field="base_model",
        )
    return base


def _is_named(adapter: Adapter, base: BaseModel) -> bool:
    named = PurePosixPath(adapter.made_for.replace("\\", "/")).name.lower()
    return bool(named) and named in {
        PurePosixPath(base.id.replace("\\", "/")).name.lower(),
        base.path.name.lower() if base.path else "",
    }


def _held_against(upload: Upload, adapter: Adapter, base: BaseModel) -> Look:
    wrong = peft_format.misfits(adapter, base)
    if wrong:
        more = f" And {len(wrong) - MOST_SAID} parts more." if len(wrong) > MOST_SAID else ""
        problem = f"It does not fit {base.title}. {' '.join(wrong[:MOST_SAID])}{more}"
        return Look(adapter, base, problem)
    try:
        peft_format.train_config(peft_format.canonical(adapter, base), adapter.method, base, "")
    except UserError as error:
        return Look(adapter, base, f"{error} {error.hint}")
    return Look(adapter, base, notes=tuple(_notes(upload, adapter, base)))


def _notes(upload: Upload, adapter: Adapter, base: BaseModel) -> Iterator[str]:
    if adapter.made_for and not _is_named(adapter, base):
        yield (
            f"It names {adapter.made_for[:120]} as its base model. All of it fits {base.title}, "
            "but whether that one has the same weights can’t be seen."
        )
    if not adapter.made_for:
        yield f"It does not say for which base model it was made. All of it fits {base.title}."
    bare = [
        module
        for module in base.linear
        if adapter.modules
        and module not in adapter.modules
        and peft_format.targets(adapter.config, module)
    ]
    if bare:
        yield (
            f"{len(bare)} parts that its {CONFIG} names have no weights; they stay as in the "
            f"original ({peft_format.in_words(bare[0])} is the first)."
        )
    yield _tokenizer(upload, base)[1]


def _tokenizer(upload: Upload, base: BaseModel) -> tuple[Tokenizer, str]:
    """The tokenizer, with the template, that it is asked with, and what to know of them."""
    assert base.path is not None
    own, folder = Tokenizer.load(base.path), _folder(upload)
    if not (folder / "tokenizer.json").is_file():
        if not (folder / TEMPLATE).is_file():
            return own, "It brings no tokenizer or chat template: those of the base model are used."
        template = (folder / TEMPLATE).read_text("utf-8", errors="replace")
        return _usable(
            replace(own, template=template, own_template=True),
            own,
            "Its chat template comes with it; its tokenizer is the base model’s.",
        )
    try:
        brought = Tokenizer.load(folder)
        words = 1 + max(brought.fast.get_vocab(with_added_tokens=True).values())
    except UserError as error:
        return own, f"Its tokenizer can’t be read, so that of the base model is used. {error}"
    most = int(next((base.config[n] for n in models.VOCABULARY if base.config.get(n)), 0))
    if most and words > most:
        return own, (
            f"Its tokenizer knows {words:,} words and {base.title} has {most:,}: the base model’s "
            "tokenizer and chat template are used."
        )
    if not brought.own_template:
        return (
            replace(brought, template=own.template, own_template=own.own_template),
            "Its tokenizer comes with it; its chat template is the base model’s.",
        )
    return _usable(brought, own, "Its tokenizer and its chat template come with it.")


def _usable(brought: Tokenizer, own: Tokenizer, note: str) -> tuple[Tokenizer, str]:
    """With the base model's template where a question can't be asked with its own."""
    try:
        if "graft" in brought.render([{"role": "user", "content": "graft"}], True):
            return brought, note
        why = "it loses the question"
    except Exception as error:  # it is a stranger's program, and may raise anything
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return (
        replace(brought, template=own.template, own_template=own.own_template),
        f"Its chat template can’t be used ({why}); that of the base model is.",
    )


# ---- and it becomes a run


def finish(store: Store, upload: Upload, base_model: str, name: str = "", dataset: str = "") -> Run:
    """The run that an upload becomes; the upload is gone then. `dataset`: one that it is tested
    with, if any. Raises UserError where it does not fit."""
    found = look(store, upload, base_model)
    base = found.base
    if base is None:
        raise UserError(
            "None of the models on this machine fits this adapter"
            + (f", which was made for {found.adapter.made_for[:120]}." if found.adapter.made_for
               else "."),
            "Choose the model that it was made for.",
            field="base_model",
        )  # fmt: skip
    if found.problem:
        raise UserError(found.problem, "Choose the model that it was made for.", field="base_model")
    facts, adapter = upload.facts, found.adapter
    name = name.strip() or facts["name"] or "Adapter"
    if len(name) > NAME_LENGTH:
        raise UserError(f"A name has {NAME_LENGTH} characters at most.", field="name")
    told = peft_format.canonical(adapter, base)
    config = peft_format.train_config(told, adapter.method, base, name)
    said = {
        "kind": "imported",
        "source": facts["file"],
        "made_for": adapter.made_for[:300],
        "parameters": adapter.parameters,
        "notes": list(found.notes),
    }

    def fill(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
        inside = _folder(upload)
        files.linked(inside / WEIGHTS, folder / WEIGHTS) or copyfile(
            inside / WEIGHTS, folder / WEIGHTS
        )
        card = _card(config, base, adapter, facts["file"], inside / CARD)
        tokenizer, _ = _tokenizer(upload, base)
        origin.write_adapter(folder, told, tokenizer, card)
        return config, said

    run = origin.create(store, name, _tests(store, dataset, config), fill)
    upload.drop()
    return run


def _tests(store: Store, dataset: str, config: TrainConfig) -> list[dict[str, Any]]:
    """The rows that a dataset keeps for tests, or some of all: here nothing was learned from
    them."""
    if not dataset:
        return []
    chosen = dataset_of(store, dataset)
    rows = list(chosen.tests()) or list(chosen.rows())
    if len(rows) > MOST_TESTS:
        rows = random.Random(config.seed).sample(rows, MOST_TESTS)
    return rows


def _card(config: TrainConfig, base: BaseModel, adapter: Adapter, source: str, own: Path) -> str:
    whence = (
        f"It was brought into Graft from {PurePosixPath(source).name} and not trained here: what "
        "it learned from is not known."
    )
    facts = {"parameters": f"{adapter.parameters:,}", "made for": adapter.made_for[:200] or "–"}
    more = ""
    if own.is_file():
        text = own.read_text("utf-8", errors="replace")[:CARD_LENGTH]
        text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()
        text = re.sub(r"^#", "###", text, flags=re.MULTILINE)  # below this card's own headings
        more = f"\n## The card that came with it\n\n{text}\n" if text else ""
    return origin.card(config, base, whence, facts, more)
