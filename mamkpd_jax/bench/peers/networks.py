"""The peers' networks with random weights: crops uint8 [b, h, w, 3] to heatmaps fp32 [b, j, h / 4, w / 4].

`simple_baseline` is plain PyTorch. `hrnet_w32` and `vit_s` add a head to timm's backbones (the extra `peers`).
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mamkpd_jax.bench.peers import RESIZABLE, check
from mamkpd_jax.model.mamkpd import MEAN, STD


class Peer(nn.Module):
    """A network of normalisation, a backbone that gives one feature map, and a head that gives heatmaps."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, features: Callable[[Tensor], Tensor] | None = None):
        """`features` computes the feature map of crops; by default it is a call of the backbone."""
        super().__init__()
        self.backbone, self.head, self._features = backbone, head, features or backbone.__call__
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        crops = (images.permute(0, 3, 1, 2) - self.mean) / self.std
        crops = crops.contiguous(memory_format=torch.channels_last)
        return self.head(self._features(crops)).float()


def build(peer: str, n_joints: int, input_hw: tuple[int, int]) -> Peer:
    """A peer with random weights; `peer` is NAME or NAME:WIDTH.

    Raises:
        UserError: as `check`.
    """
    name, width = check(peer)
    if name == RESIZABLE:
        return _simple_baseline(n_joints, width)
    return _hrnet_w32(n_joints) if name == "hrnet_w32" else _vit_s(n_joints, input_hw)


def cost(model: Peer, input_hw: tuple[int, int]) -> tuple[int, int]:
    """The number of parameters, and of multiply-accumulates for one crop."""
    device = next(model.parameters()).device
    model.eval()
    # The counter misses fused attention; this backend computes it as matrix products.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros((1, *input_hw, 3), dtype=torch.uint8, device=device))
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2


def _simple_baseline(n_joints: int, width: float) -> Peer:
    """SimpleBaseline with ResNet-50. Source: Xiao et al., arXiv 1804.06208."""
    backbone = ResNet50(round(64 * width))
    return Peer(backbone, _deconv_head(backbone.out_channels, round(256 * width), 3, n_joints))


def _hrnet_w32(n_joints: int) -> Peer:
    """HRNet-W32; only the finest branch of the last stage is used. Source: Sun et al., arXiv 1902.09212."""
    import timm  # type: ignore[import-not-found]

    backbone = timm.create_model("hrnet_w32", features_only=True, feature_location="", out_indices=(1,))
    last = backbone.stage4[-1]
    last.fuse_layers = last.fuse_layers[:1]
    head = _heatmaps(backbone.feature_info.channels()[0], n_joints)
    return Peer(backbone, head, lambda crops: backbone(crops)[0])


def _vit_s(n_joints: int, input_hw: tuple[int, int]) -> Peer:
    """ViT-S/16 with two deconvolutions. Source: ViTPose's classic decoder, Xu et al., arXiv 2204.12484."""
    import timm  # type: ignore[import-not-found]

    backbone = timm.create_model(
        "vit_small_patch16_224", img_size=input_hw, num_classes=0, global_pool="", drop_path_rate=0.1
    )
    grid_hw = input_hw[0] // 16, input_hw[1] // 16

    def features(crops: Tensor) -> Tensor:
        tokens = backbone.forward_features(crops)[:, backbone.num_prefix_tokens :]
        return tokens.transpose(1, 2).unflatten(2, grid_hw)

    return Peer(backbone, _deconv_head(backbone.num_features, 256, 2, n_joints), features)


class ResNet50(nn.Module):
    """The convolutional part of ResNet-50: [b, 3, h, w] to [b, 32 width, h / 32, w / 32].

    Source: He et al., arXiv 1512.03385, with the stride in the 3x3 convolutions, as in torchvision.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, width, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.out_channels = width
        blocks = []
        for stage, depth in enumerate((3, 4, 6, 3)):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                blocks.append(_Bottleneck(self.out_channels, width * 2**stage, stride))
                self.out_channels = 4 * width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(channels, width, 1),
            *_convolution(width, width, 3, stride),
            *_convolution(width, 4 * width, 1)[:-1],
        )
        self.shortcut = nn.Identity()
        if stride != 1 or channels != 4 * width:
            self.shortcut = nn.Sequential(*_convolution(channels, 4 * width, 1, stride)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.residual(x) + self.shortcut(x), inplace=True)


def _convolution(n_in: int, n_out: int, size: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]


def _deconv_head(channels: int, width: int, n_deconvs: int, n_joints: int) -> nn.Module:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise([channels, *[width] * n_deconvs]):
        deconv = nn.ConvTranspose2d(n_in, n_out, 4, 2, 1, bias=False)
        nn.init.normal_(deconv.weight, std=0.001)
        layers += [deconv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, _heatmaps(width, n_joints))


def _heatmaps(channels: int, n_joints: int) -> nn.Conv2d:
    """The last layer, initialised as in SimpleBaseline and HRNet."""
    layer = nn.Conv2d(channels, n_joints, 1)
    for parameter, std in zip(layer.parameters(), (0.001, 0.0), strict=True):
        nn.init.normal_(parameter, std=std)
    return layer
