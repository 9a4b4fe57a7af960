"""Accounts of messengers, recognised by a word beside them."""

from __future__ import annotations

import re

from smstune.text.pii.digits import FIVE_DIGITS_APART, NEXT_DIGIT
from smstune.text.pii.numbers import MOBILE
from smstune.text.pii.placeholders import BLANK
from smstune.text.pii.rule import Rule

# What may be inside a word: 微❤信, 微 信, v-x.
_SPLIT = "[ ._•*/-]{0,2}"
# Between the word and the account.
_BETWEEN = "[公众帐账群裙号码是为搜客服 :：=•>→+\"“”'【「『\\[(（-]{0,6}"
# A sign or word that links the account after it to the word before it.
_LINKED = "(?<=[:：=号是为搜•>→+\"“'【「『\\[(（-])"
_LINKED_BY_BLANK = "(?<=[:：=号是为搜][ ])"
_NO_AMOUNT = "(?![0-9]|[ ]?[元块人万年月份个%位名家余多条折米用粉])"
# Further accounts after the first: 10000001、10000002.
_AND = "(?:[ ]?(?:[、/,，;；和及]|或者?|以及)[ ]?|[ ]{1,2})"
_MINE = "[ ]?[(（]?[ ]?(?:加|是|为|即)?(?:我|本人|老师|客服|您|你)?(?:的|得)?"

_SIGN = "[微薇威徽维卫唯魏巍]"
_WRITTEN_OUT = (
    f"{_SIGN}{_SPLIT}[信伩芯心]|{_SIGN}x|[微薇威]•|[微薇威](?=[ ]?[:：])"
    f"|卫{_SPLIT}星(?=号?[ ]?[:：])|卫星号?(?=[ ]?[a-z])|绿泡泡|绿色软件"
)
_LATIN = (
    f"(?<![a-z])(?:[vw]{_SPLIT}x|[vw]{_SPLIT}[信心芯]|v(?=[ ]?[:：是=•])|wei[ ]?(?:xin|信)"
    "|we[ ]?chat)"
)
_ADDED = f"(?:v(?!ip)[x信心]?|w[x信]|{_SIGN}(?!ip)[ ]?信?)"
_ADD = f"(?P<add>(?:[加+]|联系|lx)[ +加]{{0,2}}[我下]?[ ]?{_ADDED})"
_NO_ACCOUNT = "(?!wechat|weixin|iphone|android|http|www)"
_LETTERS = "[a-z][a-z0-9_-]{4,19}(?![a-z0-9_-])"
_LOOKS_LIKE_ACCOUNT = "(?=[a-z_-]{1,19}[0-9_-])"
# After 加微 a name needs no link; elsewhere it needs none if it looks like an account.
_MAY_BEGIN = f"(?(add)|(?:{_LINKED}|{_LINKED_BY_BLANK}|{_LOOKS_LIKE_ACCOUNT}))"
_NUMBER_MAY_BEGIN = f"(?(add)|(?:{_LINKED}|{_LINKED_BY_BLANK}|(?=[0-9]{{7,11}}(?![0-9]))))"
_SPLIT_NAME = "[a-z][a-z_-]{1,15}[ .•][0-9]{2,8}(?![0-9a-z]|[ ]?[元块万%折人])"
_NUMBER = f"(?!{MOBILE})[0-9]{{5,12}}{_NO_AMOUNT}"
_NAME = f"{_MAY_BEGIN}(?:{_SPLIT_NAME}|{_LETTERS})|{_NUMBER_MAY_BEGIN}{_NUMBER}"
_WECHAT_WORD = f"(?:{_ADD}|{_WRITTEN_OUT}|{_LATIN})"
_NAME_IN_FRONT = (
    f"(?<![a-z0-9_.@/-]){_NO_ACCOUNT}({_LOOKS_LIKE_ACCOUNT}{_LETTERS}|{_LETTERS}(?=是))"
)
# The word does not name another account after it.
_NAMES_NONE = f"(?!号?[ ]?[:：]?[ ]?(?:[0-9a-z]{{4}}|{BLANK}))"
_WORD_BEHIND = (
    f"(?:{_SIGN}{_SPLIT}信|v信|(?:[vw]x|v|wechat|weixin)(?![a-z0-9])|[微薇](?=[)），。 ]|$)|绿泡泡)"
    f"{_NAMES_NONE}"
)

WECHAT = Rule(
    "WECHAT",
    re.compile(f"{_SIGN}|[vw](?<![a-z].)|lx|绿"),
    f"{_WECHAT_WORD}{_BETWEEN}{_NO_ACCOUNT}({_NAME})|{_NAME_IN_FRONT}{_MINE}{_WORD_BEHIND}",
    finds=(
        ("加微信yunhe_88咨询", "yunhe_88"),
        ("微信号：1234567", "1234567"),
        ("yunhe_88是我的微信", "yunhe_88"),
    ),
    leaves=("微信支付凭证", "用微信打开iphone版本"),
    further=f"{_AND}(?:{_NO_ACCOUNT}({_LOOKS_LIKE_ACCOUNT}{_LETTERS}|{_NUMBER}))",
)

_QQ_WORD = (
    f"(?:[扣抠口]{_SPLIT}[扣抠口]|[扣抠](?=[:：])|加[扣抠]|扣群|企[ ]?鹅|秋秋|球球"
    f"|(?<![a-z])q(?:{_SPLIT}q|扣)?|扣q|[进加入流丝利][群裙]|群号)"
)
_QQ_BETWEEN = "[群裙客服号码是为 :：=•>→+\"“”'【「『\\[(（-]{0,6}"
_SPELT_QQ = f"(?:{NEXT_DIGIT}){{4,10}}"
_QQ_IN_ODD_GROUPS = r"[0-9]{2,3}(?P<odd>[^\w\s\0]{1,2})[0-9]{3,4}(?:(?P=odd)[0-9]{1,4})?"
# A quarter of a year is no QQ number: Q1 2024.
_NO_QUARTER = "(?![1-4][ ]?20[0-9]{2}(?![0-9]))"
_QQ_NUMBER = f"(?!{MOBILE}){_NO_QUARTER}[1-9](?:{_SPELT_QQ}|{_QQ_IN_ODD_GROUPS})(?![0-9])"
_QQ_IN_FRONT = f"(?<![0-9a-z.-])(?!{MOBILE})([1-9][0-9]{{4,10}})"
_QQ_BEHIND = (
    f"(?:qq(?!音乐|空间|飞车|会员|邮箱)|[扣抠][扣抠]|企鹅|q号|q(?![a-z0-9])|秋秋){_NAMES_NONE}"
)

QQ = Rule(
    "QQ",
    re.compile(FIVE_DIGITS_APART),
    f"{_QQ_WORD}{_QQ_BETWEEN}({_QQ_NUMBER}){_NO_AMOUNT}|{_QQ_IN_FRONT}{_MINE}{_QQ_BEHIND}",
    finds=(
        ("加qq 12345678 领取", "12345678"),
        ("进群号：7654321", "7654321"),
        ("12345678是我的qq", "12345678"),
    ),
    leaves=("qq音乐会员1234", "订单12345678", "q1 2024"),
    further=f"{_AND}((?!{MOBILE})[1-9][0-9]{{4,10}}){_NO_AMOUNT}",
)
