"""Accounts of messengers, told by the word in front of them."""

from __future__ import annotations

import re

from smstune.text.pii.digits import FIVE_DIGITS, NEXT_DIGIT
from smstune.text.pii.numbers import MOBILE
from smstune.text.pii.rule import Rule

# A sign or word that links the account to the word in front, with a blank or without.
_LINKED = "(?:(?<=[:：=号是为搜])|(?<=[:：=号是为搜][ ]))"

# The alternatives follow a first character, which the look-behinds name.
_FIRST = "[加微威薇徽维卫唯vw]"
_ADD = "(?<=加)(?P<add>[ ]?(?:我|下)?[ ]?(?:vx?|微|薇|威|卫)(?!ip)[ ]?信?)"
_WRITTEN_OUT = "(?<![加w])[ ._•-]?信|(?<=卫)星(?=[:：])|(?<=[微薇威])(?=[ ]?[:：])"
_LATIN = "(?<![a-z].)(?:(?<=v)(?:x|(?=[ ]?[:：是]))|(?<=w)(?:x|eixin|echat))"
_BETWEEN = "[公众帐账群号码是为搜 :：=•]{0,5}"
_NO_ACCOUNT = "(?!wechat|weixin|iphone|android|http|www)"
# Behind 加微 a name needs no link; elsewhere one that looks like an account needs none either.
_MAY_BEGIN = rf"(?(add)|(?:{_LINKED}|(?=[a-z]{{1,19}}[0-9_-])))"
_NAME = "[a-z][a-z0-9_-]{4,19}(?![a-z0-9_-])"
_NUMBER = rf"{_LINKED}(?!{MOBILE})[0-9]{{5,12}}(?![0-9])"

WECHAT = Rule(
    "WECHAT",
    re.compile("[0-9a-z][0-9a-z_-]{4}"),
    re.compile(
        rf"{_FIRST}(?:{_ADD}|{_WRITTEN_OUT}|{_LATIN}){_BETWEEN}"
        rf"({_NO_ACCOUNT}{_MAY_BEGIN}{_NAME}|{_NUMBER})"
    ),
    finds=(("加微信yunhe_88咨询", "yunhe_88"), ("微信号：1234567", "1234567")),
    leaves=("微信支付凭证", "用微信打开iphone版本"),
)

_QQ_WORD = (
    "(?:[扣抠](?:[ ]?[扣抠]|(?=[:：]))|企[ ]?鹅|(?<![a-z])q[ ]?q?|秋秋|加扣|[进加入流丝利]群|群号)"
)
_QQ_BETWEEN = "[群客服号码是为 :：=]{0,5}"
_QQ_NUMBER = rf"(?!{MOBILE})[1-9](?:[0-9]{{4,10}}|(?:{NEXT_DIGIT}){{4,10}})"

QQ = Rule(
    "QQ",
    re.compile(FIVE_DIGITS),
    re.compile(rf"{_QQ_WORD}{_QQ_BETWEEN}({_QQ_NUMBER})(?![0-9])"),
    finds=(("加qq 12345678 领取", "12345678"), ("进群号：7654321", "7654321")),
    leaves=("qq音乐会员1234", "订单12345678"),
)
