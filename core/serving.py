"""What a person's programs can ask, and by which names: base models, what runs have learned, and
the families that these are kept in.

`resolve` is the one place where a name becomes a model.
"""

from contextlib import suppress
from dataclasses import dataclass, replace

from core import library, versions
from core.chat import check_answerable, common_base, common_bits, is_whole
from core.errors import NotFound, UserError
from core.methods import Bits
from core.models import BaseModel, find
from core.runs import Run
from core.store import Store

STARTER = "starter"


@dataclass(frozen=True)
class Model:
    """Something that answers: a base model, alone or with what a run has learned on it."""

    id: str
    base: BaseModel
    quantization: Bits
    run: Run | None = None
    """None too for a run that left a whole model, which is `base` then."""
    created: float = 0.0
    names: tuple[str, ...] = ()
    """Other names that it answers to."""
    version: str = ""
    """Of a family, as “support-bot@3”."""


def resolve(store: Store, name: str, caller: str = "") -> Model:
    """The model of this name, looked up anew for each request: a family (its current version, or
    during a rollout, for a share of all callers, the candidate), FAMILY@3, a run's id (RUN@300 for
    its last checkpoint), the name of one run alone, or a base model.

    Raises NotFound, and UserError for a run that can't answer.
    """
    family, numbered, _ = name.partition("@")
    if library.is_family(store, family):
        version = name if numbered else library.pick_version(store, family, caller).id
        return _of_version(store, name, version)
    try:
        return _of_run(versions.find(store, name))
    except NotFound:
        pass
    named = [run for run in _answerable(store) if run.name == name]
    if len(named) == 1:
        return _of_run(named[0])
    if named:
        ids = ", ".join(run.id for run in named)
        raise NotFound(f"{len(named)} runs are called {name[:100]!r}.", f"Name one by id: {ids}.")
    for model in _bases(store):
        if model.id == name:
            return model
    raise NotFound(
        f"There is no model {name[:100]!r}.", "The list is at /v1/models.", field="model"
    )


def models(store: Store) -> list[Model]:
    """All that can be asked: families and their versions, what runs have learned, the newest first,
    and their base models."""
    found = []
    for family in library.families(store):
        current = [(family.name, family.current.id)] if family.current else []
        for name, version in [*current, *((one.id, one.id) for one in family.versions)]:
            with suppress(UserError):  # its run was deleted
                found.append(_of_version(store, name, version))
    for run in _answerable(store):
        with suppress(UserError):  # its base model is gone
            found.append(_of_run(run))
    return found + _bases(store)


def _answerable(store: Store) -> list[Run]:
    return [run for run in store.runs() if run.status != "damaged" and run.adapter is not None]


def _of_version(store: Store, name: str, version: str) -> Model:
    model = _of_run(library.find(store, version))
    names = () if name == version else (version,)
    return replace(model, id=name, names=names, version=version)


def _of_run(run: Run) -> Model:
    check_answerable(run)
    config, created = run.config, run.created_at
    if is_whole(run):
        return Model(run.id, find(str(run.adapter)), "none", None, created, (run.name,))
    return Model(run.id, common_base([run]), config.quantization, run, created, (run.name,))


def _bases(store: Store) -> list[Model]:
    """The starter and the base models of the owner's runs, as they are held for those. Others on
    this machine, which may be somebody else's, are nobody's to ask here."""
    learned: dict[str, list[Run]] = {STARTER: []}
    for run in _answerable(store):
        learned.setdefault(run.config.base_model, []).append(run)
    found = []
    for id, runs in learned.items():
        try:
            base = find(id)
        except UserError:
            continue
        if base.path is not None:
            found.append(Model(id, base, common_bits(runs) if runs else "none"))
    return found
