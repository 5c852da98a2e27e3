"""Keys: shown once, kept as a hash, revocable, and each its owner's."""

import errno
import time

import pytest

from core import keys
from core.errors import Damaged, NotFound, UserError
from core.files import read_json, write_json
from core.store import Store
from core.users import Users


def test_a_key_is_shown_once_and_kept_as_a_hash(data_dir):
    key, text = keys.make(Store(), "  my\n shop ")
    assert key.name == "my shop"
    assert len(text) > 40
    file = data_dir / "local" / "keys.json"
    assert text not in file.read_text()
    assert text[6:-4] not in file.read_text()
    assert file.stat().st_mode & 0o77 == 0
    assert keys.keys(Store()) == [key]
    assert key.ends == text[-4:]


def test_it_opens_its_owners_store_until_it_is_revoked():
    (first, text), (_, other) = (keys.make(Store(), name) for name in ("one", "two"))
    assert keys.store_of(text) == keys.store_of(other) == Store()
    assert keys.store_of(text[:-1]) is None
    assert keys.store_of("") is None
    keys.revoke(Store(), first.id)
    assert keys.store_of(text) is None
    assert keys.store_of(other) == Store()
    with pytest.raises(NotFound):
        keys.revoke(Store(), first.id)


def test_it_is_known_when_it_was_used_last(data_dir):
    key, text = keys.make(Store(), "one")
    assert key.used is None
    keys.store_of(text)
    (used,) = keys.keys(Store())
    assert time.time() - used.used < 60
    file = data_dir / "local" / "keys.json"
    written = file.stat().st_mtime_ns
    keys.store_of(text)  # just after: not written again
    assert file.stat().st_mtime_ns == written
    write_json(file, [{**read_json(file)[0], "used": time.time() - 100}])
    keys.store_of(text)
    assert time.time() - keys.keys(Store())[0].used < 60


@pytest.mark.parametrize("name", ["", "  ", "x" * 61])
def test_a_name_says_what_it_is_for(name):
    with pytest.raises(UserError, match="needs a name"):
        keys.make(Store(), name)


def test_there_are_so_many_and_no_more():
    for number in range(keys.MOST):
        keys.make(Store(), str(number))
    with pytest.raises(UserError, match="20 keys already"):
        keys.make(Store(), "one more")


def test_a_damaged_file_of_one_person_shuts_out_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_AUTH", str(tmp_path / "users.json"))
    for name in ("ada", "ben"):
        Users(tmp_path / "users.json").put(name, "a long password")
    texts = {name: keys.make(Store(name), "one")[1] for name in ("ada", "ben")}
    (Store("ada").path / keys.FILE).write_text("{", encoding="utf-8")
    assert keys.store_of(texts["ben"]) == Store("ben")
    with pytest.raises(Damaged):
        keys.keys(Store("ada"))
    assert keys.store_of(texts["ada"]) is None


def test_on_a_full_disk_a_key_opens_all_the_same(monkeypatch):
    _, text = keys.make(Store(), "one")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keys, "write_json", full)
    assert keys.store_of(text) == Store()
