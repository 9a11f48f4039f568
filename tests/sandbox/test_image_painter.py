"""The pictures: the same for the same request, and another for any other."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from PIL import Image

from airflow_provider_kandinsky.sandbox.image_painter import paint

SIZE = (512, 512)


def test_the_same_request_gives_the_same_picture_in_any_process():
    here = paint.__wrapped__("a cat", 1, 0, SIZE)
    code = f"import sys; from {paint.__module__} import paint; sys.stdout.buffer.write(paint('a cat', 1, 0, {SIZE}))"
    # Another hash seed: a picture that hung on the order of a set would come out differently.
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    assert here == there


def test_prompt_seed_and_number_each_make_another_picture():
    # Above the plate: the lettering differs anyway.
    requests = [("a cat", 1, 0), ("a dog", 1, 0), ("a cat", 2, 0), ("a cat", 1, 1)]
    pictures = [Image.open(io.BytesIO(paint(*request, SIZE))).crop((0, 0, 512, 250)) for request in requests]
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.parametrize("size", [(256, 256), (512, 256), (256, 512)])
@pytest.mark.parametrize(
    "prompt", ["x", "Лиса в лесу, 油画 🦊", "an astronaut " * 200, "donau" * 60, "two\nlines\tand  spaces"]
)
def test_any_prompt_is_painted_at_the_size_that_was_asked_for(prompt: str, size: tuple[int, int]):
    image = Image.open(io.BytesIO(paint(prompt, 0, 0, size)))
    image.load()
    assert (image.format, image.size) == ("PNG", size)
    colours = image.resize((32, 32)).getcolors(1024)
    assert colours is not None
    assert len(colours) > 200  # not a flat area


def test_the_prompt_is_written_on_it():
    def plate(prompt: str) -> int:
        image = Image.open(io.BytesIO(paint(prompt, 0, 0, SIZE))).convert("L").crop((46, 380, 466, 470))
        return sum(image.histogram()[240:])

    assert plate("WWWWWWWWWWWW WWWWWWWW WWW") > 3 * plate("i") > 0
