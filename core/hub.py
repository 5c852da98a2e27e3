"""Models of the Hugging Face Hub: downloaded with progress, stoppable, going on where it stopped.

Only the files that are needed come down (the safetensors that transformers loads, configuration,
tokenizer; never code), into `models/` of the data directory. Each is checked against the Hub's
checksum, and `.files.json` says which content was checked, so that files of two revisions never
mix. The Hub's own cache is used where a model is in it already.
"""

import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from core.errors import Damaged, ModelProblem
from core.files import read_facts, write_bytes, write_json
from core.settings import settings

ENDINGS = (".json", ".jinja", ".model", "merges.txt", "vocab.txt")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
KEPT = ".files.json"


def folder_of(hub_id: str) -> Path:
    """Where Graft keeps a model of the Hub. It is whole when its `.complete` is there."""
    return settings().data / "models" / hub_id.replace("/", "--")


def check_online(hub_id: str) -> None:
    """Raise ModelProblem at once when the Hub can't be reached; its library would retry long."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return  # the proxy answers for the Hub
    url = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("offline by HF_HUB_OFFLINE")
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise explain_hub_error(error, hub_id) from error


def reachable() -> bool:
    """Whether the Hub answers now; it takes up to five seconds to find out that it does not."""
    try:
        check_online("a model")
    except ModelProblem:
        return False
    return True


def download(hub_id: str, say: Callable[[int, int], None]) -> Path:
    """The folder of the model, with what is missing fetched.

    `say(done, total)` is called with bytes as they come; what it raises ends the download, and the
    next one goes on behind the last byte. Raises ModelProblem when offline, gated or unknown.
    """
    check_online(hub_id)
    disable_progress_bars()
    folder = folder_of(hub_id)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        api = HfApi()
        revision = api.model_info(hub_id).sha
        files = _needed(api.list_repo_tree(hub_id, revision=revision), hub_id, revision)
        total = sum(file.size for file in files)
        kept = _sweep(folder, files)
        earlier = 0
        for file in files:
            target = folder / file.path
            if target.name not in kept:
                _bring(hub_id, revision, file, folder, partial(_tell, say, earlier, total))
                kept[target.name] = _content(file)
                write_json(folder / KEPT, kept)
            earlier += file.size
            say(earlier, total)
    except (HfHubHTTPError, httpx2.HTTPError, LocalEntryNotFoundError) as error:
        raise explain_hub_error(error, hub_id) from error
    write_bytes(folder / ".complete", (revision or "").encode())
    return folder


def fetch(hub_id: str, wanted: Collection[str], folder: Path, limit: int) -> set[str]:
    """Download those of the `wanted` files that a repository has, of `limit` bytes together at
    most; the names of all that it has. Raises ModelProblem as `download`."""
    check_online(hub_id)
    disable_progress_bars()
    try:
        api = HfApi()
        revision = api.model_info(hub_id).sha
        listing = api.list_repo_tree(hub_id, revision=revision)
        there = {file.path: file for file in listing if isinstance(file, RepoFile)}
        files = [file for path, file in there.items() if path in wanted]
        if (total := sum(file.size for file in files)) > limit:
            raise ModelProblem(
                f"{hub_id} has {total / 1e9:.1f} GB, and {limit / 1e9:.0f} GB may be brought.",
                "Choose another.",
            )
        for file in files:
            _bring(hub_id, revision, file, folder, lambda done: None)
    except (HfHubHTTPError, httpx2.HTTPError, LocalEntryNotFoundError) as error:
        raise explain_hub_error(error, hub_id) from error
    return set(there)


def _tell(say: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    say(before + done, total)


def _bring(
    hub_id: str, revision: str | None, file: RepoFile, folder: Path, say: Callable[[int], None]
) -> None:
    """One file, whole and checked, into the folder; `say` is told the bytes of it, and may raise to
    leave."""
    partly = folder / _partial(file)
    with _Counted(partly, say) as stream:
        if stream.tell() < file.size:
            http_get(
                hf_hub_url(hub_id, file.path, revision=revision),
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(),
            )
    for _ in _verified(partly, file, hub_id):
        say(file.size)  # it may want to leave
    partly.replace(folder / file.path)


def _needed(listing: Iterable[object], hub_id: str, revision: str | None) -> list[RepoFile]:
    """The files that loading the model takes. Some repositories hold the weights twice."""
    files = {file.path: file for file in listing if isinstance(file, RepoFile)}
    weights = {SINGLE}
    if INDEX in files:
        index = Path(hf_hub_download(hub_id, INDEX, revision=revision))
        weights = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return [file for path, file in files.items() if path in weights or path.endswith(ENDINGS)]


def _content(file: RepoFile) -> str:
    """The checksum of the file's content: SHA-256 of a large one, else git's own."""
    return file.lfs.sha256 if file.lfs else file.blob_id


def _partial(file: RepoFile) -> str:
    return f".{file.path}.{_content(file)[:16]}.part"


def _sweep(folder: Path, files: list[RepoFile]) -> dict[str, str]:
    """Name -> checksum of the files that are there already, whole; what else lies there, of another
    revision, is removed."""
    try:
        checked = read_facts(folder / KEPT) or {}
    except Damaged:
        checked = {}
    kept = {
        file.path: _content(file)
        for file in files
        if checked.get(file.path) == _content(file)
        and (folder / file.path).is_file()
        and (folder / file.path).stat().st_size == file.size
    }
    wanted = {*kept, *(_partial(file) for file in files)}
    for found in folder.iterdir():
        if found.is_file() and found.name not in wanted:
            found.unlink()
    write_json(folder / KEPT, kept)
    return kept


def _verified(path: Path, file: RepoFile, hub_id: str) -> Iterator[None]:
    """Compare the file with what the Hub has, a block at a time. Raises ModelProblem, and forgets
    the file, where it is another."""
    if file.lfs:
        digest = hashlib.sha256()
    else:
        header = f"blob {file.size}\0".encode()
        digest = hashlib.sha1(header, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 24):
            digest.update(block)
            yield
    if digest.hexdigest() != _content(file):
        path.unlink()
        raise ModelProblem(
            f"{file.path} of {hub_id} was damaged on its way here.",
            "Start again: what came down whole is kept.",
            field="base_model",
        )


class _Counted(FileIO):
    """A file, written behind what it holds, that tells how far the download is."""

    def __init__(self, path: Path, say: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._say = say

    def write(self, content) -> int:
        written = super().write(content)
        self._say(self.tell())
        return written


def explain_hub_error(error: Exception, hub_id: str) -> ModelProblem:
    """The Hub's error in words: what it means and what to do. Raises it where it is this disk's."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        raise error
    if isinstance(error, GatedRepoError):
        return ModelProblem(
            f"{hub_id} is given only to people who have accepted its licence.",
            f"Accept it at https://huggingface.co/{hub_id}, then set HF_TOKEN to your access "
            "token and start Graft again.",
            field="base_model",
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelProblem(
            f"The Hub has no model {hub_id!r}, or it is private.",
            "Check the spelling: owner/model. For a private one set HF_TOKEN.",
            field="base_model",
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return ModelProblem(
            f"{hub_id} has no config.json: it is not in the format that Graft trains, perhaps in "
            "one for running only, such as GGUF.",
            "Choose the original that it was made from; its page on the Hub names it.",
            field="base_model",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return ModelProblem(
            f"The Hub answered with error {status} for {hub_id}.",
            "Try again in a few minutes.",
            field="base_model",
        )
    return ModelProblem(
        f"{hub_id} is not on this machine, and the Hub can't be reached.",
        "Connect to the internet, or choose one that is on this machine.",
        field="base_model",
    )
