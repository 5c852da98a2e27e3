"""python -m core.train RUN_FOLDER: one run, from its rows to its adapter.

Reads config.json, train.jsonl and eval.jsonl of the folder; writes plan.json, metrics.jsonl,
samples.jsonl, checkpoints/, adapter/ and, last, result.json. It needs neither web nor queue, and it
is the same program that starts a run and that resumes one: where there is a checkpoint it goes on
from it, with the same losses as if it had never stopped.

It ends in one of these ways: completed; stopped, when the run's `stop` file asks for it, with the
adapter and a checkpoint kept; paused or discarded, when that asks for it, with a checkpoint alone
or without anything; paused too, with the last checkpoint, when the disk has no room for the next
one; failed, with the reason in result.json; or, when it is terminated or the
process named by GRAFT_PARENT is gone, with a checkpoint and no result, so that the run counts as
interrupted. The exit status is 1 for failed and 0 otherwise.

`accelerate launch -m core.train RUN_FOLDER` trains on several devices.
"""

import gc
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core import disk
from core.errors import UserError, explain
from core.methods import METHODS
from core.runs import Run

if TYPE_CHECKING:
    from accelerate import Accelerator


def main() -> int:
    os.umask(0o077)  # also where it was started by hand
    run = Run(Path(sys.argv[1]).resolve())
    if run.config.quantization == "none":
        # Importing peft imports it where it is there, and with it torch's compiler: a quarter of
        # the time to the first step.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]

    # What is imported stays, and looking through it for garbage takes a sixth of the imports' time.
    gc.disable()
    import torch
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from core import loading, loop

    gc.freeze()
    gc.enable()
    dtype = loading.pick_dtype(loading.pick_device())
    precision = "fp16" if dtype == torch.float16 else "no"
    if dtype == torch.bfloat16 and METHODS[run.config.method].kind == "full":
        precision = "bf16"  # its weights are in fp32; adapters' bases are in bf16 themselves
    # Devices may need different numbers of forward passes, so none may wait for the others in one.
    apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[apart])
    try:
        if accelerator.is_main_process:
            return _lead(run, accelerator)
        loop.train(run, accelerator)
        return 0
    finally:
        accelerator.end_training()  # a process that leaves its group open may abort as it exits


def _lead(run: Run, accelerator: "Accelerator") -> int:
    """Train as the process that keeps the run's folder; the exit status."""
    from core import loop
    from core.leaving import Left

    with run.started():
        try:
            outcome = loop.train(run, accelerator)
            print(f"{run.id}: {outcome}")
            return 0
        except Left as left:
            if str(left) == "stopped":
                run.finish("stopped")
            return 0
        except Exception as error:
            if disk.was_full(run.path):
                run.hold(disk.lacking(run.path, 0))
                with suppress(OSError):  # the log may not take it either
                    os.write(2, traceback.format_exc().encode())
                return 0
            if not isinstance(error, UserError):
                traceback.print_exc()
            what, hint = explain(error)
            print(f"{run.id}: failed: {what}")
            run.finish("failed", error=what, hint=hint)
            return 1


if __name__ == "__main__":
    sys.exit(main())
