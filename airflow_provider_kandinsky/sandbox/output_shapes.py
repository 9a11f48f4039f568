"""How a finished job's pictures are put into a body.

The vendor documents one shape for one picture; for several, and for ``base64``, nobody outside knows. So there is a
choice, and a client that reads them all is ready for the service.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from airflow_provider_kandinsky.sandbox.settings import OutputShape

CONTENT_TYPE = "image/png"


def needs_pictures(shape: OutputShape, *, as_base64: bool) -> bool:
    """Whether the body holds the pictures themselves, so that they have to be painted first."""
    return as_base64 or shape in ("data-uri", "bare-base64")


def put_pictures(pictures: Sequence[bytes], shape: OutputShape) -> dict[str, Any]:
    """The part of a body that holds the pictures themselves.

    :param pictures: at least one PNG.
    """
    texts = [base64.b64encode(picture).decode() for picture in pictures]
    if shape == "data-uri":
        texts = [f"data:{CONTENT_TYPE};base64,{text}" for text in texts]
    return {"output": _arranged(texts, shape, key="base64")}


def put_urls(urls: Sequence[str], shape: OutputShape) -> dict[str, Any]:
    """The part of a body that names the pictures.

    :param urls: at least one.
    """
    if shape != "images":
        return {"output": _arranged(urls, shape, key="url")}
    images = [{"url": url, "content_type": CONTENT_TYPE, "file_name": url.rpartition("/")[2]} for url in urls]
    return {"output": urls[0], "images": images}


def _arranged(items: Sequence[str], shape: OutputShape, *, key: str) -> Any:
    if shape == "list":
        return list(items)
    if shape == "objects":
        return [{key: item} for item in items]
    if shape == "object":
        return {key: items[0]} if len(items) == 1 else {"images": [{key: item} for item in items]}
    if shape == "json-text":
        return json.dumps(list(items))
    return items[0] if len(items) == 1 else list(items)
