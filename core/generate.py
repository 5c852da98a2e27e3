"""Answers of the base model and of adapters, decoded together in one batch.

Each row has its own prompt, adapter, strength, sampling and limit; prompts of different length are
padded on the left. A row may join a batch that is under way: its prompt is read by itself, and what
the model remembers of it is put beside what it remembers of the others. A row that ends leaves the
batch, so the others neither wait for it nor change because of it. Each row draws its own random
numbers from its seed: rows whose models agree give the same text, so what differs between two
answers is due to the models.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from core.mixed import MixedModel
from core.sampling import Sampling
from core.tokenizer import Tokenizer

UNFINISHED = "�"  # what a character decodes to while bytes of it are missing
JOINABLE = (DynamicLayer, DynamicSlidingWindowLayer)  # of a cache: keys and values by position
COLDEST = 1e-6  # a temperature by which logits can be divided in fp32; the likeliest word always
SPARE = 64  # columns that no row reads any more, before they are cut off


@dataclass
class Answer:
    """One row: what was asked of which adapter (None: the base), and the answer so far."""

    prompt: list[int]
    adapter: str | None
    limit: int
    """The most tokens that this answer may have."""
    ids: list[int] = field(default_factory=list)
    """Without the token that ended it."""
    stopped: bool = False
    """The model ended it itself."""

    @property
    def done(self) -> bool:
        return self.stopped or len(self.ids) >= self.limit

    def text(self, tokenizer: Tokenizer) -> str:
        """What can be shown: until it is done, without a last character that is not whole yet."""
        text = tokenizer.decode(self.ids)
        return text if self.done else text.rstrip(UNFINISHED)


@dataclass(frozen=True, eq=False)
class Row:
    """An answer in a batch, and how its tokens are chosen."""

    answer: Answer
    sampling: Sampling
    stop_ids: frozenset[int]
    random: random.Random


class Batch:
    """The rows that one model decodes together."""

    def __init__(self, mixed: MixedModel) -> None:
        self.mixed = mixed
        self._rows: list[Row] = []
        self._joining: list[Row] = []  # with the next step
        # What stands before the next token of each row: which columns of the cache are its own,
        # (rows, columns); its last token's place, (rows, 1); what the model remembers.
        self._mask = self._positions = torch.empty(0)
        self._cache: Any = None

    def __len__(self) -> int:
        return len(self._rows) + len(self._joining)

    @property
    def can_join(self) -> bool:
        """Whether more rows can be added now and are answered as they would be alone."""
        if not len(self):
            return True
        if not (self.mixed.pads and self.mixed.fixed_rope):
            return False
        return not self._rows or (
            isinstance(self._cache, DynamicCache)
            and all(type(part) in JOINABLE and part.is_initialized for part in self._cache.layers)
        )

    def join(
        self, answers: Sequence[Answer], sampling: Sampling, stop_ids: frozenset[int]
    ) -> list[Row]:
        """Add rows, which grow from the next step on."""
        assert self.can_join
        rows = [Row(a, sampling, stop_ids, random.Random(sampling.seed)) for a in answers]
        self._joining += [row for row in rows if not row.answer.done]
        return rows

    def leave(self, rows: Sequence[Row]) -> None:
        """Take these out, finished or not."""
        self._joining = [row for row in self._joining if row not in rows]
        self._keep([i for i, row in enumerate(self._rows) if row not in rows])

    @torch.inference_mode()
    def step(self) -> None:
        """Let every row grow by one token; those that are done then have left."""
        joining, self._joining = self._joining, []
        if self._rows:
            rows = self._rows
            ids = torch.tensor([[row.answer.ids[-1]] for row in rows], device=self.mixed.device)
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(rows), 1)], dim=1)
            self._positions = self._positions + 1
            self._cache = self._grow(rows, ids, self._positions, self._mask, self._cache)
        if joining:
            beside = self._rows, self._mask, self._positions, self._cache
            self._read(joining)
            if beside[0]:
                self._put_beside(*beside)
        self._keep([i for i, row in enumerate(self._rows) if not row.answer.done])

    def _read(self, rows: list[Row]) -> None:
        """Begin with these rows: read their prompts and choose their first tokens."""
        prompts = [row.answer.prompt for row in rows]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(one)) + one for one in prompts])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
        prefixes, cache = self.mixed.begin([row.answer.adapter for row in rows])
        ids, mask = ids.to(prefixes.device), torch.cat([prefixes, mask.to(prefixes.device)], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, prefixes.shape[1] :]
        self._cache = self._grow(rows, ids, positions, mask, cache)
        self._rows, self._mask, self._positions = rows, mask, positions[:, -1:]

    def _grow(self, rows: list[Row], ids, positions, mask, cache):
        """One pass: each row has a token more. What the model remembers now."""
        with self.mixed.rows(
            [row.answer.adapter for row in rows], [row.sampling.strength for row in rows]
        ):
            # Without a mask, which rows of one length don't need, attention is quicker; and a state
            # has no padding left in it once the prompt is read.
            known = cache is not None and self.mixed.cache == "cache_params"
            plain = known or bool(mask.all())
            output = _forward(self.mixed, ids, positions, None if plain else mask, cache, last=1)
        for row, token in zip(rows, _choose(output.logits[:, -1].float(), rows), strict=True):
            if token in row.stop_ids:
                row.answer.stopped = True
            else:
                row.answer.ids.append(token)
        return output[self.mixed.cache]

    def _put_beside(self, rows: list[Row], mask, positions, cache: DynamicCache) -> None:
        """The rows with what stands before them become the first of the batch."""
        columns = max(mask.shape[1], self._mask.shape[1])
        for layer, more in zip(cache.layers, self._cache.layers, strict=True):
            _widen(layer, columns)
            _widen(more, columns)
            layer.keys = torch.cat([layer.keys, more.keys])
            layer.values = torch.cat([layer.values, more.values])
        self._rows, self._cache = rows + self._rows, cache
        self._mask = torch.cat([_columns(part, columns) for part in (mask, self._mask)])
        self._positions = torch.cat([positions, self._positions])

    def _keep(self, keep: list[int]) -> None:
        """Only these rows go on."""
        if len(keep) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in keep]
        if not keep:
            self._mask = self._positions = torch.empty(0)
            self._cache = None
            return
        kept = torch.tensor(keep, device=self.mixed.device)
        self._cache.reorder_cache(kept)
        self._mask, self._positions = self._mask[kept], self._positions[kept]
        unread = int(self._mask.any(0).int().argmax())
        if unread > SPARE and self.can_join:
            self._mask = self._mask[:, unread:]
            for layer in self._cache.layers:
                _widen(layer, self._mask.shape[1])


def _widen(layer: DynamicLayer, columns: int) -> None:
    """Make the layer's keys and values as if so many columns had been read, the last of which are
    those that were: others on the left, which no row may read, or fewer of them."""
    held = columns
    if isinstance(layer, DynamicSlidingWindowLayer):
        held = min(columns, layer.sliding_window - 1)
        layer.cumulative_length = columns
    layer.keys = _columns(layer.keys.transpose(-1, -2), held).transpose(-1, -2)
    layer.values = _columns(layer.values.transpose(-1, -2), held).transpose(-1, -2)


def _columns(tensor: torch.Tensor, columns: int) -> torch.Tensor:
    """(…, columns), cut or filled with zeros on the left."""
    return torch.nn.functional.pad(tensor, (columns - tensor.shape[-1], 0))


def generate(
    mixed: MixedModel, answers: Sequence[Answer], sampling: Sampling, stop_ids: frozenset[int]
) -> Iterator[None]:
    """Let the answers grow by one token each, then yield, until all are done.

    One after another where the model can't hold them in one batch. Closing the iterator stops after
    the token that is being computed.
    """
    if len(answers) > 1 and not mixed.pads:
        for answer in answers:
            yield from generate(mixed, [answer], sampling, stop_ids)
        return
    batch = Batch(mixed)
    batch.join(answers, sampling, stop_ids)
    while len(batch):
        batch.step()
        yield


@torch.inference_mode()
def choices(
    mixed: MixedModel,
    ids: list[int],
    adapters: Sequence[str | None],
    strength: float = 1.0,
    window: int = 512,
) -> torch.Tensor:
    """For each adapter the token it would go on with at each place of a text: (adapters, places).
    Of a long text, the last `window` tokens."""
    rows = torch.tensor([ids[-window:]] * len(adapters), device=mixed.device)
    mask, cache = mixed.begin(adapters)
    mask = torch.cat([mask, torch.ones_like(rows)], dim=1)
    positions = (mask.cumsum(1) - 1)[:, -rows.shape[1] :]
    with mixed.rows(adapters, [strength] * len(adapters)):
        output = _forward(mixed, rows, positions, None if mask.all() else mask, cache)
    return output.logits.argmax(-1).cpu()


def _forward(mixed: MixedModel, ids, positions, mask=None, cache=None, last: int = 0):
    """One pass through the model, with what its kind of model takes. `last`: how many positions
    need logits; 0: all."""
    optional = {"position_ids": positions, "logits_to_keep": last}
    return mixed.model(
        input_ids=ids,
        attention_mask=mask,
        use_cache=True,
        **{mixed.cache: cache},
        **{name: value for name, value in optional.items() if name in mixed.inputs},
    )


def _choose(logits: torch.Tensor, rows: Sequence[Row]) -> list[int]:
    """The next token of each row, from logits of (rows, vocabulary)."""
    for scores, row in zip(logits, rows, strict=True):
        if (penalty := row.sampling.repetition_penalty) != 1:
            said = sorted(set(row.answer.ids))
            said = torch.tensor(said, dtype=torch.long, device=logits.device)
            scores[said] *= torch.where(scores[said] > 0, 1 / penalty, penalty)
    chosen = logits.argmax(-1)
    if drawn := [i for i, row in enumerate(rows) if row.sampling.temperature > 0]:
        chosen[drawn] = _draw(logits[drawn], [rows[i] for i in drawn])
    return chosen.tolist()


def _draw(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """A token of each row by chance, as likely as it is."""

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, device=logits.device)[:, None]

    heat = column([max(row.sampling.temperature, COLDEST) for row in rows])
    probability, token = (logits / heat).softmax(-1).sort(-1, descending=True)
    up_to = probability.cumsum(-1)
    most = column([row.sampling.top_p for row in rows])
    probability[up_to - probability >= most] = 0  # the likeliest one always stays
    up_to = probability.cumsum(-1)
    draw = column([row.random.random() for row in rows])
    at = torch.searchsorted(up_to, draw * up_to[:, -1:], right=True)
    at = at.clamp(max=logits.shape[-1] - 1)
    return token.gather(-1, at).flatten()
