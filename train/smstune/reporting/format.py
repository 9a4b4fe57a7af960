"""Numbers as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from smstune.language import Message


def interval_text(bounds: Sequence[float] | None) -> str:
    """Return an interval as a cell shows it."""
    if bounds is None:
        return ""
    return Message("{low:.3f} to {high:.3f}", low=bounds[0], high=bounds[1])


def share_text(share: float | None) -> str:
    """Return a share as a percentage with two decimals."""
    if share is None:
        return show(None)
    return Message("{percentage:.2f} %", percentage=100 * share)


def show(value: object) -> str:
    """Return ``value`` as a cell shows it."""
    if value is None:
        return "–"
    if isinstance(value, Markup):
        return value
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def percent(share: float) -> str:
    """Return a share as a whole percentage, but never 0 % or 100 % for a share in between."""
    if 0 < share < 0.005:
        return Message("under 1 %")
    if 0.995 <= share < 1:
        return Message("over 99 %")
    return Message("{percentage:.0f} %", percentage=100 * share)


def join_sentences(sentences: Sequence[str], language: str) -> str:
    """Return sentences as a paragraph: with blanks between them, but not in Chinese."""
    return ("" if language.startswith("zh") else " ").join(sentences)
