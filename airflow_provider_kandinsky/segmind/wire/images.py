"""Pictures in whatever shape the service sends them.

With one sample the vendor documents a URL. With several, or with ``base64``, the shape is not known, so all the
likely ones are read: URLs, data URIs, bare base64, JSON as text, and lists and objects of those.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final

from airflow_provider_kandinsky.segmind.schemas import Image
from airflow_provider_kandinsky.segmind.wire.bodies import parse_json

#: Under which keys an object may hold its picture, best first.
_OBJECT_KEYS: Final = ("url", "image_url", "image", "b64_json", "base64", "data", "output", "images")

#: How far before the end of a file the end of its picture may be, in bytes: some writers add a little after it.
_TRAILER: Final = 1024

#: A job gives 8 at most.
MAX_IMAGES: Final = 16

#: Characters of a URL.
_MAX_URL: Final = 2048

#: How many boxes a file of the AVIF family may have; a whole one has a handful.
_MAX_BOXES: Final = 1000

#: Shapes nest (a list of objects of JSON text …), but never this deep in good faith.
_MAX_DEPTH: Final = 8


Parse = Callable[[str], Any]


def collect_images(*values: Any, parse: Parse = parse_json) -> tuple[Image, ...]:
    """Find the images in the given JSON values, in order, each once.

    :param values: the ``images`` and ``output`` fields of a body, in that order.
    :param parse: reads JSON that came as text; ``None`` if it is not JSON.
    :return: as many as there are, :data:`MAX_IMAGES` at most; none if nothing looks like an image.
    """
    return first_images(image for value in values for image in _walk(value, _MAX_DEPTH, parse))


def first_images(images: Iterable[Image]) -> tuple[Image, ...]:
    """As many of them as a request can have, in order, each once."""
    found: dict[Image, None] = {}
    for image in images:
        found[image] = None
        if len(found) == MAX_IMAGES:
            break
    return tuple(found)


def image_extension(data: bytes) -> str | None:
    """A picture's type by its content: ``"png"``, ``"jpeg"``, ``"webp"``, ``"gif"``, ``"avif"``, or ``None``."""
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


def is_whole(picture: IO[bytes], extension: str) -> bool:
    """Whether a picture goes to its end, so far as its format tells: a connection that breaks can look like one that
    ends.

    :param picture: seekable; it is left at some place.
    :param extension: as :func:`image_extension` gave it.
    """
    size = picture.seek(0, io.SEEK_END)
    picture.seek(max(0, size - _TRAILER))
    tail = picture.read()
    if extension == "png":
        return b"IEND\xaeB`\x82" in tail
    if extension == "jpeg":
        # Within the data of a JPEG these two never follow each other.
        return b"\xff\xd9" in tail
    if extension == "gif":
        return tail.rstrip(b"\0").endswith(b";")
    if extension == "webp":
        picture.seek(4)
        return int.from_bytes(picture.read(4), "little") + 8 <= size
    return _has_whole_boxes(picture, size)


def _has_whole_boxes(picture: IO[bytes], size: int) -> bool:
    """Whether a file of the AVIF family ends where its last box does."""
    start = 0
    for _ in range(_MAX_BOXES):
        if start >= size:
            break
        picture.seek(start)
        header = picture.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length == 0:
            return True  # this box goes to the end, wherever that is
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
        # An object describes one image, perhaps in two ways; its first good field is the one to take.
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
    # Many a plain word is valid base64; only what decodes to an image is one.
    if image_extension(_decoded(text[:64])[:16]) and (data := _decoded(text)):
        yield Image(data=data)


def _decoded(text: str) -> bytes:
    """The bytes of base64 that may have blanks in it; none if it is not base64."""
    try:
        return base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
