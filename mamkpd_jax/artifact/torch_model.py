"""MamKPD in plain PyTorch. It needs only this file and torch, and for `.safetensors` files the safetensors package.

    model = MamKPD.from_safetensors("model.safetensors")        # or MamKPD.from_pth("model.pth")
    points_px, scores = CropPredictor(model)(images)                # uint8 RGB crops [b, h, w, 3]

The network takes normalised images [b, 3, h, w] and returns heatmaps [b, j, h / stride, w / stride], as is usual in
PyTorch; inside the encoder features are channel-last. There is no compiled extension: the selective scan is a few dozen
ordinary tensor operations. So the model runs, compiles, exports and trains everywhere.

Source: MamKPD, and the JAX package mamkpd_jax, whose `mamkpd convert` writes and reads the weights.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

METADATA_KEY = "mamkpd"


# The scan cuts the tokens into chunks of at most this many. It steps through all chunks at once, token by token, and
# then joins the chunks' ends by odd-even reduction. On a CPU copying dominates the time, and this copies a fifth of
# what a reduction of the whole sequence does. Longer chunks need more operations, each on less data.
CHUNK = 8


def linear_recurrence(a: Tensor, x: Tensor) -> Tensor:
    """The states h_t = a_t h_{t-1} + x_t from h_0 = 0, over dimension 3 of [n, k, b, l, d].

    Odd-even reduction merges neighbours in pairs. The same function solves the sequence of pairs, which gives the state
    after each pair; one more step gives the state inside. This takes log2(l) levels and O(l) arithmetic. Decays are
    only multiplied, never divided. So no underflow makes a result wrong, unlike in the closed form with exp(cumsum).
    """
    n, k, length, d = sizes(a, 0, 1, 3, 4)
    if length <= 3:
        decays, inputs = a.split(1, dim=3), x.split(1, dim=3)
        h = [inputs[0]]
        for t in range(1, length):
            h.append(decays[t] * h[-1] + inputs[t])
        return torch.cat(h, dim=3)
    if length % 2:
        h = linear_recurrence(a[:, :, :, :-1], x[:, :, :, :-1])
        return torch.cat([h, a[:, :, :, -1:] * h[:, :, :, -1:] + x[:, :, :, -1:]], dim=3)
    (a_first, a_second), (x_first, x_second) = (
        v.reshape(n, k, -1, length // 2, 2 * d).split([d, d], dim=4) for v in (a, x)
    )
    after = linear_recurrence(a_second * a_first, a_second * x_first + x_second)
    inside = a_first * before(after) + x_first
    return torch.cat([inside, after], dim=4).reshape(n, k, -1, length, d)


def sizes(x: Tensor, *dimensions: int) -> list[int]:
    """Sizes as Python integers, even where a tracer has tensors: exports then contain no shape arithmetic."""
    return [int(x.shape[dimension]) for dimension in dimensions]


def before(h: Tensor) -> Tensor:
    """The states before each token, from those after each token; both are [n, k, b, l, d]."""
    return F.pad(h[:, :, :, :-1], (0, 0, 1, 0))


def flip_backward(x: Tensor) -> Tensor:
    """Reverses the sequences [n, 4, b, l, d] of the two backward directions, and keeps the forward ones."""
    return torch.cat([x[:, :2], x[:, 2:].flip(3)], dim=1)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), from operations that onnxruntime runs five times as fast as its Softplus."""
    return torch.maximum(x, torch.log1p(torch.exp(x.clamp(max=80.0))))


def chunked(rows: Tensor, columns: Tensor, chunk: int) -> Tensor:
    """Two maps [b, h, w, c] as chunks of tokens, the first row by row, the second column by column.

    The result is [2, b * chunks, chunk, c]. Columns are gathered by index: onnxruntime would merge a transposition and
    the one to channel-last into a slow copy of single values.
    """
    h, w, c = sizes(rows, 1, 2, 3)
    shape = (1, -1, chunk, c)
    order = torch.arange(h * w, device=rows.device).reshape(h, w).T.flatten()
    return torch.cat([rows.reshape(shape), columns.reshape(-1, h * w, c).index_select(1, order).reshape(shape)])


def by_token(chunks: Tensor) -> Sequence[Tensor]:
    """Splits [k, b * chunks, chunk, c] by the token's place in its chunk: [k, b * chunks, c] for each place."""
    k, chunk, c = sizes(chunks, 0, 2, 3)
    return chunks.reshape(k, -1, chunk * c).split(c, dim=2)


class SS2D(nn.Module):
    """Gated selective scan of a feature map [b, h, w, d] in four directions, fp32 inside (VMamba, arXiv 2401.10166)."""

    def __init__(self, dim: int, d_state: int):
        super().__init__()
        self.rank, self.d_state = math.ceil(dim / 16), d_state
        self.in_proj = nn.Linear(dim, 2 * dim, bias=False)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.x_proj = nn.Parameter(torch.zeros(dim, 4, self.rank + 2 * d_state))
        self.dt_weight = nn.Parameter(torch.zeros(4, self.rank, dim))
        self.dt_bias = nn.Parameter(torch.zeros(4, dim))
        self.A_log = nn.Parameter(torch.zeros(4, dim, d_state))
        self.D = nn.Parameter(torch.ones(4, dim))
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u = F.silu(channel_last(self.conv, u))
        return self.out_proj(self.norm(self.scan(u).to(z.dtype)) * F.silu(z))

    def scan(self, u: Tensor) -> Tensor:
        """The sum of the scans of `u` [b, h, w, d] in four directions: rows, columns, and both backward; fp32.

        The backward directions visit the tokens of a chunk from last to first.
        """
        h, w, d = sizes(u, 1, 2, 3)
        n, rank = self.d_state, self.rank
        # An extra projection that is always 1 makes delta's bias a part of the matrix product.
        ones = F.pad(self.D.new_zeros(4, rank + 2 * n), (1, 0), value=1.0).flatten()
        projected = F.linear(u, F.pad(self.x_proj, (1, 0)).flatten(1).T, ones).float()
        rows, columns, rows_back, columns_back = projected.chunk(4, dim=3)
        dt_weight = torch.cat([self.dt_bias[:, None], self.dt_weight], dim=1).float()
        A = -torch.exp(self.A_log.float().permute(2, 0, 1)[:, :, None])  # [n, 4, 1, d]

        chunk = math.gcd(h * w, CHUNK)
        tokens = torch.cat([chunked(rows, columns, chunk), chunked(rows_back, columns_back, chunk).flip(2)])
        low_rank, B, C = tokens.split([1 + rank, n, n], dim=3)
        low_rank = by_token(low_rank)  # [4, b * chunks, 1 + rank] each
        B, C = (v.permute(3, 0, 1, 2).split(1, dim=3) for v in (B, C))  # [n, 4, b * chunks, 1] each
        u = u.float()
        maps = by_token(chunked(u, u, chunk))  # [2, b * chunks, d] each

        # Each chunk starts from state 0. Keep the states after its tokens, and the decays since its start.
        states, decays = [], []
        for t in range(chunk):
            delta = softplus(low_rank[t] @ dt_weight)
            a = torch.exp(delta * A)
            x = delta * torch.cat([maps[t], maps[chunk - 1 - t]]) * B[t]
            states.append(a * states[-1] + x if states else x)
            decays.append(a * decays[-1] if decays else a)

        # The chunks' ends give the true states before the chunks, which correct the states inside.
        ends = (flip_backward(v[-1].reshape(n, 4, -1, h * w // chunk, d)) for v in (decays, states))
        start = flip_backward(before(linear_recurrence(*ends))).reshape(n, 4, -1, d)
        y = [((states[t] + decays[t] * start) * C[t]).split([2, 2], dim=1) for t in range(chunk)]
        sums = torch.cat([y[t][0] + y[chunk - 1 - t][1] for t in range(chunk)], dim=3)
        rows, columns = sums[0] if n == 1 else sums.sum(0)
        return rows.reshape(-1, h, w, d) + columns.reshape(-1, w, h, d).transpose(1, 2) + u * self.D.float().sum(0)


def channel_last(layer: nn.Module, x: Tensor) -> Tensor:
    """Applies a layer for channel-first maps to a channel-last map."""
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class DropPath(nn.Module):
    """Drops the residual branch of whole examples in training (stochastic depth, arXiv 1603.09382)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class VSSBlock(nn.Module):
    """SS2D and an MLP, each after a norm and with a residual connection (MamKPD eq. 2); channel-last in and out."""

    def __init__(self, dim: int, d_state: int, drop_path: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.ss2d = SS2D(dim, d_state)
        self.mlp_norm = nn.LayerNorm(dim, eps=1e-5)
        self.mlp_in = nn.Linear(dim, dim)
        self.mlp_out = nn.Linear(dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.ss2d(self.norm(x)))
        return x + self.drop_path(self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x)))))


class Stem(nn.Module):
    """Image to features at stride 2 (MamKPD eq. 1); channel-first in and out."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.depthwise = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False) for _ in range(2))
        self.depthwise_norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.conv(x)))
        for conv, norm in zip(self.depthwise, self.depthwise_norms, strict=True):
            x = F.silu(norm(conv(x)))
        return x


class CMM(nn.Module):
    """Contextual modeling module (MamKPD eq. 5); channel-first in, channel-last out, like all of `DOWNSAMPLING`."""

    def __init__(self, c_in: int, c_out: int, patch: int):
        super().__init__()
        stride, partition = (1, 4) if patch == 4 else (2, 1)
        self.inter = nn.Conv2d(c_in, c_in, 3, stride=stride, padding=1, groups=c_in, bias=False)
        self.inter_norm = nn.BatchNorm2d(c_in)
        self.embed = nn.Conv2d(c_in, c_out, partition, stride=partition)
        self.embed_conv = nn.Conv2d(c_out, c_out, 3, padding=1, groups=c_out)
        self.norm = nn.LayerNorm(c_out, eps=1e-5)
        self.intra = nn.Linear(c_out, c_out)
        self.intra_conv = nn.Conv2d(c_out, c_out, 3, padding=1, groups=c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed_conv(self.embed(self.inter_norm(self.inter(x))))
        x = self.norm(x.permute(0, 2, 3, 1))
        return x + channel_last(self.intra_conv, F.silu(self.intra(x)))


class PatchConv(nn.Module):
    """A strided convolution in place of the CMM (MamKPD fig. 3, w/o CMM)."""

    def __init__(self, c_in: int, c_out: int, patch: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, patch, stride=patch)
        self.norm = nn.LayerNorm(c_out, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Swin's patch merging in place of the CMM (MamKPD fig. 3, w-PM)."""

    def __init__(self, c_in: int, c_out: int, patch: int):
        super().__init__()
        self.patch = patch
        self.norm = nn.LayerNorm(patch * patch * c_in, eps=1e-5)
        self.reduction = nn.Linear(patch * patch * c_in, c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(2, (-1, self.patch)).unflatten(4, (-1, self.patch))  # [b, c, h, p, w, p]
        return self.reduction(self.norm(x.permute(0, 2, 4, 3, 5, 1).flatten(3)))


DOWNSAMPLING = {"cmm": CMM, "conv": PatchConv, "merging": PatchMerging}


class Stage(nn.Module):
    """One encoder stage: downsampling, VSS blocks, norm; channel-first in and out."""

    def __init__(self, down: nn.Module, dim: int, d_state: int, drop_paths: Sequence[float]):
        super().__init__()
        self.down = down
        self.blocks = nn.ModuleList(VSSBlock(dim, d_state, rate) for rate in drop_paths)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """Image to features at stride 16 with three stages, 32 with four; channel-first in and out (MamKPD eq. 2)."""

    def __init__(
        self,
        *,
        stem: bool,
        depths: Sequence[int],
        dims: Sequence[int],
        downsampling: str,
        d_state: int,
        drop_path: float,
    ):
        super().__init__()
        self.stem = Stem(dims[0]) if stem else nn.Identity()
        rates = torch.linspace(0, drop_path, sum(depths)).tolist()
        self.stages = nn.ModuleList()
        c_in = dims[0] if stem else 3
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            down = DOWNSAMPLING[downsampling](c_in, dim, 4 if i == 0 and not stem else 2)
            first = sum(depths[:i])
            self.stages.append(Stage(down, dim, d_state, rates[first : first + depth]))
            c_in = dim

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
        return x


class HeatmapHead(nn.Module):
    """Two deconvolutions and a 1x1 convolution to heatmaps (MamKPD eq. 3), with the flip and decoding of heatmaps.

    Features are channel-first [b, c, h, w], outputs heatmaps [b, j, h, w].

    Args:
        description: as in `MamKPD`.
    """

    def __init__(self, description: dict[str, Any]):
        super().__init__()
        model, head = description["config"]["model"], description["config"]["head"]
        c_in, dim = model["dims"][-1], model["decoder_dim"]
        self.codec, self.sigma_px = head["codec"], head["sigma_px"]
        self.flip_indices = list(description["flip_indices"])
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(c, dim, 4, stride=2, padding=1, bias=False) for c in (c_in, dim)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in range(2))
        self.head = nn.Conv2d(dim, len(self.flip_indices), 1)

    def forward(self, x: Tensor) -> Tensor:
        for deconv, norm in zip(self.deconvs, self.norms, strict=True):
            x = F.relu(norm(deconv(x)))
        return self.head(x)

    def flip(self, heatmaps: Tensor) -> Tensor:
        """Maps the heatmaps of a mirrored image back to the image itself."""
        mirrored = heatmaps.flip(3)[:, self.flip_indices]
        if self.codec == "udp":
            return mirrored
        # Moved right by a pixel, because a mirrored strided grid is one pixel off.
        return torch.cat([mirrored[..., :1], mirrored[..., :-1]], dim=3)

    def decode(self, heatmaps: Tensor, image_hw: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Points [b, j, 2], as (x, y) in pixels of the crop, and scores [b, j]."""
        (height, width), (rows, columns) = image_hw, sizes(heatmaps, 2, 3)
        points, scores = decode_heatmaps(heatmaps, self.codec, self.sigma_px * columns / width)
        less = 1 if self.codec == "udp" else 0  # UDP measures from the first pixel's centre to the last one's
        stride = torch.tensor([(width - less) / (columns - less), (height - less) / (rows - less)])
        return points * stride.to(points.device), scores


# By the kind that a description names. Each head takes the description as its argument.
HEADS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {"heatmap": HeatmapHead}


class MamKPD(nn.Module):
    """The network, from normalised crops [b, 3, h, w] to the head's outputs, such as heatmaps [b, j, h, w].

    A crop shows one person or animal.

    Args:
        description: a weights file's metadata: `config`, with the sizes and the head, `skeleton`,
            `flip_indices`, `mean` and `std` (of RGB, 0 to 255); other fields are kept unchanged.
    """

    def __init__(self, description: dict[str, Any]):
        super().__init__()
        self.description = description
        config = description["config"]
        names = ("stem", "depths", "dims", "downsampling", "d_state", "drop_path")
        self.encoder = Encoder(**{name: config["model"][name] for name in names})
        self.decoder: Any = HEADS[config["head"]["kind"]](description)

    def forward(self, image: Tensor) -> Any:
        """The head's outputs for normalised images [b, 3, h, w]."""
        # PyTorch's BatchNorm in training is a hundred times less accurate on channel-last maps, as permuted images are.
        return self.decoder(self.encoder(image.contiguous()))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of images and heatmaps."""
        return next(self.parameters()).dtype

    def compile(self, **options: Any) -> None:
        """Compiles the VSS blocks in place, each by `torch.compile` with these options.

        Blocks of equal shapes share their code: Small takes three compilations for each batch size. In contrast,
        `torch.compile(model)` compiles one graph with twelve copies of the scan, which takes many times as long.
        """
        for module in self.modules():
            if isinstance(module, VSSBlock):
                module.compile(**options)

    @classmethod
    def from_safetensors(cls, path: str | Path) -> "MamKPD":
        """A model from a `.safetensors` file, ready to predict."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            description = described((file.metadata() or {}).get(METADATA_KEY), path)
            return cls._filled(description, {name: file.get_tensor(name) for name in file.keys()})

    @classmethod
    def from_pth(cls, path: str | Path) -> "MamKPD":
        """A model from a `.pth` or `.pt` file, ready to predict; nothing in the file is executed."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        description = described(saved.get(METADATA_KEY) if isinstance(saved, dict) else None, path)
        return cls._filled(description, saved["state_dict"])

    @classmethod
    def _filled(cls, description: dict[str, Any], state: dict[str, Tensor]) -> "MamKPD":
        model = cls(description)
        # DataParallel and torch.compile put a prefix before each name.
        model.load_state_dict({re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in state.items()})
        return model.eval()

    def save_pth(self, path: str | Path) -> None:
        """Writes a `.pth` file that `from_pth` and `mamkpd convert --input` read."""
        torch.save({"state_dict": self.state_dict(), METADATA_KEY: json.dumps(self.description)}, path)


def described(about: str | None, path: str | Path) -> dict[str, Any]:
    """Parses the description of the model in a weights file's metadata."""
    if about is None:
        raise ValueError(f"{path} has no description under the key {METADATA_KEY!r}; give a file of `mamkpd convert`")
    return json.loads(about)


class CropPredictor(nn.Module):
    """A model with its pre- and postprocessing, which stay in fp32 even if the model is in `half()` or `bfloat16()`.

    Args:
        normalize: take uint8 RGB images [b, h, w, 3]; else the model's normalised ones.
        flip_test: average the outputs with those for the mirrored images.
        decode: return points [b, j, 2], as (x, y) in pixels of the crop, and scores [b, j]; else the head's outputs.
    """

    def __init__(self, model: MamKPD, *, normalize: bool = True, flip_test: bool = True, decode: bool = True):
        super().__init__()
        self.model = model
        self.normalize, self.flip_test, self.decode = normalize, flip_test, decode
        self.mean, self.std = model.description["mean"], model.description["std"]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Points and scores for images, or the head's outputs without `decode`; shapes as in the class's arguments."""
        if self.normalize:
            # Not buffers: `half()` would round those with the weights.
            mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
            images = ((images.float() - mean) / std).permute(0, 3, 1, 2)
        images = images.to(self.model.dtype)
        outputs = self.model(images).float()
        if self.flip_test:
            outputs = (outputs + self.model.decoder.flip(self.model(images.flip(3)).float())) / 2
        return self.model.decoder.decode(outputs, sizes(images, 2, 3)) if self.decode else outputs


def decode_heatmaps(heatmaps: Tensor, codec: str, sigma: float) -> tuple[Tensor, Tensor]:
    """Points [b, j, 2] in heatmap pixels and scores [b, j]: each peak's subpixel position, and its height.

    "plain" moves the peak by a quarter pixel towards its larger neighbour. "dark" (arXiv 1910.06278) and "udp" (arXiv
    1911.07524) take a Newton step on the logarithm of the heatmap, after a blur for targets of `sigma` heatmap pixels.
    """
    joints, height, width = sizes(heatmaps, 1, 2, 3)
    flat = (-1, joints, height * width)  # `flatten` would hide the joints from ONNX, and empty batches would fail
    scores, index = heatmaps.reshape(flat).max(dim=2, keepdim=True)
    x, y = index % width, index // width
    surface = heatmaps if codec == "plain" else log_blurred(heatmaps, codec, sigma)
    # With this margin no index needs clamping, because TensorRT can't clamp integers.
    padded = F.pad(surface, (2, 2, 2, 2), mode="replicate").reshape(-1, joints, (height + 4) * (width + 4))

    def value(dx: int, dy: int) -> Tensor:
        return padded.gather(2, (y + 2 + dy) * (width + 4) + x + 2 + dx)

    gradient = torch.cat([value(1, 0) - value(-1, 0), value(0, 1) - value(0, -1)], dim=2) / 2
    offset = 0.25 * gradient.sign() if codec == "plain" else newton_step(gradient, value, codec)
    if codec != "udp":
        reach = 1 if codec == "plain" else 2
        inner = (x > 1) & (x < width - reach) & (y > 1) & (y < height - reach)
        offset = torch.where(inner, offset, 0.0)
    return torch.cat([x, y], dim=2) + offset, scores[..., 0]


def newton_step(gradient: Tensor, value: Callable[[int, int], Tensor], codec: str) -> Tensor:
    """The step [b, j, 2] to the top of the parabola through the values around a peak; 0 where there is none."""
    dx, dy = gradient.split(1, dim=2)
    middle = value(0, 0)
    if codec == "dark":
        dxx = (value(2, 0) - 2 * middle + value(-2, 0)) / 4
        dyy = (value(0, 2) - 2 * middle + value(0, -2)) / 4
        dxy = (value(1, 1) - value(-1, 1) - value(1, -1) + value(-1, -1)) / 4
    else:
        dxx = value(1, 0) - 2 * middle + value(-1, 0)
        dyy = value(0, 1) - 2 * middle + value(0, -1)
        cross = value(1, 0) + value(0, 1) + value(-1, 0) + value(0, -1)
        dxy = (value(1, 1) + value(-1, -1) + 2 * middle - cross) / 2
    determinant = dxx * dyy - dxy * dxy
    step = torch.cat([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=2)
    return torch.where(determinant != 0, step / torch.where(determinant == 0, 1.0, determinant), 0.0)


def log_blurred(heatmaps: Tensor, codec: str, sigma: float) -> Tensor:
    """The logarithm of heatmaps after a Gaussian blur with zeros outside, rescaled to keep each heatmap's maximum."""
    reach = round(2.5 * sigma)
    blur_sigma = 0.3 * (reach - 1) + 0.8

    def band(size: int) -> Tensor:
        distance = torch.arange(size, device=heatmaps.device)
        distance = (distance - distance[:, None]).abs()
        return torch.where(distance <= reach, torch.exp(-(distance**2) / (2 * blur_sigma**2)), 0.0)

    height, width = sizes(heatmaps, 2, 3)
    blurred = band(height) @ heatmaps @ band(width)
    before, after = heatmaps.amax((2, 3), keepdim=True), blurred.amax((2, 3), keepdim=True)
    blurred = torch.where(after > 0, blurred * before / torch.where(after > 0, after, 1.0), blurred)
    return torch.log(blurred.clamp(min=1e-10) if codec == "dark" else blurred.clamp(1e-3, 50.0))
