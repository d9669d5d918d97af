"""Trains the smallest nets as each processor would, under heap checks: in forks of one process, which imports what is slow.

Run as a program with a JSON of what each fork's environment and parts are; its output says how each of them ended. A processor
is chosen by the environment until the first operation, so nothing is computed before the fork.
"""

import importlib
import json
import os
import sys

SLOW_IMPORTS = ("torch", "lightning.pytorch", "transformers.models.resnet.modeling_resnet")


def trained(environment, parts):
    os.environ.update(environment)
    import small_trainings
    import torch

    asked = environment.get("ATEN_CPU_CAPABILITY", torch.backends.cpu.get_cpu_capability())
    assert torch.backends.cpu.get_cpu_capability() == asked.upper(), "a processor was chosen before the fork"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in parts:
        print(name, file=sys.stderr, flush=True)
        getattr(small_trainings, name)()


def ended(environment, parts):
    """The exit code of a fork that does it, or minus the signal that ended it."""
    process = os.fork()
    if process == 0:
        trained(environment, parts)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    for module in SLOW_IMPORTS:
        importlib.import_module(module)
    print(json.dumps({name: ended(*how) for name, how in json.loads(sys.argv[1]).items()}))
