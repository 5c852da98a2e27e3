#!/usr/bin/env python3
# ruff: noqa: UP031, UP036, RUF005
"""Start Graft, or test it. The first start installs what it needs into .venv beside this file.

    python start.py                  start the app and open it in the browser
        --port N  --data DIR  --host H  --no-browser
    python start.py test             run the tests, about 6 minutes on two cores
    python start.py test --all       run the long ones too; other arguments go to pytest

Whatever state .venv is in, a start leaves it whole: half-made, broken or out of date, it is
repaired or made again, and of two starts at once the second waits. Nothing outside .venv is
touched.
"""
# An old Python reads all of this file before it comes to the check, so its syntax is Python 2's.

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Graft needs Python 3.11 or newer, and this is Python %d.%d: install a newer one from "
        "https://www.python.org/downloads/, or start with one that is there, for example "
        "`python3.11 start.py`." % sys.version_info[:2]
    )

import collections
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
WINDOWS = os.name == "nt"
APP, DEV = "requirements.txt", "requirements-dev.txt"

VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
STAMP = VENV / "graft.json"
LOCK = VENV / "graft.lock"


class SetupError(Exception):
    """The environment could not be made; the text says why and what to do."""


def main(arguments):
    sys.stdout.reconfigure(errors="replace")
    if arguments[:1] == ["test"]:
        requirements, command = DEV, ["-m", "pytest"] + pytest_arguments(arguments[1:])
        os.chdir(ROOT)
    elif arguments[:1] in (["-h"], ["--help"]):
        say(__doc__.strip())
        return
    else:
        requirements, command = APP, [ROOT / "app.py"] + arguments
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        prepare(requirements)
    except SetupError as problem:
        sys.exit("\n%s" % problem)
    except OSError as problem:
        sys.exit("\nGraft could not prepare %s: %s" % (VENV, problem))
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was downloaded is kept for the next start.\n")
        sys.exit(130)
    run([PYTHON] + command)


def pytest_arguments(arguments):
    """Side by side on the cores that there are; a module's tests stay together, since they share
    what they start, and go in their own order: the browser's, which take longest, are the first.
    A later -n of the caller's counts."""
    spread = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    if "--all" in arguments:
        return spread + [argument for argument in arguments if argument != "--all"]
    return spread + ["-m", "not long"] + arguments


def prepare(requirements):
    """Leave a .venv in which `requirements` is installed. When it is already, that takes 0.1 s."""
    wanted = fingerprint(requirements)
    if wanted in installed():
        return
    VENV.mkdir(exist_ok=True)
    with locked():
        done = installed()
        if wanted in done:  # by the start we waited for
            return
        made_by_hand = not STAMP.exists() and python() and answer("-m", "pip", "--version")
        STAMP.write_text("unfinished", encoding="utf-8")
        if not done and not made_by_hand:
            make_venv()
        install(requirements)
        names = [APP] if requirements == APP else [APP, DEV]
        stamp = {"python": python(), "installed": [fingerprint(name) for name in names]}
        temporary = STAMP.with_name("graft.json.tmp")
        temporary.write_text(json.dumps(stamp), encoding="utf-8")
        temporary.replace(STAMP)


def fingerprint(requirements):
    """One hash of a requirements file and the files that it refers to."""
    names = ["constraints.txt", APP] + ([DEV] if requirements == DEV else [])
    files = [ROOT / name for name in names]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files if f.exists())).hexdigest()


def installed():
    """The fingerprints of all that is completely installed; none where .venv is not whole."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return stamp["installed"] if stamp["python"] == python() else []


def python():
    """Version and platform of .venv's Python, None where it is missing, broken or not .venv's own.

    Not its folder: a .venv that was moved along with everything else goes on working.
    """
    probe = "import sys; print(sys.prefix); print(sys.version_info[:2], sys.platform)"
    prefix, _, description = (answer("-c", probe) or "").partition("\n")
    return description if prefix and VENV.samefile(prefix) else None


def answer(*arguments):
    """What .venv's Python prints, or None if it fails."""
    try:
        done = subprocess.run(
            (PYTHON, "-I", "-X", "utf8") + arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def make_venv():
    """Make .venv anew, whatever is in it but the lock that we hold."""
    if not find_spec("venv") or not find_spec("ensurepip"):
        raise SetupError(
            "This Python comes without `venv`, which Graft needs to install its packages. "
            "On Debian and Ubuntu: sudo apt-get install python%d.%d-venv" % sys.version_info[:2]
        )
    for path in VENV.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path not in (LOCK, STAMP):
            path.unlink()
    say("Making the folder .venv.")
    # The base Python, since sys.executable may be the one that was just removed.
    status, lines = call([sys._base_executable, "-I", "-m", "venv", VENV])
    if status:
        raise SetupError("Python could not make .venv. Its last lines:\n%s" % indented(lines))


def install(requirements):
    say("Installing Graft's packages into .venv. The first time this takes some minutes and about")
    say("2 GB of disk; on Linux about 6 GB, since torch brings CUDA with it there.")
    pip = [PYTHON, "-I", "-X", "utf8", "-m", "pip", "install", "--no-input"]
    pip += ["--disable-pip-version-check", "--progress-bar", "off", "-r", ROOT / requirements]
    status, lines = call(pip)
    if status == 0:
        return
    output = "\n".join(lines)
    if "No space left" in output or "not enough space" in output:
        problem = "The disk is full: free some space and start again."
    elif "connection broken by" in output or "ConnectionError" in output:
        problem = (
            "The package server (pypi.org) can't be reached, so Graft's packages could not be "
            "installed: check the internet connection or the proxy, and start again."
        )
    else:
        problem = "pip could not install Graft's packages."
    raise SetupError("%s pip's last lines:\n%s" % (problem, indented(lines)))


def call(command):
    """Run `command`, showing its downloads as they come; return its exit status and last 100 lines.

    If we are interrupted it ends with us, children and all; if we are killed, it keeps the lock.
    """
    lines = collections.deque(maxlen=100)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        close_fds=False,
        start_new_session=True,
    )
    try:
        for line in child.stdout:
            lines.append(line.rstrip())
            show(line.strip())
        return child.wait(), list(lines)
    except BaseException:
        if WINDOWS:
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise


def show(line):
    if line.startswith(("Downloading ", "Using cached ")) and line.endswith(("MB)", "GB)")):
        name, version = line.split()[-3].split("-")[:2]
        say("  %s %s %s %s" % (name, version, line.split()[-2], line.split()[-1]))
    elif line.startswith("Installing collected packages"):
        say("  Unpacking. This is the longest part, and it is a silent one.")
    elif line.startswith("WARNING: Retrying"):
        say("  The package server does not answer; trying again.")


@contextlib.contextmanager
def locked():
    """Hold .venv. However the holder ends, the system then lets go of it."""
    with LOCK.open("a") as file:
        os.set_inheritable(file.fileno(), True)
        waiting = False
        while not lock(file):
            if not waiting:
                say("Another start is installing Graft's packages; waiting for it.")
            waiting = True
            time.sleep(0.2)
        yield


def lock(file):
    """Whether the lock is ours now."""
    try:
        if WINDOWS:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def run(command):
    """Become `command`, so that its exit status, Ctrl-C and SIGTERM are its own."""
    if not WINDOWS:
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while child.poll() is None:
        with contextlib.suppress(
            KeyboardInterrupt
        ):  # the child got it too, and ends in its own way
            child.wait()
    sys.exit(child.returncode)


def indented(lines):
    return "\n".join("    " + line for line in lines[-12:])


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
