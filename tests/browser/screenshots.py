"""Pictures of the UI under ``docs/images``, which cannot show what is not there any more.

Each keeps the words it shows within itself. Every run of the tests holds them against the page, and only
``make screenshots`` writes them again. So a run leaves the files alone, whatever its fonts and its version of Chromium.
The film, and the small ones of the example DAGs, have no words: only ``make screenshots`` runs what they show.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow import __version__ as airflow_version
from PIL import Image, PngImagePlugin
from playwright.sync_api import Locator, Page, expect

#: What the fixture ``screenshot`` gives: :func:`picture` of the admin's window.
Screenshot = Callable[..., None]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WRITE = "KANDINSKY_SCREENSHOTS"
WORDS = "Words"
MOST_BYTES = 200_000
#: Of a picture without words, of which a page has many.
SMALL_BYTES = 40_000
FILM_BYTES = 2_000_000
COLOURS = 256
#: The Airflow in the pictures, which is the one that ``make test`` runs. Another's UI has other words, and other things
#: within the window.
TAKEN_ON = "3.3."
#: For how many seconds the page may go on changing.
RETRY_POLICY = 60


def picture(page: Page, name: str, part: Locator | None = None, *, shows: Sequence[Locator] = ()) -> None:
    """Hold the page against the picture of it, or take the picture when ``KANDINSKY_SCREENSHOTS=1``.

    :param name: the file's name in ``docs/images``, without its suffix.
    :param part: what to take; else all that is in the window.
    :param shows: what has to be in the window, as it is what the picture is for.
    :raises AssertionError: something of it is not there, or the stored picture has other words.
    """
    if not airflow_version.startswith(TAKEN_ON):
        return
    for locator in shows:
        expect(locator).to_be_in_viewport()
    file = IMAGES / f"{name}.png"
    if os.environ.get(WRITE) == "1":
        shot = (part or page).screenshot(animations="disabled", caret="hide")
        file.write_bytes(_compact(shot, _words(part or page.locator("body"))))
    assert file.exists(), f"{file.name} was never taken: make screenshots"
    assert file.stat().st_size <= MOST_BYTES, f"{file.name} is too large: {file.stat().st_size} bytes"
    with Image.open(file) as stored:
        words = stored.info.get(WORDS)
    # Airflow's pages come in pieces: what is not there yet may still be on its way.
    deadline = time.monotonic() + RETRY_POLICY
    while (shown := _words(part or page.locator("body"))) != words and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert shown == words, f"{file.name} shows other words than the page does: make screenshots"


def small_picture(page: Page, name: str) -> None:
    """Take what is in the window, for ``docs/images/<name>.webp``. Nothing is held against it later."""
    file = IMAGES / f"{name}.webp"
    file.parent.mkdir(exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as shot:
        shot.convert("RGB").save(file, "WEBP", quality=60, method=6)
    assert file.stat().st_size <= SMALL_BYTES, f"{file.name} is too large: {file.stat().st_size} bytes"


class Film:
    """What a window shows from one moment to the next, as an animation."""

    def __init__(self, page: Page, width: int) -> None:
        self._page, self._width = page, width
        self._frames: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def show(self, seconds: float) -> None:
        """Take what is in the window, and show it for so long."""
        with Image.open(io.BytesIO(self._page.screenshot(caret="hide"))) as shot:
            height = round(shot.height * self._width / shot.width)
            frame = shot.convert("RGB").resize((self._width, height), Image.Resampling.LANCZOS)
        if self._frames and frame.tobytes() == self._frames[-1].tobytes():
            self._milliseconds[-1] += round(seconds * 1000)
        else:
            self._frames.append(frame)
            self._milliseconds.append(round(seconds * 1000))

    def save(self, name: str) -> None:
        """Write it to ``docs/images/<name>.webp``; it begins again at its end."""
        file = IMAGES / f"{name}.webp"
        first, *others = self._frames
        first.save(
            file, "WEBP", save_all=True, append_images=others, duration=self._milliseconds, loop=0, quality=75, method=4
        )
        assert file.stat().st_size <= FILM_BYTES, f"{file.name} is too large: {file.stat().st_size} bytes"


def _words(part: Locator) -> str:
    """The words that can be read, less what is another in each run: ids, times, ports and amounts all have digits."""
    return " ".join(re.sub(r"\S*\d\S*", "…", part.inner_text()).split())


def _compact(shot: bytes, words: str) -> bytes:
    """Without transparency and in few colours: a quarter of the size, and nothing of it to be seen."""
    about = PngImagePlugin.PngInfo()
    about.add_itxt(WORDS, words)
    compact = io.BytesIO()
    with Image.open(io.BytesIO(shot)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(compact, "PNG", optimize=True, pnginfo=about)
    return compact.getvalue()
