"""Vision transformer on image patches (after Dosovitskiy et al. 2021), without a class token.

Shapes: b batch, t tokens, d width, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.config import ViT

POSITION_STD = 0.02


def build(config: ViT, channels: int, size: int, classes: int) -> nn.Module:
    """The network for images of `size` x `size` pixels.

    Raises ValueError if the patches do not tile the image.
    """
    if size % config.patch:
        raise ValueError(
            f"model.patch: found {config.patch} with images of {size}x{size}, expected a divisor "
            f"of {size}"
        )
    return VisionTransformer(config, channels, size, classes)


class VisionTransformer(nn.Module):
    """Patches, linear embedding and learned positions, pre-norm blocks, mean over the tokens."""

    def __init__(self, config: ViT, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.patch = config.patch
        tokens = (size // config.patch) ** 2
        self.embedding = nn.Linear(channels * config.patch**2, config.width)
        self.positions = nn.Parameter(torch.randn(tokens, config.width) * POSITION_STD)
        sizes = (config.width, config.heads, config.feedforward)
        blocks = [Block(*sizes) for _ in range(config.depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, classes)

    def forward(self, images_bchw: Tensor) -> Tensor:
        """Logits (b, classes)."""
        patches_bpt = functional.unfold(images_bchw, self.patch, stride=self.patch)
        tokens_btd = self.embedding(patches_bpt.transpose(1, 2)) + self.positions
        mean_bd = self.norm(self.blocks(tokens_btd)).mean(1)
        logits: Tensor = self.head(mean_bd)
        return logits


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x)); the hidden units use GELU."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feedforward_norm = nn.LayerNorm(width)
        hidden = feedforward * width
        layers = (nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.feedforward = nn.Sequential(*layers)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Tokens (b, t, d) -> (b, t, d)."""
        x_btd = x_btd + self.attention(self.attention_norm(x_btd))
        result: Tensor = x_btd + self.feedforward(self.feedforward_norm(x_btd))
        return result


class Attention(nn.Module):
    """Attention of every token to all tokens.

    Written out: torch's own kernel has no second derivative, which the Hessian at the end of a
    training needs.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Tokens (b, t, d) -> (b, t, d)."""
        b, t, d = x_btd.shape
        size = d // self.heads
        parts = self.qkv(x_btd).view(b, t, 3, self.heads, size)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights_bhtt = (query @ key.transpose(-2, -1) * size**-0.5).softmax(-1)
        mixed_btd = (weights_bhtt @ value).transpose(1, 2).reshape(b, t, d)
        result: Tensor = self.output(mixed_btd)
        return result
