"""Graft's web server: settings -> worker -> pages -> launch.

python app.py [--port N] [--data DIR] [--host H] [--no-browser]
python app.py add-user NAME [--admin] [--auth FILE] [--rows N] [--disk GB] [--waiting N]
python app.py remove-user NAME [--auth FILE]

It answers within seconds, holds no model and trains nothing: killing it loses nothing. It keeps one
worker alive for the data directory, or shares the one that is there; when it ends in good order, it
ends the worker that is its own.
"""

import argparse
import errno
import getpass
import io
import ipaddress
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.processes import is_alive
from core.settings import Settings, settings, settle_data
from core.uploads import LARGEST
from core.users import Limits, users
from jobs import children
from jobs.worker import HELD, PATIENCE, serving

log = logging.getLogger("graft")

PORTS = 100  # how many ports are tried from the wanted one on


def main(arguments: list[str]) -> int:
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)
    try:
        if arguments[:1] in (["add-user"], ["remove-user"]):
            return change_users(arguments)
        options = read(arguments)
        check(options, settings())
        return serve(settings(), browser=options.browser)
    except UserError as error:
        print(f"{error} {error.hint}".strip(), file=sys.stderr)
        return 2


def read(arguments: list[str]) -> argparse.Namespace:
    """The command line; it overrules the environment, which the worker and trainers inherit."""
    parser = argparse.ArgumentParser(prog="start.py", description="Fine-tune language models.")
    parser.add_argument("--port", type=int, help="port to serve on (7860)")
    parser.add_argument("--data", help="where datasets and runs are kept (./data)")
    parser.add_argument("--host", help="address to serve on (127.0.0.1: this computer only)")
    parser.add_argument("--no-browser", dest="browser", action="store_false")
    parser.add_argument(
        "--allow-open",
        action="store_true",
        default=os.environ.get("GRAFT_ALLOW_OPEN") == "1",
        help="serve other computers without a login",
    )
    options = parser.parse_args(arguments)
    for name in ("port", "data", "host"):
        if (value := getattr(options, name)) is not None:
            os.environ[f"GRAFT_{name.upper()}"] = str(value)
    settle_data()
    return options


def change_users(arguments: list[str]) -> int:
    """Add somebody to the users file or remove them. The password is asked for, or read from what
    is piped in."""
    parser = argparse.ArgumentParser(prog="start.py", description="Who may use Graft.")
    parser.add_argument("action", choices=("add-user", "remove-user"))
    parser.add_argument("name")
    parser.add_argument("--auth", help="the users file (GRAFT_AUTH, else ./users.json)")
    parser.add_argument("--admin", action="store_true", help="sees the whole line and the disk")
    parser.add_argument("--rows", type=int, help="most examples of one dataset")
    parser.add_argument("--disk", type=float, help="most gigabytes of datasets and runs")
    parser.add_argument("--waiting", type=int, help="most runs in the line at once")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # the hashes are for its owner's eyes alone
    file = Path(options.auth or settings().auth or "users.json").resolve()
    known = users(file)
    if options.action == "remove-user":
        known.remove(options.name)
        print(f"{options.name} can't log in any more. What they made stays in the data directory.")
        return 0
    before = known.all().get(options.name)
    limits = before.limits if before else Limits()
    said = {name: getattr(options, name) for name in ("rows", "disk", "waiting")}
    said = {name: limit for name, limit in said.items() if limit is not None}
    role = "admin" if options.admin else before.role if before else "member"
    password = ask_password(options.name)
    known.put(options.name, password, role, limits.model_copy(update=said))
    print(f"{options.name} can log in{' with the new password' if before else ''}.")
    if settings().auth is None:
        print(f"Start Graft with GRAFT_AUTH={file}")
    return 0


def ask_password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"Password for {name}: ")
    if getpass.getpass("Once more: ") != password:
        raise UserError("The two passwords are not the same.", "Nothing was changed.")
    return password


def check(options: argparse.Namespace, chosen: Settings) -> None:
    """Raise UserError rather than open somebody's data to everybody, or lose it."""
    if chosen.auth and not users(chosen.auth).all():
        raise UserError(
            f"Nobody could log in: there is no user in {chosen.auth}.",
            "Add one: python start.py add-user NAME",
        )
    if not (chosen.auth or is_loopback(chosen.host) or options.allow_open):
        raise UserError(
            f"On the address {chosen.host} everybody who can reach this computer could use Graft "
            "and read its data, because there is no login.",
            "Make one: python start.py add-user NAME. Or, if that is meant, add --allow-open or "
            "set GRAFT_ALLOW_OPEN=1.",
        )
    try:
        chosen.data.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=chosen.data).close()
    except OSError as error:
        raise UserError(
            f"The data directory {chosen.data} can't be written to: {error.strerror}.",
            "Choose another with --data.",
        ) from None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def serve(chosen: Settings, browser: bool) -> int:
    """Worker and pages, until SIGTERM or Ctrl-C."""
    ending = threading.Event()
    for number in children.END_SIGNALS:
        signal.signal(number, lambda *_: ending.set())
    keeper = threading.Thread(target=keep_worker, args=(ending,), name="keep_worker")
    keeper.start()
    try:
        from ui import actions  # takes seconds to import: the worker starts meanwhile

        demo, url = launch(chosen)
        print(f"Graft is at {url}\nIts data is in {chosen.data}. Ctrl-C ends it.", flush=True)
        if browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        while not ending.wait(1):  # in pieces: Windows heeds Ctrl-C between them
            pass
        print("Ending. A run that is in training is saved, and goes on at the next start.")
        demo.close(verbose=False)
        actions.chat_server().close()
    finally:
        ending.set()
        keeper.join()
    return 0


def launch(chosen: Settings) -> tuple[Any, str]:
    """The pages (gr.Blocks) on the wanted port, or on the next that is free, and their address."""
    from starlette.middleware import Middleware

    from ui import actions, endpoint, hosts, logins, site, theme

    demo = site.build()
    names = hosts.own_names(chosen.host, chosen.allowed_hosts)
    middleware = [
        Middleware(hosts.OwnHosts, names=names),
        Middleware(endpoint.Endpoint, server=actions.chat_server()),
    ]
    itself = secrets.token_urlsafe()
    if chosen.auth:
        middleware.append(Middleware(logins.Logins, users=users(chosen.auth), itself=itself))
    middleware += site.ROUTES
    last = min(chosen.port + PORTS - 1, 65535)
    for port in range(chosen.port, last + 1):
        if not is_free(chosen.host, port):
            log.warning("Port %s is taken%s.", port, f", trying {port + 1}" * (port < last))
            continue
        try:
            with redirect_stdout(io.StringIO()):  # Gradio's own greetings
                demo.launch(
                    server_name=chosen.host,
                    server_port=port,
                    prevent_thread_lock=True,
                    quiet=True,
                    share=False,
                    ssr_mode=False,
                    run_history=False,
                    enable_monitoring=False,
                    mcp_server=True,
                    max_file_size=LARGEST,
                    blocked_paths=[str(chosen.data)],
                    app_kwargs={"middleware": middleware},
                    **theme.launch_options(),
                )
        except OSError:  # taken a moment ago
            if is_free(chosen.host, port):
                raise
            continue
        if chosen.auth:
            logins.let_in_itself(demo, itself)
        return demo, demo.local_url
    raise UserError(
        f"The ports {chosen.port} to {last} are all taken.", "Choose another with --port."
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server can listen there. Raises UserError for an address that isn't ours."""
    try:
        kind, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as probe:
            if sys.platform != "win32":  # where it would let two servers share a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise UserError(f"There is no address {host!r} on this computer: {error}.") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"The address {host} is not this computer's.") from None
        return False
    return True


# ---- the worker


def keep_worker(ending: threading.Event) -> None:
    """Keep one worker alive for the data directory until `ending`, then end it.

    Where another app's worker serves the directory, that one is used while it lives.
    """
    worker: subprocess.Popen | None = None
    waits, started = 0.0, 0.0
    while not ending.wait(0.5):
        if worker and (status := worker.poll()) is not None:
            worker = None
            waits = 1.0 if time.monotonic() - started > 60 else min(2 * waits or 1.0, 30.0)
            if status != HELD:
                log.warning("The worker ended (%s); the next one starts in %.0f s.", status, waits)
            ending.wait(waits)
        elif not worker:
            try:
                if not serving():
                    worker, started = children.start("jobs.worker"), time.monotonic()
            except OSError:  # no memory for a process, say, or too many open files
                log.exception("The worker can't be started; trying again in 5 s.")
                ending.wait(5)
    if worker:
        children.end(worker, PATIENCE + 5)
    if (other := serving()) and not is_alive(other["parent"]):
        children.ask_to_end(other["pid"])  # left behind by an app that was killed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
