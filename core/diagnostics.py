"""What helps to find out why a run failed, as one zip file: its settings, plan, figures and log,
the versions of the libraries, and the machine.

No example goes with it and no secret: a line of the log or of the result that quotes an example is
left out, places on this disk become “~” and “data”, and what looks like a token or a password is
struck out.
"""

import io
import json
import platform
import re
import shutil
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from core import hardware
from core.files import read_jsonl, write_bytes
from core.runs import Run
from core.settings import settings

FILES = ("config.json", "estimate.json", "plan.json", "ranks.json", "metrics.jsonl")
LOG = 100_000  # characters of its end
QUOTED = 24  # characters of an example that make a quotation; two such parts in a row surely do
LIBRARIES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "tokenizers", "safetensors",
    "datasets", "gradio", "huey", "pydantic", "numpy", "jinja2", "huggingface_hub",
)  # fmt: skip

_SECRET = re.compile(r"\bhf_\w{8,}|(?<=://)[^/\s@]+(?=@)")
_NAMED_SECRET = re.compile(r"(?i)\b(\w*(?:token|password|secret|api_?key)\w*\W{1,4})[\w.-]{8,}")


def diagnostics_zip(run: Run) -> Path:
    """The zip file, made anew each time: a run may fail more than once."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FILES:
            file = run.path / name
            if file.is_file():
                archive.writestr(name, _plain(file.read_text("utf-8", errors="replace")))
        archive.writestr("train.log", _unquoting(run.log(LOG), run))
        result = run.path / "result.json"  # its error may have the last line of the log
        if result.is_file():
            text = result.read_text("utf-8", errors="replace")
            archive.writestr("result.json", _unquoting(text, run))
        archive.writestr("machine.json", json.dumps(_machine(run), indent=2))
    target = run.path / "export" / f"{run.id}-diagnostics.zip"
    write_bytes(target, packed.getvalue())
    return target


def _plain(text: str) -> str:
    """Without places on this disk and without secrets."""
    for place, instead in ((settings().data, "data"), (Path.home(), "~")):
        for written in {str(place), json.dumps(str(place))[1:-1]}:
            text = text.replace(written, instead)
    return _NAMED_SECRET.sub(r"\1…", _SECRET.sub("…", text))


def _unquoting(text: str, run: Run) -> str:
    """Plain, and without the lines that quote an example."""
    lines = text.splitlines(keepends=True)
    quoting = _quoting(lines, run)
    return "".join(
        "(this line quotes an example)\n" if number in quoting else _plain(line)
        for number, line in enumerate(lines)
    )


def _quoting(lines: list[str], run: Run) -> set[int]:
    """The lines in which there is a part of an example.

    The examples are cut into parts of QUOTED characters, so every quotation of twice as many has
    a whole one in it."""
    where: dict[str, set[int]] = {}
    for number, line in enumerate(lines):
        for start in range(len(line) - QUOTED + 1):
            where.setdefault(line[start : start + QUOTED], set()).add(number)
    found: set[int] = set()
    for file in ("train.jsonl", "eval.jsonl"):
        for row in read_jsonl(run.path / file, forgiving=True):
            for text in _texts(row):
                for start in range(0, len(text) - QUOTED + 1, QUOTED):
                    found |= where.get(text[start : start + QUOTED], set())
    return found


def _texts(value: Any) -> Iterator[str]:
    """Every line of text in a row, and every text as a log may write it."""
    if isinstance(value, str):
        yield from value.splitlines()
        if (written := repr(value)[1:-1]) != value:
            yield written
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _machine(run: Run) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    device, memory = hardware.device(), hardware.memory()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": versions,
        "device": device.name,
        "device_memory_bytes": {"total": device.memory_total, "free": device.memory_free},
        "memory_bytes": {"total": memory[0], "free": memory[1]},
        "disk_free_bytes": shutil.disk_usage(run.path).free,
        "status": run.status,
        "rows": {part: _count(run.path / f"{part}.jsonl") for part in ("train", "eval")},
    }


def _count(file: Path) -> int:
    return sum(1 for _ in read_jsonl(file, forgiving=True))
