"""The profile of a whole dataset under a model, kept on the disk beside its tokens.

Making one takes as long as tokenizing the dataset (about a minute for 100,000 rows), so it is
work that tells how far it is and that can be broken off. Afterwards it is there at once, after a
restart and in another process too.
"""

import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

from core.corpus import tokenized, tokenizing
from core.datasets import Dataset
from core.lengths import Profile
from core.store import Store
from core.token_cache import fingerprint, prune
from core.tokenizer import Tokenizer
from core.tokens import TrainOn

SAMPLED_ROWS = 1000


def profile(store: Store, dataset: Dataset, tokenizer: Tokenizer, train_on: TrainOn) -> Profile:
    """Made now, where it isn't kept yet."""
    for _ in profiling(store, dataset, tokenizer, train_on):
        pass
    kept = _kept(_place(store, dataset, tokenizer, train_on))
    assert kept is not None
    return kept


def profiling(
    store: Store, dataset: Dataset, tokenizer: Tokenizer, train_on: TrainOn
) -> Iterator[float]:
    """Make the profile and keep it; yields the share of the rows that is done. Closing the
    iterator breaks the work off and leaves nothing behind."""
    place = _place(store, dataset, tokenizer, train_on)
    if _kept(place) is None:
        total = max(1, int(dataset.facts["rows"]))
        work = tokenizing(store.cache, tokenizer, dataset.rows(), train_on)
        while True:
            try:
                yield min(1.0, next(work) / total)
            except StopIteration as done:
                done.value.profile.write(place)
                prune(store.cache, place.parent)
                break
    yield 1.0


def at_hand(store: Store, dataset: Dataset, tokenizer: Tokenizer, train_on: TrainOn) -> Profile:
    """The whole dataset's profile where it is kept or quickly made, else a sample's."""
    kept = _kept(_place(store, dataset, tokenizer, train_on))
    if kept is not None:
        return kept
    if int(dataset.facts["rows"]) <= SAMPLED_ROWS:
        return profile(store, dataset, tokenizer, train_on)
    return _of_sample(store, dataset, tokenizer.path, _changed(dataset), train_on)


@lru_cache(maxsize=16)
def _of_sample(
    store: Store, dataset: Dataset, model: Path, changed: int, train_on: TrainOn
) -> Profile:
    rows = random.Random(0).sample(list(dataset.rows()), SAMPLED_ROWS)
    return tokenized(store.cache, Tokenizer.load(model), rows, train_on).profile


def _place(store: Store, dataset: Dataset, tokenizer: Tokenizer, train_on: TrainOn) -> Path:
    facts = f"{fingerprint(tokenizer)} {dataset.id} {_changed(dataset)} {train_on}"
    name = hashlib.sha256(facts.encode()).hexdigest()[:32]
    return store.cache / "profiles" / f"{name}.npz"


def _kept(place: Path) -> Profile | None:
    try:
        return _read(place, place.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # damaged: it is made again
        place.unlink(missing_ok=True)
        return None


@lru_cache(maxsize=16)
def _read(place: Path, changed: int) -> Profile:
    return Profile.read(place)


def _changed(dataset: Dataset) -> int:
    return dataset.rows_path.stat().st_mtime_ns
