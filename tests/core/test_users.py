"""The users file: what is in it, and who gets in by it."""

import pytest

from core.errors import Damaged, UserError
from core.users import Limits, Users

PASSWORD = "correct horse"


@pytest.fixture
def known(tmp_path):
    known = Users(tmp_path / "users.json")
    known.put("anna", PASSWORD)
    return known


def test_a_name_and_its_password_belong_together(known):
    known.put("ben", "another horse", "admin", Limits(waiting=2))
    assert known.check("anna", PASSWORD).role == "member"
    assert known.check("ben", "another horse").limits.waiting == 2
    for name, password in [("anna", "another horse"), ("anna", ""), ("carl", PASSWORD), ("", "")]:
        assert known.check(name, password) is None


def test_no_password_is_in_the_file_and_nobody_else_reads_it(known):
    written = known.path.read_text()
    assert PASSWORD not in written
    assert "$argon2id$" in written
    assert known.path.stat().st_mode & 0o077 == 0


def test_who_is_removed_or_has_a_new_password_is_out_at_once(known):
    other = Users(known.path)  # another process
    assert other.check("anna", PASSWORD)
    known.put("anna", "a new password")
    assert other.check("anna", PASSWORD) is None
    known.remove("anna")
    assert other.check("anna", "a new password") is None
    with pytest.raises(UserError, match="no user 'anna'"):
        known.remove("anna")


@pytest.mark.parametrize(
    "name", ["", "Anna", "a b", "../anna", "anna/..", ".anna", "-a", "a" * 32, "con", "models", "ä"]
)
def test_a_name_is_a_plain_folder_of_its_own(known, name):
    with pytest.raises(UserError, match="can't be a name"):
        known.put(name, PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "longer-name", "x" * 1001])
def test_a_password_that_is_easily_guessed_is_refused(known, password):
    with pytest.raises(UserError, match="too easy"):
        known.put("longer-name", password)


@pytest.mark.parametrize("more", ["", ', "password": "no hash"'])
def test_a_damaged_file_lets_nobody_in(known, more):
    known.path.write_text(f'[{{"name": "anna"{more}}}]')
    with pytest.raises(Damaged):
        known.check("anna", PASSWORD)
