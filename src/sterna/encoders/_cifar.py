"""The small residual networks for 32 px pictures.

Paper: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), section 4.2: three groups of
n blocks with 16, 32 and 64 maps, 6n + 2 layers; where the maps double, the shortcut takes every other pixel and pads
the new maps with zeros (option A), so it has no weights. The zero maps lie on both sides of the old ones, as in the
implementation whose weights these networks are opened with.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is carried."""

    def __init__(self, maps_in: int, maps: int) -> None:
        super().__init__()
        self.stride = 1 if maps_in == maps else 2
        self.padding = (maps - maps_in) // 2
        self.conv1 = nn.Conv2d(maps_in, maps, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)

    def forward(self, inputs: Tensor) -> Tensor:
        carried = inputs[:, :, :: self.stride, :: self.stride]
        carried = F.pad(carried, (0, 0, 0, 0, self.padding, self.padding))
        inner = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(inner)) + carried)


class CifarResNet(nn.Module):
    """The network of `depth` = 6n + 2 layers: (b, 3, 32, 32) -> (b, classes)."""

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act = nn.ReLU()
        self.layer1 = _group(blocks, 16, 16)
        self.layer2 = _group(blocks, 16, 32)
        self.layer3 = _group(blocks, 32, 64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.act(self.bn1(self.conv1(inputs)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(self.flatten(self.pool(maps)))


def _group(blocks: int, maps_in: int, maps: int) -> nn.Sequential:
    return nn.Sequential(Block(maps_in, maps), *(Block(maps, maps) for _ in range(blocks - 1)))
