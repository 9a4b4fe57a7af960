"""The words with which a message offers to unsubscribe."""

from __future__ import annotations

import re

_LETTERS = "TD|TT|TN|NN|QX|T|N|R|D"
#: 退订回T, 拒收请回复R, a TD at the end, in either case.
OPT_OUT_WORDS = (
    "退[订定]|拒收",
    rf"(?:回复?|发送?|退)\s*[:：“\"'‘【(（]?\s*(?:{_LETTERS})(?![a-z0-9])",
    r"(?<![a-z0-9])TD(?:退|(?![a-z0-9])\W*$)",
)
OPT_OUT = re.compile("|".join(f"(?:{words})" for words in OPT_OUT_WORDS), re.IGNORECASE)
_REPLY = re.compile(
    rf"\W*(?:{_LETTERS}|0{{1,5}}|STOP|UNSUBSCRIBE)\W*|.*(?:退[订定]|拒收|取消订阅|不要再发|别再?发).*",
    re.IGNORECASE | re.DOTALL,
)


def is_opt_out_reply(reply: str) -> bool:
    """Return whether a recipient's whole answer unsubscribes: R, td, 退订, 请不要再发了."""
    return _REPLY.fullmatch(reply.strip()) is not None
