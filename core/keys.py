"""Keys with which programs ask a person's models: made by the person, shown once, kept as a hash.

They are in <owner>/keys.json. A key is 256 random bits, so a plain SHA-256 of it can be kept:
nobody can try so many. It opens its owner's models and nothing else.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from core.errors import Damaged, NotFound, UserError
from core.files import read_json, write_json
from core.settings import settings
from core.store import LOCAL, Store
from core.users import users

FILE = "keys.json"
MOST = 20  # of one person
LONGEST_NAME = 60
TOLD_EVERY = 60  # seconds: how exactly it is known when a key was used last


@dataclass(frozen=True)
class Key:
    id: str
    name: str
    hash: str
    ends: str
    """Its last four letters, by which a person knows it."""
    created: float
    used: float | None = None


def keys(store: Store) -> list[Key]:
    """The owner's, the newest first. Raises Damaged."""
    try:
        return [Key(**facts) for facts in read_json(store.path / FILE, [])]
    except TypeError:
        raise Damaged(f"{FILE} is damaged.", "Delete it and make new keys.") from None


def make(store: Store, name: str) -> tuple[Key, str]:
    """A new key and its text, which nobody can find out again."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= LONGEST_NAME:
        raise UserError(
            "A key needs a name.",
            f"Say what it is for, in at most {LONGEST_NAME} letters: that is how you know which "
            "one to revoke.",
            field="name",
        )
    text = f"graft-{secrets.token_urlsafe(32)}"
    key = Key(secrets.token_hex(4), name, _hash(text), text[-4:], time.time())
    with _changing(store) as all:
        if len(all) >= MOST:
            raise UserError(f"There are {MOST} keys already.", "Revoke one that is not used.")
        all.insert(0, key)
    return key, text


def revoke(store: Store, id: str) -> Key:
    """From now on it opens nothing."""
    with _changing(store) as all:
        for key in all:
            if key.id == id:
                all.remove(key)
                return key
    raise NotFound("There is no such key.", field="id")


def store_of(text: str) -> Store | None:
    """Whose key this is, as long as that person may come in; None for nobody's. A damaged file
    shuts out its own owner's programs alone."""
    hashed = _hash(text)
    for store in map(Store, _owners()):
        with suppress(Damaged):
            for key in keys(store):
                if secrets.compare_digest(key.hash, hashed):
                    with suppress(OSError):  # a full disk is no reason to answer nobody
                        _used(store, key)
                    return store
    return None


def _owners() -> list[str]:
    """Who may come in, and has keys."""
    file = settings().auth
    return [name for name in (users(file).all() if file else [LOCAL]) if _file(name).exists()]


def _file(owner: str) -> Path:
    return Store(owner).path / FILE


def _used(store: Store, key: Key) -> None:
    now = time.time()
    if key.used is None or not 0 <= now - key.used < TOLD_EVERY:
        with _changing(store) as all:
            all[:] = [replace(one, used=now) if one.id == key.id else one for one in all]


@contextmanager
def _changing(store: Store) -> Iterator[list[Key]]:
    """The keys, to be changed and then written; nobody else writes meanwhile."""
    store.path.mkdir(parents=True, exist_ok=True)
    with FileLock(store.path / f".{FILE}.lock", timeout=30):
        all = keys(store)
        yield all
        write_json(store.path / FILE, [asdict(key) for key in all])
        (store.path / FILE).chmod(0o600)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
