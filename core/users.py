"""Who may come in: the users file that GRAFT_AUTH names, with passwords as argon2id hashes only.

It is read again whenever it has changed: a person who is removed is out at once.
"""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerificationError
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from core.errors import Damaged, UserError
from core.files import RESERVED, read_json, write_json

Role = Literal["member", "admin"]

NAME = r"[a-z][a-z0-9-]{0,30}"
TAKEN = RESERVED | {"CACHE", "MODELS"}  # folders of the data directory that are nobody's
SHORTEST = 8  # letters of a password: NIST SP 800-63B, 5.1.1.1
LONGEST = 1000

_hasher = PasswordHasher()  # RFC 9106, the profile for little memory: 64 MiB, three passes


class Limits(BaseModel):
    """How much one person may have; None: as much as there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int | None = None
    """of one dataset"""
    disk: float | None = None
    """gigabytes of all that is theirs"""
    waiting: int | None = None
    """runs in the line at once"""


class User(BaseModel):
    """One person. What they bring and train is in data/<name>/, and nobody else sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role = "member"
    password: str
    """its argon2id hash"""
    limits: Limits = Limits()

    @field_validator("password")
    @classmethod
    def _is_a_hash(cls, password: str) -> str:
        extract_parameters(password)
        return password


class Users:
    """The users file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[int, dict[str, User]] = (0, {})
        # What takes as long to refuse as anybody's.
        self._nobody = _hasher.hash("nobody's password")

    def all(self) -> dict[str, User]:
        """By name; none where there is no file. Raises Damaged."""
        try:
            changed = self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if changed != self._read[0]:
            try:
                users = [User.model_validate(user) for user in read_json(self.path, [])]
            except (ValidationError, TypeError):
                raise Damaged(f"The users file {self.path} is damaged.") from None
            self._read = changed, {user.name: user for user in users}
        return self._read[1]

    def check(self, name: str, password: str) -> User | None:
        """The person whose name and password these are. Takes about a tenth of a second, and as
        long for a name that nobody has."""
        user = self.all().get(name)
        try:
            _hasher.verify(user.password if user else self._nobody, password[:LONGEST])
        except VerificationError:
            return None
        return user

    def put(
        self, name: str, password: str, role: Role = "member", limits: Limits | None = None
    ) -> User:
        """Add a person, or give one another password, role and limits. Raises UserError."""
        if not re.fullmatch(NAME, name) or name.upper() in TAKEN:
            raise UserError(
                f"{name[:100]!r} can't be a name here.",
                "A name is 1 to 31 small letters, digits and hyphens, and begins with a letter; "
                f"{', '.join(sorted(TAKEN)).lower()} are taken.",
            )
        if not SHORTEST <= len(password) <= LONGEST or password == name:
            raise UserError(
                "This password is too easy to guess, or too long.",
                f"It has at least {SHORTEST} letters and is not the name.",
            )
        user = User(
            name=name, role=role, password=_hasher.hash(password), limits=limits or Limits()
        )
        with self._changing() as users:
            users[name] = user
        return user

    def remove(self, name: str) -> None:
        """What the person made stays in the data directory. Raises UserError."""
        with self._changing() as users:
            if users.pop(name, None) is None:
                there = ", ".join(users) or "none"
                raise UserError(f"There is no user {name[:100]!r}.", f"There are: {there}.")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """The users, to be changed and then written; nobody else writes meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock", timeout=30):
            users = dict(self.all())
            yield users
            write_json(self.path, [user.model_dump() for user in users.values()])
            self.path.chmod(0o600)


@functools.cache
def users(path: Path) -> Users:
    """The users file at `path`, of which one copy is held."""
    return Users(path)
