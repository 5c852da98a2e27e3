"""python -m benchmarks.machine DEVICE DTYPE: operations per second of a large matrix product.

The yardstick of a trainer's use of this machine: a matrix product is nearly all that it does.
"""

import sys
import time


def main(device: str, dtype: str) -> None:
    import torch

    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))

    def seconds() -> float:
        started = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    print(2 * size**3 / min(seconds() for _ in range(20)))


if __name__ == "__main__":
    main(*sys.argv[1:])
