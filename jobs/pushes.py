"""Starts the process that puts something on the Hugging Face Hub (core.exports.pushing).

The token goes to it by its standard input: it is in no file, no argument and no environment. The
process goes on when the web server is restarted, and takes the token with it when it ends.
"""

import json
import os
import subprocess
import threading
from dataclasses import asdict

from core.errors import UserError
from core.exports.push import TOKENS, Push, Wish, server_token
from core.runs import Run
from core.settings import settings
from jobs import children

SECRET = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
LOG = "push.log"


def start(run: Run, wish: Wish, token: str = "") -> None:
    """Without a token, the server's own counts where the run is of who runs it. Raises UserError
    where it can't be sent."""
    push, token = Push(run), token.strip() or server_token(run.owner)
    push.check(wish)
    if not token or not token.isascii() or any(sign.isspace() for sign in token):
        raise UserError(
            "This is no access token." if token else "The access token is missing.",
            f"Make one that may write at {TOKENS} and paste it here. It is not kept.",
            field="token",
        )
    environment = {name: value for name, value in os.environ.items() if name not in SECRET}
    # What is sent in pieces of its own protocol can't be counted, nor tried against a stand-in.
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    with (settings().data / LOG).open("ab") as printed:
        sender = children.start(
            "core.exports.pushing", str(run.path),
            stdin=subprocess.PIPE, stdout=printed, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
    push.begin(wish, sender.pid)
    assert sender.stdin
    with sender.stdin as line:
        line.write(json.dumps({**asdict(wish), "token": token}).encode() + b"\n")
    threading.Thread(target=sender.wait, daemon=True).start()  # or it would stay as a zombie
