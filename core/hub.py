"""Models of the Hugging Face Hub: downloaded with progress, stoppable, going on where it stopped.

Only the files that are needed come down: safetensors, configuration, tokenizer. Never code.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from tqdm.auto import tqdm

from core.errors import ModelProblem

FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
OTHER_FORMATS = ["original/*", "onnx/*", "*/*.safetensors", "*.msgpack", "*.h5"]


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
    """The folder of the model, fetched where it is missing.

    `say(done, total)` is called with bytes as they come; what it raises stops the download, and
    the next one goes on from there. Raises ModelProblem when offline, gated or unknown.
    """

    class Progress(tqdm):
        """Reports the byte counters; the counter of files is not of interest."""

        def __init__(self, *args, **kwargs):
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": False, "file": _Nowhere()})

        def update(self, n=1):
            shown = super().update(n)
            if self.unit == "B" and self.total:
                say(int(self.n), int(self.total))
            return shown

    check_online(hub_id)
    try:
        return Path(
            snapshot_download(
                hub_id, allow_patterns=FILES, ignore_patterns=OTHER_FORMATS, tqdm_class=Progress
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise explain_hub_error(error, hub_id) from error


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


class _Nowhere:
    """A file for a progress bar that nobody looks at."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...
