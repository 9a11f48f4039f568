"""Pictures that a person can tell apart: the prompt, over colours and shapes that belong to it."""

from __future__ import annotations

import io
from functools import lru_cache
from random import Random

from PIL import Image, ImageDraw, ImageFont


@lru_cache(maxsize=256)
def paint(prompt: str, seed: int, index: int, size: tuple[int, int]) -> bytes:
    """A PNG that is the same for the same arguments."""
    rng = Random(f"{prompt}:{seed}:{index}")
    image = Image.new("RGB", size, (rng.randrange(200), rng.randrange(200), rng.randrange(200)))
    ImageDraw.Draw(image).text((20, 20), prompt, font=ImageFont.load_default(28))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()
