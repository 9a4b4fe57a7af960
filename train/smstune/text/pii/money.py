"""Amounts of money."""

from __future__ import annotations

import re

from smstune.text.pii.digits import CHINESE_DIGITS, CHINESE_UNITS
from smstune.text.pii.rule import Rule

# What may follow the first digit: groups of thousands, or digits with a fraction.
_THOUSANDS = r"[0-9]{0,2}(?:[,，][0-9]{3}){1,4}(?:\.[0-9]{1,2})?"
_PLAIN = r"[0-9]{0,11}(?:\.[0-9]{1,4})?"
_REST = f"(?:{_THOUSANDS}|{_PLAIN})"
#: 元, but not in 元旦, 元宵, 元老 and other words.
YUAN = "元(?![旦宵月素气老首二化论次复里桥区])"

# A second number of a range: 100-200元.
_RANGE = rf"(?:[百千万亿]?[ ]?[-~～至到—–][ ]?[0-9]{_REST})?"
_MAGNITUDE = "[ ]?[十百千万亿wk]{0,3}[多余来]?[ ]?"
# 块, but not in 块砖, 块地 and other things that come by the piece.
_KUAI = "块(?:钱|[0-9](?![0-9]))?(?![砖地肉糖巧蛋表屏板腹石牌拼电])"
_CURRENCY = rf"{YUAN}|人民币|[美港欧日]元|美金|港币|{_KUAI}|(?:rmb|cny|usd)(?![a-z])"

AMOUNT = Rule(
    "MONEY",
    re.compile("[元块币金]|rmb|cny|usd"),
    re.compile(rf"[0-9](?<![0-9.][0-9]){_REST}{_RANGE}{_MAGNITUDE}(?:{_CURRENCY})"),
    finds=(("到账1,250.00元", "1,250.00元"), ("借款5万-20万元", "5万-20万元")),
    leaves=("2024元旦快乐", "第3块屏幕"),
)

SIGNED_AMOUNT = Rule(
    "MONEY",
    re.compile(r"\$|人民币|rmb|cny|usd"),
    re.compile(
        rf"(?:\$|人民币|(?<![a-z])(?:rmb|cny|usd))[ :：]?[0-9]{_REST}[ ]?[百千万亿wk]{{0,2}}元?"
    ),
    finds=(("仅需$99起", "$99"), ("人民币：3000元整", "人民币：3000元")),
    leaves=("人民币升值", "$符号"),
)

_CHINESE_NUMBER = (
    rf"[{CHINESE_DIGITS}两几十](?<![{CHINESE_DIGITS}{CHINESE_UNITS}].)"
    rf"[{CHINESE_DIGITS}{CHINESE_UNITS}多余]{{0,12}}"
)
_CHINESE_CURRENCY = rf"{YUAN}整?|圆整?|块钱|(?<=[十百千万多])块|块[二三四五六七八九](?![块个])"

CHINESE_AMOUNT = Rule(
    "MONEY",
    re.compile("[元块圆]"),
    re.compile(f"{_CHINESE_NUMBER}(?:{_CHINESE_CURRENCY})"),
    finds=(("转账三千五百元整", "三千五百元整"), ("花了二十块钱", "二十块钱")),
    leaves=("三元里站", "一块去吃饭"),
)
