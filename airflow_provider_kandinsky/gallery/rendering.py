"""From cards to HTML. Everything is escaped, and the pages may load nothing but what is named here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from fastapi.responses import HTMLResponse

from airflow_provider_kandinsky.gallery.addresses import Addresses
from airflow_provider_kandinsky.gallery.cards import Card, Picture
from airflow_provider_kandinsky.gallery.items import Item
from airflow_provider_kandinsky.gallery.pages import PageNumber, Totals, by_task

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


_TEMPLATES.filters |= {"money": _money, "seconds": _seconds}


def render_gallery(
    addresses: Addresses, cards: Sequence[Card], page: PageNumber, totals: Totals, *, goes_on: bool
) -> HTMLResponse:
    """A page of cards.

    :param goes_on: whether there may be more to come, so that the page looks again.
    """
    pictures = [picture for card in cards for picture in card.pictures]
    groups = by_task(cards)
    return _render("gallery.html", addresses, pictures, groups=groups, page=page, totals=totals, goes_on=goes_on)


def render_picture(
    addresses: Addresses, card: Card, index: int, places: Sequence[tuple[Item, int]], place: int, page: int
) -> HTMLResponse:
    """One picture.

    :param index: of the picture, in its card.
    :param places: where each picture of the scope is: its item, and its index there.
    :param place: where this one is among them.
    :param page: the page that its card is on.
    """
    return _render(
        "picture.html",
        addresses,
        [card.pictures[index]],
        card=card,
        index=index,
        number=place + 1,
        count=len(places),
        previous=addresses.picture(*places[place - 1]) if place else None,
        next=addresses.picture(*places[place + 1]) if place + 1 < len(places) else None,
        back=addresses.gallery(page),
    )


def render_message(addresses: Addresses, text: str, status: int) -> HTMLResponse:
    """A sentence."""
    return _render("message.html", addresses, [], status=status, text=text)


def _render(
    template: str, addresses: Addresses, pictures: Sequence[Picture], *, status: int = 200, **context: Any
) -> HTMLResponse:
    origins = sorted({picture.origin for picture in pictures if picture.origin})
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
