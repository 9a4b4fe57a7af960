"""Web and mail addresses."""

from __future__ import annotations

import re

from smstune.text.pii.rule import Rule

# Endings that are also accepted after a spelt-out dot.
_COMMON_ENDING = "com|cn|net|org|cc|test|example"
_ENDING = (
    f"{_COMMON_ENDING}|top|xyz|vip|club|shop|info|biz|site|online|link|wang|ren|fun|pub|tech|store"
    "|win|bid|loan|red|mobi|asia|gov|edu|hk|tw|app|icu|cyou|space|website|cloud|wiki|group|live"
)
# Endings that are also words: an address only if a path follows.
_ENDING_BEFORE_PATH = (
    "me|in|us|io|co|tv|la|im|ly|gl|gd|pw|to|so|ink|work|world|pro|one|jp|kr|ru|uk|de"
)

# What may follow a host, without the punctuation of the sentence.
_PATH = r"[/?#][a-z0-9\-._~:/?#@!$&'()*+,;=%]*(?<![.,;:!?'()])"
_PORT = "(?::[0-9]{1,5})?"
_HOST_ENDS = rf"(?![a-z0-9-]){_PORT}(?:{_PATH})?"
_LABEL = "[a-z0-9][a-z0-9-]{0,62}"
_SPELT_DOT = (
    r"[ ]?(?:[。·点]|\[\.\]|\(\.\)|（\.）|[（(\[【](?:点|dot)[)）\]】]|(?<=[ ])dot(?=[ ]))[ ]?"
)
_DOT = rf"(?:\.|{_SPELT_DOT}|[ ]\.[ ])"

# An address begins with a letter or digit that continues no word. The alternatives follow it.
_FIRST = "[a-z0-9](?<![a-z0-9@][a-z0-9])"
_WITH_SCHEME = rf"(?<=h)(?:tt|xx|\*\*)ps?[ ]?[:：][ ]?/{_PATH}(?:[点。·](?:{_ENDING}){_HOST_ENDS})?"
_WITH_WWW = rf"(?<=w)ww\.{_LABEL}(?:\.{_LABEL}){{0,4}}{_HOST_ENDS}"
_PLAIN_HOST = (
    rf"\.(?:{_LABEL}\.){{0,7}}(?:(?:{_ENDING}){_HOST_ENDS}|(?:{_ENDING_BEFORE_PATH}){_PATH})"
)
_SPELT_HOST = rf"{_DOT}(?:{_LABEL}{_DOT}){{0,3}}(?:{_COMMON_ENDING}){_HOST_ENDS}"
_HOST = rf"[a-z0-9-]{{0,62}}(?:{_PLAIN_HOST}|{_SPELT_HOST})"
# Without dots: httpyuncom, wwwyuncom.
_WITHOUT_DOTS = r"(?:(?<=h)ttps?|(?<=w)ww)[a-z0-9-]{1,40}?(?:com|cn|net|cc)(?![a-z0-9])"
_NUMERIC_HOST = rf"(?<=[0-9])[0-9]{{0,2}}(?:\.[0-9]{{1,3}}){{3}}(?::[0-9]{{1,5}}|(?=/))(?:{_PATH})?"

URL = Rule(
    "URL",
    re.compile(r"[0-9a-z][ ]?[.点。·\[(（【][ ]?[0-9a-z.点]|//|www|http"),
    rf"{_FIRST}(?:{_WITH_SCHEME}|{_WITH_WWW}|{_HOST}|{_WITHOUT_DOTS}|{_NUMERIC_HOST})",
    finds=(
        ("登录 http://yh-app.example/k2p 核实", "http://yh-app.example/k2p"),
        ("点击yh点com领取", "yh点com"),
    ),
    leaves=("价格3.5元", "版本v2.1已发布"),
)

_MAIL_NAME = r"(?<![a-z0-9._%+-])[a-z0-9][a-z0-9._%+-]{0,63}"
_AT = r"[ •]?(?:@{1,2}|[\[(（【]at[\])）】]|[艾爱]特|圈a|\(a\))[ •]?"
# The word at alone is accepted only before a known ending.
_SPELT_AT = rf"[ ]at[ ](?=(?:{_LABEL}{_DOT}){{1,4}}(?:{_COMMON_ENDING})(?![a-z0-9]))"
_PROVIDER = "(?:qq|163|126|sina|gmail|hotmail|foxmail|outlook)(?![a-z0-9.])"
# Written to get past a filter: name#host.com.
_HASH_FOR_AT = rf"#(?=(?:[a-z0-9-]{{1,63}}\.){{1,3}}(?:{_COMMON_ENDING})(?![a-z0-9]))"

EMAIL = Rule(
    "EMAIL",
    re.compile(r"[@#]|at[\])）】 ]|[艾爱]特|圈a|\(a\)"),
    (
        rf"{_MAIL_NAME}(?:{_AT}|{_SPELT_AT}|{_HASH_FOR_AT})"
        rf"(?:(?:{_LABEL}{_DOT}){{1,4}}[a-z]{{2,10}}(?![a-z0-9])|{_PROVIDER})"
    ),
    finds=(
        ("请发至li.ming@mail.example", "li.ming@mail.example"),
        ("联系a1艾特mail.example", "a1艾特mail.example"),
    ),
    leaves=("@所有人 今晚开会", "编号#12"),
)
