"""The environment variables that Graft reads. One that is empty counts as not set.

GRAFT_HOST   address to serve on          127.0.0.1
GRAFT_PORT   port to serve on             7860
GRAFT_DATA   where datasets and runs live ./data, from the folder where Graft is started
GRAFT_AUTH   users file; none: no login

GRAFT_ALLOWED_HOSTS   names besides its own that it answers to, with commas; * for all   none
GRAFT_CHAT_IDLE   seconds without a question after which the chat's memory is freed   600

Two more are read where they are used: GRAFT_ALLOW_OPEN by app.py, and GRAFT_PARENT, which the
worker sets, by the trainer.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError


@dataclass(frozen=True)
class Settings:
    host: str
    port: int
    data: Path
    auth: Path | None
    chat_idle: float
    allowed_hosts: tuple[str, ...]


def settings() -> Settings:
    """Read afresh at each call: a child process, or a test, sees its own environment."""
    auth = _value("GRAFT_AUTH")
    port = _value("GRAFT_PORT", "7860")
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise UserError(f"GRAFT_PORT is {port!r}.", "It must be a number from 1 to 65535.")
    return Settings(
        host=_value("GRAFT_HOST", "127.0.0.1"),
        port=int(port),
        data=Path(_value("GRAFT_DATA", "data")).resolve(),
        auth=Path(auth) if auth else None,
        chat_idle=_seconds("GRAFT_CHAT_IDLE", "600"),
        allowed_hosts=tuple(_value("GRAFT_ALLOWED_HOSTS").lower().replace(",", " ").split()),
    )


def settle_data() -> None:
    """Make GRAFT_DATA absolute: children are started in another folder and must mean the same."""
    os.environ["GRAFT_DATA"] = str(settings().data)


def _value(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def _seconds(name: str, default: str) -> float:
    value = _value(name, default)
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise UserError(f"{name} is {value!r}.", "It must be a number of seconds above 0.")
    return seconds
