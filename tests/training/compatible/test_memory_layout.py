"""The memory layout of a training: the fast one where it is sound, and no training that writes past its memory."""

import ctypes
import json
import os
import subprocess
import sys

import forked_trainings
import pytest
import torch
from small_trainings import BASIC, UNSOUND, train
from torch import nn

from embridge.backbones.resnet import SmallResNet
from embridge.backbones.vision import VisionBackbone
from embridge.training.compatible.memory_layout import image_layout, unsound_layer

PRELOAD = "libc_malloc_debug.so.0"
PROCESSORS = {
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "this processor": {},
}
PARTS = {  # what an objective adds runs the same on every processor; networks do not
    "avx2": ("own", "docstring", "widths", "objectives"),
    "this processor": ("own", "widths"),
}
if torch.backends.cpu.get_cpu_capability() == "AVX2":  # the two are one
    del PROCESSORS["this processor"]


def heap_checks():
    try:
        ctypes.CDLL(PRELOAD)
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def checked():
    """Trainings under the heap checks of the C library, in a process of their own."""
    environment = os.environ | {"LD_PRELOAD": PRELOAD, "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    work = {name: (PROCESSORS[name], PARTS[name]) for name in PROCESSORS}
    program = [sys.executable, "-X", "faulthandler", forked_trainings.__file__, json.dumps(work)]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.skipif(not heap_checks(), reason=f"the C library has no {PRELOAD}, which checks the heap")
@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_no_training_writes_past_its_memory(checked, processor):
    assert checked.returncode == 0, checked.stderr[-2_000:]
    assert json.loads(checked.stdout)[processor] == 0, checked.stderr[-2_000:]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(15, 8, 1, stride=2),
        nn.Conv2d(4, 8, 1, stride=(1, 2)),
        nn.Sequential(nn.Conv2d(3, 2, 1, stride=3)),
        *UNSOUND,
    ],
)
def test_a_1x1_convolution_with_a_stride_and_few_channels_is_trained_contiguous_on_a_processor(layer):
    assert unsound_layer(layer, "cpu") is not None
    assert image_layout(layer, "cpu") == torch.contiguous_format
    assert image_layout(layer, "cuda:0") == torch.channels_last


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(4, 8, 1),
        nn.Conv2d(4, 8, 3, stride=2),
        nn.Conv2d(4, 4, 1, stride=2, groups=4),
        nn.ConvTranspose2d(4, 8, 1, stride=2),
        *[SmallResNet(4, width=width, depth=8) for width in (1, 7, 16)],
    ],
)
def test_all_else_is_trained_in_channels_last(layer):
    assert image_layout(layer, "cpu") == torch.channels_last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "layer"), [(UNSOUND[0], "network.1"), (VisionBackbone(BASIC, 4), "model.encoder.stages.1")]
)
def test_a_users_network_is_trained_contiguous_and_the_layer_named_once(network, layer):
    layouts = []
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    handle = first.register_forward_pre_hook(
        lambda _, inputs: layouts.append((inputs[0].is_contiguous(), torch.is_grad_enabled()))
    )
    with pytest.warns(UserWarning, match=rf"{layer}.*contiguous layout, somewhat slower") as warned:
        train(network)
    handle.remove()
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)
    assert [contiguous for contiguous, grad in layouts if grad] == [True, True]
