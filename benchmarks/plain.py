"""A training loop in the style of the published study, to compare with trainers.vision at equal
settings.

PIL transforms one image at a time in the training process, float32, eager, a loss read back at
every step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from trainers import models
from trainers.config import VisionCell

EVAL_BATCH = 256


class Samples(Dataset[tuple[torch.Tensor, int]]):
    """Images of a set through PIL, randomly cropped and flipped if `augment`, scaled to 0..1."""

    def __init__(self, images_nchw: torch.Tensor, labels: torch.Tensor, augment: bool) -> None:
        self.images_nhwc = images_nchw.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels, self.augment = labels, augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images_nhwc[index])
        if self.augment:
            size = image.size[0]
            padded = ImageOps.expand(image, border=4, fill=0)
            top, left = (int(torch.randint(0, 9, (1,))) for _ in range(2))
            image = padded.crop((left, top, left + size, top + size))
            if torch.rand(1) < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255), int(self.labels[index])


def epochs(
    cell: VisionCell, train: Samples, test: Samples, classes: int, device: torch.device
) -> Iterator[tuple[float, float]]:
    """Train forever with Adam at a constant rate; after each epoch, yield the running training
    error and the test error.

    Initialisation, order and augmentation come from torch's global generator, which the caller
    seeds.
    """
    size = train.images_nhwc.shape[1]
    model = models.build(cell.model, 3, size, classes).to(device)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=cell.optim.lr, weight_decay=cell.optim.weight_decay
    )
    batches, test_batches = (
        DataLoader(train, cell.trainer.batch_size, shuffle=True),
        DataLoader(test, EVAL_BATCH),
    )
    while True:
        model.train()
        wrong = 0
        for x, y in batches:
            x, y = x.to(device), y.to(device)
            optimiser.zero_grad()
            logits = model(x)
            loss = functional.cross_entropy(logits, y)
            loss.backward()
            optimiser.step()
            loss.item()
            wrong += int((logits.argmax(1) != y).sum())
        model.eval()
        missed = 0
        with torch.no_grad():
            for x, y in test_batches:
                missed += int((model(x.to(device)).argmax(1) != y.to(device)).sum())
        yield wrong / len(train), missed / len(test)
