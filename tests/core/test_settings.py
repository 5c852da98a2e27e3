"""What the environment says is understood, or refused in words."""

import os
from pathlib import Path

import pytest

from core.errors import UserError
from core.settings import settings, settle_data

NAMES = ("GRAFT_HOST", "GRAFT_PORT", "GRAFT_DATA", "GRAFT_AUTH", "GRAFT_CHAT_IDLE")


def test_what_is_empty_is_not_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    unset = settings()
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert settings() == unset
    assert unset.data == tmp_path / "data"


def test_the_data_directory_stays_the_same_in_another_folder(monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_DATA", "here")
    settle_data()
    monkeypatch.chdir(tmp_path / "other")
    assert settings().data == tmp_path / "here" == Path(os.environ["GRAFT_DATA"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("GRAFT_CHAT_IDLE", "abc"), ("GRAFT_CHAT_IDLE", "-1"), ("GRAFT_CHAT_IDLE", "nan"),
     ("GRAFT_CHAT_IDLE", "0"), ("GRAFT_KEEP_FREE", "-1"), ("GRAFT_KEEP_FREE", "much"),
     ("GRAFT_PORT", "0"), ("GRAFT_PORT", "seven"), ("GRAFT_PORT", "७८६०")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=name):
        settings()
