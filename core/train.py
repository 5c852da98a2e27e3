"""python -m core.train RUN_FOLDER: one run, from its rows to its adapter.

Reads config.json, train.jsonl and eval.jsonl of the folder; writes plan.json, metrics.jsonl,
checkpoints/, adapter/ and, last, result.json. It needs neither web nor queue, and it is the same
program that starts a run and that resumes one: where there is a checkpoint it goes on from it,
with the same losses as if it had never stopped.

It ends in one of four ways: completed; stopped, when the run's `stop` file asks for it, with the
adapter and a checkpoint kept; failed, with the reason in result.json; or, when it is terminated or
the process named by GRAFT_PARENT is gone, with a checkpoint and no result, so that the run counts
as interrupted. The exit status is 1 for failed and 0 otherwise.

`accelerate launch -m core.train RUN_FOLDER` trains on several devices.
"""

import sys
import traceback
from pathlib import Path

from core.errors import UserError, explain
from core.methods import METHODS
from core.runs import Run


def main() -> int:
    run = Run(Path(sys.argv[1]).resolve())
    if run.config.quantization == "none":
        # Importing peft imports it where it is there, and with it torch's compiler: a quarter of
        # the time to the first step.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]

    import torch
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from core import loading, loop
    from core.leaving import Left

    dtype = loading.pick_dtype(loading.pick_device())
    precision = "fp16" if dtype == torch.float16 else "no"
    if dtype == torch.bfloat16 and METHODS[run.config.method].kind == "full":
        precision = "bf16"  # its weights are in fp32; adapters' bases are in bf16 themselves
    # Devices may need different numbers of forward passes, so none may wait for the others in one.
    apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[apart])
    if not accelerator.is_main_process:
        loop.train(run, accelerator)
        return 0
    with run.started():
        try:
            outcome = loop.train(run, accelerator)
            print(f"{run.id}: {outcome}")
            return 0
        except Left as left:
            if str(left) == "stopped":
                run.finish("stopped", step=0, seconds=0.0)
            return 0
        except Exception as error:
            if not isinstance(error, UserError):
                traceback.print_exc()
            what, hint = explain(error)
            print(f"{run.id}: failed: {what}")
            run.finish("failed", error=what, hint=hint)
            return 1


if __name__ == "__main__":
    sys.exit(main())
