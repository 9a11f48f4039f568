"""Images in every shape that the service is known or feared to send."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest

from airflow_provider_kandinsky.segmind.schemas import Image
from airflow_provider_kandinsky.segmind.wire.images import collect_images, image_extension, is_complete

PNG, JPEG = b"\x89PNG\r\n\x1a\n one", b"\xff\xd8\xff\xe0 two"
PNG64, JPEG64 = base64.b64encode(PNG).decode(), base64.b64encode(JPEG).decode()
ONE, TWO = "https://images.segmind.com/1.jpeg", "https://images.segmind.com/2.jpeg"
URLS = [f"https://images.segmind.com/{number}.jpeg" for number in (5, 3, 8, 1, 7, 2, 6, 4)]

#: What the field holds, and the images in it: URLs as text, decoded images as bytes.
SHAPES: dict[str, tuple[Any, list[str | bytes]]] = {
    "nothing": (None, []),
    "empty text": ("", []),
    "empty list": ([], []),
    "empty object": ({}, []),
    "a word": ("done", []),
    "a word that is valid base64": ("base64", []),
    "a number": (42, []),
    "URL": (ONE, [ONE]),
    "URL with space around it": (f" {ONE}\n", [ONE]),
    "URL in capitals": ("HTTPS://I/1", ["HTTPS://I/1"]),
    "http URL": ("http://127.0.0.1:1/1.png", ["http://127.0.0.1:1/1.png"]),
    "data URI": (f"data:image/png;base64,{PNG64}", [PNG]),
    "data URI in capitals": (f"DATA:image/png;base64,{PNG64}", [PNG]),
    "data URI without picture": ("data:text/plain;base64,aGVsbG8=", []),
    "bare base64": (JPEG64, [JPEG]),
    "list of URLs": (URLS, URLS),
    "list of data URIs and bare base64": ([f"data:image/png;base64,{PNG64}", JPEG64], [PNG, JPEG]),
    "list with holes": ([None, ONE, "", TWO, {}], [ONE, TWO]),
    "objects with url": ([{"url": url, "content_type": "image/jpeg"} for url in URLS], URLS),
    "objects with image_url": ([{"image_url": ONE}, {"image_url": TWO}], [ONE, TWO]),
    "objects with b64_json": ([{"b64_json": PNG64}, {"b64_json": JPEG64}], [PNG, JPEG]),
    "objects with base64": ([{"base64": PNG64}], [PNG]),
    "object with url": ({"url": ONE}, [ONE]),
    "object with images": ({"images": [{"url": url} for url in URLS]}, URLS),
    "object with list under url": ({"url": URLS}, URLS),
    "object with output": ({"output": [ONE, TWO]}, [ONE, TWO]),
    "object with numbers as keys": ({"0": ONE, "1": TWO}, [ONE, TWO]),
    "object with an unknown key": ({"result_link": ONE}, [ONE]),
    "object with one picture in two ways": ({"base64": PNG64, "url": ONE}, [ONE]),
    "object whose first field is none": ({"url": "pending", "image": ONE}, [ONE]),
    "JSON list as text": (json.dumps(URLS), URLS),
    "JSON object as text": (json.dumps({"url": ONE}), [ONE]),
    "JSON string as text": (json.dumps(ONE), [ONE]),
    "JSON objects as text in a list": ([json.dumps({"url": url}) for url in URLS], URLS),
    "broken JSON as text": ('["https://i/1", ', []),
    "base64 with a piece of it hidden": (PNG64[:12] + "***" + PNG64[12:], []),
    "repeats": ([ONE, TWO, ONE, {"url": TWO}], [ONE, TWO]),
    "equal pictures": ([PNG64, f"data:image/png;base64,{PNG64}"], [PNG]),
    "nested too deep to be meant": ([[[[[[[[[[ONE]]]]]]]]]], []),
}


def images(found: list[str | bytes]) -> tuple[Image, ...]:
    return tuple(Image(url=each) if isinstance(each, str) else Image(data=each) for each in found)


@pytest.mark.parametrize(("value", "found"), SHAPES.values(), ids=SHAPES)
def test_every_shape_is_read_in_order(value: Any, found: list[str | bytes]) -> None:
    assert collect_images(None, value) == images(found)
    assert collect_images(value, None) == images(found)


@pytest.mark.parametrize(
    "wrap",
    [lambda value: [value], lambda value: {"url": value}, lambda value: {"any": value}, json.dumps],
    ids=["lists", "objects", "objects of unknown keys", "texts"],
)
def test_eight_levels_are_read_and_no_more(wrap: Callable[[Any], Any]) -> None:
    value: Any = ONE
    for _ in range(7):
        value = wrap(value)
    assert collect_images(value) == images([ONE])
    assert collect_images(wrap(value)) == ()


def test_images_come_before_output_and_repeats_are_dropped() -> None:
    assert collect_images([{"url": TWO}, {"url": ONE}], ONE) == images([TWO, ONE])
    assert collect_images([{"url": TWO}], [ONE, TWO]) == images([TWO, ONE])


def test_base64_in_lines_is_read() -> None:
    long = PNG + bytes(100)
    assert collect_images(base64.encodebytes(long).decode()) == images([long])


def test_an_unusable_known_key_does_not_hide_the_image() -> None:
    assert collect_images({"data": "see link", "link": ONE}) == images([ONE])


@pytest.mark.parametrize(
    ("start", "extension"),
    [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff\xdb", "jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"\x00\x00\x00\x1cftypavif", "avif"),
        (b"\x00\x00\x00\x1cftypavis", "avif"),
        (b"\x00\x00\x00\x1cftypmp42", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_images_are_known_by_their_first_bytes(start: bytes, extension: str | None) -> None:
    assert image_extension(start + bytes(20) if start else b"") == extension


def picture(extension: str) -> bytes:
    file = io.BytesIO()
    PIL.Image.linear_gradient("L").save(file, extension)
    return file.getvalue()


AVIF = b"\0\0\0\x14ftypavif\0\0\0\0mif1" + b"\0\0\0\x0cmeta1234" + b"\0\0\0\1mdat\0\0\0\0\0\0\0\x18pixels!!"
WHOLE = {extension: picture(extension) for extension in ("png", "jpeg", "webp", "gif")} | {"avif": AVIF}


@pytest.mark.parametrize("extension", WHOLE)
def test_an_image_that_is_incomplete_is_noticed(extension: str) -> None:
    data = WHOLE[extension]
    assert image_extension(data) == extension
    assert is_complete(io.BytesIO(data), extension)
    assert not any(
        is_complete(io.BytesIO(data[:length]), extension) for length in (len(data) // 2, len(data) - 3, len(data) - 1)
    )


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp", "gif"])
def test_a_little_padding_is_no_damage(extension: str) -> None:
    assert is_complete(io.BytesIO(WHOLE[extension] + bytes(8)), extension)


def test_a_sign_of_the_end_in_the_midst_of_a_gif_is_not_its_end() -> None:
    assert not is_complete(io.BytesIO(WHOLE["gif"] + b"X"), "gif")


def test_the_end_of_an_image_is_near_the_end_of_its_file() -> None:
    within = WHOLE["png"] + bytes(1000)
    assert is_complete(io.BytesIO(within), "png")
    assert not is_complete(io.BytesIO(within + bytes(100)), "png")


@pytest.mark.parametrize(
    ("boxes", "is_one"),
    [
        (b"\0\0\0\x08free", True),
        (b"\0\0\0\x09free!", True),
        (b"\0\0\0\x07fre", False),
        (b"\0\0\0\x02", False),
        (b"\0\0\0\0mdat, of whatever length", True),
        (b"\0\0\0\1mdat\0\0\0\0\0\0\0\x10", True),
        (b"\0\0\0\1mdat\0\0\0\0\0\0\0\0", True),
        (b"\0\0\0\1mdat\0\0\0\0\0\0\0\x07", False),
        (b"\0\0\0\1mdat\1\0\0\0\0\0\0\x10", False),
        (b"\0\0\0\x08free" * 2_000_000, False),
    ],
    ids=[
        "empty", "of one byte", "shorter than its head", "no room for a type", "to the end of the file",
        "long, and empty", "long, to the end of the file", "long, and shorter than its head", "longer than any file",
        "of millions of boxes",
    ],
)  # fmt: skip
def test_an_avif_ends_where_its_last_box_does(boxes: bytes, is_one: bool) -> None:
    assert is_complete(io.BytesIO(AVIF + boxes), "avif") is is_one
