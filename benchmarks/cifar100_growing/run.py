"""Compatible training on CIFAR-100 with a growing backbone: the old ResNet has 8 layers, the new one 14.

Otherwise as ``cifar100_training``. For the options, see ``protocols/training.py``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.cifar100 import load
from benchmarks.protocols.training import main

if __name__ == "__main__":
    main(Path(__file__).parent.name, load, description=__doc__)
