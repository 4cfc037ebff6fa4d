"""Places in the plane for points of many dimensions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]


def tsne(rows: Array, perplexity: float, seed: int) -> Array:
    """t-SNE (van der Maaten & Hinton 2008) of (points, dimensions) to (points, 2), from the first
    principal components.

    The perplexity is at most a third of the points.
    """
    capped = min(perplexity, (len(rows) - 1) / 3)
    with threadpool_limits(1):  # threads cost more than they bring for so few points
        places = TSNE(perplexity=capped, init="pca", random_state=seed).fit_transform(rows)
    return np.asarray(places, np.float64)
