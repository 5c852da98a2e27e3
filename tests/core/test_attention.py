"""Attention by segments is the attention of each segment alone."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from core import attention
from core.attention import Segments, attend

LENGTHS = (1, 9, 9, 9, 4, 17, 17)


def naive(query, key, value, scaling, window):
    """(1, heads, length, size) each -> (1, length, heads, size), by the book."""
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    scores = query @ key.mT * scaling
    places = torch.arange(query.shape[2])
    back = places[:, None] - places
    seen = (back >= 0) & (back < (window or len(places)))
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value).transpose(1, 2)


def pack(kv_heads):
    torch.manual_seed(0)
    total = sum(LENGTHS)
    heads = (4, kv_heads, kv_heads)
    return [torch.randn(1, n, total, 8, dtype=torch.float64, requires_grad=True) for n in heads]


def expected(tensors, window):
    parts = zip(*(whole.split(LENGTHS, dim=2) for whole in tensors), strict=True)
    return torch.cat([naive(*part, 0.3, window) for part in parts], dim=1)


@pytest.mark.parametrize("window", [None, 5, 64])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_each_segment_attends_to_itself_alone(kv_heads, window):
    tensors = pack(kv_heads)
    segments = Segments.of(LENGTHS)
    out, _ = attend(
        nn.Module(), *tensors, None, scaling=0.3, segments=segments, sliding_window=window
    )
    wanted = expected(tensors, window)
    torch.testing.assert_close(out, wanted)
    weights = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad((out * weights).sum(), tensors),
        torch.autograd.grad((wanted * weights).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def by_the_documentation(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa
):
    """torch's varlen_attn, which runs on GPUs only: (tokens, heads, size) each."""
    assert cu_seq_q.dtype == torch.int32
    assert max_q == max_k == max(LENGTHS)
    assert enable_gqa == (query.shape[1] != key.shape[1])
    left, right = window_size
    assert right == 0
    bounds = cu_seq_q.tolist()
    parts = [
        naive(
            *(x[begin:end].transpose(0, 1)[None] for x in (query, key, value)),
            scale,
            None if left < 0 else left + 1,
        )[0]
        for begin, end in pairwise(bounds)
    ]
    return torch.cat(parts)


@pytest.mark.parametrize("window", [None, 5, 64])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_kernel_for_gpus_is_told_the_same(monkeypatch, kv_heads, window):
    monkeypatch.setattr(attention, "_varlen", lambda: by_the_documentation)
    tensors = pack(kv_heads)
    out = attention._in_one_kernel(*tensors, Segments.of(LENGTHS), 0.3, window)
    torch.testing.assert_close(out, expected(tensors, window))


def test_the_kernel_for_gpus_is_called_as_this_torch_has_it():
    assert attention._varlen() is not None


def test_without_segments_it_is_the_library_s_own():
    query, key, value = pack(2)
    module = nn.Module()
    module.num_key_value_groups, module.is_causal = 2, True
    out, _ = attend(module, query, key, value, None, scaling=0.3)
    torch.testing.assert_close(out, naive(query, key, value, 0.3, None))
