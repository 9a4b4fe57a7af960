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
# 块, but not in 块砖, 块地 and where it counts other things.
_KUAI = "块(?:钱|[0-9](?![0-9]))?(?![砖地肉糖巧蛋表屏板腹石牌拼电])"
_CURRENCY = (
    rf"{YUAN}|[圆圓]整?|人民币|[美港欧日]元|[美刀](?=[，。,. ]|$)|美金|港币|大洋|块[ ]钱|{_KUAI}"
    "|(?:rmb|cny|usd|yuan)(?![a-z])"
)

AMOUNT = Rule(
    "MONEY",
    re.compile("[元块币金圆圓刀美]|大洋|rmb|cny|usd|yuan"),
    rf"[0-9](?<![0-9.][0-9]){_REST}{_RANGE}{_MAGNITUDE}(?:{_CURRENCY})",
    finds=(("到账1,250.00元", "1,250.00元"), ("借款5万-20万元", "5万-20万元")),
    leaves=("2024元旦快乐", "第3块屏幕"),
)

SIGNED_AMOUNT = Rule(
    "MONEY",
    re.compile(r"\$|人民币|rmb|cny|usd"),
    rf"(?:\$|人民币|(?<![a-z])(?:rmb|cny|usd))[ :：]?[0-9]{_REST}[ ]?[百千万亿wk]{{0,2}}元?",
    finds=(("仅需$99起", "$99"), ("人民币：3000元整", "人民币：3000元")),
    leaves=("人民币升值", "$符号"),
)

# 额度5万, 工资6500: an amount by the word before it.
_MONEY_WORD = (
    "(?:额度|贷款?|借款?|奖金|红包|佣金|收益|收入|[工月日年]薪|工资|利润|赔付?|罚款|补贴|现金|彩金"
    "|押金|定金|[售原现特]价|低至|高达|最高)"
)
_MONEY_LINK = "[为约达至可贷借得了:： ]{0,3}"
_NOT_MONEY = (
    "(?![0-9a-z%％]|[.,:/-][0-9]|[ ]?[人个名位份套件平米步条次张公用粉积年月天号点折倍度℃°级层楼])"
)

NAMED_AMOUNT = Rule(
    "MONEY",
    re.compile("[0-9][0-9.百千万wk]"),
    (
        rf"{_MONEY_WORD}{_MONEY_LINK}"
        rf"([0-9]{{2,7}}(?:\.[0-9]{{1,2}})?[十百千万wkr]{{0,2}}|[0-9](?:\.[0-9])?[百千万wk])"
        rf"{_NOT_MONEY}"
    ),
    finds=(("额度5万秒批", "5万"), ("发工资了6500，请你吃饭", "6500")),
    leaves=("最高38名用户", "利润3成"),
)

_CHINESE_NUMBER = (
    rf"[{CHINESE_DIGITS}两几十](?<![{CHINESE_DIGITS}{CHINESE_UNITS}].)"
    rf"[{CHINESE_DIGITS}{CHINESE_UNITS}多余]{{0,12}}"
)
_CHINESE_CURRENCY = rf"{YUAN}整?|[圆圓]整?|块钱|(?<=[十百千万多])块|块[二三四五六七八九](?![块个])"

CHINESE_AMOUNT = Rule(
    "MONEY",
    re.compile("[元块圆圓]"),
    f"{_CHINESE_NUMBER}(?:{_CHINESE_CURRENCY})",
    finds=(("转账三千五百元整", "三千五百元整"), ("花了二十块钱", "二十块钱")),
    leaves=("三元里站", "一块去吃饭"),
)
