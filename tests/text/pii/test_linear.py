"""Hostile text: masking and normalising take time linear in the length of a message."""

from __future__ import annotations

import re
import time

import pytest

from smstune.text.normalize import normalize
from smstune.text.pii.digits import SEPARATOR
from smstune.text.pii.find import RULES
from smstune.text.pii.mask import mask_pii

SEPARATORS = (
    " ",
    "  ",
    " - ",
    "-",
    ".",
    "·",
    "，",
    "、",
    "/",
    "+",
    "@",
    "点",
    "元",
    "❤",
    "加",
    "\x00",
)
# What found quadratic or exponential time before, and what disguises are taken off.
KNOWN = (
    "二元", "otp951", "code106", "1 ", "1  ", "1,000,", "1,000", "(1)", "【130】", "1加", "13o",
    "1a", "k e ", "加v", "订单1-", "1.3.00", "http:/",
    "a.", "a@", "0 1 0 ", "①\ufe0f\u20e3", "\x01",
    "[NUM]",
)  # fmt: skip
MARKS = (
    "\u0301\u0323",
    "\u0345\u035c\u0301\u0323\u0334",
    "ﾞ\u0345",
    "\u0f73\u0f71",
    "亻❤言",
    "薴",
    "ﷺ",
)
LENGTHS = (10_000, 20_000, 40_000)
ROUNDS = 5
MOST = 3.0


def repetitions(rule) -> list[str]:
    """Return what may keep a rule busy when repeated: what it finds or nearly finds, in pieces."""
    examples = [text for text, _ in rule.finds] + [value for _, value in rule.finds]
    units = {*examples, *rule.leaves}
    for text in [*examples, *rule.leaves]:
        half, third = len(text) // 2, len(text) // 3
        units |= {text[:half], text[half:], text[third : 2 * third], text[:-1], text[1:]}
    for _, value in rule.finds:
        units |= {value[:4] + mark for mark in SEPARATORS}
        units |= {mark.join(value[:6]) + mark for mark in SEPARATORS}
    return sorted(filter(None, units))


def processor_time(function, text: str) -> float:
    start = time.process_time()
    function(text)
    return time.process_time() - start


def ratios(function, unit: str) -> list[float]:
    """Return processor time over that at half the length, best of up to five rounds."""
    texts = [unit * (length // len(unit)) for length in LENGTHS]
    best = [float("inf")] * len(texts)
    for _ in range(ROUNDS):
        times = [processor_time(function, text) for text in texts]
        best = list(map(min, best, times))
        growth = [best[1] / best[0], best[2] / best[1]]
        if max(growth) <= MOST:
            break
    return growth


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rule", RULES, ids=[f"{n}-{rule.kind}" for n, rule in enumerate(RULES)])
def test_masking_is_linear_in_what_a_rule_looks_for(rule):
    slow = {
        unit: growth for unit in repetitions(rule) if max(growth := ratios(mask_pii, unit)) > MOST
    }
    assert slow == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("unit", KNOWN)
def test_masking_is_linear_in_known_repetitions(unit):
    assert max(ratios(mask_pii, unit)) <= MOST


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("unit", MARKS)
def test_normalising_is_linear(unit):
    assert max(ratios(normalize, unit)) <= MOST


def readings(nodes, text: str, start: int) -> list[int]:
    """Return where each way to match ``nodes``, a parsed pattern, at ``start`` ends."""
    ends = [start]
    for operation, argument in nodes:
        ends = [
            end for begin in ends for end in node_readings(str(operation), argument, text, begin)
        ]
    return ends


def node_readings(operation: str, argument, text: str, start: int) -> list[int]:
    match operation:
        case "LITERAL":
            return [start + 1] if text[start : start + 1] == chr(argument) else []
        case "IN":
            literals = {chr(code) for _, code in argument}
            return [start + 1] if start < len(text) and text[start] in literals else []
        case "SUBPATTERN":
            return readings(argument[-1], text, start)
        case "BRANCH":
            return [end for branch in argument[1] for end in readings(branch, text, start)]
        case "MAX_REPEAT":
            fewest, most, inner = argument
            rounds = [[start]]
            for _ in range(most):
                rounds.append([end for begin in rounds[-1] for end in readings(inner, text, begin)])
            return [end for ends in rounds[fewest:] for end in ends]
        case _:
            raise NotImplementedError(operation)


@pytest.mark.parametrize("text", ["", " ", "  ", "-", " -", "- ", " - ", "·", " · ", "   ", "--"])
def test_a_separator_has_at_most_one_reading(text):
    # Two readings of a blank are 2^16 paths through 17 digits.
    parsed = re._parser.parse(SEPARATOR)
    assert readings(parsed, text, 0).count(len(text)) == bool(re.fullmatch(SEPARATOR, text))


@pytest.mark.parametrize("unit", ["二元", "otp951", "code106", "5块5", "1a@b.cn"])
@pytest.mark.parametrize("count", [3, 9, 40])
def test_masking_of_repetitions_is_final(unit, count):
    once = mask_pii(unit * count)
    assert mask_pii(once) == once
