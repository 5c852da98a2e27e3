"""Blends of runs: first a draft, which can be compared and scored like a run, and is in no list;
then kept, as a run (core.origin).

A draft lies in the owner's drafts/, looks like a run's folder, and goes after a day, or when
another takes its place. The arithmetic (core.blend) is done by a process of its own, this
module's, which gives all its memory back:

    echo '{"adapters": [folders], "into": folder, "recipe": {…}}' | python -m core.blending

It prints {"done", "of"} as it goes, and at the end what it made.

origin.json of a blend has, besides what every origin has: the recipe (way, weights, density, rank,
seed), `kept`, what its rank has room for, and parents [{id, name, weight, rows}], where `rows` are
the numbers of those test rows that this parent kept back. A row that another parent learned from is
none of them.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core import origin, peft_format
from core.blend import WAYS, Recipe, pairs, write
from core.chat import MOST_RUNS, check_answerable, common_base, common_bits
from core.config import TrainConfig
from core.data.split import Tested
from core.errors import NotFound, UserError
from core.files import write_json, write_text
from core.methods import METHODS
from core.models import BaseModel
from core.peft_format import MOST_RANK
from core.prepare import NAME_LENGTH
from core.report import Report
from core.runs import Run
from core.sharing import give_way
from core.store import Store
from core.tokenizer import Tokenizer

ROOT = Path(__file__).parent.parent
MOST = 4
"""Runs in a blend."""
assert MOST <= MOST_RUNS
WHY_NOT = {
    "dora": "also changes how long the rows of the weights are, which depends on all that changes "
    "them",
    "ia3": "scales what the layers say, and adds nothing that could be summed",
    "prefix": "is an invisible beginning, and changes no weights",
    "full": "left a whole model",
}


def recipe_of(weights: Sequence[float], options: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe with these weights and way, density, rank and seed as `options` say. Raises
    UserError that names what is wrong."""
    try:
        return Recipe(**{**(options or {}), "weights": tuple(weights)})
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise UserError(f"{field}: {problem['msg']}, not {str(problem['input'])[:60]!r}.",
                        field=field) from None  # fmt: skip
    except TypeError as error:
        raise UserError(f"options: {error}.", field="options") from None


def check(run: Run) -> None:
    """Raise UserError where the run is nothing that can be blended."""
    check_answerable(run)
    if why := WHY_NOT.get(_kind(run)):
        raise UserError(
            f"{run.name} can’t be blended: {METHODS[run.config.method].title} {why}.",
            "Blend LoRAs and rsLoRAs.",
        )
    assert run.adapter is not None
    if peft_format.read(run.adapter).config.use_dora:
        raise UserError(f"{run.name} can’t be blended: it is a DoRA.", "Blend LoRAs and rsLoRAs.")


def usable(run: Run) -> bool:
    """Whether it can be blended, as far as its settings tell."""
    with suppress(UserError):
        ended = run.status in ("completed", "stopped") and run.adapter is not None
        return ended and _kind(run) not in WHY_NOT
    return False


def _kind(run: Run) -> str:
    method = run.config.method
    return method if method == "dora" else METHODS[method].kind


def draft(
    store: Store,
    runs: Sequence[Run],
    recipe: Recipe,
    name: str = "",
    replaces: str = "",
    say: Callable[[int, int], object] = lambda done, of: None,
) -> Run:
    """A blend of the runs that can be compared and scored, and is in no list. `replaces`: an
    earlier draft, which goes. Raises UserError where they can't be blended so."""
    if not 2 <= len(runs) <= MOST:
        raise UserError(
            f"{len(runs)} runs can’t be blended.", f"Choose 2 to {MOST} of one base model.",
            field="runs",
        )  # fmt: skip
    for run in runs:
        check(run)
    base = common_base(runs)
    if len(recipe.weights) != len(runs):
        raise UserError("weights: there must be one for each run.", field="weights")
    tests, rows, notes = held_out(runs)
    parents = [
        {"id": run.id, "name": run.name, "weight": weight, "rows": own}
        for run, weight, own in zip(runs, recipe.weights, rows, strict=True)
    ]
    adapters = [run.adapter for run in runs if run.adapter]
    _check_rank(adapters, recipe)
    name = _named(name, runs)

    def fill(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
        made = _in_a_process(adapters, recipe, folder, say)
        ranks = made["ranks"]
        told = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(base.path or base.id),
            "inference_mode": True,
            "target_modules": peft_format.named(list(ranks), base),
            **peft_format.lora_facts(ranks, {name: float(r) for name, r in ranks.items()}, base),
        }
        config = peft_format.train_config(told, "lora", base, name)
        config = config.model_copy(update={"quantization": common_bits(runs)})
        card = _card(config, base, runs, recipe)
        origin.write_adapter(folder, told, Tokenizer.load(adapters[0]), card)
        return config, {
            "kind": "blended",
            **recipe.model_dump(exclude={"weights"}),
            "parents": parents,
            "kept": made["kept"],
            "parameters": made["parameters"],
            "notes": [*_of_the_way(recipe, told["r"], made["kept"]), *notes],
        }

    drafted = origin.create(store, name, tests, fill, draft=True)
    if replaces:
        forget(store, replaces)
    return drafted


def forget(store: Store, id: str) -> None:
    """Remove a draft, if it is there and nobody scores it just now."""
    with suppress(UserError):
        run = store.run(id)
        if run.is_draft and Report(run).state not in ("waiting", "making"):
            run.remove()


def keep(store: Store, run: Run, name: str) -> Run:
    """Make a run of a draft. Raises UserError where it is none, or its name is too long."""
    if not run.is_draft:
        raise UserError(f"{run.name} is no draft: it is kept already.", field="id")
    if len(name := name.strip() or run.name) > NAME_LENGTH:
        raise UserError(f"A name has {NAME_LENGTH} characters at most.", field="name")
    if Report(run).state in ("waiting", "making"):
        raise UserError("It is being scored.", "Keep it when that is done.", field="id")
    card = run.path / "adapter" / "README.md"
    text = card.read_text("utf-8").replace(f"\n# {run.name}\n", f"\n# {name}\n", 1)
    write_text(card, text, parents=False)
    config = run.config.model_copy(update={"name": name})
    write_json(run.path / "config.json", config.model_dump(), parents=False)
    return store.keep_draft(run)


def same(run: Run, runs: Sequence[Run], recipe: Recipe) -> bool:
    """Whether the draft is the blend of these by this recipe, as they are now."""
    said = run.origin
    made = run.created_at
    parents = [(parent["id"], parent["weight"]) for parent in said.get("parents", ())]
    return (
        parents == list(zip([one.id for one in runs], recipe.weights, strict=True))
        and {name: said.get(name) for name in ("way", "density", "rank", "seed")}
        == recipe.model_dump(exclude={"weights"})
        and all((one.path / "adapter").stat().st_mtime <= made for one in runs)
    )


def held_out(
    runs: Sequence[Run],
) -> tuple[list[dict[str, Any]], list[list[int]], list[str]]:
    """The rows that these kept back and that none of them learned from, each once; for each run the
    numbers of its own among them; and what was left out, in sentences."""
    gone: list[str] = []
    learned = {run.id: Tested(_learned(run, gone)) for run in runs}
    rows: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    numbers, notes = [], []
    if gone:
        notes.append(
            f"What {', '.join(dict.fromkeys(gone))} learned from is not known, for an earlier run "
            "of it was deleted: some of the rows may be no test."
        )
    for run in runs:
        own, left_out = [], 0
        for row in run.rows("eval"):
            if any(row in others for id, others in learned.items() if id != run.id):
                left_out += 1
                continue
            place = places.setdefault(json.dumps(row, sort_keys=True), len(rows))
            if place == len(rows):
                rows.append(row)
            own.append(place)
        numbers.append(own)
        if left_out:
            notes.append(
                f"{left_out} rows that {run.name} kept back are no test here: another of them "
                "learned from them."
            )
    return rows, numbers, notes


def _learned(run: Run, gone: list[str]) -> Iterator[dict[str, Any]]:
    """The rows that it learned from, itself or as one that it goes on from or was made of. Where
    such a one was deleted, `gone` gets its name."""
    yield from run.rows("train")
    earlier = run.config.continue_from
    before = [parent["id"] for parent in run.origin.get("parents", ())]
    for id in [*before, *([earlier] if earlier else [])]:
        try:
            yield from _learned(Store(run.owner).run(id), gone)
        except NotFound:
            gone.append(run.name)


def _check_rank(adapters: Sequence[Path], recipe: Recipe) -> None:
    if recipe.way in ("cat",) or (recipe.rank is None and recipe.way != "linear"):
        most = sum(max(peft_format.read(folder).ranks.values()) for folder in adapters)
        if most > MOST_RANK:
            raise UserError(
                f"Their ranks come to {most}, and {MOST_RANK} are the most.",
                f"Choose {WAYS['svd'].title} with a rank that you set.",
                field="rank",
            )


def _of_the_way(recipe: Recipe, rank: int, kept: float) -> list[str]:
    way = WAYS[recipe.way]
    told = [f"{way.title}: {way.sentence}" + (f" ({way.paper})" if way.paper else "")]
    if way.has_density:
        told.append(f"{100 * recipe.density:.0f} % of the changes of each were kept.")
    if way.has_rank:
        told.append(f"Rank {rank} has room for {100 * kept:.1f} % of it.")
    return told


def _named(name: str, runs: Sequence[Run]) -> str:
    name = name.strip() or " + ".join(run.name for run in runs)
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1].rstrip()}…"


def _card(config: TrainConfig, base: BaseModel, runs: Sequence[Run], recipe: Recipe) -> str:
    way = WAYS[recipe.way]
    shares = zip(runs, recipe.weights, strict=True)
    told = ", ".join(f"{run.name} ({100 * weight:.0f} %)" for run, weight in shares)
    facts = {"blended by": f"{way.title} ({way.paper})" if way.paper else way.title}
    if way.has_density:
        facts["kept of each"] = f"{100 * recipe.density:.0f} %, seed {recipe.seed}"
    return origin.card(config, base, f"It was blended with Graft from {told}.", facts)


# ---- the process


def _in_a_process(
    adapters: Sequence[Path], recipe: Recipe, into: Path, say: Callable[[int, int], object]
) -> dict[str, Any]:
    """What it made: ranks, parameters, kept."""
    asked = {"adapters": list(map(str, adapters)), "into": str(into), "recipe": recipe.model_dump()}
    with subprocess.Popen(
        [sys.executable, "-m", "core.blending"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as child:  # fmt: skip
        assert child.stdin and child.stdout and child.stderr
        try:
            child.stdin.write(json.dumps(asked))
            child.stdin.close()
            told: dict[str, Any] = {}
            for line in child.stdout:
                told = json.loads(line)
                if "done" in told:
                    say(told["done"], told["of"])
            problem = child.stderr.read()
        except BaseException:
            child.kill()
            raise
    if "error" in told:
        raise UserError(told["error"], told["hint"])
    if child.returncode or "ranks" not in told:
        raise RuntimeError(f"The blend could not be made: {problem[-2000:]}")
    return told


def main() -> None:
    asked = json.loads(sys.stdin.read())

    def say(done: int, of: int) -> None:
        print(json.dumps({"done": done, "of": of}), flush=True)

    give_way()  # beside a run, the cores are the run's
    try:
        adapters = [pairs(Path(folder)) for folder in asked["adapters"]]
        made = write(adapters, Recipe(**asked["recipe"]), Path(asked["into"]), say)
        print(json.dumps(asdict(made)), flush=True)
    except UserError as error:
        print(json.dumps({"error": str(error), "hint": error.hint}), flush=True)


if __name__ == "__main__":
    main()
