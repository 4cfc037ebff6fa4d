"""The 1,797 handwritten 8x8 digits that scikit-learn ships, with a split that no seed changes."""

from __future__ import annotations

import importlib.metadata

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
TEST_POSITIONS = (1, 3, 5, 7)

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def fingerprint() -> str:
    """What the decoded digits depend on: the release of scikit-learn, read without importing it."""
    return f"scikit-learn {importlib.metadata.version('scikit-learn')}"


def decode() -> tuple[Split, Split]:
    """Training and test images, uint8 (n, 1, 8, 8), with their labels.

    Values 0..16 become 0..255. Of every 9 images of a class, in the order of the file, those at
    positions 1, 3, 5 and 7 are for testing: 798 in all, 77 to 81 of each class. The other 999 are
    for training, 97 to 102 of each class.
    """
    # a second of import, needed only when the cache is empty
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images.astype(np.int64) * 255 // 16).astype(np.uint8)[:, None]
    labels = data.target.astype(np.int64)
    test = _test_mask(labels)
    return (images[~test], labels[~test]), (images[test], labels[test])


def _test_mask(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(len(labels), dtype=bool)
    for label in range(CLASSES):
        members = np.flatnonzero(labels == label)
        mask[members[np.isin(np.arange(len(members)) % 9, TEST_POSITIONS)]] = True
    return mask
