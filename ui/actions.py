"""What a person can do in Graft: one plain function each, which the pages and the API both call.

Each takes the caller's Store first, so none can reach another owner's data, and gives back what
JSON can hold. What the person can repair raises UserError; its `field` names the argument.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core import coach, estimates, prepare, pretest, preview, sources, versions
from core.chat import ChatServer
from core.config import TrainConfig, parse_config
from core.errors import NotFound, UserError
from core.exports.adapter import adapter_zip
from core.runs import Run
from core.sharing import Place
from core.store import Store
from jobs import queue
from ui import conversation


def import_dataset(
    store: Store,
    upload: Path,
    file_name: str,
    *,
    progress: Callable[[float], object] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Read a file of examples, check it and keep it; the dataset's facts.

    `options` are those of `core.prepare.import_dataset`. Raises NeedsMapping, NeedsChoice or
    NeedsConsent where the person has to say more, Refused where the file can't be used.
    """
    return prepare.import_dataset(store, upload, file_name, progress=progress, **options).describe()


def import_text(store: Store, text: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read pasted examples (CSV, JSON, a transcript, plain text) and keep them as a dataset.

    Parameters:
        text: what was pasted
        options: as for import_dataset
    Returns:
        The dataset, as from import_dataset.
    """
    return sources.import_text(store, text, **import_options(options)).describe()


def import_from_hub(store: Store, id: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Download a dataset of the Hub, check it and keep it as a dataset.

    Parameters:
        id: owner/name
        options: config, revision, split, held_out_split; and as for import_dataset
    Returns:
        The dataset, as from import_dataset.
    """
    return sources.import_from_hub(store, id, **import_options(options, HUB_OPTIONS)).describe()


def import_again(store: Store, id: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read the file of an earlier dataset once more, with other choices. The earlier one stays.

    Parameters:
        id: the dataset's id
        options: as for import_dataset; what is left out is as it was, null takes a choice back
    Returns:
        The new dataset, as from import_dataset.
    """
    return sources.read_again(store, id, **import_options(options)).describe()


IMPORT_OPTIONS = {
    "name": str,
    "mapping": dict[str, str],
    "templates": dict[str, str],
    "sheet": str,
    "member": str | list[str],
    "encoding": str,
    "header": bool,
    "split_column": str,
    "speaker": str,
    "bad_at_most": float,
}
HUB_OPTIONS = {"config": str, "revision": str, "split": str, "held_out_split": str}


def import_options(
    options: dict[str, Any] | None, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The options of an import, each of its type. Raises UserError, naming the one that is not."""
    known = {**IMPORT_OPTIONS, **(more or {})}
    options = options or {}
    if unknown := set(options) - set(known):
        raise UserError(
            f"there is no option {', '.join(sorted(unknown))}",
            f"The options are: {', '.join(known)}.",
            field="options",
        )
    for name, value in options.items():
        try:
            TypeAdapter(known[name] | None).validate_python(value, strict=name != "bad_at_most")
        except ValidationError:
            raise UserError(
                f"{name}: {str(value)[:100]!r} is not what this option takes.", field=name
            ) from None
    return options


def datasets(store: Store) -> list[dict[str, Any]]:
    """All datasets, newest first.

    Returns:
        A list of datasets: id, name, shape, rows, columns, mapping, findings. One whose files
        can't be read has the shape "damaged" and says why as `damage`; it can only be deleted.
    """
    return [dataset.listing for dataset in store.datasets()]


def dataset(store: Store, id: str) -> dict[str, Any]:
    """One dataset.

    Parameters:
        id: the dataset's id
    Returns:
        id, name, shape, rows (their number), columns, mapping, findings, verdict, why, advice,
        version, history.
    """
    return store.dataset(id).describe()


def models(store: Store) -> list[dict[str, Any]]:
    """The base models to choose from, the embedded starter first.

    Returns:
        A list of models: id, title, parameters, context, licence, local (on this machine), fits;
        and memory and memory_4bit: "fits", "tight" or "does not fit", as it is and in 4 bits;
        slow: whether it takes long here.
    """
    return estimates.catalogue()


def estimate(store: Store, config: dict[str, Any]) -> dict[str, Any]:
    """What a run with these settings needs in memory and time, before it is started.

    Parameters:
        config: a TrainConfig; what is left out is chosen
    Returns:
        trainable_parameters, total_parameters, modules (that change) of total_modules,
        adapter_bytes, memory_bytes by part, fits ("fits", "tight" or "does not fit"), remedies
        {field, value, saves (bytes), fits, cuts (rows)} where it does not fit well, steps,
        seconds, tokens_per_second, slowdown (by what factor others make it slower now, which is in
        both), advice, and the completed config.
    """
    return estimates.estimate(_config(store, config), store)


def xray(store: Store, config: dict[str, Any], row: int = 0) -> dict[str, Any]:
    """What the model sees of one example, token by token.

    Parameters:
        config: a TrainConfig with dataset and base_model
        row: which row of the dataset, counted from 0
    Returns:
        tokens with text and state: "learned", "context" (read, not learned) or "cut"; how many
        there are of each; and notes {code, text}: what the model's template did to the example.
    """
    return preview.xray(store, _config(store, config), row)


def lengths(store: Store, config: dict[str, Any]) -> dict[str, Any]:
    """How long the examples are for the chosen model, and what a length limit does to them.

    The first call for a dataset and a model reads all rows, about a minute for 100,000; after
    that another max_length or too_long is answered at once.

    Parameters:
        config: a TrainConfig with dataset and base_model; without max_length it is chosen
    Returns:
        rows, refused (by the model's template), tokens_per_row, learned_per_row, teach_nothing,
        longest, bins [{start, stop, rows}] (more than start, at most stop tokens); max_length,
        chosen (the max_length that Graft would choose), context (the model's), too_long, and what
        they do: shortened, dropped, lost (rows whose whole answer is cut off), tokens_share (of
        the tokens that remain), seconds, memory_bytes; uncut {seconds, memory_bytes}: without a
        cut; notes [{code, text, rows}]; reasons [{row, text}]: why the first rows are refused.
    """
    return preview.lengths(store, _config(store, config))


def measuring(store: Store, config: dict[str, Any]) -> Iterator[float]:
    """Read the whole dataset for `lengths`, where that isn't done yet. Yields the share that is
    done, 1.0 at the end; closing the iterator breaks it off."""
    return preview.measuring(store, _config(store, config))


def ask_original(store: Store, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the base model answers before anything is trained, as it is and with three examples in
    the prompt; as `pretest.ask`."""
    return pretest.ask(chat_server(), store, _config(store, config))


def start_run(store: Store, config: dict[str, Any]) -> dict[str, Any]:
    """Let a new run wait for its turn. It trains in a process of its own, whatever the caller does.

    Parameters:
        config: a TrainConfig; only dataset must be given
    Returns:
        id of the run and its position in the line (1: the next).
    """
    run = prepared(store, config)
    try:
        return {"id": run.id, "position": queue.submit(run)}
    except Exception:  # what is told to have failed must not be found among the runs
        run.remove()
        raise


def prepared(store: Store, config: dict[str, Any]) -> Run:
    """A new run, with what is promised of it, that does not wait in line yet."""
    asked = _config(store, config)
    expected = estimates.estimate(asked, store)
    run = prepare.new_run(store, asked)
    try:
        run.expect(expected)
    except Exception:
        run.remove()
        raise
    return run


def runs(store: Store) -> list[dict[str, Any]]:
    """All runs, newest first.

    Returns:
        A list of runs, each as from `run` but for the judgement.
    """
    line = queue.Line.now()
    return [told(run, line) for run in store.runs()]


def run(store: Store, id: str) -> dict[str, Any]:
    """How one run stands.

    Parameters:
        id: the run's id
    Returns:
        id, name, status (queued, running, completed, failed, stopped, paused, interrupted, or
        damaged: its files can't be read, and it can only be deleted), phase (what a running one
        does, or why the line doesn't move), position in the line while queued, begins_at and
        ends_at (as far as is known, in seconds since the epoch), progress {step, total_steps,
        epoch, loss, eval_loss, seconds_left, tokens_per_second, slowdown (by what factor others
        make it slower), memory (bytes)}, config, error, hint, result; and
        judgement {verdict, text, hint}: whether it learns ("early", "untested", "learning",
        "stalled", "memorising", "unlearning", "not learning"), null where nothing is known.
    """
    run = store.run(id)
    judged = coach.of(run, run.metrics())
    return {**told(run, queue.Line.now()), "judgement": judged.describe() if judged else None}


def metrics(store: Store, id: str) -> list[dict[str, Any]]:
    """The figures of every logged step of a run.

    Parameters:
        id: the run's id
    Returns:
        A list of rows: step, epoch, loss, eval_loss, learning_rate, grad_norm, tokens,
        tokens_per_second, slowdown, memory (bytes), seconds; a row may lack any but step.
    """
    return store.run(id).metrics()


def stop_run(store: Store, id: str) -> dict[str, Any]:
    """Ask a run to end with everything that it learned kept; a waiting run is stopped at once.

    Parameters:
        id: the run's id
    Returns:
        id and status; a running run is still "running" until its trainer has saved.
    """
    run = store.run(id)
    run.stop()
    return {"id": run.id, "status": run.status}


def pause_run(store: Store, id: str) -> dict[str, Any]:
    """Ask a run to save and to leave the device to others; it keeps its place among its owner's.

    Parameters:
        id: the run's id
    Returns:
        id and status; a running run is still "running" until its trainer has saved.
    """
    run = store.run(id)
    run.pause()
    return {"id": run.id, "status": run.status}


def discard_run(store: Store, id: str) -> dict[str, Any]:
    """Throw a run away for good; one that is being trained goes as soon as its trainer has left.

    Parameters:
        id: the run's id
    Returns:
        id and status, "running" or "deleted".
    """
    run = store.run(id)
    run.discard()
    return {"id": run.id, "status": run.status if run.path.exists() else "deleted"}


def resume_run(store: Store, id: str) -> dict[str, Any]:
    """Let a run that was stopped, paused, broken off or failed wait again; it goes on from its last
    checkpoint.

    Parameters:
        id: the run's id
    Returns:
        id, status and position in the line.
    """
    run = store.run(id)
    position = queue.submit(run)
    return {"id": run.id, "status": run.status, "position": position}


def keep_run(store: Store, id: str) -> dict[str, Any]:
    """Let a run that is paused, was broken off or failed end where it was saved last, with what it
    learned kept as if it had been stopped there. It goes before the caller's other runs.

    Parameters:
        id: the run's id
    Returns:
        id, status and position in the line: to save takes some seconds of the device.
    """
    run = store.run(id)
    position = queue.submit(run, ends=True)
    return {"id": run.id, "status": run.status, "position": position}


def move_run(store: Store, id: str, place: int = 1) -> dict[str, Any]:
    """Give a waiting run another place in the line.

    Parameters:
        id: the run's id
        place: 1 for the next
    Returns:
        id, status and position in the line.
    """
    run = store.run(id)
    now = queue.position(run) or place
    if any(other.owner != run.owner for other in queue.waiting()[max(0, place - 1) : now - 1]):
        raise UserError(
            "Somebody else's run waits there.", "Yours may pass your own only.", field="place"
        )
    position = queue.move(run, place)
    return {"id": run.id, "status": run.status, "position": position}


def delete_run(store: Store, id: str) -> dict[str, Any]:
    """Move a run to the trash. A running run must be stopped first; a waiting one leaves the line.

    Parameters:
        id: the run's id
    Returns:
        id, "deleted" as status, and trash: the id under which it can be put back.
    """
    return {"id": id, "status": "deleted", "trash": store.run(id).delete().id}


def compare(
    store: Store,
    run: str | list[str],
    message: str | list[dict[str, Any]] | dict[str, list[dict[str, Any]]],
    sampling: dict[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Answers of the base model and of a run's adapter, side by side, while they grow.

    Closing the iterator ends the answers.

    Parameters:
        run: the run's id, or a list of ids of runs with the same base model; RUN@STEP is a run at
            its last checkpoint, FAMILY a family's current version, FAMILY@3 that version
        message: what to ask; or a conversation, a list of {role, content}; or one conversation for
            each side, {"base": […], "tuned": […]}, with run ids where there are several
        sampling: max_new_tokens, temperature, top_p, seed, repetition_penalty; and strength of the
            adapters, 0 (the base model) to 1.5
    Returns:
        A stream of {base, tuned, done, phase, …}: the answers so far; the last has done: true, and
        by run changed (the share of next tokens that it chooses differently from the base) and
        adapters (the first digits of its weights' sha256). `tuned` is the first run's answer; each
        run's answer also stands under its id.
    """
    ids = [run] if isinstance(run, str) else run
    if not ids:
        raise UserError("run: none is named.", "Give the id of a finished run.", field="run")
    if isinstance(message, str):
        message = [{"role": "user", "content": message}] if message.strip() else []
    elif isinstance(message, dict) and "tuned" in message:
        message = {ids[0]: message["tuned"], **message}
    if not message:
        raise UserError("message: there is nothing to answer.", field="message")
    runs = {id: versions.find(store, id) for id in ids}
    if isinstance(message, dict):
        message = {runs[id].id if id in runs else id: said for id, said in message.items()}
    with closing(chat_server().compare([*runs.values()], message, sampling)) as answers:
        for answer in answers:
            answer = conversation.as_asked(answer, {id: run.id for id, run in runs.items()})
            yield {**answer, "tuned": answer[ids[0]]}


def crowded(store: Store, run: str) -> Place | None:
    """Where a question about the run would be answered while another one trains, if that is not
    where it usually is."""
    with suppress(UserError):  # comparing says what is wrong
        place = chat_server().place(versions.find(store, run))
        return place if place.beside else None
    return None


def download_adapter(store: Store, id: str) -> Path:
    """The finished adapter of a run as a zip file, which may lie in the data directory."""
    return adapter_zip(store.run(id))


@cache
def chat_server() -> ChatServer:
    """This process's one connection to the chat process, which starts when it is first asked."""
    return ChatServer()


def _config(store: Store, values: dict[str, Any]) -> TrainConfig:
    """The settings, checked. What another owner's run left is no model to teach here."""
    config = parse_config(values)
    for field in ("base_model", "continue_from"):
        name = getattr(config, field)
        try:
            path = Path(name).expanduser()
            foreign = path.exists() and store.is_foreign(path)
        except (RuntimeError, ValueError, OSError):  # ~nobody, or what no file can be called
            foreign = True
        if foreign and name:
            raise NotFound(f"There is no {name[:100]!r}.", field=field)
    return config


def told(run: Run, line: queue.Line) -> dict[str, Any]:
    """The run as the API and the pages tell it."""
    facts = {**run.describe(), **line.place(run)}
    if facts["status"] == "queued":
        facts |= {"phase": line.phase(run), "held_up": bool(queue.held_up())}
    return facts
