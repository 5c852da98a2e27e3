"""The model card says what whoever meets the adapter elsewhere has to know."""

import hashlib
import re
import shutil

import pytest
from accelerate import Accelerator

from core import card, loop
from core.card import licence, of_merged
from core.files import write_text
from core.models import find
from core.tokenizer import Tokenizer


def test_it_says_what_for_from_what_its_limits_and_how(make_run, tiny_model):
    run = make_run(max_steps=2, eval_steps=2)
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    text = (run.adapter / "README.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["What it is for", "What it learned from", "Settings", "Limits", "Use it"]
    rows = b"".join((run.path / f"{part}.jsonl").read_bytes() for part in ("train", "eval"))
    assert f"`sha256:{hashlib.sha256(rows).hexdigest()}`" in text
    assert "24 examples" in text
    assert card.UNKNOWN in text
    assert f"eos_token_id={sorted(Tokenizer.load(tiny_model).stop_ids)}" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    compile(code, "README.md", "exec")
    assert len([line for line in code.splitlines() if line.strip()]) <= 13

    merged = of_merged(text)
    assert re.findall(r"^## (.*)$", merged, re.MULTILINE) == headings
    assert "library_name: transformers" in merged
    code = re.search(r"```python\n(.*?)```", merged, re.DOTALL)[1]
    compile(code, "README.md", "exec")
    assert "PeftModel" not in code


def test_one_that_was_not_tested_says_so(make_run):
    run = make_run(max_steps=2, eval_steps=2)
    write_text(run.path / "eval.jsonl", "")
    assert loop.train(run, Accelerator(cpu=True)) == "completed"
    assert "it was not tested" in (run.adapter / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("front", "told"),
    [
        ("---\nlicense: apache-2.0\n---\n# A", "apache-2.0"),
        ('---\ntags: [a]\nlicense: "mit"\nlanguage: en\n---\n', "mit"),
        (
            "---\nlicense: other\nlicense_name: own-licence\nlicense_link: https://a.b/c\n---\n",
            "own-licence (https://a.b/c)",
        ),
        ("# A model\nlicense: mit\n", card.UNKNOWN),
        ("", card.UNKNOWN),
    ],
)
def test_the_licence_of_the_base_is_what_its_own_card_says(tiny_model, tmp_path, front, told):
    folder = shutil.copytree(tiny_model, tmp_path / "base")
    write_text(folder / "README.md", front)
    assert licence(find(str(folder))) == told


def test_the_licence_of_a_listed_model_is_known():
    assert licence(find("starter")) == "Apache-2.0"
