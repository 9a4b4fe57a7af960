"""Text in a csv that a spreadsheet would compute: an apostrophe in front keeps it text."""

from __future__ import annotations

import re

#: What a cell begins with if a spreadsheet may take it for a formula
#: (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")


def with_apostrophe(text: str) -> str:
    """Return a text that no spreadsheet computes; only a plain number may begin with a minus."""
    return "'" + text if text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text) else text


def without_apostrophe(cell: str) -> str:
    """Return the text from which ``with_apostrophe`` made a cell."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA_STARTS) else cell
