"""What the machine has, as far as this process may use it.

There is no GPU where the tests run everywhere, so a small NVML stands in for the library: it knows
two cards, of which the second has no memory of its own.
"""

import types

import psutil
import pynvml
import pytest

from core import hardware


@pytest.fixture
def two_cards(monkeypatch):
    def memory(card):
        if card == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return types.SimpleNamespace(total=24 * 10**9, free=20 * 10**9)

    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": lambda uuid: {"GPU-abc": 1}[uuid],
        "nvmlDeviceGetName": lambda card: ["NVIDIA RTX 4090", "NVIDIA GB10"][card],
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetCudaComputeCapability": lambda card: (8, 9),
        "nvmlDeviceGetNumGpuCores": lambda card: 16384,
    }.items():
        monkeypatch.setattr(pynvml, name, answer)
    hardware._gpu.cache_clear()
    yield
    hardware._gpu.cache_clear()


@pytest.mark.parametrize(
    ("visible", "name"),
    [(None, "RTX 4090"), ("0", "RTX 4090"), ("1,0", "GB10"), ("GPU-abc", "GB10"), ("", "CPU"),
     ("-1", "CPU"), ("7", "CPU")],
)  # fmt: skip
def test_the_card_is_the_first_that_cuda_may_use(two_cards, monkeypatch, visible, name):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.device()
    assert found.name == name
    if name == "RTX 4090":
        assert found.title == "RTX 4090 · 4 of 24 GB used"
    if name == "GB10":
        assert found.kind == "cuda"
        assert found.memory_total == hardware.memory()[0]


@pytest.mark.parametrize("generation", [1, 2])
def test_a_container_has_its_limit_not_the_machines_memory(tmp_path, generation):
    names = ("memory.max", "memory.current", "inactive_file")
    folder = tmp_path
    if generation == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        folder = tmp_path / "memory"
        folder.mkdir()
    (folder / names[0]).write_text("100000000\n")
    (folder / names[1]).write_text("80000000\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} 30000000\n")
    assert hardware.memory(tmp_path) == (100_000_000, 50_000_000)


def test_what_is_left_to_other_programs_is_not_free(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("100000000")
    (tmp_path / "memory.current").write_text("80000000")
    (tmp_path / "memory.stat").write_text("")
    monkeypatch.setenv("GRAFT_KEEP_FREE", "0.005")
    assert hardware.memory(tmp_path) == (100_000_000, 15_000_000)
    monkeypatch.setenv("GRAFT_KEEP_FREE", "1e9")
    assert hardware.memory(tmp_path)[1] == hardware.memory(tmp_path / "none")[1] == 0


@pytest.mark.parametrize("limit", ["max\n", str(2**62), None])
def test_without_a_limit_it_is_the_machines(tmp_path, limit):
    if limit:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("1")
        (tmp_path / "memory.stat").write_text("")
    assert hardware.memory(tmp_path)[0] == psutil.virtual_memory().total


def test_what_learns_here_is_not_what_makes_it_slow(monkeypatch):
    monkeypatch.setattr(hardware, "_cores", lambda: 4)
    for load, alone, half, whole in ((0, 1, 1, 1), (4, 2, 1.41, 1), (8, 2.83, 2, 2)):
        monkeypatch.setattr(psutil, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        found = [hardware.slowdown(ours) for ours in (0.0, 0.5, 1.0)]
        assert found == [alone, half, whole]
