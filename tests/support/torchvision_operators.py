"""A plugin of pytest for `make test-open-clip`: torchvision can be imported beside a torch that it was not built for.

Its compiled part does not load there, and describing two of the operators in it fails the import. Nothing that open_clip
needs uses them, so it is enough that their names exist.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

OPERATORS = ("nms", "qnms")


def loads(library):
    try:
        torch.ops.load_library(library)
    except OSError:
        return False
    return True


found = find_spec("torchvision")
if found is not None and not loads(Path(found.origin).with_name("_C.so")):
    names = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        names.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
