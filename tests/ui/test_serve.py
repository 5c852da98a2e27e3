"""The page Serve: what is to be copied can be copied as it is, whatever it is called."""

import ast
import json
import shlex

from core.keys import Key
from core.vllm import Served
from ui.views import serve

ADDRESS = "http://127.0.0.1:7860/v1"
ODD = 'Anna\'s "shop" <b>\\n$HOME'


def test_the_line_for_the_terminal_is_one_command_with_the_name_as_it_is():
    words = shlex.split(serve.curl(ADDRESS, ODD, "KEY").replace("\\\n", ""))
    assert words[:2] == ["curl", f"{ADDRESS}/chat/completions"]
    assert "Authorization: Bearer KEY" in words
    assert json.loads(words[-1])["model"] == ODD


def test_the_lines_of_python_are_python_with_the_name_as_it_is():
    tree = ast.parse(serve.python(ADDRESS, ODD, "KEY"))
    named = {
        keyword.arg: ast.literal_eval(keyword.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
    }
    assert (named["base_url"], named["api_key"], named["model"]) == (ADDRESS, "KEY", ODD)
    # Both ways ask the same, so both are answered the same.
    asked = json.loads(shlex.split(serve.curl(ADDRESS, ODD, "KEY").replace("\\\n", ""))[-1])
    assert asked == {name: named[name] for name in asked}


def test_what_people_write_is_escaped():
    key = Key("1", ODD, "hash", "abcd", 1.0)
    for html in (
        serve.listing([key]),
        serve.programs(ADDRESS, ODD),
        serve.vllm(Served(ODD, (ODD,))),
        serve.vllm(None, ODD, ODD),
        serve.made(ODD),
    ):
        assert "<b>" not in html
        assert "&lt;b&gt;" in html
    assert "hash" not in serve.listing([key])
