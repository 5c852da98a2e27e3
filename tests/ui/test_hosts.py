"""Which names the server answers to."""

import pytest

from ui.hosts import is_number, name_of, own_names


@pytest.mark.parametrize(
    ("host", "name"),
    [("Example.ORG:80", "example.org"), ("[::1]:7860", "::1"), ("127.0.0.1", "127.0.0.1"),
     ("localhost.", "localhost"), ("", "")],
)  # fmt: skip
def test_the_port_is_no_part_of_the_name(host, name):
    assert name_of(host) == name


def test_names_of_this_computer_and_of_the_person():
    names = own_names("graft.lan", ("mine.example",))
    assert {"localhost", "graft.lan", "mine.example"} <= names
    assert "evil.example" not in names
    assert is_number("::1")
    assert not is_number("1.evil.example")
