"""Attention inside the segments of a pack, without a mask over the whole pack.

The usual way to keep the examples of a pack apart is a mask of length x length, almost all of it
"no", over which the whole square is computed. Here each segment is a causal attention of its own:
the sum of the squares instead of the square of the sum. On a GPU one kernel does all of them
(FlashAttention's variable lengths; Dao 2023, arXiv:2307.08691); on other devices it is a loop over
their lengths.
"""

import inspect
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "graft_segments"


class Segments(NamedTuple):
    """Where the examples of a pack lie. lengths: of each, in tokens; bounds: (segments + 1,) of
    int32, from 0 to the length of the pack."""

    lengths: tuple[int, ...]
    bounds: torch.Tensor

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Segments":
        bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        return cls(tuple(lengths), bounds)

    def to(self, device: torch.device) -> "Segments":
        return self._replace(bounds=self.bounds.to(device))


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """For transformers' AttentionInterface. query: (rows, heads, length, size), key and value with
    as many heads or fewer; a pack is one row. Returns (rows, length, heads, size)."""
    if segments is None or attention_mask is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **more
        )
    if query.is_cuda and query.dtype != torch.float32 and not dropout and _kernel(query):
        return _in_one_kernel(query, key, value, segments, scaling, sliding_window), None
    # Neighbours of one length are rows of one call.
    alike = [(length, len(list(same))) for length, same in groupby(segments.lengths)]
    widths = [length * rows for length, rows in alike]
    parts = [
        F.scaled_dot_product_attention(
            _as_rows(q, rows),
            _as_rows(k, rows),
            _as_rows(v, rows),
            attn_mask=_window(length, sliding_window, query.device),
            dropout_p=dropout,
            is_causal=not _is_cut(length, sliding_window),
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        for (length, rows), q, k, v in zip(
            alike, *(whole.split(widths, dim=2) for whole in (query, key, value)), strict=True
        )
    ]
    # (rows, heads, length, size) -> (rows * length, heads, size), as they lie in memory
    flat = [part.transpose(1, 2).flatten(0, 1) for part in parts]
    return (torch.cat(flat) if len(flat) > 1 else flat[0])[None], None


def _as_rows(whole: torch.Tensor, rows: int) -> torch.Tensor:
    """(1, heads, rows * length, size) as (rows, heads, length, size); nothing is copied."""
    return whole[0].unflatten(1, (rows, -1)).transpose(0, 1)


def _in_one_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    longest = max(segments.lengths)
    out = _varlen()(
        *(whole[0].transpose(0, 1) for whole in (query, key, value)),
        segments.bounds,
        segments.bounds,
        longest,
        longest,
        scale=scaling,
        # How far back a token looks, and how far ahead.
        window_size=(sliding_window - 1 if sliding_window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[None]


def _kernel(query: torch.Tensor) -> bool:
    """Whether torch's kernel takes it: from Ampere on, heads of up to 256."""
    able = query.shape[-1] <= 256 and torch.cuda.get_device_capability(query.device) >= (8, 0)
    return able and _varlen() is not None


@cache
def _varlen() -> Any:
    """torch's kernel for segments of several lengths; None where it is absent or too old."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "enable_gqa" in inspect.signature(varlen_attn).parameters else None


def _is_cut(length: int, sliding_window: int | None) -> bool:
    return sliding_window is not None and sliding_window < length


def _window(length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor | None:
    """(length, length): which tokens each looks back on, where that is fewer than all."""
    if sliding_window is None or not _is_cut(length, sliding_window):
        return None
    places = torch.arange(length, device=device)
    back = places[:, None] - places
    return (back >= 0) & (back < sliding_window)


def _mask(*args: Any, attention_mask: torch.Tensor | None = None, **more: Any) -> Any:
    """For transformers' AttentionMaskInterface: none for a pack, whose segments say it all."""
    if attention_mask is None:
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **more)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)


def use_segments(model: PreTrainedModel, wanted: bool) -> None:
    """Have the model's attention take the `segments=` of its forward passes, or a mask again. A
    model whose attention is computed in a way of its own is left as it is."""
    now, then = ("sdpa", NAME) if wanted else (NAME, "sdpa")
    parameters = inspect.signature(model.forward).parameters.values()
    hands_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if model.config._attn_implementation == now and hands_on:
        model.set_attn_implementation(then)


def in_segments(model: PreTrainedModel) -> bool:
    return model.config._attn_implementation == NAME
