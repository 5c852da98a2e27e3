"""The GGUF formats that a run can be taken home as. Each is handed out as a zip: the GGUF file,
Modelfile, README.md, CHECKSUMS. The merged model that a file is made of is made for it and goes."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from core.chat import common_base, is_whole
from core.errors import ModelProblem, UserError
from core.exports.adapter import file_name
from core.exports.archive import pack
from core.exports.formats import FORMATS as ALL
from core.exports.formats import PROOF, Format, Next, Say
from core.exports.gguf import families, llama_cpp, lora, ollama
from core.exports.gguf.quantise import K_QUANTS, KINDS, lacks_k_quants
from core.exports.gguf.vocabulary import hard_texts, recognise
from core.exports.gguf.writer import bytes_of_file, convert
from core.files import read_json, size_of, write_json, write_text
from core.models import BaseModel, find
from core.runs import Run
from core.tokenizer import Message, Tokenizer

COMFORTABLE = 4096  # tokens of context that programs are told to keep room for
BESIDES = 30_000_000  # bytes of the tokenizer and the rest
MODEL, ADAPTER = "model.gguf", "adapter.gguf"


def _base(run: Run) -> BaseModel:
    return find(str(run.adapter)) if is_whole(run) else common_base([run])


def _title(run: Run) -> str:
    return re.sub(r"\s+", " ", run.name)


def _file_name(run: Run, ending: str) -> str:
    return f"{file_name(run.name) or run.id}-{ending}.zip"


# ---- the whole model


def _make(kind: str) -> Callable[[Run, Path, Say], Path]:
    def make(run: Run, folder: Path, say: Say) -> Path:
        with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as beside:
            model = ALL["merged"].make(run, Path(beside), say)
            config, tokenizer = families.complete(model), Tokenizer.load(model)
            vocabulary = convert(model, folder / MODEL, kind, say, _title(run))
        context = min(families.comfortable_context(config), COMFORTABLE)
        if llama_cpp.is_here():
            say("Reading it with llama.cpp", 0, 0)
            _check_tokens(folder / MODEL, tokenizer)
        about = (
            f"{_base(run).title}, fine-tuned with Graft, written as {kind}. Its context is "
            f"{families.context_of(config)} tokens."
        )
        write_text(folder / "Modelfile", ollama.modelfile(tokenizer, vocabulary, context, MODEL))
        write_text(folder / "README.md", ollama.readme(_title(run), about, MODEL, context))
        return _packed(folder, [MODEL, "Modelfile", "README.md"], _file_name(run, kind), say)

    return make


def _check_tokens(file: Path, tokenizer: Tokenizer) -> None:
    """That llama.cpp reads texts as the model learned to. Raises UserError."""
    texts = hard_texts(tokenizer)
    told = llama_cpp.ask(llama_cpp.Asking(str(file), texts=texts))["tokens"]
    for text, ids in zip(texts, told, strict=True):
        if ids != tokenizer.fast.encode(text, add_special_tokens=False).ids:
            raise UserError(
                f"llama.cpp cuts this text in another way than the model learned it: {text!r}.",
                "Take the merged model instead.",
            )


def _packed(folder: Path, names: list[str], zip_name: str, say: Say) -> Path:
    files = [folder / name for name in names]
    total = sum(map(size_of, files))
    named = {file.name: file for file in files}
    pack(folder / zip_name, named, lambda done: say("Packing", done, total))
    for file in files:
        file.unlink()
    return folder / zip_name


def _disk(kind: str) -> Callable[[Run], int]:
    def disk(run: Run) -> int:
        base = _base(run)
        assert base.path is not None
        file = bytes_of_file(base.path, base.config, kind) + BESIDES
        return file + max(file, ALL["merged"].disk(run))  # two of the three at a time

    return disk


def _lacks(kind: str) -> Callable[[Run], str]:
    def lacks(run: Run) -> str:
        if reason := ALL["merged"].lacks(run):
            return reason
        needs_library = KINDS[kind].type in K_QUANTS
        return families.why_not(_base(run).config) or (lacks_k_quants() if needs_library else "")

    return lacks


def _answers(
    archive: Path, conversations: list[list[Message]], limit: int, prompts: list[list[int]]
) -> tuple[list[str], list[Next]]:
    with TemporaryDirectory(dir=archive.parent, ignore_cleanup_errors=True) as unzipped:
        with zipfile.ZipFile(archive) as zipped:
            file = Path(zipped.extract(MODEL, unzipped))
        return llama_cpp.answers(file, conversations, limit, prompts)


# ---- the adapter alone


def _make_adapter(run: Run, folder: Path, say: Say) -> Path:
    base = _base(run)
    assert run.adapter is not None
    assert base.path is not None
    lora.convert_adapter(run.adapter, base.path, folder / ADAPTER, say, _title(run))
    tokenizer = Tokenizer.load(run.adapter)
    vocabulary = recognise(tokenizer)
    context = min(families.comfortable_context(families.complete(base.path)), COMFORTABLE)
    name = base.title if Path(base.id).is_dir() or base.id == "starter" else base.id
    write_text(
        folder / "Modelfile",
        ollama.modelfile(tokenizer, vocabulary, context, "base.gguf", ADAPTER),
    )
    about = f"What {base.title} learned in Graft, as a LoRA adapter."
    write_text(folder / "README.md", ollama.adapter_readme(_title(run), about, name))
    write_json(folder / PROOF, {"base": str(base.path)})
    names = [ADAPTER, "Modelfile", "README.md"]
    return _packed(folder, names, _file_name(run, "gguf-adapter"), say)


def _disk_of_adapter(run: Run) -> int:
    """With its base model for the questions."""
    adapter = size_of(run.adapter) if run.adapter else 0
    return 4 * adapter + 2 * _base(run).parameters + BESIDES


def _lacks_for_adapter(run: Run) -> str:
    if run.adapter is None or is_whole(run):
        return "All of the model learned, so there is no adapter. Take a whole GGUF model."
    told = read_json(run.adapter / "adapter_config.json", {})
    try:
        return lora.why_not(told) or families.why_not(_base(run).config)
    except ModelProblem as problem:
        return f"{problem} {problem.hint}".strip()


def _answers_of_adapter(
    archive: Path, conversations: list[list[Message]], limit: int, prompts: list[list[int]]
) -> tuple[list[str], list[Next]]:
    base = Path(read_json(archive.with_name(PROOF))["base"])
    with TemporaryDirectory(dir=archive.parent, ignore_cleanup_errors=True) as beside:
        with zipfile.ZipFile(archive) as zipped:
            adapter = Path(zipped.extract(ADAPTER, beside))
        file = Path(beside) / "base.gguf"
        convert(base, file, "f16", lambda *_: None)
        return llama_cpp.answers(file, conversations, limit, prompts, adapter)


# ---- what is offered


def _whole_model(kind: str, title: str, sentence: str) -> Format:
    return Format(
        id=f"gguf-{kind}",
        title=title,
        sentence=sentence,
        make=_make(kind),
        disk=_disk(kind),
        lacks=_lacks(kind),
        answers=_answers if llama_cpp.is_here() else None,
        is_whole=True,
    )


FORMATS = [
    _whole_model(
        "f16",
        "GGUF, 16 bits",
        "The whole model in one file for Ollama, LM Studio and llama.cpp, as exact as it can be.",
    ),
    _whole_model(
        "q8_0",
        "GGUF, 8 bits",
        "Half as large, and hardly ever another word. If in doubt, take this one for Ollama or LM "
        "Studio.",
    ),
    _whole_model(
        "q6_k",
        "GGUF, 6 bits (Q6_K)",
        "Two fifths as large as in 16 bits; few answers change a word.",
    ),
    _whole_model(
        "q5_k_m",
        "GGUF, 5 bits (Q5_K_M)",
        "A third as large as in 16 bits; some answers change a word.",
    ),
    _whole_model(
        "q4_k_m",
        "GGUF, 4 bits (Q4_K_M)",
        "Three tenths as large as in 16 bits, for machines with little memory; answers may differ.",
    ),
    Format(
        id="gguf-adapter",
        title="GGUF adapter",
        sentence="Only what was learned, for people who have the base model as a GGUF file.",
        make=_make_adapter,
        disk=_disk_of_adapter,
        lacks=_lacks_for_adapter,
        answers=_answers_of_adapter if llama_cpp.is_here() else None,
    ),
]
