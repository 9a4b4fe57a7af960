"""The words with which a message offers to unsubscribe."""

from __future__ import annotations

import re

#: 退订回T, 拒收请回复R, a TD at the end, in either case.
OPT_OUT_WORDS = (
    "退[订定]|拒收",
    r"(?:回复?|发送?|退)\s*[:：“\"'‘【(（]?\s*(?:TD|TT|TN|NN|QX|T|N|R|D)(?![a-z0-9])",
    r"(?<![a-z0-9])TD(?:退|(?![a-z0-9])\W*$)",
)
OPT_OUT = re.compile("|".join(f"(?:{words})" for words in OPT_OUT_WORDS), re.IGNORECASE)
