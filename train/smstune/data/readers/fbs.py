"""FBS_SMS_Dataset: a file for each label, a segmented message in each line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smstune.errors import UserError
from smstune.tables.decoding.encodings import UNDECODABLE, has_bad_bytes, open_text
from smstune.tables.options import TableOptions
from smstune.tables.row import TableRow
from smstune.text.pii.codes import CODE_WORD
from smstune.text.pii.money import YUAN
from smstune.text.pii.placeholders import PiiSpan, replace_spans

_FBS = {"CELL": "PHONE", "PHONE": "LANDLINE", "HOTLINE": "SERVICE", "DIGIT": "NUM", "BANK": "CARD"}
_FBS_ADDRESS = re.compile(r"(?<!\S)(?:(https?|www)|\S{0,40}(PHONE|DIGIT) ?\S{0,40}com)\S*(?!\S)")
_FBS_ACCOUNT = re.compile(r"(微信 )?(?<!\S)[a-z0-9]+(?:CELL)?PHONE[a-z0-9]*(?!\S)")
_FBS_WORD = re.compile(
    r"(?:(?<![a-z0-9])[a-z0-9]+)?(?<!\[)(URL|WECHAT)(?:[a-z0-9]*?(?=td(?!\S)|[A-Z])|[a-z0-9]*)"
    r"|(?<!\[)(?:(QQ)[a-z0-9]*|(?:(CELL)PHONE?|(PHONE|HOTLINE|BANK))[09]*|(DIGIT|NAME|PLACE))"
)


def map_fbs_placeholders(text: str) -> str:
    """Return a segmented FBS message joined, the data set's own marks replaced by `PLACEHOLDERS`.

    CELLPHONE is a mobile number. PHONE follows 电话, 询 and 热线 of shops: mostly landlines, a few
    service numbers. HOTLINE is 400 and 800. The remains of an address (`URLdfge`, `wwwjcom`), an
    account (`QQzcw`) or a number (`CELLPHONE99`) are replaced together with the mark, but `URLtd`
    becomes [URL]td (td = opt out). A number attached to letters (`jlnPHONE`) becomes [WECHAT] after
    微信, otherwise [NUM]. An amount in 元 becomes MONEY and a number after 验证码 CODE, as in
    `mask_pii`. Blanks remain only between two Latin words; repeated marks remain, because the raw
    message repeats itself.
    """
    text = _FBS_ADDRESS.sub("URL", text)
    text = _FBS_ACCOUNT.sub(lambda match: "微信 WECHAT" if match[1] else "DIGIT", text)
    words = ((match.span(), match[match.lastindex or 0]) for match in _FBS_WORD.finditer(text))
    text = replace_spans(text, [PiiSpan(*span, _FBS.get(word, word)) for span, word in words])
    text = re.sub("(?<![0-9A-Za-z]) +| +(?![0-9A-Za-z])", "", text).strip()
    text = re.sub(rf"({CODE_WORD}[是为]?)\[NUM\]", r"\1[CODE]", text)
    return re.sub(rf"\[NUM\][十百千万亿]?[多余]?{YUAN}", "[MONEY]", text)


def is_fbs(folder: Path) -> bool:
    """Return whether a folder has the files of FBS_SMS_Dataset, of which some are ``FR:...``."""
    return any(file.name.startswith("FR:") for file in folder.iterdir())


@dataclass(frozen=True)
class FbsLine:
    """A line of one of the files, as it is there; the file's name is the label."""

    file: Path
    number: int
    raw: str

    def row(self) -> TableRow:
        """Return the line as a row: its placeholders mapped to ours, its words joined."""
        problem = UNDECODABLE if has_bad_bytes(self.raw) else None
        text = None if problem else map_fbs_placeholders(self.raw.strip())
        return TableRow(str(self.file), self.number, text, self.file.name, problem=problem)


def read_fbs(path: Path, _options: TableOptions) -> Iterator[TableRow]:
    """Read the folder of FBS_SMS_Dataset: one file per label, one segmented message per line.

    Source: github.com/Cypher-Z/FBS_SMS_Dataset (Zhang et al., CCS 2020).
    """
    return (line.row() for line in fbs_lines(path))


def fbs_lines(path: Path) -> Iterator[FbsLine]:
    """Yield the lines of all files of FBS_SMS_Dataset, the files in the order of their names.

    Raises:
        UserError: if there is no such folder.
    """
    if not path.is_dir():
        raise UserError("expected the folder of FBS_SMS_Dataset, found none at {path}", path=path)
    files = sorted(
        file for file in path.iterdir() if file.is_file() and file.suffix.lower() != ".md"
    )
    if not any(file.name.startswith("FR:") for file in files):
        if not files:
            raise UserError(
                "expected the files of FBS_SMS_Dataset (AD:..., FR:..., IL:..., Other), found no "
                "file in {path}",
                path=path,
            )
        raise UserError(
            "expected the files of FBS_SMS_Dataset (AD:..., FR:..., IL:..., Other), found "
            "{files} in {path}",
            files=", ".join(file.name for file in files[:5]),
            path=path,
        )
    for file in files:
        with open_text(file) as stream:
            for number, line in enumerate(stream, 1):
                yield FbsLine(file, number, line)
