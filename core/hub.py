"""Models of the Hugging Face Hub: downloaded with progress, stoppable, going on where it stopped.

Only the files that are needed come down (safetensors, configuration, tokenizer; never code), into
`models/` of the data directory. The Hub's own cache is used where a model is in it already.
"""

import os
import socket
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, disable_progress_bars

from core.errors import ModelProblem
from core.files import write_bytes
from core.settings import settings

ENDINGS = (".safetensors", ".json", ".jinja", ".model", "merges.txt", "vocab.txt")


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
        listing = api.list_repo_tree(hub_id, revision=revision)
        files = [f for f in listing if isinstance(f, RepoFile) and f.path.endswith(ENDINGS)]
        total = sum(file.size for file in files)
        earlier = 0
        for file in files:
            target = folder / file.path
            if not (target.exists() and target.stat().st_size == file.size):
                partial = folder / f".{file.path}.{revision}.part"
                with _Counted(partial, earlier, lambda done: say(done, total)) as stream:
                    http_get(
                        hf_hub_url(hub_id, file.path, revision=revision),
                        stream,
                        resume_size=stream.tell(),
                        headers=build_hf_headers(),
                        expected_size=file.size,
                    )
                partial.replace(target)
            earlier += file.size
            say(earlier, total)
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise explain_hub_error(error, hub_id) from error
    write_bytes(folder / ".complete", (revision or "").encode())
    return folder


class _Counted(FileIO):
    """A file, written behind what it holds, that tells how far the download is."""

    def __init__(self, path: Path, before: int, say: Callable[[int], None]) -> None:
        super().__init__(path, "ab")
        self._before, self._say = before, say

    def write(self, content) -> int:
        written = super().write(content)
        self._say(self._before + self.tell())
        return written


def explain_hub_error(error: Exception, hub_id: str) -> ModelProblem:
    """The Hub's error in words: what it means and what to do."""
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
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return ModelProblem(
            f"The Hub answered with error {status} for {hub_id}.",
            "Try again in a few minutes.",
            field="base_model",
        )
    return ModelProblem(
        f"{hub_id} is not on this machine, and the Hub can't be reached.",
        "Connect to the internet, or choose the starter or a model in a folder on this machine.",
        field="base_model",
    )
