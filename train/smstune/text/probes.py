"""Texts that show whether the normaliser gives the same on two machines.

OpenCC's tables and Unicode's data change with their versions, which no version of ours tells.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import cache

import opencc

from smstune.text.normalize import normalize

#: Whole blocks of Unicode: common and rare Chinese characters, their compatibility forms, symbols,
#: forms of width, emoji.
_BLOCKS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x2000, 0x2BFF),
    (0x3000, 0x33FF),
    (0xFE00, 0xFFEF),
    (0x1F000, 0x1FAFF),
)
_BLOCK_ROW = 64
#: Characters whose simplified form depends on their neighbours, disguises, and ordinary messages.
_PHRASES = (
    "著名的乾隆皇帝，乾燥的頭髮，發財，理髮店後面，皇后之後",
    "隻身一人，只有一隻貓；麵粉與面子，松樹和鬆開，鬥爭與五斗米",
    "瞭望塔，明瞭，準備好了，批准；餘額一千元，年年有余；范先生是模範",
    "鐘錶店三點鐘開門，代表；裏面的里程，週末的周先生，遊泳和游泳",
    "資訊軟體程式滑鼠，網路電話簡訊，信用卡帳單，計程車，優惠券",
    "加薇❤信，亻言用卡，威♥信🔥领取，女子评女子评",
    "ＦＵＬＬ－ｗｉｄｔｈ１３８００１３８０００，①②③⑴⒈Ⅳ㈠㊣，ﬁ ﬂ ㎡ ℃",
    "零\u200b宽\u200d字\ufeff符，软\u00ad连字\u2060符，变体\ufe0f选择",
    "【云禾银行】您尾号1234的账户支出350.00元，余额1208.50元。",
    "尊敬的用户，您的快递已到，取件码3-2-1001，回T退订",
)


def probe_texts() -> list[str]:
    """Return the probe texts: rows of whole blocks of Unicode, and phrases."""
    rows = [
        "".join(map(chr, range(start, min(start + _BLOCK_ROW, last + 1))))
        for first, last in _BLOCKS
        for start in range(first, last + 1, _BLOCK_ROW)
    ]
    return [*rows, *_PHRASES]


@cache
def probe_digest() -> str:
    """Return the SHA-256 of what ``normalize`` makes of the probe texts."""
    normalized = "\n".join(map(normalize, probe_texts()))
    return hashlib.sha256(normalized.encode()).hexdigest()


def text_versions() -> dict[str, str]:
    """Return the versions of what ``normalize`` takes its tables from."""
    return {"opencc": opencc.__version__, "unicode": unicodedata.unidata_version}
