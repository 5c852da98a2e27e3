"""The reproduce kit: a zip with which anybody can do a run's training again, without Graft.

Its train.py is written for the one run, from templates/train.py.jinja: plain transformers and peft,
read from top to bottom, with nothing in it that this run does not need. It learns from the same
rows in the same order, from the same beginning, so it comes to the same eval loss but for rounding.

The kit finds what is learned by two marks around each answer in the text that the chat template
makes. Before it is made, that is tried on every row with the tokenizer that the kit will use; where
it gives other tokens than Graft learned from, the rows are handed out as tokens instead.
"""

import hashlib
import json
import re
import shutil
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml

from core import models
from core.catalogue import CATALOGUE
from core.config import TrainConfig
from core.errors import UserError
from core.exports.adapter import file_name
from core.exports.archive import files_in, pack
from core.exports.formats import Format, Say
from core.files import size_of, write_json, write_jsonl, write_text
from core.hub import folder_of
from core.methods import LORA_PLUS_RATIO, METHODS
from core.parts import scales_its_input, select_modules
from core.runs import Run
from core.store import Store

Form = Literal["messages", "text", "pairs", "ids"]
Learned = tuple[list[int], list[int]]
"""Token ids, and the labels: the same ids where they are learned, -100 elsewhere."""

TOKENS_AT_ONCE = 4096  # in the kit all their logits are in memory
OWN_BEGINNING = {"eva": "the examples", "loftq": "what the 4 bits lost"}
FROM_PEFT = {
    "lora": "LoraConfig",
    "adalora": "AdaLoraConfig",
    "ia3": "IA3Config",
    "prefix": "PrefixTuningConfig",
    "full": "",
}
TRIED_AT_ONCE = 500  # rows between two words about them


def lacks(run: Run) -> str:
    """Why its training can't be handed out; empty where it can."""
    result = run.result or {}
    if run.adapter is None or not result.get("step"):
        return "It has not learned anything yet."
    if not run.plan:
        return "It was not trained here, so there is no training to do again."
    if finding := OWN_BEGINNING.get(run.config.method):
        title = METHODS[run.config.method].title
        return f"{title} finds its first weights in {finding}, which no short program does."
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
    training = Training.of(run, say)
    kit = folder / "kit"
    kit.mkdir()
    say("Writing the program", 0, 0)
    sha256 = {}
    for name, lines in training.files.items():
        write_jsonl(kit / name, lines) if training.form == "ids" else shutil.copyfile(
            run.path / name, kit / name
        )
        sha256[name] = _sha256(kit / name)
        if not data:
            (kit / name).unlink()
    facts = training.facts | {"data": data, "sha256": sha256}
    for name in ("train.py", "config.yaml", "README.md"):
        write_text(kit / name, _rendered(name, facts))
    write_text(kit / "requirements.txt", requirements(facts))
    write_json(kit / "split.json", split_of(run))
    if facts["template"]:
        write_text(kit / "chat_template.jinja", training.template)
    if facts["continues"]:
        shutil.copytree(run.path / "start", kit / "start")
        _forget_path(kit / "start" / "adapter_config.json", facts["base"])
    if facts["base"] == "starter":
        shutil.copytree(models.STARTER, kit / "base")
    say("Packing", 0, 0)
    target = pack(folder / f"{file_name(run.name) or run.id} kit.zip", files_in(kit))
    shutil.rmtree(kit)
    return target


# ---- what has to be told of a run


@dataclass(frozen=True)
class Training:
    """A run's training, as far as a kit tells of it."""

    run: Run
    form: Form
    """How the examples are handed out: as they are, or as the model's tokens."""
    files: dict[str, list[Any]]
    """The rows in the files of the kit; empty lists where they are those of the run."""
    template: str
    marks: tuple[str, str]
    """What stands before and at the end of each answer in a rendered text; empty for none."""

    @classmethod
    def of(cls, run: Run, say: Say) -> "Training":
        from core.examples import read
        from core.tokenizer import Tokenizer

        config, base = TrainConfig(**run.plan["config"]), models.find(run.config.base_model)
        if base.path is None or run.adapter is None:
            raise UserError(
                f"{base.title} is not on this machine any more.", "Download it, then try again."
            )
        tokenizer = Tokenizer.load(base.path)
        parts: list[Literal["train", "eval"]] = ["train", "eval"]
        rows = {f"{part}.jsonl": run.rows(part) for part in parts}
        rows = {name: some for name, some in rows.items() if some}
        say("Reading the examples", 0, 0)
        max_length = run.plan["max_length"]
        learned = {
            name: list(map(_pair, read(run.cache, tokenizer, some, config).examples(max_length)))
            for name, some in rows.items()
        }
        form = _form(rows)
        plain = Plain(run.adapter, form, config, max_length)
        everything = form == "text" or (form == "messages" and config.train_on == "all")
        for marks in [("", "")] if everything else _marks(tokenizer):
            if form != "ids" and all(
                plain.gives(learned[name], some, marks, say) for name, some in rows.items()
            ):
                files: dict[str, list[Any]] = {name: [] for name in rows}
                return cls(run, form, files, tokenizer.template, marks)
        told = {name: [_told(one) for one in some] for name, some in learned.items()}
        return cls(run, "ids", told, tokenizer.template, ("", ""))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the templates ask for."""
        run, plan, result = self.run, self.run.plan, self.run.result or {}
        config = TrainConfig(**plan["config"])
        method = METHODS[config.method]
        pairs = config.objective in ("dpo", "orpo")
        continues = bool(config.continue_from)
        tests = "eval.jsonl" in self.files and result["base_eval_loss"] is not None
        base = config.base_model
        here = base == "starter" or Path(base).expanduser().is_dir()
        revision = "" if here else _revision(base)
        bits, full = config.quantization, method.kind == "full"
        from_peft = ["PeftModel"] if continues else [FROM_PEFT[method.kind], "get_peft_model"]
        facts = {
            "name": run.name,
            "c": config,
            "plan": plan,
            "result": result,
            "rows": self.form,
            "marks": bool(self.marks[1]),
            "begins": self.marks[0],
            "ends": self.marks[1],
            "template": self.form in ("messages", "pairs"),
            "tokenizes": self.form != "ids",
            "all": config.train_on == "all",
            "tools": self.form == "messages" and any(row.get("tools") for row in run.rows("train")),
            "drops": config.too_long == "drop" and self.form != "text",
            "pairs": pairs,
            "objective": config.objective,
            "tests": tests,
            "measured": tests and result["best_eval_loss"] is not None,
            "patience": bool(config.early_stopping_patience),
            "schedule": config.lr_scheduler_type,
            "stopped": result["step"] < plan["total_steps"] and run.status == "stopped",
            "recompute": plan["gradient_checkpointing"],
            "method": config.method,
            "kind": method.kind,
            "bits": bits,
            "residual": method.residual,
            "continues": continues,
            "test_as_base": (method.kind == "prefix" or continues) and not (pairs and continues),
            "before_as_base": method.kind == "prefix" and not continues,
            "home": "model" if full else "adapter",
            "from_peft": [] if full else from_peft,
            "base": "starter" if base == "starter" else Path(base).name if here else base,
            "on_hub": not here,
            "revision": revision,
            "gated": any(one.id == base and one.gated for one in CATALOGUE),
            "device": str(plan["device"]).partition(":")[0].upper().replace("CUDA", "a GPU"),
            "at_once": max(plan["max_length"], min(plan["micro_batch_tokens"], TOKENS_AT_ONCE)),
            "ratio": LORA_PLUS_RATIO,
        }
        return facts | self._parts(config)

    def _parts(self, config: TrainConfig) -> dict[str, Any]:
        """What of the model learns."""
        method = METHODS[config.method]
        if method.kind in ("full", "prefix") or config.continue_from:
            return {}
        linear = models.find(config.base_model).linear
        chosen = select_modules(linear, config.target_modules, config.layers)
        short = sorted({name.rsplit(".", 1)[-1] for name in chosen})
        whole = len(chosen) == sum(name.rsplit(".", 1)[-1] in short for name in linear)
        parts: dict[str, Any] = {"modules": short if whole and method.kind != "ia3" else chosen}
        if method.kind == "ia3":
            parts["feedforward"] = [name for name in chosen if scales_its_input(name, linear[name])]
        if method.kind == "adalora":
            from core import adalora

            assert config.lora_r
            parts["ranks"] = adalora.schedule(config.lora_r, self.run.plan["total_steps"])
        return parts


# ---- the examples


@dataclass(frozen=True)
class Plain:
    """The examples as train.py makes them, with plain transformers: what it is tried with."""

    tokenizer_folder: Path
    form: Form
    config: TrainConfig
    max_length: int

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.tokenizer_folder)

    def gives(
        self, wanted: Sequence[list[Learned]], rows: list[Any], marks: tuple[str, str], say: Say
    ) -> bool:
        """Whether it makes just these examples of the rows."""
        made = 0
        for number, row in enumerate(rows):
            if number % TRIED_AT_ONCE == 0:
                say("Trying the kit's way on every row", number, len(rows))
            try:
                examples = self._examples(row, marks)
            except Exception:  # a template may raise anything; then it is not this way
                return False
            for example in examples:
                if made == len(wanted) or example != wanted[made]:
                    return False
                made += 1
        return made == len(wanted)

    def _examples(self, row: dict[str, Any], marks: tuple[str, str]) -> list[list[Learned]]:
        size = self.max_length
        if self.form == "text":
            ids = self.tokenizer(row["text"])["input_ids"]
            if ids[-1:] != [self.tokenizer.eos_token_id]:
                ids = [*ids, self.tokenizer.eos_token_id]
            pieces = [ids[at : at + size] for at in range(0, len(ids), size)]
            return [[(piece, piece)] for piece in pieces if _count(piece)]
        if self.form == "pairs":
            sides = [
                self._encoded([*row["messages"], {"role": "assistant", "content": row[side]}],
                              None, marks)
                for side in ("chosen", "rejected")
            ]  # fmt: skip
        else:
            sides = [self._encoded(row["messages"], row.get("tools") or None, marks)]
        if self.config.too_long == "drop" and max(len(ids) for ids, _ in sides) > size:
            return []
        cut = [(ids[:size], labels[:size]) for ids, labels in sides]
        return [cut] if all(_count(labels) for _, labels in cut) else []

    def _encoded(self, messages: list[Any], tools: Any, marks: tuple[str, str]) -> Learned:
        text = self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = tokens["input_ids"]
        if self.config.train_on == "all" and self.form == "messages":
            return ids, ids
        begins, ends = map(re.escape, marks)
        found = list(re.finditer(f"{begins}(.*?{ends})", text, re.DOTALL))
        labels = [-100] * len(ids)
        for answer in found[-1:] if self.form == "pairs" else found:
            for place, (begin, _) in enumerate(tokens["offset_mapping"]):
                if answer.start(1) <= begin < answer.end(1):
                    labels[place] = ids[place]
        return ids, labels


def _form(rows: dict[str, list[Any]]) -> Form:
    """The form of all rows; "ids" where they have several."""
    forms: set[Form] = {
        "text" if "text" in row else "pairs" if "chosen" in row else "messages"
        for some in rows.values()
        for row in some
    }
    return forms.pop() if len(forms) == 1 else "ids"


def _marks(tokenizer: Any) -> list[tuple[str, str]]:
    """What may stand before an answer and at its end, the likeliest first."""
    begins = [mark for mark in (tokenizer.opening, tokenizer.closing) if mark]
    ends = [mark for mark in (tokenizer.turn_end, tokenizer.special.get("eos_token")) if mark]
    return [(begin, end) for begin in dict.fromkeys(begins) for end in dict.fromkeys(ends)]


def _count(labels: list[int]) -> int:
    return sum(label != -100 for label in labels[1:])


def _pair(example: Any) -> list[Learned]:
    """One sequence, or the better and the worse one."""
    both = [example.chosen, example.rejected] if hasattr(example, "chosen") else [example]
    return [(one.ids, one.labels) for one in both]


def _told(example: list[Learned]) -> dict[str, Any]:
    """An example as a line of tokens."""
    told = []
    for ids, labels in example:
        spans: list[list[int]] = []
        for place, label in enumerate(labels):
            if label == -100:
                continue
            if spans and spans[-1][1] == place:
                spans[-1][1] = place + 1
            else:
                spans.append([place, place + 1])
        told.append({"ids": ids, "learned": spans})
    return told[0] if len(told) == 1 else dict(zip(("chosen", "rejected"), told, strict=True))


def split_of(run: Run) -> dict[str, Any]:
    """Which rows of the dataset it learned from and which were kept back. `row` counts from 0 in
    the dataset's rows, `held_out_row` in the rows that it brought for tests; null where the dataset
    is gone or holds another row there now."""
    places: dict[str, deque[dict[str, int | None]]] = defaultdict(deque)
    dataset: dict[str, Any] | None = None
    with suppress(UserError):
        found = Store(run.owner).dataset(run.config.dataset)
        dataset = {"name": found.name, "version": found.facts["version"]}
        for key, rows in (("row", found.rows()), ("held_out_row", found.tests())):
            for number, row in enumerate(rows):
                places[row_hash(row)].append({key: number})

    def placed(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        told = []
        for digest in map(row_hash, rows):
            at = places[digest].popleft() if places[digest] else {"row": None}
            told.append({**at, "sha256": digest})
        return told

    return {
        "dataset": dataset,
        "sha256": "of each row as JSON: keys sorted, no character escaped but those that must be",
        "train": placed(run.rows("train")),
        "eval": placed(run.rows("eval")),
    }


def row_hash(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ---- the files


def requirements(facts: dict[str, Any]) -> str:
    """What train.py imports, in the versions that are installed here."""
    names = ["numpy", "torch", "PyYAML", "transformers"]
    names += ["peft"] * bool(facts["from_peft"]) + ["bitsandbytes"] * (facts["bits"] != "none")
    pinned = (f"{name}=={version(name).partition('+')[0]}" for name in sorted(names, key=str.lower))
    return "\n".join(pinned) + "\n"


def _yaml(value: Any) -> str:
    """On one line, as yaml reads it back."""
    style = '"' if isinstance(value, str) else None
    text = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # programs and plain text
)
_environment.filters["yaml"] = _yaml


def _rendered(name: str, facts: dict[str, Any]) -> str:
    return _environment.get_template(f"{name}.jinja").render(facts)


def _revision(hub_id: str) -> str:
    """The version of a model of the Hub that is on this machine; empty where it isn't known."""
    with suppress(OSError):
        return (folder_of(hub_id) / ".complete").read_text(encoding="utf-8").strip()
    return ""


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
