"""The adapter of a run as one zip file that others can load, with nothing of this machine in it.

It holds the PEFT folder as it is (adapter_config.json, adapter_model.safetensors, tokenizer, chat
template, model card), or a whole model where all of it learned, and CHECKSUMS
(`sha256sum -c CHECKSUMS`). Only the name of the base model is another: its path on this disk gives
way to its name on the Hub, or to the name of its folder. The same adapter always gives the same
bytes.
"""

import json
import os
import re
import shutil
import unicodedata
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.chat import common_base, is_whole
from core.exports.archive import pack
from core.exports.formats import Format, Say
from core.files import RESERVED, linked, read_json, size_of
from core.runs import Run
from core.whole import whole_adapter


def adapter_zip(run: Run) -> Path:
    """The zip file, made when it is first asked for. Raises NotFound where there is no adapter,
    and Damaged where it lacks something."""
    folder = whole_adapter(run)
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    target = run.path / "export" / f"{file_name(run.name) or run.id}.zip"
    changed = max(file.stat().st_mtime_ns for file in files)
    if not target.exists() or target.stat().st_mtime_ns != changed:
        target.parent.mkdir(exist_ok=True)
        renamings = _renamings(run)
        pack(target, {file.name: _content(file, renamings.get(file.name)) for file in files})
        os.utime(target, ns=(changed, changed))  # as old as what is in it, whatever the clock says
    return target


def file_name(name: str) -> str:
    """The name without what some system refuses in a file's name; maybe empty."""
    plain = unicodedata.normalize("NFC", name)
    plain = re.sub(r"[^\w ()+.-]+", "-", plain)[:60].strip(" .-")
    return f"{plain}-adapter" if plain.split(".")[0].upper() in RESERVED else plain


def _renamings(run: Run) -> dict[str, dict[str, str]]:
    """File -> what stands in it of this machine -> what others can make sense of."""
    assert run.adapter is not None
    name = run.config.base_model
    adapter_config = read_json(run.adapter / "adapter_config.json", {})
    here = adapter_config.get("base_model_name_or_path", name)
    if Path(name).expanduser().is_absolute() or Path(name).expanduser().is_dir():
        name = Path(name).expanduser().name
    from_hub = "/" in name
    return {
        "adapter_config.json": {json.dumps(here): json.dumps(name)},
        "README.md": {
            repr(here): repr(name if from_hub else f"path/of/{name}"),
            run.config.base_model: name,
        },
    }


def _content(file: Path, renamed: dict[str, str] | None) -> Path | bytes:
    if renamed is None:
        return file
    text = file.read_text(encoding="utf-8")
    for here, elsewhere in renamed.items():
        text = text.replace(here, elsewhere)
    return text.encode()


# ---- as something that is prepared


def make(run: Run, folder: Path, say: Say) -> Path:
    say("Packing the adapter", 0, 0)
    archive = adapter_zip(run)
    target = folder / archive.name
    if not linked(archive, target):
        shutil.copyfile(archive, target)
    return target


def disk(run: Run) -> int:
    return size_of(run.adapter) if run.adapter else 0


def opened(run: Run, archive: Path, device: Any) -> tuple[Any, Any]:
    """What is in the zip, on the base model of the run."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.loading import load_base, pick_dtype

    dtype, bits = pick_dtype(device), run.config.quantization
    with TemporaryDirectory(dir=archive.parent, ignore_cleanup_errors=True) as unzipped:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(unzipped)
        if is_whole(run):
            model = AutoModelForCausalLM.from_pretrained(
                unzipped, dtype=dtype, use_safetensors=True
            ).to(device)
        else:
            base = load_base(common_base([run]), bits, device, dtype)
            base = base.to(device) if bits == "none" else base
            model = PeftModel.from_pretrained(base, unzipped)
        return model.eval(), AutoTokenizer.from_pretrained(unzipped)


FORMAT = Format(
    id="adapter",
    title="Adapter",
    sentence="The small file with what was learned, for Python and for servers that have the "
    "original model.",
    make=make,
    disk=disk,
    opened=opened,
)
