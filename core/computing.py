"""The environment of a process that computes. It only counts when it is set before the process
starts, which is why its parent does it."""

import sys
from ctypes.util import find_library
from functools import cache

ALLOCATOR = "tcmalloc_minimal"


@cache
def for_computing() -> dict[str, str]:
    environment = {
        # Linux's C library (glibc) asks the system for each large temporary tensor anew, and every
        # fresh page costs a fault; with these they come from the heap and stay there. Other
        # systems don't read them.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        # Threads that wait for one another look for some microseconds, then sleep. Where other
        # programs want the same cores, looking longer made linear layers 5 to 17 times slower;
        # sleeping at once costs a sixth of the speed of a quiet machine.
        "GOMP_SPINCOUNT": "10000",
        # oneDNN compiles a kernel for each shape of a product and keeps a thousand of them; packs
        # have ever new lengths. One step needs some dozens; the rest was 0.3 GB for a 30M model.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    }
    if sys.platform == "linux" and (library := find_library(ALLOCATOR)):
        # Of aligned memory glibc finds little again. With this one training on a CPU is some 10 %
        # faster and its peak a sixth lower (benchmarks/RESULTS.md).
        environment["LD_PRELOAD"] = library
    return environment
