"""Verification, pickup and exchange codes."""

from __future__ import annotations

import re

from smstune.text.pii.digits import NEXT_DIGIT
from smstune.text.pii.rule import Rule

# What may be inside a word: 验❤证❤码.
_SPLIT = "[ ._•*-]{0,2}"
_VERIFICATION = f"验{_SPLIT}[证正]{_SPLIT}[码马]|验证[号数]字?"
_KIND_OF_CODE = (
    "验证|校验|验证密|动态密?|确认|激活|取件|提货|取餐|取货|自提|兑换|随机密?|提取|核销|邀请|登[录陆]"
    "|授权|安全|识别|注册|密|券"
)
_LATIN = "(?<![a-z])(?:verification code|(?<!stock )(?<!zip )(?<!area )code|otp|yzm)"
#: The word that names a code.
CODE_WORD = rf"(?:{_VERIFICATION}|(?:{_KIND_OF_CODE})码|动态口令|口令|随机密码|驗證碼|{_LATIN})"

# Between the word and the code: a remark in brackets, 是, quotes.
_REMARK = r"(?:[(（][^()（）\0]{1,15}[)）])?"
_BETWEEN = r"(?: is)?[ 是为您的:：=•>→\"“”'【『「\[(（-]{0,8}"
_NO_AMOUNT = "(?![年元块%位分秒天个次条份人米])"
_DIGITS = f"[0-9]{{4,8}}(?![0-9a-z]|[-.][0-9]){_NO_AMOUNT}"
_IN_GROUPS = f"[0-9a-z]{{1,4}}(?:-[0-9]{{1,4}}){{1,3}}(?![0-9]){_NO_AMOUNT}"
_IN_ODD_GROUPS = r"[0-9]{3}[^\w\s\0]{1,2}[0-9]{3}(?![0-9])"
_LETTERS_AND_DIGITS = "(?=[a-z]{0,9}[0-9])(?=[0-9]{0,9}[a-z])[a-z0-9]{4,12}(?![a-z0-9])"
_SPELT = rf"[0-9](?:{NEXT_DIGIT}){{3,7}}(?![0-9]){_NO_AMOUNT}"
_CODE = f"{_DIGITS}|{_SPELT}|{_IN_GROUPS}|{_IN_ODD_GROUPS}|{_LETTERS_AND_DIGITS}"
_BEHIND_WORD = f"{CODE_WORD}{_REMARK}{_BETWEEN}({_CODE})"

# 1234是您的登录验证码: the word follows the code, with few words between.
_TO_WORD = "[您你的我本次此个登录注册操作交易动态短信手机账号该绑定支付银行认证()（）【】 ]{0,12}"
_LINK_TO_WORD = (
    r"[ ]?(?:[”\"】)）]?(?:即?[是为]|[(（ ]|[,，](?=您的|此为)|is (?:your|the) )|[”\"】)）])"
)
_BEFORE_WORD = (
    rf"(?<![0-9a-z.])(?<![0-9\0][ /-])([0-9]{{4,8}}|[0-9](?:{NEXT_DIGIT}){{3,7}})"
    rf"{_LINK_TO_WORD}{_TO_WORD}{CODE_WORD}"
)

# 输入1234完成验证
_TO_BE_ENTERED = r"输入[ ]?([0-9]{4,8})[ ]?(?:以?完成|进行)?(?:身份|登录)?[ ]?(?:验证|核验)"

CODE = Rule(
    "CODE",
    re.compile("[码碼马]|口令|code|otp|yzm|验证|输入"),
    f"{_BEHIND_WORD}|{_BEFORE_WORD}|{_TO_BE_ENTERED}",
    finds=(("您的验证码是482913，请勿泄露", "482913"), ("4821是您的登录验证码", "4821")),
    leaves=("扫码领取优惠", "验证码已失效，请重新获取", "验证码5-10分钟有效"),
    further=rf"(?:[ ]?[、/,，和或及;；]者?[ ]?|[ ])([0-9]{{4,8}}){_NO_AMOUNT}(?![0-9a-z])",
)
