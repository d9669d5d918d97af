"""Compatible training on CIFAR-100: an old model of 50 classes, new ones of all 100, trained from images with one recipe.

A small ResNet at 32 × 32 pixels. Judged on test images of all classes, which are both the queries and the gallery (no image
finds itself): right is what is of the same class. For the options, see ``protocols/training.py``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.cifar100 import load
from benchmarks.protocols.training import main

if __name__ == "__main__":
    main(Path(__file__).parent.name, load, description=__doc__)
