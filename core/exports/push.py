"""What of a run is put on the Hugging Face Hub: whether it is being sent, what became of it.

    RUN/exports/push.json     there while it is sent, or could not be: repo, private, format, at;
                              pid, created, phase, done, of (bytes); or error, hint
    RUN/exports/pushed.json   what was sent last: repo, private, format, url, commit, commit_url,
                              bytes, weights, at

How it stands follows from these files and from the process, as with a run: who died while sending
was broken off. The token is in none of them, nor in any log: it goes from the page's field to the
process that sends (core.exports.pushing), by its standard input, and is gone with it.
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from core.errors import Damaged, NotFound, UserError
from core.exports.export import Export, stamp
from core.files import read_facts, write_json
from core.processes import identity, is_alive
from core.runs import Run
from core.settings import settings
from core.store import LOCAL

State = Literal["none", "pushing", "broken", "failed", "pushed"]
FORMATS = {"adapter": "Adapter", "merged": "Merged model"}
"""What can be put there, and its name."""
TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Wish:
    """What a person asks for, all but the token."""

    repo: str
    """name, or owner/name."""
    format: str = "adapter"
    private: bool = True


@dataclass(frozen=True)
class Push:
    run: Run

    @property
    def file(self) -> Path:
        return self.run.path / "exports" / "push.json"

    # ---- how it stands

    @property
    def state(self) -> State:
        going = self.going
        if "error" in going:
            return "failed"
        if going:
            return "pushing" if is_alive(going) else "broken"
        return "pushed" if self.pushed else "none"

    @property
    def going(self) -> dict[str, Any]:
        """What push.json says; empty where nothing is being sent, nor could not be."""
        return _read(self.file, "repo")

    @property
    def pushed(self) -> dict[str, Any]:
        """What was sent last; empty until something was."""
        return _read(self.file.with_name("pushed.json"), "repo", "url", "commit")

    @property
    def is_stale(self) -> bool:
        """Whether the run has learned on since."""
        return bool(self.pushed) and self.pushed.get("weights") != stamp(self.run)

    @property
    def ready(self) -> list[str]:
        """The formats that can be put there: made, of what the run knows now, and not found to
        answer otherwise than the chat."""
        exports = (Export(self.run, format) for format in FORMATS)
        made = (one for one in exports if one.state == "made" and not one.is_stale)
        return [one.format_id for one in made if one.made["proof"].get("trusted", True)]

    # ---- what is asked of it

    def check(self, wish: Wish) -> None:
        """Raise UserError where it can't be sent, as far as this machine knows."""
        if wish.format not in FORMATS:
            raise UserError(
                f"{wish.format[:60]!r} can't be put on the Hub.",
                f"Choose one of {', '.join(FORMATS)}.",
                field="format",
            )
        if wish.format not in self.ready:
            title = FORMATS[wish.format].lower()
            raise UserError(
                f"The {title} of {self.run.name} is not made yet, or not to be trusted.",
                f"Prepare the {title} above first: what is sent is what was checked.",
                field="format",
            )
        check_name(wish.repo)
        if constants.HF_HUB_OFFLINE:
            raise UserError(
                "Graft was told to stay offline (HF_HUB_OFFLINE).",
                "Start it without that setting, then push again.",
            )
        if self.state == "pushing":
            raise UserError(
                f"{self.run.name} is being sent to {self.going['repo']} already.",
                "Wait for it, or cancel it first.",
            )

    def begin(self, wish: Wish, pid: int) -> None:
        """The process that was just started for it sends it from now on."""
        self.file.parent.mkdir(exist_ok=True)
        told = {"repo": wish.repo, "private": wish.private, "format": wish.format}
        phase = {"phase": "Looking at the repository", "done": 0, "of": 0}
        self._write(self.file, {**told, "at": time.time(), **identity(pid), **phase})

    def cancel(self) -> None:
        """Let it not be sent; who sends it leaves. What was sent before stays."""
        self.file.unlink(missing_ok=True)

    # ---- what the sender says

    @property
    def is_mine(self) -> bool:
        """Whether this process is the one that sends it, still."""
        return self.going.get("pid") == os.getpid()

    def say(self, phase: str, done: int = 0, of: int = 0, **more: Any) -> None:
        """Raises NotFound where nobody wants it any more."""
        if not self.is_mine:
            raise NotFound(f"Nobody wants {self.run.id} on the Hub any more.")
        told = {"phase": phase, "done": done, "of": of, **more}
        self._write(self.file, {**self.going, **told})

    def finish(self, **told: Any) -> None:
        facts = {**told, "weights": stamp(self.run), "at": time.time()}
        self._write(self.file.with_name("pushed.json"), facts)
        self.file.unlink(missing_ok=True)

    def fail(self, error: str, hint: str) -> None:
        if not self.is_mine:  # called off; maybe another one sends it by now
            return
        kept = {key: self.going.get(key) for key in ("repo", "private", "format", "at")}
        self._write(self.file, {**kept, "error": error, "hint": hint})

    def _write(self, file: Path, value: Any) -> None:
        try:
            write_json(file, value, parents=False)
        except FileNotFoundError:
            raise NotFound(f"There is no run {self.run.id}.") from None


def check_name(repo: str) -> None:
    """Raise UserError where the Hub would take no repository of this name."""
    try:
        validate_repo_id(repo)
        good = bool(repo)
    except HFValidationError:
        good = False
    if not good:
        raise UserError(
            f"{repo[:100]!r} is no name that the Hub takes.",
            "Letters, digits, “-”, “_” and “.”, at most 96 of them; before a “/” maybe the user "
            "or organization that it is for.",
            field="repo",
        )


def suggested(name: str) -> str:
    """The name of a run as that of a repository."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", name)
    plain = re.sub(r"([-.])[-.]+", r"\1", plain).strip("-.")[:96].rstrip("-.")
    return plain.removesuffix(".git") or "graft-model"


def server_token(owner: str) -> str:
    """The token in the server's environment, which is that of who runs Graft for themselves; empty
    where there is none, or people log in."""
    own = owner == LOCAL and settings().auth is None
    return (os.environ.get("HF_TOKEN") or "") if own else ""


def _read(file: Path, *keys: str) -> dict[str, Any]:
    with suppress(Damaged):  # it decides nothing, and can be sent again
        return read_facts(file, *keys) or {}
    return {}
