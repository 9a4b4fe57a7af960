"""Codes that prove who one is: verification, pickup and exchange codes."""

from __future__ import annotations

import re

from smstune.text.pii.digits import NEXT_DIGIT
from smstune.text.pii.rule import Rule

_KIND_OF_CODE = (
    "验证|校验|验证密|动态密?|确认|激活|取件|提货|取餐|兑换|随机|提取|核销|邀请|登录|密|券"
)
#: The word that names a code.
CODE_WORD = rf"(?:(?:{_KIND_OF_CODE})码|口令|驗證碼|(?<![a-z])(?:code|otp))"

# Between the word and the code: a remark in brackets, 是, quotes.
_REMARK = r"(?:[(（][^()（）\0]{1,15}[)）])?"
_BETWEEN = r"(?: is)?[ 是为您的:：=\"“”'【『「\[(（]{0,8}"
_DIGITS = "[0-9]{4,8}(?![0-9a-z]|[-.][0-9]|[年元块%位])"
_IN_GROUPS = r"[0-9a-z]{1,4}(?:-[0-9]{1,4}){1,3}(?![0-9])"
_LETTERS_AND_DIGITS = "(?=[a-z]{0,9}[0-9])(?=[0-9]{0,9}[a-z])[a-z0-9]{4,10}(?![a-z0-9])"
_SPELT = rf"[0-9](?:{NEXT_DIGIT}){{3,7}}(?![0-9])"
_BEHIND_WORD = (
    rf"{CODE_WORD}{_REMARK}{_BETWEEN}({_DIGITS}|{_IN_GROUPS}|{_LETTERS_AND_DIGITS}|{_SPELT})"
)

# 1234是您的登录验证码: the word comes behind, with few words between.
_TO_WORD = "[您你的本次此个登录注册操作交易动态短信手机账号该绑定支付银行认证()（）【】 ]{0,12}"
_BEFORE_WORD = (
    r"(?<![0-9a-z.])([0-9]{4,8})[ ]?[”\"】]?(?:即?[是为]|[(（]|[,，](?=您的|此为))"
    rf"{_TO_WORD}{CODE_WORD}"
)

CODE = Rule(
    "CODE",
    re.compile("码|碼|口令|code|otp"),
    re.compile(f"{_BEHIND_WORD}|{_BEFORE_WORD}"),
    finds=(("您的验证码是482913，请勿泄露", "482913"), ("4821是您的登录验证码", "4821")),
    leaves=("扫码领取优惠", "验证码已失效，请重新获取"),
)
