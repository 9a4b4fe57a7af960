"""The language of the person at the terminal: English texts that can be translated (gettext).

Code is written with English texts. ``locale/zh/LC_MESSAGES/smstune.po`` holds the Chinese ones;
CONTRIBUTING.md says how to add one.
"""

from __future__ import annotations

import gettext
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

LANGUAGES = ("en", "zh")
_DOMAIN = "smstune"
_CATALOGUES = Path(__file__).parent / "locale"
#: In the order in which POSIX reads them.
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")

_language = "en"


class Message(str):
    """An English text that keeps its template and values, so that it can be translated later.

    It equals the English text. With values, each ``{name}`` of the template is filled by
    ``str.format``; without any, braces are plain text. Values may be messages themselves.
    """

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> Self:
        """Fill the template; a template that is a message already is returned as it is."""
        if isinstance(template, cls) and not values:
            return template
        message = super().__new__(cls, template.format_map(values) if values else template)
        message.template = str(template)
        message.values = values
        return message


SEPARATORS = (Message(", "), Message("; "))


def joined(texts: Iterable[str], separator: str) -> Message:
    """Return texts in one message; those that are messages are translated with it.

    The separator is one of ``SEPARATORS``, which Chinese writes otherwise.
    """
    values = {f"text{number}": text for number, text in enumerate(texts)}
    template = "{separator}".join(f"{{{name}}}" for name in values)
    return Message(template, separator=Message(separator), **values)


def translated(text: object, language: str | None = None) -> str:
    """Return a message, or an error made from one, in ``language`` (default: the reader's).

    What is not a message is returned as ``str`` writes it.
    """
    message = _message_of(text)
    if message is None:
        return str(text)
    language = language or _language
    template = _template(message.template, language)
    if not message.values:
        return template
    values = {
        name: value if _message_of(value) is None else translated(value, language)
        for name, value in message.values.items()
    }
    return template.format_map(values)


def translated_log(template: str, arguments: object) -> str:
    """Return a log record's text, given as a template for ``%`` and its arguments."""
    template = _template(template, _language)
    if not arguments:
        return template
    if isinstance(arguments, Mapping):
        return template % arguments
    items = arguments if isinstance(arguments, tuple) else (arguments,)
    return template % tuple(
        item if _message_of(item) is None else translated(item) for item in items
    )


def reader_language() -> str:
    """Return the language that ``use_language`` set last, ``en`` before that."""
    return _language


def use_language(language: str) -> None:
    """Translate into ``language`` (``en`` or ``zh``) from now on, argparse's errors too."""
    global _language
    _language = language
    # argparse asks gettext's current domain, which reads this variable.
    os.environ["LANGUAGE"] = language
    gettext.bindtextdomain(_DOMAIN, str(_CATALOGUES))
    gettext.textdomain(_DOMAIN)


def preferred_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the language that a command line's ``--lang`` names, else the system's.

    The system's is the first that is set of LC_ALL, LC_MESSAGES and LANG; on Windows, where none
    usually is, the display language. Chinese of any region is ``zh``, anything else ``en``.
    """
    for number, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag == "--lang":
            value = value or "".join(arguments[number + 1 : number + 2])
            if value in LANGUAGES:
                return value
    system = next(filter(None, map(environment.get, _VARIABLES)), None) or _display_language()
    return "zh" if system.lower().startswith(("zh", "chinese")) else "en"


def _display_language() -> str:
    if sys.platform != "win32":
        return ""
    import ctypes
    import locale

    return locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage(), "")


def _message_of(value: object) -> Message | None:
    if isinstance(value, BaseException) and len(value.args) == 1:
        (value,) = value.args
    return value if isinstance(value, Message) else None


def _template(template: str, language: str) -> str:
    # Of an empty text gettext returns the catalogue's header.
    return _catalogue(language).gettext(template) if template else ""


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation(_DOMAIN, _CATALOGUES, [language], fallback=language == "en")
