"""Translates the messages of a report, or of a table, when it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

from smstune.language import Message, reader_language, translated

Content = TypeVar("Content")

#: The language tag of a page, by language.
TAGS = {"en": "en", "zh": "zh-CN"}


def in_reader_language(content: Content) -> Content:
    """Return a report, or anything inside one, with its messages translated for the reader.

    Other texts, such as names of labels and the user's own, stay as they are.
    """
    return cast(Content, _translated(content))


def language_tag() -> str:
    """Return the reader's language as a page names it, ``en`` or ``zh-CN``."""
    return TAGS[reader_language()]


def _translated(content: object) -> object:
    if isinstance(content, Message):
        return translated(content)
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return {_translated(key): _translated(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, set, frozenset)):
        return type(content)(_translated(item) for item in content)
    if is_dataclass(content) and not isinstance(content, type):
        changed = {
            field.name: _translated(getattr(content, field.name)) for field in fields(content)
        }
        return replace(content, **changed)
    return content
