"""start.py makes, repairs and starts a real .venv: of a project whose packages are tiny wheels."""

import ast
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

START = Path(__file__).parent.parent / "start.py"
WINDOWS = os.name == "nt"
PYTHON = Path(".venv", "Scripts/python.exe" if WINDOWS else "bin/python")

APP = """
import json, os, probe, signal, sys, time
facts = {"prefix": sys.prefix, "probe": probe.VERSION, "pid": os.getpid()}
print(json.dumps({"arguments": sys.argv[1:]} | facts), flush=True)
if "--wait" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print("ready", flush=True)
    time.sleep(60)
sys.exit(3 if "--fail" in sys.argv else 0)
"""

# Stands in the project's .venv where pytest would be, and tells how it was called.
PYTEST = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd()}))
"""


def write_wheel(folder: Path, name: str, version: str, source: str) -> None:
    """A wheel with one module, `name`."""
    info = f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", source)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def write_project(root: Path, version: str = "1.0") -> Path:
    """start.py, an app, and requirements that the folder itself can meet."""
    root.mkdir(exist_ok=True)
    shutil.copy(START, root)
    (root / "app.py").write_text(APP, encoding="utf-8")
    write_wheel(root / "wheels", "probe", version, f"VERSION = {version!r}\n")
    write_wheel(root / "wheels", "pytest", version, PYTEST)
    (root / "requirements.txt").write_text(
        f"--no-index\n--find-links wheels\nprobe=={version}\n", encoding="utf-8"
    )
    (root / "requirements-dev.txt").write_text(
        f"-r requirements.txt\npytest=={version}\n", encoding="utf-8"
    )
    return root


def environment(**extra: str) -> dict[str, str]:
    """The caller's, without what would change pip or Python."""
    strange = ("PIP_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {"PIP_CONFIG_FILE": os.devnull} | extra


def begin(root: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, root / "start.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )


def start(root: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, root / "start.py", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment(**extra),
        timeout=120,
    )


def app_answer(done: subprocess.CompletedProcess) -> dict:
    """What the app printed, which is the last line."""
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A project after its first start, and what that said. To change it, take `project`."""
    root = write_project(tmp_path_factory.mktemp("made") / "graft")
    return root, start(root, "--port", "8000", "--data", "a folder")


@pytest.fixture
def project(made: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> Path:
    """A copy of it in another folder."""
    return Path(shutil.copytree(made[0], tmp_path / "graft", symlinks=True))


def test_the_first_start_installs_and_starts_the_app(made):
    root, first = made
    answer = app_answer(first)
    assert answer["arguments"] == ["--port", "8000", "--data", "a folder"]
    assert answer["probe"] == "1.0"
    assert Path(answer["prefix"]).samefile(root / ".venv")
    assert "some minutes" in first.stdout
    assert "GB of disk" in first.stdout


def test_a_second_start_is_quick_and_silent(made):
    """Quick by the processor's time, so that a busy machine can't fail it: 0.2 s with the app."""
    root, _ = made
    before = sum(os.times()[2:4])
    done = start(root)
    assert sum(os.times()[2:4]) - before < 1
    app_answer(done)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_moved_folder_goes_on_working_without_an_installation(project):
    done = start(project)
    assert Path(app_answer(done)["prefix"]).samefile(project / ".venv")
    assert len(done.stdout.splitlines()) == 1


def test_changed_requirements_are_installed_over_the_old(project):
    write_project(project, version="2.0")
    before = (project / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    done = start(project)
    assert app_answer(done)["probe"] == "2.0"
    assert (project / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == before


def remove_python(venv: Path) -> None:
    (venv.parent / PYTHON).unlink()


def lose_settings(venv: Path) -> None:
    (venv / "pyvenv.cfg").unlink()


def interrupt(venv: Path) -> None:
    (venv / "graft.json").write_text("unfinished", encoding="utf-8")


def tear_stamp(venv: Path) -> None:
    (venv / "graft.json").write_text('{"python": "(3,', encoding="utf-8")


def change_python(venv: Path) -> None:
    stamp = json.loads((venv / "graft.json").read_text(encoding="utf-8"))
    stamp["python"] = stamp["python"].replace(str(sys.version_info[1]), "10")
    (venv / "graft.json").write_text(json.dumps(stamp), encoding="utf-8")


DAMAGES = [remove_python, lose_settings, interrupt, tear_stamp, change_python]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_environment_is_noticed(project, damage):
    installed = runpy.run_path(str(project / "start.py"))["installed"]
    assert installed() != []
    damage(project / ".venv")
    assert installed() == []


@pytest.mark.parametrize(
    "damage",
    [remove_python, *(pytest.param(damage, marks=pytest.mark.long) for damage in DAMAGES[1:])],
)
def test_a_broken_environment_is_made_again(project, damage):
    relic = project / ".venv" / "relic"
    relic.write_text("of the broken one", encoding="utf-8")
    damage(project / ".venv")
    answer = app_answer(start(project))
    assert answer["probe"] == "1.0"
    assert Path(answer["prefix"]).samefile(project / ".venv")
    assert not relic.exists()
    assert len(start(project).stdout.splitlines()) == 1


def test_an_environment_made_by_hand_is_filled_and_not_deleted(project):
    (project / ".venv" / "graft.json").unlink()
    relic = project / ".venv" / "relic"
    relic.write_text("someone's own", encoding="utf-8")
    assert app_answer(start(project))["probe"] == "1.0"
    assert relic.exists()


def test_of_two_starts_at_once_one_installs_and_both_run(tmp_path):
    root = write_project(tmp_path / "graft")
    starts = [begin(root), begin(root)]
    outputs = [process.communicate(timeout=120) for process in starts]
    assert [process.returncode for process in starts] == [0, 0], outputs
    assert all('"probe": "1.0"' in output for output, _ in outputs)
    assert sorted("Making the folder" in output for output, _ in outputs) == [False, True]
    assert sorted("waiting for it" in output for output, _ in outputs) == [False, True]


def begin_making(root: Path) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """A first start in the middle of its work, and the processes that work for it."""
    process = begin(root)
    assert "Making the folder" in process.stdout.readline()
    while not (root / ".venv" / "pyvenv.cfg").exists():
        time.sleep(0.01)
    return process, psutil.Process(process.pid).children(recursive=True)


def working(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(WINDOWS, reason="signals")
@pytest.mark.long
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_start_ends_whole_and_the_next_one_works(tmp_path, number, status):
    root = write_project(tmp_path / "graft")
    process, children = begin_making(root)
    assert children
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in said
    time.sleep(0.5)
    assert not [child for child in children if working(child)]
    assert app_answer(start(root))["probe"] == "1.0"


@pytest.mark.skipif(WINDOWS, reason="signals")
@pytest.mark.long
def test_what_a_killed_start_left_running_is_waited_for(tmp_path):
    root = write_project(tmp_path / "graft")
    process, _ = begin_making(root)
    process.kill()
    process.wait()
    done = start(root)
    assert app_answer(done)["probe"] == "1.0"
    assert "waiting for it" in done.stdout


@pytest.mark.skipif(WINDOWS, reason="signals")
def test_an_interrupted_change_leaves_nothing_that_looks_whole(project):
    write_project(project, version="2.0")
    process = begin(project)
    assert "Installing" in process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    assert runpy.run_path(str(project / "start.py"))["installed"]() == []


def test_the_app_gives_the_exit_status(project):
    assert start(project, "--fail").returncode == 3


@pytest.mark.skipif(WINDOWS, reason="signals")
def test_signals_reach_the_app_itself(project):
    process = begin(project, "--wait")
    assert json.loads(process.stdout.readline())["pid"] == process.pid
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 7


@pytest.mark.skipif(WINDOWS, reason="signals")
def test_where_the_app_is_a_child_the_start_outlives_ctrl_c_and_passes_on_its_status(tmp_path):
    """The way it is on Windows, where a process can't become another."""
    child = "import time; print('ready', flush=True); time.sleep(1); raise SystemExit(5)"
    parent = (
        f"import sys, start; start.WINDOWS = True; start.run([sys.executable, '-c', {child!r}])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent], cwd=START.parent, stdout=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 5


def test_tests_run_in_the_project_without_the_long_ones_unless_asked(project):
    short = app_answer(start(project, "test", "-k", "some"))
    assert short["arguments"][-4:] == ["-m", "not long", "-k", "some"]
    assert Path(short["folder"]).samefile(project)
    whole = app_answer(start(project, "test", "--all", "-x"))
    assert "not long" not in whole["arguments"]
    assert whole["arguments"][-1] == "-x"
    assert len(start(project).stdout.splitlines()) == 1, "the app needs nothing more"


def complaint(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def test_a_package_that_does_not_exist_is_told_with_the_last_words_of_pip(project):
    (project / "requirements.txt").write_text("--no-index\nprobe==9.9\n", encoding="utf-8")
    said = complaint(start(project))
    assert "pip could not install Graft's packages" in said
    assert "No matching distribution found for probe==9.9" in said


def test_a_missing_network_is_told_in_one_sentence(project):
    (project / "requirements.txt").write_text("absent==1.0\n", encoding="utf-8")
    done = start(project, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1")
    assert "check the internet connection" in complaint(done)
    assert "does not answer; trying again" in done.stdout


def test_a_python_without_venv_is_told_what_to_install(tmp_path):
    root = write_project(tmp_path / "graft")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys; sys.modules['ensurepip'] = None\n")
    said = complaint(start(root, PYTHONPATH=str(site)))
    assert f"apt-get install python3.{sys.version_info[1]}-venv" in said


def test_a_folder_that_can_not_be_written_is_told(tmp_path):
    root = write_project(tmp_path / "graft")
    (root / ".venv").write_text("not a folder", encoding="utf-8")
    assert str(root / ".venv") in complaint(start(root))


def test_help_installs_nothing(tmp_path):
    root = write_project(tmp_path / "graft")
    assert "start.py test --all" in start(root, "--help").stdout
    assert not (root / ".venv").exists()


def test_an_old_python_gets_one_sentence():
    pretend = "import runpy, sys; sys.version_info = (3, 8, 10); runpy.run_path('start.py')"
    done = subprocess.run(
        [sys.executable, "-c", pretend], cwd=START.parent, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Graft needs Python 3.11 or newer, and this is Python 3.8:")
    assert len(done.stderr.splitlines()) == 1


def test_an_old_python_can_read_as_far_as_that_sentence():
    """Python 2 refuses the whole file for one line that is newer."""
    source = START.read_bytes()
    assert source.isascii()
    newer = ast.JoinedStr | ast.AnnAssign | ast.NamedExpr | ast.Nonlocal | ast.Starred | ast.Match
    for node in ast.walk(ast.parse(source)):
        assert not isinstance(node, newer | ast.AsyncFunctionDef | ast.Await | ast.YieldFrom)
        assert not (isinstance(node, ast.Raise) and node.cause)
        assert not (isinstance(node, ast.FunctionDef) and (node.returns or node.args.kwonlyargs))
        assert not (isinstance(node, ast.arg) and node.annotation)
