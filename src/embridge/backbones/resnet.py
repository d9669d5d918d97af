"""SmallResNet: the residual network for small images."""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import Tensor, nn

from embridge.backbones.base import Backbone, drawn_from, require_counts
from embridge.backbones.record import Takes
from embridge.errors import SettingsError

__all__ = ["SmallResNet"]


@final
class SmallResNet(Backbone):
    """Three stages of width, 2 · width and 4 · width channels, the mean over the image, and a linear layer.

    For images of 32 pixels a side or so; n blocks a stage.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016 (arXiv 1512.03385), section 4.2.
    ``Deviation:`` where the number of channels changes, the way past a block is a 1 × 1 convolution (their option B), not a
    cut with zeros.

    Args:
        feature_dim: The dims of its features.
        width: Channels of the first stage.
        depth: Layers of weights, 6n + 2.
        seed: The weights are drawn from it.

    Raises:
        SettingsError: The depth is not 6n + 2 with n of at least 1.

    Examples:
        >>> import torch
        >>> SmallResNet(8, width=4, depth=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8])
    """

    kind: ClassVar[str] = "small-resnet"
    takes: Takes = "images"

    def __init__(self, feature_dim: int, *, width: int = 16, depth: int = 20, seed: int = 0) -> None:
        super().__init__()
        require_counts("small-resnet", feature_dim=feature_dim, width=width, depth=depth)
        if depth < 8 or (depth - 2) % 6:
            raise SettingsError(f"small-resnet: depth is 6n + 2 with n of at least 1 (8, 14, 20, …), came {depth}")
        self.feature_dim, self.width, self.depth, self.seed = feature_dim, width, depth, seed
        blocks = (depth - 2) // 6
        with drawn_from(seed):
            self.stem = _Convolved(3, width)
            stages = [_stage(width * max(1, 2 ** (i - 1)), width * 2**i, blocks, halve=i > 0) for i in range(3)]
            self.stages = nn.Sequential(*stages)
            self.last = nn.Linear(4 * width, feature_dim)
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.last(self.stages(self.stem(x).relu()).mean((2, 3)))
        return features

    def config(self) -> dict[str, Any]:
        return {"feature_dim": self.feature_dim, "width": self.width, "depth": self.depth}


class _Convolved(nn.Sequential):
    """A convolution without a bias, and batch normalisation, which has one."""

    def __init__(self, channels: int, channels_out: int, *, size: int = 3, stride: int = 1) -> None:
        convolution = nn.Conv2d(channels, channels_out, size, stride=stride, padding=size // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels_out))


class _Block(nn.Module):
    def __init__(self, channels: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.one = _Convolved(channels, channels_out, stride=stride)
        self.two = _Convolved(channels_out, channels_out)
        same = channels == channels_out and stride == 1
        self.past = nn.Identity() if same else _Convolved(channels, channels_out, size=1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # pixels are left out before the 1 × 1 convolution, not by its stride: see `unsound_layer`
        pixels = x[..., :: self.stride, :: self.stride]
        added: Tensor = self.two(self.one(x).relu()) + self.past(pixels)
        return added.relu()


def _stage(channels: int, channels_out: int, blocks: int, *, halve: bool) -> nn.Sequential:
    first = _Block(channels, channels_out, stride=2 if halve else 1)
    return nn.Sequential(first, *(_Block(channels_out, channels_out, stride=1) for _ in range(blocks - 1)))
