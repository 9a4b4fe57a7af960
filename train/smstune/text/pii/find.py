"""`find_pii` points at personal information in Chinese SMS.

Found in raw text (full-width, circled and Chinese digits, zero-width characters, separators inside
a number) as well as in NFKC-normalised text:

- PHONE: mobile numbers, 1[3-9] and nine digits (MIIT numbering plan), with or without +86.
- LANDLINE: area code and 7 or 8 digits; without area code only after a word such as 电话.
- SERVICE: 400, 800, 95xxx, 96110, 100xx, 121xx, 123xx, ports 106...; not 110, 119, 120.
- ID: identity numbers whose date and check character hold (GB 11643-1999).
- CARD: 16 to 19 digits that pass Luhn (ISO/IEC 7812-1). What fails a check is NUM.
- URL, EMAIL: schemes (`hxxp` too), domains with a known ending, short links, `点com`.
- WECHAT, QQ, CODE: by the word in front (微信, 威 信, 加V, 扣扣, 验证码). MONEY: by 元, 块, ¥, RMB.
- NUM: any other number of six or more digits (orders, parcels) and the letters glued to it.

Not detected: starred numbers, number plates, Chinese-script domains, and names and addresses (no
maintained offline library finds them reliably). Shorter numbers (满300减50, dates) stay, as they
carry meaning; FBS wrote numbers of two digits and more as DIGIT and dropped single digits, so a
model trained on it reads `[NUM]` where a raw message still shows a number.
"""

from __future__ import annotations

import re
import unicodedata

from smstune.text.pii import accounts, addresses, codes, money, numbers
from smstune.text.pii.digits import CHINESE_UNITS, SPELT_DIGITS
from smstune.text.pii.folding import FOLDED, SPREAD_DIGITS, folded
from smstune.text.pii.placeholders import BLANK, PLACEHOLDER, PiiSpan, replace_spans
from smstune.text.pii.rule import Rule

#: In the order in which they are tried: what one has found, the next do not see.
RULES: tuple[Rule, ...] = (
    addresses.EMAIL,
    addresses.URL,
    codes.CODE,
    accounts.WECHAT,
    accounts.QQ,
    money.SIGNED_AMOUNT,
    money.AMOUNT,
    money.CHINESE_AMOUNT,
    money.NAMED_AMOUNT,
    numbers.ORDER_NUMBER,
    numbers.IDENTITY,
    numbers.CARD,
    numbers.PHONE,
    numbers.FREE_NUMBER,
    numbers.HOTLINE,
    numbers.LANDLINE,
    numbers.LOCAL_HOTLINE,
    numbers.LOCAL_LANDLINE,
    numbers.LONG_NUMBER,
)

_CHINESE_NUMBER_SIGN = f"{SPELT_DIGITS}{CHINESE_UNITS}"
#: Without one of these a text holds nothing that a rule finds.
_TRIGGER = re.compile(
    rf"[0-9a-z]|[{_CHINESE_NUMBER_SIGN}][{_CHINESE_NUMBER_SIGN} 元块.-]|{SPREAD_DIGITS}"
    f"|{FOLDED.pattern}"
)
# Where a find touches anything but plain Chinese, the rest may now read as something else.
_NOT_PLAIN_CHINESE = f"(?:[^{BLANK}，。！？；：、（）【】“”一-鿿]|[{_CHINESE_NUMBER_SIGN}元块点點])"
_NEIGHBOURS = re.compile(f"{_NOT_PLAIN_CHINESE}+")
#: Real messages need at most two.
_MAX_PASSES = 8
#: How many characters on either side of a find are searched again: all of nearly every message.
_REACH = 2000
#: Finds nearer than this to a cut are left out: there the rest of a number may be missing.
_NEAR_CUT = _REACH // 2


def find_pii(text: str) -> list[PiiSpan]:
    """Return the personal information in ``text``, in order; placeholders are not touched.

    The rules run until they find nothing more, so that masking what they found is final: first over
    the whole text, then only around finds that touch what may now read as something else. In a text
    such as 二元二元… every masked span reveals another. After ``_MAX_PASSES`` passes, each span is
    therefore widened over the digits and letters next to it.
    """
    found: list[PiiSpan] = []
    if not _TRIGGER.search(text):
        return found
    rest = PLACEHOLDER.sub(lambda match: BLANK * len(match[0]), text) if "[" in text else text
    windows = [range(len(rest))]
    for _ in range(_MAX_PASSES):
        spans = [span for window in windows for span in _scan(rest, window)]
        found += spans
        rest = replace_spans(rest, sorted(spans), blank=True)
        touched = [
            span for span in spans if _NEIGHBOURS.search(rest, max(0, span.start - 1), span.end + 1)
        ]
        if not touched:
            return sorted(found)
        windows = _windows_around(touched, len(rest))
    return _with_neighbours(rest, sorted(found))


def _windows_around(spans: list[PiiSpan], length: int) -> list[range]:
    """Return the stretches within ``_REACH`` of ``spans`` in a text, in order, without overlaps."""
    windows: list[range] = []
    for span in sorted(spans):
        start, stop = max(0, span.start - _REACH), min(length, span.end + _REACH)
        if windows and start <= windows[-1].stop:
            start = windows.pop().start
        windows.append(range(start, stop))
    return windows


def _with_neighbours(rest: str, spans: list[PiiSpan]) -> list[PiiSpan]:
    """Return ``spans``, blanked in ``rest``, with all that is not plain Chinese beside them."""
    backwards = rest[::-1]
    widened: list[PiiSpan] = []
    previous_end = 0
    for span in spans:
        start = span.start - _neighbours(backwards, len(rest) - span.start)
        end = span.end + _neighbours(rest, span.end)
        widened.append(PiiSpan(max(start, previous_end), end, span.type))
        previous_end = end
    return widened


def _neighbours(text: str, position: int) -> int:
    """Return how many characters from ``position`` on are not plain Chinese."""
    match = _NEIGHBOURS.match(text, position)
    return len(match[0]) if match else 0


def _scan(text: str, window: range) -> list[PiiSpan]:
    """Return what one pass of all rules finds in a window of ``text``."""
    view, origin = folded(text[window.start : window.stop])
    first = _NEAR_CUT if window.start > 0 else 0
    last = len(window) - (_NEAR_CUT if window.stop < len(text) else 0)
    found: list[PiiSpan] = []
    for rule in RULES:
        spans = [
            span
            for span in rule.spans(view)
            if first <= origin[span.end - 1] and origin[span.start] < last
        ]
        found += spans
        view = replace_spans(view, spans, blank=True) if spans else view
    return [
        PiiSpan(
            window[origin[span.start]],
            _end_of_character(text, window[origin[span.end - 1]] + 1),
            span.type,
        )
        for span in found
    ]


def _end_of_character(text: str, end: int) -> int:
    """Return ``end`` moved behind the marks that combine with the character before it."""
    while end < len(text) and unicodedata.category(text[end])[0] == "M":
        end += 1
    return end
