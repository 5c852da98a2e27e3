"""The rules of the house that can be read off the code: who imports whom, and that modules say why.

Imports are read from the syntax trees, those inside functions too, so nothing has to be importable.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Of our own areas, and of the libraries that give an area its meaning, what each may import.
OURS = {"core", "jobs", "ui", "starter", "app", "start"}
TRAINING = {"torch", "transformers", "peft", "accelerate", "bitsandbytes"}
WEB = {"gradio", "gradio_client"}
QUEUE = {"huey"}
MAY_IMPORT = {
    "core": {"core"} | TRAINING,
    "jobs": {"jobs", "core"} | QUEUE,
    "ui": {"ui", "jobs", "core", "starter"} | WEB,  # starter for its sample datasets
    "app": {"ui", "jobs", "core"} | WEB,
    "starter": {"starter", "core"} | TRAINING,
    "start": set(),
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the program by its dotted name; a package goes by its own name."""
    files = [ROOT / "app.py", ROOT / "start.py"]
    for area in ("core", "jobs", "ui", "starter"):
        files += sorted((ROOT / area).rglob("*.py"))
    found = {}
    for file in files:
        if file.exists():
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def imported(name: str, node: ast.AST) -> Iterator[str]:
    """The dotted names that an import statement in module `name` may load."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = name.split(".")
            if modules()[name].name != "__init__.py":
                package.pop()
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, base] if base else package)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_at_load(name: str) -> Iterator[str]:
    """What importing the module imports: nothing in functions, nothing for type checkers only."""
    todo: list[ast.AST] = [tree(name)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        yield from imported(name, node)
        todo += ast.iter_child_nodes(node)


def top(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("name", modules())
def test_imports_point_from_ui_to_jobs_to_core(name):
    loads = {top(other) for node in ast.walk(tree(name)) for other in imported(name, node)}
    wrong = loads & (OURS | TRAINING | WEB | QUEUE) - MAY_IMPORT[top(name)]
    assert not wrong, f"{name} imports {wrong}, and {top(name)} may not"


def test_start_needs_nothing_but_python():
    loads = {top(other) for node in ast.walk(tree("start")) for other in imported("start", node)}
    assert loads <= sys.stdlib_module_names


def test_modules_do_not_load_each_other_in_a_circle():
    graph = {
        name: {other for other in imports_at_load(name) if other in modules() and other != name}
        for name in modules()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_web_process_and_the_worker_load_no_torch():
    names = [name for name in modules() if top(name) in ("jobs", "ui", "app")]
    look = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(name + ' loads torch')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, *names], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", modules())
def test_a_module_opens_by_saying_what_it_promises(name):
    assert not tree(name).body or ast.get_docstring(tree(name)), f"{name} has no docstring"


def pins(file: str) -> dict[str, str]:
    """Package name to version, as the file pins them."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [re.match(r"([\w.-]+)(?:\[.*\])?==([^\s;#]+)", line) for line in lines]
    return {normal(match[1]): match[2] for match in found if match}


def normal(package: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def test_requirements_are_exact_and_agree_with_the_constraints():
    for file in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        wanted = [line for line in lines if line and not line.startswith(("#", "-"))]
        assert len(pins(file)) == len(wanted)
        assert pins(file).items() <= pins("constraints.txt").items()


def test_every_library_that_is_imported_is_required():
    packages = packages_distributions()
    for name in modules():
        loads = {top(other) for node in ast.walk(tree(name)) for other in imported(name, node)}
        for library in loads - OURS - sys.stdlib_module_names:
            names = {normal(package) for package in packages.get(library, [library])}
            assert names & pins("requirements.txt").keys(), f"{name} imports {library}"
