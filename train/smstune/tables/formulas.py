"""Cells of a csv that a spreadsheet would compute: an apostrophe in front keeps them text."""

from __future__ import annotations

import re

#: How a cell begins that Excel, LibreOffice or WPS takes for a formula
#: (https://owasp.org/www-community/attacks/CSV_Injection). Apostrophes before it are counted in,
#: so that one more can be added to every such text and removed again.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")


def with_apostrophe(text: str) -> str:
    """Return a text that no spreadsheet computes; only a plain number may begin with a minus."""
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def without_apostrophe(cell: str) -> str:
    """Return the text from which ``with_apostrophe`` made the cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
