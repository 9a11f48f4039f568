"""Render cards as HTML. Everything is escaped, and the pages' Content-Security-Policy allows nothing but the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from fastapi.responses import HTMLResponse

from airflow_provider_kandinsky.gallery.cards import Card, Image
from airflow_provider_kandinsky.gallery.pages import Neighbours, Page, Section
from airflow_provider_kandinsky.gallery.urls import GalleryUrls

_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _money(dollars: float) -> str:
    """Dollars with two decimals, or up to five below a cent."""
    whole, _, fraction = f"{dollars:,.5f}".rstrip("0").partition(".")
    return f"${whole}.{fraction:0<2}"


_TEMPLATES.filters |= {"money": _money, "seconds": "{:.1f} s".format, "count": "{:,}".format}


def render_gallery(urls: GalleryUrls, page: Page, sections: Sequence[tuple[Section, Sequence[Card]]]) -> HTMLResponse:
    """A page of cards.

    :param sections: its sections, each with its cards.
    """
    images = [image for _, cards in sections for card in cards for image in card.images]
    return _render("gallery.html", urls, images, page=page, sections=sections, totals=page.totals)


def render_image(urls: GalleryUrls, card: Card, index: int, neighbours: Neighbours) -> HTMLResponse:
    """Render one generation with one of its images large.

    :param index: of that image in the card.
    """
    return _render(
        "image.html",
        urls,
        card.images,
        card=card,
        index=index,
        neighbours=neighbours,
        previous=urls.image_at(*neighbours.previous) if neighbours.previous else None,
        next=urls.image_at(*neighbours.next) if neighbours.next else None,
    )


def render_loading(urls: GalleryUrls) -> HTMLResponse:
    """Render the page that is shown until the page itself is loaded."""
    return _render("loading.html", urls, [])


def render_message(urls: GalleryUrls, text: str, status: int) -> HTMLResponse:
    """Render an error page."""
    return _render("message.html", urls, [], status=status, text=text)


def _render(
    template: str, urls: GalleryUrls, images: Sequence[Image], *, status: int = 200, **context: Any
) -> HTMLResponse:
    origins = sorted({image.origin for image in images if image.origin})
    policy = [
        "default-src 'none'",
        " ".join(["img-src 'self'", *origins]),
        "style-src 'self'",
        "script-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        # The image hosts must not learn the names of DAGs.
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    html = _TEMPLATES.get_template(template).render(urls=urls, **context)
    return HTMLResponse(html, status_code=status, headers=headers)
