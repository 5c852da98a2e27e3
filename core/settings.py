"""The environment variables that Graft reads. One that is empty counts as not set.

GRAFT_HOST   address to serve on          127.0.0.1
GRAFT_PORT   port to serve on             7860
GRAFT_DATA   where datasets and runs live ./data, from the folder where Graft is started
GRAFT_AUTH   users file (core/users.py)   none: no login

GRAFT_ALLOWED_HOSTS   names besides its own that it answers to, with commas; * for all   none
GRAFT_WEBHOOK   http(s) address that is told when a run ends   none
GRAFT_CHAT_IDLE   seconds without a question after which the chat's memory is freed   600
GRAFT_KEEP_FREE   GB of the machine's memory that are left to other programs   0

Two more are read where they are used: GRAFT_ALLOW_OPEN by app.py, and GRAFT_PARENT, which the
worker sets, by what it starts.
"""

import math
import os
from contextlib import suppress
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
    keep_free: float
    allowed_hosts: tuple[str, ...]
    webhook: str


def settings() -> Settings:
    """Read afresh at each call: a child process, or a test, sees its own environment."""
    auth = _value("GRAFT_AUTH")
    port = _value("GRAFT_PORT", "7860")
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise UserError(f"GRAFT_PORT is {port!r}.", "It must be a number from 1 to 65535.")
    webhook = _value("GRAFT_WEBHOOK")
    if webhook and not webhook.startswith(("https://", "http://")):
        raise UserError("GRAFT_WEBHOOK is no address.", "It must begin with https:// or http://.")
    return Settings(
        host=_value("GRAFT_HOST", "127.0.0.1"),
        port=int(port),
        data=Path(_value("GRAFT_DATA", "data")).resolve(),
        auth=Path(auth).resolve() if auth else None,
        chat_idle=_seconds("GRAFT_CHAT_IDLE", "600"),
        keep_free=_number("GRAFT_KEEP_FREE", "0"),
        allowed_hosts=tuple(_value("GRAFT_ALLOWED_HOSTS").lower().replace(",", " ").split()),
        webhook=webhook,
    )


def settle_data() -> None:
    """Make paths absolute: children are started in another folder and must mean the same. From now
    on what this process and its children write is for its owner's eyes alone."""
    chosen = settings()
    os.environ["GRAFT_DATA"] = str(chosen.data)
    if chosen.auth:
        os.environ["GRAFT_AUTH"] = str(chosen.auth)
    os.umask(0o077)
    with suppress(OSError):  # not there yet, or somebody else's
        chosen.data.chmod(0o700)


def _value(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def _seconds(name: str, default: str) -> float:
    seconds = _number(name, default)
    if not seconds:
        raise UserError(f"{name} is 0.", "It must be a number of seconds above 0.")
    return seconds


def _number(name: str, default: str) -> float:
    value = _value(name, default)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise UserError(f"{name} is {value!r}.", "It must be a number, and not below 0.")
    return number
