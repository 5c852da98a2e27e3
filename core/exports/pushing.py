"""python -m core.exports.pushing RUN_FOLDER: puts what was made of a run on the Hugging Face Hub.

What is wanted, and the token, come as one line of JSON on the standard input. The token is kept in
this process's memory only. All files arrive in one commit, so nothing is to be seen there until all
of it is; afterwards what the Hub says of each file is compared with what was sent. It leaves when
nobody wants it any more (core.exports.push).
"""

import io
import json
import os
import re
import shutil
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha1
from pathlib import Path
from typing import Any, cast

import httpx2
import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars

from core.catalogue import CATALOGUE
from core.errors import NotFound, UserError, explain
from core.exports.export import Export
from core.exports.push import FORMATS, TOKENS, Push, Wish
from core.files import write_text
from core.models import HUB_ID
from core.runs import Run

LOOK_EVERY, SAY_EVERY = 0.5, 0.3  # seconds
OURS = "graft"
"""The tag that tells a repository of Graft's from others."""
DECISIVE = re.compile(
    r"(adapter_config\.json|adapter_model\.safetensors|config\.json|generation_config\.json"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json)"
)
"""What of an earlier push would make another model of what is sent now."""
LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "Gemma": "gemma",
    "Llama 3.1 Community": "llama3.1",
    "Llama 3.2 Community": "llama3.2",
}


def send(push: Push, wish: Wish, token: str) -> None:
    """Raises UserError, in words, where the Hub does not take it."""
    api = HfApi(token=token)
    with _unpacked(push.run, wish.format) as folder:
        write_text(folder / "README.md", hub_card(_readme(folder), push.run, wish.format))
        with in_words(wish.repo):
            repo = api.create_repo(wish.repo, private=wish.private, exist_ok=True).repo_id
            there = _look(api, repo, wish)
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            total = sum(file.stat().st_size for file in files)
            push.say("Reading the files", 0, 0, repo=repo)
            progress = Progress(lambda done: push.say("Sending", min(done, total), total))
            operations: list[Any] = [
                CommitOperationAdd(
                    file.relative_to(folder).as_posix(), cast(Any, progress.opened(file))
                )
                for file in files
            ]
            sent = {operation.path_in_repo for operation in operations}
            left = sorted(name for name in there if DECISIVE.fullmatch(name) and name not in sent)
            operations += [CommitOperationDelete(name) for name in left]
            progress.begin()
            title = f"{push.run.name}: {FORMATS[wish.format].lower()}"
            commit = api.create_commit(repo, operations, commit_message=title)
            push.say("Comparing what arrived", total, total)
            _compare(api, repo, commit.oid, folder, files)
            private = bool(api.model_info(repo).private)
    push.finish(
        format=wish.format,
        repo=repo,
        private=private,
        url=f"{constants.ENDPOINT}/{repo}",
        commit=commit.oid,
        commit_url=commit.commit_url,
        bytes=total,
    )


# ---- what is sent


@contextmanager
def _unpacked(run: Run, format: str) -> Iterator[Path]:
    """A folder with what was made, as it will be on the Hub; gone afterwards."""
    artefact, folder = Export(run, format).artefact, _own_folder(run)
    for left in folder.parent.glob(".push*"):  # by somebody who died, or whom nobody wants any more
        shutil.rmtree(left, ignore_errors=True)
    try:
        if artefact.is_dir():
            shutil.copytree(artefact, folder, copy_function=_linked)
        else:
            with zipfile.ZipFile(artefact) as archive:
                archive.extractall(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder(run: Run) -> Path:
    """Each process has one of its own: whoever is called off tidies up beside the next one."""
    return run.path / "exports" / f".push-{os.getpid()}"


def _linked(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _readme(folder: Path) -> str:
    readme = folder / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


def hub_card(text: str, run: Run, format: str) -> str:
    """The model card with a head that the Hub takes: it links to base models of its own only."""
    base = run.config.base_model
    found = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    told = None
    with suppress(yaml.YAMLError):  # a path may be in it that YAML can't read
        told = yaml.safe_load(found[1]) if found else None
    head: dict[str, Any] = told if isinstance(told, dict) else {}
    head.pop("base_model", None)
    head.pop("base_model_relation", None)
    if HUB_ID.fullmatch(base) and not Path(base).expanduser().is_dir():
        head["base_model"] = base
        head["base_model_relation"] = "adapter" if format == "adapter" else "finetune"
    head["library_name"] = head.get("library_name") or "transformers"
    if format == "merged":
        head["library_name"] = "transformers"
    head["pipeline_tag"] = "text-generation"
    head["tags"] = list(dict.fromkeys([*(head.get("tags") or []), OURS]))
    licences = (LICENCES.get(one.licence) for one in CATALOGUE if one.id == base)
    if licence := next(licences, None):
        head.setdefault("license", licence)
    body = text[found.end() :] if found else text
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{body}"


class Progress:
    """How many bytes of all files were read to be sent."""

    def __init__(self, say: Callable[[int], None]) -> None:
        self._say, self._read, self._said = say, 0, 0.0
        self._counts = False
        self._lock = threading.Lock()

    def opened(self, file: Path) -> io.BufferedReader:
        return _Counted(file, self)

    def begin(self) -> None:
        """From now on they are read to be sent; before that, to know their checksums."""
        self._counts = True
        self._say(0)

    def read(self, size: int) -> None:
        with self._lock:
            if not self._counts:
                return
            self._read += size
            if time.monotonic() - self._said < SAY_EVERY:
                return
            self._said = time.monotonic()
            self._say(self._read)


class _Counted(io.BufferedReader):
    def __init__(self, file: Path, progress: Progress) -> None:
        super().__init__(io.FileIO(file))
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._progress.read(len(content))
        return content


# ---- what is there


def _look(api: HfApi, repo: str, wish: Wish) -> list[str]:
    """The files of the repository. Raises UserError where it is not one to send this to."""
    info = api.model_info(repo)
    if wish.private and not info.private:
        raise UserError(
            f"{repo} is there already, and everybody can see it. Nothing was sent.",
            "Choose another name, make it private on its page, or take the tick away.",
            field="private",
        )
    names = [one.rfilename for one in info.siblings or []]
    if set(names) - {".gitattributes"} and OURS not in (info.tags or []):
        raise UserError(
            f"{repo} is there already, with files that are not from Graft. Nothing was sent.",
            "Choose another name.",
            field="repo",
        )
    return names


def _compare(api: HfApi, repo: str, commit: str, folder: Path, files: list[Path]) -> None:
    """Raise UserError where the Hub has another file than was sent."""
    tree = api.list_repo_tree(repo, recursive=True, revision=commit)
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    for file in files:
        name = file.relative_to(folder).as_posix()
        entry = there.get(name)
        with file.open("rb") as stream:
            if entry and entry.lfs:
                same = file_digest(stream, "sha256").hexdigest() == entry.lfs.sha256
            else:
                content = stream.read()
                blob = sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
                same = entry is not None and blob.hexdigest() == entry.blob_id
        if not same:
            raise UserError(f"{name} did not arrive whole at {repo}.", "Push again.")


# ---- what the Hub answers, in words


@contextmanager
def in_words(repo: str) -> Iterator[None]:
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError(
            "Graft was told to stay offline (HF_HUB_OFFLINE).",
            "Start it without that setting, then push again.",
        ) from error
    except HfHubHTTPError as error:
        raise explained(error, repo) from error
    except (httpx2.HTTPError, ConnectionError) as error:
        raise UserError(
            f"The connection to the Hub broke off, or can't be made ({type(error).__name__}).",
            "Nothing is to be seen there until all of it has arrived. See to the connection, then "
            "push again.",
        ) from error
    except RuntimeError as error:
        # The library wraps what goes wrong with one file.
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError | httpx2.HTTPError | ConnectionError):
            with in_words(repo):
                raise cause from error
        raise
    except ValueError as error:
        if isinstance(error, UserError) or "README" not in str(error):
            raise
        what = " ".join(str(error).split())
        raise UserError(f"The Hub does not take the model card: {what}") from error


def explained(error: HfHubHTTPError, repo: str) -> UserError:
    status = error.response.status_code if error.response is not None else 0
    said = " ".join(str(error.server_message or "").split())[:300]
    if status == 401:
        return UserError(
            "The Hub does not know this token.",
            f"Copy it once more from {TOKENS}; it begins with hf_. It may have expired.",
            field="token",
        )
    if status in (402, 403, 413, 507) and re.search(r"storage|quota|limit", said, re.IGNORECASE):
        return UserError(
            f"There is no room for it on the Hub: {said}",
            "Delete something there, or make the repository public: public ones have more room.",
        )
    if status == 403:
        return UserError(
            f"This token may not write to {repo}.",
            f"Make one that may write at {TOKENS}, or choose a repository of your own.",
            field="token",
        )
    if status == 404:
        return UserError(
            f"The Hub has no user or organization for {repo}.",
            "Leave out what is before the “/”: then it becomes yours.",
            field="repo",
        )
    if status in (400, 409, 422):
        return UserError(
            f"The Hub does not take {repo}: {said or f'error {status}'}",
            "Choose another name.",
            field="repo",
        )
    if status == 429:
        return UserError("The Hub has had too many requests.", "Push again in some minutes.")
    return UserError(f"The Hub answered with error {status}.", "Push again in a few minutes.")


# ---- the process


def main() -> int:
    os.umask(0o077)
    asked = json.loads(sys.stdin.readline() or "{}")
    if not asked:
        return 1  # who started it was gone before it said what it wants
    token = asked.pop("token")
    push, wish = Push(Run(Path(sys.argv[1]).resolve())), Wish(**asked)
    threading.Thread(target=_leave_when_unwanted, args=(push,), daemon=True).start()
    disable_progress_bars()
    try:
        push.say("Looking at the repository")  # another one may have been started since
        send(push, wish, token)
    except NotFound:
        return 0  # called off, or deleted
    except Exception as error:
        if not isinstance(error, UserError):
            print(traceback.format_exc().replace(token, "hf_…"))
        what, hint = explain(error)
        with suppress(NotFound):
            push.fail(what.replace(token, "hf_…"), hint)
        return 1
    return 0


def _leave_when_unwanted(push: Push) -> None:
    while push.is_mine:
        time.sleep(LOOK_EVERY)
    shutil.rmtree(_own_folder(push.run), ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
