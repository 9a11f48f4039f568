"""Find images in a response, in any shape.

The vendor documents a URL for one sample. For several, or for ``base64``, the shape is not documented, so all likely
ones are read: URLs, data URIs, bare base64, JSON as text, and lists and objects of those.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final

from airflow_provider_kandinsky.segmind.constants import MAX_IMAGES
from airflow_provider_kandinsky.segmind.schemas import Image
from airflow_provider_kandinsky.segmind.wire.bodies import parse_json

#: Keys under which an object may hold its image, best first.
_OBJECT_KEYS: Final = ("url", "image_url", "image", "b64_json", "base64", "data", "output", "images")

#: Bytes that may follow the end of an image in its file: some writers add a few.
_TRAILER: Final = 1024

#: The longest URL, in characters.
_MAX_URL: Final = 2048

#: The most boxes of an AVIF file that are read; a normal one has a handful.
_MAX_BOXES: Final = 1000

#: Shapes nest (a list of objects of JSON text …), but no plausible one this deep.
_MAX_DEPTH: Final = 8


Parse = Callable[[str], Any]


def collect_images(*values: Any, parse: Parse = parse_json) -> tuple[Image, ...]:
    """Find the images in the given JSON values, in order, each once.

    :param values: the ``images`` and ``output`` fields of a body, in that order.
    :param parse: reads JSON that came as text; ``None`` if it is not JSON.
    :return: at most :data:`MAX_IMAGES`; empty if nothing looks like an image.
    """
    return first_images(image for value in values for image in _walk(value, _MAX_DEPTH, parse))


def first_images(images: Iterable[Image]) -> tuple[Image, ...]:
    """The first :data:`MAX_IMAGES` different images, in order."""
    found: dict[Image, None] = {}
    for image in images:
        found[image] = None
        if len(found) == MAX_IMAGES:
            break
    return tuple(found)


def image_extension(data: bytes) -> str | None:
    """The type of an image by its content: ``"png"``, ``"jpeg"``, ``"webp"``, ``"gif"``, ``"avif"``, or ``None``."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return None


def is_complete(image: IO[bytes], extension: str) -> bool:
    """Whether an image has its end, as far as its format shows it. A broken connection can look like a finished one.

    :param image: seekable; its position is changed.
    :param extension: from :func:`image_extension`.
    """
    size = image.seek(0, io.SEEK_END)
    image.seek(max(0, size - _TRAILER))
    tail = image.read()
    if extension == "png":
        return b"IEND\xaeB`\x82" in tail
    if extension == "jpeg":
        # These two bytes never follow each other inside the data of a JPEG.
        return b"\xff\xd9" in tail
    if extension == "gif":
        return tail.rstrip(b"\0").endswith(b";")
    if extension == "webp":
        image.seek(4)
        return int.from_bytes(image.read(4), "little") + 8 <= size
    return _has_complete_boxes(image, size)


def _has_complete_boxes(image: IO[bytes], size: int) -> bool:
    """Whether an AVIF file ends where its last box ends."""
    start = 0
    for _ in range(_MAX_BOXES):
        if start >= size:
            break
        image.seek(start)
        header = image.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length == 0:
            return True  # this box extends to the end of the file
        if length < 8:
            return False
        start += length
    return start == size


def _walk(value: Any, depth: int, parse: Parse) -> Iterator[Image]:
    if depth == 0:
        return
    if isinstance(value, str):
        yield from _from_text(value.strip(), depth, parse)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, depth - 1, parse)
    elif isinstance(value, dict):
        # An object describes one image, perhaps in two ways; its first usable field is taken.
        for key in _OBJECT_KEYS:
            found = _walk(value.get(key), depth - 1, parse)
            if (first := next(found, None)) is not None:
                yield first
                yield from found
                return
        for key, field in value.items():
            if key not in _OBJECT_KEYS:
                yield from _walk(field, depth - 1, parse)


def _from_text(text: str, depth: int, parse: Parse) -> Iterator[Image]:
    lowered = text[:16].lower()
    if lowered.startswith(("http://", "https://")):
        if len(text) <= _MAX_URL:
            yield Image(url=text)
    elif lowered.startswith("data:"):
        yield from _from_base64(text.partition(",")[2])
    elif lowered.startswith(("[", "{", '"')):
        yield from _walk(parse(text), depth - 1, parse)
    else:
        yield from _from_base64(text)


def _from_base64(text: str) -> Iterator[Image]:
    # Many plain words are valid base64; it counts only if it decodes to an image.
    if image_extension(_decoded(text[:64])[:16]) and (data := _decoded(text)):
        yield Image(data=data)


def _decoded(text: str) -> bytes:
    """Decode base64 that may contain blanks; empty if it is not base64."""
    try:
        return base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
