"""One process of several: trains on its rows, and dies in one of its steps if it is told to.

python -m tests.distribution.worker script PORT PROCESSES PROCESS FOLDER DIES_AFTER
"""

import os
import signal
import sys
from pathlib import Path

import jax

#: Seconds after which a process that is silent counts as lost.
HEARTBEAT = 10


def join(port, processes, process):
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"127.0.0.1:{port}", int(processes), int(process), heartbeat_timeout_seconds=HEARTBEAT
    )


def script(port, processes, process, folder, dies_after):
    from examples.datasets import load
    from examples.train_distributed import train
    from tests.distribution.test_processes import EVERY, STEPS

    def watch(number, loss):
        if process == processes - 1 and number == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    train(load("digits").train, STEPS, folder / "run.npz", EVERY, watch)


def fit(port, processes, process, folder, dies_after):
    import jaxnn as nn
    from jaxnn.distribution import gather
    from tests.distribution.test_processes import runs

    found = gather(runs())
    if process == 0:
        nn.checkpoint.save(folder / "fit.npz", found)


def saving(port, processes, process, folder, dies_after, by=signal.SIGKILL):
    import jaxnn as nn
    from jaxnn.distribution import gather
    from tests.distribution.test_processes import broken, numbers, saving

    def watch(number, scores):
        if process == processes - 1 and number == dies_after:
            os.kill(os.getpid(), by)

    saving(folder / "run", 1, on_step=watch)
    found = gather(numbers(saving(folder / "run", 2, on_step=watch)))
    if process == 0:
        nn.checkpoint.save(folder / "fit.npz", found)
    (folder / f"nan-{process}").write_text(broken())


def leaving(*given):
    saving(*given, by=signal.SIGTERM)


if __name__ == "__main__":
    what, *numbers, folder, dies_after = sys.argv[1:]
    join(*numbers)
    {"script": script, "fit": fit, "saving": saving, "leaving": leaving}[what](
        *map(int, numbers), Path(folder), int(dies_after)
    )
