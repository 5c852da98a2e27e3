"""Chat templates of strangers: no way to Python's insides, to the disk, or to an endless text."""

import json
import shutil
import time
from contextlib import suppress

import pytest

from core import sandbox, templates
from core.errors import DataProblem
from core.tokenizer import Tokenizer

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
REST = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
DOUBLED = (
    "{% set n = namespace(a='aaaaaaaaaa') %}{% for i in range(60) %}{% set n.a = n.a OP n.a %}"
)


@pytest.fixture
def with_template(starter, tmp_path):
    """The starter's tokenizer with a template of a stranger's."""

    def make(template: str) -> Tokenizer:
        shutil.copyfile(starter / "tokenizer.json", tmp_path / "tokenizer.json")
        config = json.loads((starter / "tokenizer_config.json").read_text())
        (tmp_path / "tokenizer_config.json").write_text(
            json.dumps({**config, "chat_template": template + REST})
        )
        return Tokenizer.load(tmp_path)

    return make


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.__class__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}",
        "{% set _ = messages.append(1) %}",
    ],
)
def test_there_is_no_way_out(with_template, template):
    text = ""
    with suppress(DataProblem):
        text = templates.render(with_template(template), MESSAGES).text
    assert "class" not in text
    assert "root" not in text


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(99999) %}x{{ i }}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) ~ m(n-1) }}{% endif %}{% endmacro %}{{ m(90) }}",
        "{{ 'a' * 10**10 }}",
        "{{ [0] * 10**10 }}",
        "{{ 9 ** 9 ** 9 }}" * 2 + "{{ 9 ** (9 ** 6) }}",
        DOUBLED.replace("OP", "+") + "{% endfor %}{{ n.a }}",
        DOUBLED.replace("OP", "~") + "{% endfor %}{{ n.a }}",
        "{{ '{a:>999999999}'.format(a=1) }}",
        "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ 'x'.center(10**10) }}",
        "{{ 'x'|center(10**10) }}",
        "{{ 'x'.zfill(10**10) }}",
        "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
        "{{ ('a' * 10**6)|replace('a', 'b' * 10**6) }}",
        "{{ ('a' * 10**6).join([''] * 10**6) }}",
        "{{ ([''] * 10**6)|join('a' * 10**6) }}",
        "{{ lipsum(n=10**9) }}",
        "{{ messages|tojson(indent=10**10) }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        DOUBLED.replace("n.a OP n.a", "(n.a ~ n.a)|string") + "{% endfor %}{{ n.a }}",
        DOUBLED.replace("n.a OP n.a", "[n.a ~ n.a][0]") + "{% endfor %}{{ n.a }}",
        "{{ range(2000)|list|tojson(indent=99999) }}",
        "{{ range(200)|list|tojson(separators=('a' * 10**6, ':')) }}",
        "{{ ('\t' * 2000).expandtabs(99999) }}",
        "{{ ('b\n' * 200)|indent('a' * 10**6) }}",
        "{{ ('a' * 200).translate({97: 'a' * 10**6}) }}",
        "{{ ([['a' * 10**6] * 200])|map('join')|join }}",
        "{{ [['a' * 10**6] * 200] }}",
        "{{ '%s' % ([['a' * 10**6] * 200],) }}",
    ],
)
def test_there_is_no_endless_text(with_template, template, monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    tokenizer = with_template(template)
    started = time.monotonic()
    for _ in range(3):  # rows of a dataset: it is not waited for again
        with pytest.raises(DataProblem, match="chat template can't be used: it"):
            templates.render(tokenizer, MESSAGES)
    assert time.monotonic() - started < 10


def test_a_long_conversation_switches_no_model_off(with_template, monkeypatch):
    tokenizer = with_template("")
    monkeypatch.setattr(sandbox, "SECONDS", 0.0)
    monkeypatch.setattr(sandbox, "EACH", 0.0)
    with pytest.raises(sandbox.OutOfTime):
        tokenizer.render(MESSAGES * sandbox.MANY)
    monkeypatch.undo()
    assert "hi" in tokenizer.render(MESSAGES)


def test_what_templates_really_do_is_allowed(with_template):
    template = (
        "{% for m in messages %}{{ loop.index0 }}{{ loop.last }}{{ '%02d' % 7 }}{{ 2 * 'ab' }}"
        "{{ 'a-b'|replace('-', '+') }}{{ ['x', 'y']|join(', ') }}{{ '{}'.format(3) }}"
        "{{ {'a': 1}|tojson(indent=2)|length }}{{ m.role.upper() ~ '!' }}{% endfor %}"
    )
    text = with_template(template).render(MESSAGES)
    assert text.startswith("0False07ababa+bx, y312USER!1True07ababa+bx, y312ASSISTANT!")
