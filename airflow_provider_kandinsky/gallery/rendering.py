"""From cards to HTML. Everything is escaped, and the pages may load nothing but what is named here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from fastapi.responses import HTMLResponse

from airflow_provider_kandinsky.gallery.urls import GalleryUrls
from airflow_provider_kandinsky.gallery.cards import Card, Image
from airflow_provider_kandinsky.gallery.pages import Neighbours, Page, Section

_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _money(dollars: float) -> str:
    """Cents, and of what is less whatever there is."""
    whole, _, fraction = f"{dollars:,.5f}".rstrip("0").partition(".")
    return f"${whole}.{fraction:0<2}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


def _count(number: int) -> str:
    return f"{number:,}"


_TEMPLATES.filters |= {"money": _money, "seconds": _seconds, "count": _count}


def render_gallery(
    addresses: GalleryUrls, page: Page, sections: Sequence[tuple[Section, Sequence[Card]]]
) -> HTMLResponse:
    """A page of cards.

    :param sections: what is on it, with the cards of each section.
    """
    images = [image for _, cards in sections for card in cards for image in card.images]
    return _render("gallery.html", addresses, images, page=page, sections=sections, totals=page.totals)


def render_image(addresses: GalleryUrls, card: Card, index: int, neighbours: Neighbours) -> HTMLResponse:
    """One generation, with one of its images large.

    :param index: of that image, in its card.
    """
    return _render(
        "image.html",
        addresses,
        card.images,
        card=card,
        index=index,
        neighbours=neighbours,
        previous=addresses.image_at(*neighbours.previous) if neighbours.previous else None,
        next=addresses.image_at(*neighbours.next) if neighbours.next else None,
    )


def render_opening(addresses: GalleryUrls) -> HTMLResponse:
    """What is seen until the page is there."""
    return _render("opening.html", addresses, [])


def render_message(addresses: GalleryUrls, text: str, status: int) -> HTMLResponse:
    """A sentence."""
    return _render("message.html", addresses, [], status=status, text=text)


def _render(
    template: str, addresses: GalleryUrls, images: Sequence[Image], *, status: int = 200, **context: Any
) -> HTMLResponse:
    origins = sorted({image.origin for image in pictures if image.origin})
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
        # Not even the names of DAGs are told to where the pictures are.
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    html = _TEMPLATES.get_template(template).render(addresses=addresses, **context)
    return HTMLResponse(html, status_code=status, headers=headers)
