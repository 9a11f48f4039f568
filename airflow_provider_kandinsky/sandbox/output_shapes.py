"""How a result holds its images.

The vendor documents the shape for one image only, not for several nor for ``base64``. So the shape is a setting, and a
client should read all of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from airflow_provider_kandinsky.sandbox.settings import OutputShape

CONTENT_TYPE = "image/png"


def needs_image_bytes(shape: OutputShape, *, as_base64: bool) -> bool:
    """Whether the body holds the images themselves."""
    return as_base64 or shape in ("data-uri", "bare-base64")


def embed_images(images: Sequence[bytes], shape: OutputShape) -> dict[str, Any]:
    """The part of a body that holds the images themselves.

    :param images: at least one PNG.
    """
    texts = [base64.b64encode(image).decode() for image in images]
    if shape == "data-uri":
        texts = [f"data:{CONTENT_TYPE};base64,{text}" for text in texts]
    return {"output": _in_shape(texts, shape, key="base64")}


def link_images(urls: Sequence[str], shape: OutputShape) -> dict[str, Any]:
    """The part of a body that has the images' URLs.

    :param urls: at least one.
    """
    if shape != "images":
        return {"output": _in_shape(urls, shape, key="url")}
    images = [{"url": url, "content_type": CONTENT_TYPE, "file_name": url.rpartition("/")[2]} for url in urls]
    return {"output": urls[0], "images": images}


def _in_shape(items: Sequence[str], shape: OutputShape, *, key: str) -> Any:
    if shape == "list":
        return list(items)
    if shape == "objects":
        return [{key: item} for item in items]
    if shape == "object":
        return {key: items[0]} if len(items) == 1 else {"images": [{key: item} for item in items]}
    if shape == "json-text":
        return json.dumps(list(items))
    return items[0] if len(items) == 1 else list(items)
