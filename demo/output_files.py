"""Saves a run's images, which can then be viewed after the services have stopped."""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Iterable
from html import escape
from pathlib import Path

import httpx


def save_images(urls: Iterable[str], sheet: Path, folder: Path) -> Path:
    """Download the images, and save a copy of the contact sheet that shows the downloaded files.

    :param sheet: the contact sheet with the images' URLs.
    :param folder: deleted and created again.
    :return: the copy of the sheet.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    page = sheet.read_text(encoding="utf-8")
    with httpx.Client(timeout=60, trust_env=not _is_local(urls := list(urls))) as http:
        for number, url in enumerate(urls, start=1):
            image = http.get(url).raise_for_status()
            content_type = image.headers.get("content-type", "").partition(";")[0]
            file = folder / f"image-{number}{mimetypes.guess_extension(content_type) or '.png'}"
            file.write_bytes(image.content)
            page = page.replace(f'"{escape(url)}"', f'"{file.name}"')
    copy = folder / sheet.name
    copy.write_text(page, encoding="utf-8")
    return copy


def _is_local(urls: list[str]) -> bool:
    """Whether the images are served by the sandbox, which must not be reached through a proxy."""
    return all(httpx.URL(url).host == "127.0.0.1" for url in urls)
