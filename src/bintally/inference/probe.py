"""Photos made by a formula, to ask two engines the same question: is this model what it was when it was exported?

Shapes: N photos uint8[N,S,S,3], probabilities float32[N,K+1].
"""

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-3
"""How far two machines' probabilities may lie apart: rounding, not another model."""
_BLOCKS = 8


def made_photos(number: int, side_px: int) -> npt.NDArray[np.uint8]:
    """Blocks of colour under noise: flat enough to be like photos, varied enough to reach every layer.

    >>> made_photos(2, 32).shape
    (2, 32, 32, 3)
    """
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (number, _BLOCKS, _BLOCKS, 3))
    each = -(-side_px // _BLOCKS)
    grown = blocks.repeat(each, axis=1).repeat(each, axis=2)[:, :side_px, :side_px]
    return np.clip(grown + rng.normal(0, 12, grown.shape), 0, 255).astype(np.uint8)
