"""What kind of message it is, told by its words: for slices, never for an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import opencc

from smstune.arrays import Flags
from smstune.language import Message
from smstune.text.opt_out import OPT_OUT
from smstune.text.pii.mask import mask_pii

#: Names of slices and the words by which they are told; placeholders are those of mask_pii.
_WORDS = {
    Message("verification code"): r"验证码|校验码|动态码|动态密码|激活码|\[CODE\]",
    Message("bank alert"): (
        r"(?:银行|尾号|账户|信用卡).{0,40}?(?:支出|收入|入账|转[入出]|余额|消费|扣款)"
    ),
    Message("delivery"): r"快递|包裹|取件|派送|派件|签收|驿站|快件|运单",
    Message("government"): (
        r"公安|税务|社保|医保|法院|检察|政府|居委|街道办|民政|交警|疾控|公积金|人社"
    ),
    Message("opt-out"): OPT_OUT.pattern,
    Message("URL"): (
        r"\[URL\]|https?://|www\.|[a-z0-9-]+\.(?:com|cn|net|org|top|xyz|example)(?![a-z])"
    ),
    Message("amount"): r"\[MONEY\]|[0-9]+(?:\.[0-9]+)?[ ]?[万亿]?元|[¥￥$][ ]?[0-9]",
}
_PATTERNS = {name: re.compile(words, re.IGNORECASE) for name, words in _WORDS.items()}
_PERSONAL = re.compile(r"\[(?:PHONE|LANDLINE|ID|CARD|EMAIL|WECHAT|QQ)\]")


def detect(texts: Sequence[str], raw: Sequence[str] | None = None) -> dict[str, Flags]:
    """Return for each kind of message which of the preprocessed ``texts`` are of it.

    Rules are simple and miss some. Traditional characters are looked for in ``raw``, the messages
    as they were sent: preprocessed ones have none.
    """
    is_of_kind: dict[str, Flags] = {
        name: np.array([pattern.search(text) is not None for text in texts], dtype=bool)
        for name, pattern in _PATTERNS.items()
    }
    is_of_kind[Message("personal information")] = np.array(
        [_PERSONAL.search(mask_pii(text)) is not None for text in texts], dtype=bool
    )
    if raw is not None:
        converter = opencc.OpenCC("t2s")
        is_of_kind[Message("traditional characters")] = np.array(
            [converter.convert(text) != text for text in raw], dtype=bool
        )
    return is_of_kind
