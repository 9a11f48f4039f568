"""How much is tried of what is drawn at random: all of it, but for the loop to work in."""

from __future__ import annotations

from hypothesis import settings


def examples(usual: int) -> int:
    """Of so many examples, as many as the profile of hypothesis has of its usual hundred."""
    return usual * settings().max_examples // 100
