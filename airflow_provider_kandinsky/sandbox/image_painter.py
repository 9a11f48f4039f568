"""Draws distinguishable images: the prompt over an abstract composition of circles, triangles and lines.

Everything is derived from the prompt, the seed and the image's index, so the same request gives the same image.
"""

from __future__ import annotations

import colorsys
import io
import math
from functools import lru_cache
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from airflow_provider_kandinsky.sandbox.image_caption import draw_caption

_Colour = tuple[int, int, int]
_Point = tuple[float, float]
#: Images are drawn larger and scaled down, as Pillow does not smooth edges.
_OVERSAMPLING = 2
_REDUCTION = 4
#: Steps around the colour wheel from the background's hue.
_HARMONIES = ((0.5, 0.58, 0.08), (0.33, 0.67, 0.05), (0.08, 0.5, 0.92), (0.42, 0.58, 0.95))


@lru_cache(maxsize=64)
def paint(prompt: str, seed: int, index: int, size: tuple[int, int]) -> bytes:
    """Draw a PNG; the same arguments give the same image.

    :param index: of the request's images, from 0.
    :param size: width and height in pixels.
    """
    rng = Random(f"{prompt}:{seed}:{index}")
    night = rng.random() < 0.5
    hue = rng.random()
    colours = _palette(hue, night, rng)
    # What is smooth is painted small and enlarged, which takes a tenth of the time.
    background = _ground(hue, night, rng, (math.ceil(size[0] / _REDUCTION), math.ceil(size[1] / _REDUCTION)))
    _glow(background, colours, rng)
    canvas = background.resize((size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING), Image.Resampling.BILINEAR)
    _Composition(canvas, colours, rng).draw()
    image = canvas.reduce(_OVERSAMPLING)
    draw_caption(image, prompt, f"seed {seed}, picture {index + 1}")
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=3)
    return target.getvalue()


def _colour(hue: float, lightness: float, saturation: float) -> _Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _palette(hue: float, night: bool, rng: Random) -> list[_Colour]:
    lightness = 0.62 if night else 0.5
    accents = [_colour(hue + step, lightness, 0.66) for step in rng.choice(_HARMONIES)]
    ink = (250, 244, 230) if night else (28, 26, 38)
    return [*accents, _colour(hue, 0.8 if night else 0.3, 0.55), ink]


def _ground(hue: float, night: bool, rng: Random, size: tuple[int, int]) -> Image.Image:
    # A square that covers the canvas at any rotation.
    side = math.ceil(math.hypot(*size))
    ramp = Image.linear_gradient("L").resize((side, side)).rotate(rng.choice((20, 45, 70, 110, 135, 160)))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    ramp = ramp.crop((left, top, left + size[0], top + size[1]))
    if night:
        dark, light = _colour(hue, 0.09, 0.55), _colour(hue + 0.07, 0.27, 0.5)
    else:
        dark, light = _colour(hue, 0.8, 0.55), _colour(hue + 0.09, 0.95, 0.7)
    return ImageOps.colorize(ramp, dark, light)


def _glow(canvas: Image.Image, colours: list[_Colour], rng: Random) -> None:
    for colour in colours[:3]:
        mask = Image.new("L", (128, 128))
        x, y, radius = rng.uniform(10, 118), rng.uniform(10, 118), rng.uniform(18, 42)
        ImageDraw.Draw(mask).ellipse(_box((x, y), radius), fill=rng.randrange(90, 170))
        mask = mask.filter(ImageFilter.GaussianBlur(14)).resize(canvas.size, Image.Resampling.BICUBIC)
        canvas.paste(colour, (0, 0, *canvas.size), mask)


class _Composition:
    """What is drawn on the background. Its unit is a hundredth of the shorter side."""

    def __init__(self, canvas: Image.Image, colours: list[_Colour], rng: Random) -> None:
        self._size = canvas.size
        self._unit = min(canvas.size) / 100
        self._draw = ImageDraw.Draw(canvas, "RGBA")
        self._colours = colours
        self._rng = rng

    def draw(self) -> None:
        rng = self._rng
        for _ in range(rng.randrange(2, 4)):
            self._rings(self._random_point(), self._random_length(9, 22))
        for _ in range(rng.randrange(2, 5)):
            self._triangle(self._random_point(), self._random_length(8, 22))
        for _ in range(rng.randrange(4, 8)):
            self._line(self._random_point(), self._random_length(20, 60))
        for _ in range(rng.randrange(1, 3)):
            self._arcs(self._random_point(), self._random_length(10, 20))
        self._checkers(self._random_point(), self._random_length(2.5, 4.5))
        for _ in range(rng.randrange(6, 14)):
            box = _box(self._random_point(), self._random_length(0.6, 2.2))
            self._draw.ellipse(box, fill=(*rng.choice(self._colours), 230))

    def _random_point(self) -> _Point:
        # The lower quarter is for the caption.
        return self._size[0] * self._rng.uniform(0.08, 0.92), self._size[1] * self._rng.uniform(0.07, 0.72)

    def _random_length(self, least: float, most: float) -> float:
        return self._unit * self._rng.uniform(least, most)

    def _rings(self, point: _Point, radius: float) -> None:
        for share in (1.0, self._rng.uniform(0.6, 0.75), self._rng.uniform(0.25, 0.4)):
            self._draw.ellipse(_box(point, radius * share), fill=(*self._rng.choice(self._colours[:4]), 185))
        self._draw.ellipse(_box(point, radius), outline=(*self._colours[-1], 220), width=round(radius / 18))

    def _triangle(self, point: _Point, radius: float) -> None:
        turn = self._rng.uniform(0, math.tau)
        corners = [
            (point[0] + radius * math.cos(turn + angle), point[1] + radius * math.sin(turn + angle))
            for angle in (0, self._rng.uniform(1.7, 2.4), self._rng.uniform(3.8, 4.6))
        ]
        self._draw.polygon(corners, fill=(*self._rng.choice(self._colours[:4]), 150))

    def _line(self, point: _Point, length: float) -> None:
        turn = self._rng.uniform(0, math.tau)
        dx, dy = length / 2 * math.cos(turn), length / 2 * math.sin(turn)
        ends = (point[0] - dx, point[1] - dy, point[0] + dx, point[1] + dy)
        width = round(self._unit * self._rng.choice((0.4, 0.6, 1.1)))
        self._draw.line(ends, fill=(*self._colours[-1], 235), width=width)

    def _arcs(self, point: _Point, radius: float) -> None:
        start = self._rng.uniform(0, 360)
        colour = (*self._rng.choice(self._colours), 240)
        for step in range(3):
            box = _box(point, radius + step * self._unit * 2.2)
            self._draw.arc(box, start, start + 150, fill=colour, width=round(self._unit * 0.8))

    def _checkers(self, point: _Point, cell: float) -> None:
        pair = self._rng.sample(self._colours, 2)
        for row in range(4):
            for column in range(4):
                x, y = point[0] + (column - 2) * cell, point[1] + (row - 2) * cell
                self._draw.rectangle((x, y, x + cell, y + cell), fill=(*pair[(row + column) % 2], 215))


def _box(centre: _Point, radius: float) -> tuple[float, float, float, float]:
    """The square around a circle."""
    x, y = centre
    return x - radius, y - radius, x + radius, y + radius
