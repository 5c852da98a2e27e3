"""The files of a kit that are written from its facts, by the templates beside this module."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import yaml

WRITTEN = ("train.py", "config.yaml", "README.md")


def written(name: str, facts: dict[str, Any]) -> str:
    return _environment.get_template(f"{name}.jinja").render(facts)


def requirements(facts: dict[str, Any]) -> str:
    """What train.py imports, in the versions that are installed here."""
    names = ["numpy", "torch", "PyYAML", "transformers"]
    names += ["peft"] * bool(facts["from_peft"]) + ["bitsandbytes"] * (facts["bits"] != "none")
    pinned = (f"{name}=={version(name).partition('+')[0]}" for name in sorted(names, key=str.lower))
    return "\n".join(pinned) + "\n"


def _yaml(value: Any) -> str:
    """On one line, as yaml reads it back."""
    style = '"' if isinstance(value, str) else None
    text = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # programs and plain text
)
_environment.filters["yaml"] = _yaml
