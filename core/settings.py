"""The environment variables that Graft reads, in one place.

GRAFT_HOST   address to serve on          127.0.0.1
GRAFT_PORT   port to serve on             7860
GRAFT_DATA   where datasets and runs live ./data
GRAFT_AUTH   users file; none: no login

GRAFT_CHAT_IDLE   seconds without a question after which the chat's memory is freed   600
"""

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


def settings() -> Settings:
    """Read afresh at each call: a child process, or a test, sees its own environment."""
    auth = os.environ.get("GRAFT_AUTH")
    port = os.environ.get("GRAFT_PORT", "7860")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"GRAFT_PORT is {port!r}.", "It must be a number from 1 to 65535.")
    return Settings(
        host=os.environ.get("GRAFT_HOST", "127.0.0.1"),
        port=int(port),
        data=Path(os.environ.get("GRAFT_DATA", "data")).resolve(),
        auth=Path(auth) if auth else None,
        chat_idle=float(os.environ.get("GRAFT_CHAT_IDLE", "600")),
    )
