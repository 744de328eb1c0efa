"""Made-up images, for the tests of micro captions and shifts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def photo(number: int) -> Pixels:
    """An image that differs from the others in light, color and busyness."""
    rng = np.random.default_rng(number)
    drawn = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return (drawn * rng.uniform(0.3, 1.0)).astype(np.uint8)
