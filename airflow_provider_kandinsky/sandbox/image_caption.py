"""Writes the prompt on an image."""

from __future__ import annotations

from typing import cast

from PIL import Image, ImageDraw, ImageFont

#: Pillow's own font has little more than ASCII; these common fonts are tried for other text.
_WIDER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")
_MAX_LINES = 5


def draw_caption(image: Image.Image, prompt: str, caption: str) -> None:
    """Draw a box at the bottom of the image: the prompt, as large as fits, and a small line below it."""
    margin = round(min(image.size) * 0.045)
    width = image.width - 4 * margin
    caption_font = _font(caption, round(min(image.size) * 0.028))
    font, lines = _fit(" ".join(prompt.split()), width, min(image.size))
    leading = round(font.size * 1.3)
    height = leading * len(lines) + round(caption_font.size * 1.9) + 2 * margin
    top = image.height - margin - height
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rounded_rectangle(
        (margin, top, image.width - margin, image.height - margin), radius=margin // 2, fill=(14, 14, 22, 178)
    )
    for number, line in enumerate(lines):
        draw.text((2 * margin, top + margin + number * leading), line, font=font, fill=(255, 255, 255, 255))
    below = top + margin + len(lines) * leading + round(caption_font.size * 0.6)
    draw.text((2 * margin, below), caption, font=caption_font, fill=(255, 255, 255, 190))


def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    if not text.isascii():
        for name in _WIDER_FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:  # not on this machine
                continue
    # Typed as a union; with a size it is always this type.
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))


def _fit(text: str, width: int, side: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    for share in (0.06, 0.05, 0.042, 0.036):
        font = _font(text, round(side * share))
        lines = _wrap(text, font, width)
        if len(lines) <= _MAX_LINES:
            return font, lines
    last = lines[_MAX_LINES - 1]
    while last and font.getlength(last + " …") > width:
        last = last[:-1]
    return font, [*lines[: _MAX_LINES - 1], last.rstrip() + " …"]


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for character in word:  # a word wider than the box is broken anywhere
            if font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines
