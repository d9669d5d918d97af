"""Compatible training on CIFAR-100 with a growing backbone: the old ResNet has 8 layers, the new one 14.

Otherwise as ``cifar100_training.py``. For the options, see ``training_runs.py``.
"""

from __future__ import annotations

from pathlib import Path

from cifar100_training import load
from training_runs import main

if __name__ == "__main__":
    main(Path(__file__).stem, load, said=__doc__)
