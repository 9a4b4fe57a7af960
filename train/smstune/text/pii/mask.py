"""Personal information in Chinese SMS: `find_pii` points at it, `mask_pii` replaces it.

Found in raw text (full-width, circled and Chinese digits, zero-width characters, separators inside
a number) as well as in NFKC-normalised text:

- PHONE: mobile numbers, 1[3-9] and nine digits (MIIT numbering plan), with or without +86.
- LANDLINE: area code and 7 or 8 digits; without area code only after a word such as 电话.
- SERVICE: 400, 800, 95xxx, 96110, 100xx, 121xx, 123xx, ports 106...; not 110, 119, 120.
- ID: identity numbers whose date and check character hold (GB 11643-1999).
- CARD: 16 to 19 digits that pass Luhn (ISO/IEC 7812-1). What fails a check is NUM.
- URL, EMAIL: schemes (`hxxp` too), domains with a known ending, short links, `点com`.
- WECHAT, QQ, CODE: by the word in front (微信, 威 信, 加V, 扣扣, 验证码). MONEY: by 元, 块, ¥, RMB.
- NUM: any other number of six or more digits (orders, parcels) and the letters glued to it.

Not covered: names and addresses, which no kept library finds well offline (`[NAME]`, `[PLACE]` come
only from FBS), starred numbers, plates, Chinese-script domains. Shorter numbers (满300减50, dates)
stay, as they carry meaning; FBS wrote numbers of two digits and more as DIGIT and dropped single
digits, so a model trained on it reads `[NUM]` where a raw message still shows a number.

Masking by rule is de-identification, not anonymisation (PIPL Art. 73): what a message says may
still identify a person, so masked text remains personal information.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

_CONTACTS = ("PHONE", "LANDLINE", "SERVICE", "ID", "CARD", "URL", "EMAIL", "WECHAT", "QQ")
PLACEHOLDERS = tuple(f"[{kind}]" for kind in (*_CONTACTS, "CODE", "MONEY", "NUM", "NAME", "PLACE"))


class PiiSpan(NamedTuple):
    """Characters `start` to `end` (exclusive) of the text hold information of `type`."""

    start: int
    end: int
    type: str


_BLANK = "\0"  # stands for a placeholder or a found span: no rule matches it
_CN = "〇零一二三四五六七八九幺壹贰貳叁參肆伍陆陸柒捌玖"
_CN_DIGITS = str.maketrans(_CN, "001234567891122334566789")
_BIG = "两几十百千万亿拾佰仟萬億"
_SEP = r"[ ]?[-‐‑–—_.·•~*|]?[ ]?"  # at most one separator between two digits
_D = f"{_SEP}[0-9]"
# Full-width, capital, mathematical and circled characters, one for one.
_FOLD = {0xFEE0 + i: chr(i).lower() for i in range(33, 127) if re.match("[#$+./@\\w-]", chr(i))}
_FOLD |= {i: chr(i + 32) for i in range(65, 91)} | {0x24EA: "0", 0x3000: " ", 0x9EDE: "点"}
_FOLD |= {0x1D7CE + i: str(i % 10) for i in range(50)} | {0xA5: "$", 0xFFE5: "$", 0xA0: " "}
_FOLD |= {a + i: str(i + 1) for a in (0x2460, 0x2776, 0x2780, 0x278A) for i in range(9)}
_ODD = re.compile("[" + "".join(map(chr, _FOLD)) + "]")
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe0f\ufeff]"
)
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_CN_RUN = re.compile(  # eight and more, or a service number: 一二三四五六 is counting
    rf"[0-9{_CN}](?:{_SEP}[0-9{_CN}]){{7,}}|九{_SEP}五(?:{_SEP}[{_CN}]){{3}}|[一幺][零〇]{{2}}[{_CN}]{{2}}"
)
_TRIGGER = re.compile(rf"[0-9a-z]|[{_CN}{_BIG}][{_CN}{_BIG} 元块.-]|{_ODD.pattern}")
# Where a find touches anything but plain Chinese, the rest may now read as something else.
_OUT = f"(?:[^{_BLANK}，。！？；：、（）【】“”一-鿿]|[{_CN}{_BIG}元块点])"
_TOUCHED = re.compile(f"{_OUT}{_BLANK}|{_BLANK}{_OUT}")

_OPEN = "com|cn|net|org|cc|test|example"  # endings believed behind a spelt dot, too
_TLD = f"{_OPEN}|top|xyz|vip|club|shop|info|biz|site|online|link|wang|ren|fun|pub|tech|store|win"
_TLD += "|bid|loan|red|mobi|asia|gov|edu|hk|tw|app|icu|cyou|space|website|cloud|wiki|group|live"
_WITH_PATH = "me|in|us|io|co|tv|la|im|ly|gl|gd|pw|to|so|ink|work|world|pro|one|jp|kr|ru|uk|de"
# What may follow a host, without the punctuation of the sentence.
_PATH = r"[/?#][a-z0-9\-._~:/?#@!$&'()*+,;=%]*(?<![.,;:!?'()])"
_END = rf"(?![a-z0-9-])(?::[0-9]{{1,5}})?(?:{_PATH})?"
_LABEL = "[a-z0-9][a-z0-9-]{0,62}"
_DOT = r"(?:\.|[ ]?(?:[。·点]|\[\.\]|\(\.\)|（\.）|[（(\[【]点[)）\]】])[ ]?|[ ]\.[ ])"
_URL = (
    rf"[a-z0-9](?<![a-z0-9@][a-z0-9])(?:(?<=h)(?:tt|xx|\*\*)ps?[ ]?[:：][ ]?/{_PATH}"
    rf"(?:[点。·](?:{_TLD}){_END})?|(?<=w)ww\.{_LABEL}(?:\.{_LABEL}){{0,4}}{_END}"
    rf"|[a-z0-9-]{{0,62}}(?:\.(?:{_LABEL}\.){{0,7}}(?:(?:{_TLD}){_END}|(?:{_WITH_PATH}){_PATH})"
    rf"|{_DOT}(?:{_LABEL}{_DOT}){{0,3}}(?:{_OPEN}){_END})"
    rf"|(?:(?<=h)ttps?|(?<=w)ww)[a-z0-9-]{{1,40}}?(?:com|cn|net|cc)(?![a-z0-9])"
    rf"|(?<=[0-9])[0-9]{{0,2}}(?:\.[0-9]{{1,3}}){{3}}(?::[0-9]{{1,5}}|(?=/))(?:{_PATH})?)"
)
_EMAIL = (
    r"(?<![a-z0-9._%+-])[a-z0-9][a-z0-9._%+-]{0,63}(?:[ ]?(?:@|\[at\]|\(at\)|（at）|艾特)[ ]?"
    rf"|#(?=[a-z0-9-]{{1,63}}\.com))(?:{_LABEL}{_DOT}){{1,4}}[a-z]{{2,10}}(?![a-z0-9])"
)
_MOBILE = "1[3-9][0-9]{9}(?![0-9])"
_LINKED = "(?:(?<=[:：=号是为搜])|(?<=[:：=号是为搜][ ]))"
_WECHAT = (
    "[加微威薇徽维卫唯vw](?:(?<=加)(?P<add>[ ]?(?:我|下)?[ ]?(?:vx?|微|薇|威|卫)(?!ip)[ ]?信?)"
    r"|(?<![加w])[ ._❤♥-]?信|(?<=卫)星(?=[:：])|(?<=[微薇威])(?=[ ]?[:：])"
    "|(?<![a-z].)(?:(?<=v)(?:x|(?=[ ]?[:：是]))|(?<=w)(?:x|eixin|echat)))"
    "[公众帐账群号码是为搜 :：=]{0,5}((?!wechat|weixin|iphone|android|http|www)"
    rf"(?(add)|(?:{_LINKED}|(?=[a-z]{{1,19}}[0-9_-])))[a-z][a-z0-9_-]{{4,19}}(?![a-z0-9_-])"
    rf"|{_LINKED}(?!{_MOBILE})[0-9]{{5,12}}(?![0-9]))"
)
_QQ = (
    "(?:[扣抠](?:[ ]?[扣抠]|(?=[:：]))|企[ ]?鹅|(?<![a-z])q[ ]?q?|秋秋|加扣|[进加入流丝利]群|群号)"
    rf"[群客服号码是为 :：=]{{0,5}}((?!{_MOBILE})[1-9](?:[0-9]{{4,10}}|(?:{_D}){{4,10}}))(?![0-9])"
)
CODE_WORD = (
    "(?:(?:验证|校验|验证密|动态密?|确认|激活|取件|提货|取餐|兑换|随机|提取|核销|邀请|登录|密|券)码"
    "|口令|驗證碼|(?<![a-z])(?:code|otp))"
)
_CODE_GLUE = "[您你的本次此个登录注册操作交易动态短信手机账号该绑定支付银行认证()（）【】 ]{0,12}"
_CODE = (
    rf"{CODE_WORD}(?:[(（][^()（）\0]{{1,15}}[)）])?(?: is)?[ 是为您的:：=\"“”'【『「\[(（]{{0,8}}"
    r"([0-9]{4,8}(?![0-9a-z]|[-.][0-9]|[年元块%位])|[0-9a-z]{1,4}(?:-[0-9]{1,4}){1,3}(?![0-9])"
    rf"|(?=[a-z]{{0,9}}[0-9])(?=[0-9]{{0,9}}[a-z])[a-z0-9]{{4,10}}(?![a-z0-9])"
    rf"|[0-9](?:{_D}){{3,7}}(?![0-9]))|(?<![0-9a-z.])([0-9]{{4,8}})[ ]?[”\"】]?"
    rf"(?:即?[是为]|[(（]|[,，](?=您的|此为)){_CODE_GLUE}{CODE_WORD}"
)
_REST = r"(?:[0-9]{0,2}(?:[,，][0-9]{3})+(?:\.[0-9]{1,2})?|[0-9]{0,11}(?:\.[0-9]{1,4})?)"
YUAN = "元(?![旦宵月素气老首二化论次复里桥区])"
_MONEY = (
    rf"[0-9](?<![0-9.][0-9]){_REST}(?:[百千万亿]?[ ]?[-~～至到—–][ ]?[0-9]{_REST})?"
    rf"[ ]?[十百千万亿wk]{{0,3}}[多余来]?[ ]?(?:{YUAN}|人民币|[美港欧日]元|美金|港币"
    r"|块(?:钱|[0-9](?![0-9]))?(?![砖地肉糖巧蛋表屏板腹石牌拼电])|(?:rmb|cny|usd)(?![a-z]))"
)
_SIGN = rf"(?:\$|人民币|(?<![a-z])(?:rmb|cny|usd))[ :：]?[0-9]{_REST}[ ]?[百千万亿wk]{{0,2}}元?"
_CN_MONEY = (
    rf"[{_CN}两几十](?<![{_CN}{_BIG}].)[{_CN}{_BIG}多余]{{0,12}}"
    rf"(?:{YUAN}整?|圆整?|块钱|(?<=[十百千万多])块|块[二三四五六七八九](?![块个]))"
)
_HOTLINE = (
    rf"106(?:-?[0-9]){{5,17}}|95[0-9]{{3,4}}|9{_SEP}5(?:{_D}){{3}}|96110|12[13][0-9]{{2}}"
    rf"|100(?:01|1[0-9]|50|60|8[0-9]{{1,4}}|99)|1{_SEP}0{_SEP}0{_SEP}(?:1{_SEP}0|8{_SEP}6)"
)
_CARD = (
    r"[3-6][0-9]{15,18}|[3-6][0-9]{5}[ -][0-9]{10,13}"
    r"|[3-6][0-9]{3}(?P<s>[ -])(?:[0-9]{4}(?P=s)){2}[0-9]{4}(?:(?P=s)[0-9]{1,3})?"
)
_COUNTRY = rf"(?:[(（]?\+?(?:00)?86[)）]?{_SEP})?"
_AREA = rf"[(（]?0(?:10|2[0-9]|[3-9][0-9]{{2}}| 1 0| 2 [0-9]| [3-9] [0-9] [0-9])[)）]?{_SEP}"
_LONG = (
    r"(?:(?<![0-9a-z])[0-9a-z]{1,12}?)?(?<![0-9])(?<![0-9\0][.,:/])(?P<n>[0-9]{6,}"
    "|[0-9]{4,}(?P<s>[ -])(?:[0-9]{4,}(?P=s))+[0-9]+)(?![0-9])[0-9a-z]{0,12}"
)
_EXTENSION = "(?![0-9])(?:[ ]?(?:转[ ]?|-)[0-9]{1,5})?"
_SPELT_ON = re.compile(rf"[0-9]{_SEP}$")
_NOT_DIGITS = re.compile("[^0-9]+")
_QUANTITY = re.compile(
    "[%％‰℃°元块年月周岁步页张份种款层楼室米亩吨度瓦升名位只辆次条秒折倍万亿千百个件台]|积分|用户"
    r"|粉丝|小时|公[里斤]|平(?![台安])|人(?![工民寿员])|家(?![庭宽])|套(?!餐)|天(?!津)|分(?!公司|行)"
    r"|[.,][0-9]{1,2}(?![0-9])|[ ]?(?:[kmg]?[bgm]|[mc]m|ml|[wkv])(?![a-z0-9])"
)
_CALL = re.compile(
    "(?:电话|热线|询|致电|专线|座机|固话|来电|拨打?|联系|客服|传真|咨|报[修障]|(?<![a-z])(?:tel|call))"
    "[ :：为是(（]{0,3}(?:[0-9 -]{7,9}[/、或,， ]{1,2}){0,2}$"
)


def _is_regular(match: re.Match[str]) -> bool:
    """Whether one kind of separator makes groups as people write them: 138 0013 8000, 1-3-8-0."""
    sizes = [len(group) for group in _NOT_DIGITS.split(match["n"])]
    kinds = {kind.strip() for kind in _NOT_DIGITS.findall(match["n"])}
    if set(sizes) == {1}:  # spelt digit by digit: not a part of something longer
        return not _SPELT_ON.search(match.string, max(0, match.start() - 4), match.start())
    return len(kinds) <= 1 and sizes[0] >= 3 and 1 not in sizes


def _is_identity(match: re.Match[str]) -> bool:
    """Whether date and check character (MOD 11-2, ISO 7064) hold, as GB 11643-1999 has them."""
    digits = re.sub("[^0-9x]", "", match["n"])
    try:
        date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * (2 ** (17 - i) % 11) for i, digit in enumerate(digits[:17]))
    return digits[6:8] in {"18", "19", "20"} and digits[17] == "10x98765432"[total % 11]


def _is_card(match: re.Match[str]) -> bool:
    """Whether the Luhn sum ends in 0 (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in _NOT_DIGITS.sub("", match["n"])][::-1]
    return sum(digits[::2] + [d * 2 - 9 * (d > 4) for d in digits[1::2]]) % 10 == 0


def _is_plain(match: re.Match[str]) -> bool:
    """Whether no unit behind it makes the number an amount of something: 10086米."""
    named = match.string[match.start() - 1 : match.start()] in ("号", "码")
    return named or not _QUANTITY.match(match.string, match.end("n"))


def _is_called(match: re.Match[str]) -> bool:
    return bool(_CALL.search(match.string, max(0, match.start() - 30), match.start()))


_Check = Callable[[re.Match[str]], bool]
_ALONE = "(?<![0-9])(%s)(?![0-9])"
_FIVE = rf"[0-9](?:{_D}){{4}}"
# Type, what the text must hold for a try, pattern (its last group is the find), check of a number.
_RULES: tuple[tuple[str, re.Pattern[str], re.Pattern[str], _Check], ...] = tuple(
    (kind, re.compile(hint), re.compile(pattern if check is bool else _ALONE % pattern), check)
    for kind, hint, pattern, check in (
        ("EMAIL", r"[@#]|at[\])）]|艾特", _EMAIL, bool),
        ("URL", r"[0-9a-z][ ]?[.点。·\[(（【][ ]?[0-9a-z.点]|//|www|http", _URL, bool),
        ("CODE", "码|碼|口令|code|otp", _CODE, bool),
        ("WECHAT", "[0-9a-z][0-9a-z_-]{4}", _WECHAT, bool),
        ("QQ", _FIVE, _QQ, bool),
        ("MONEY", r"\$|人民币|rmb|cny|usd", _SIGN, bool),
        ("MONEY", "[元块币金]|rmb|cny|usd", _MONEY, bool),
        ("MONEY", "[元块圆]", _CN_MONEY, bool),
        ("ID", _FIVE, rf"(?P<n>[1-8](?:{_D}){{16}}{_SEP}[0-9x])", _is_identity),
        ("CARD", _FIVE, rf"(?P<n>{_CARD})", _is_card),
        ("PHONE", _FIVE, rf"{_COUNTRY}(?P<n>1{_SEP}[3-9](?:{_D}){{9}})", _is_regular),
        ("SERVICE", _FIVE, rf"(?P<n>[48]{_SEP}0{_SEP}0(?:{_D}){{7}})", _is_regular),
        ("SERVICE", _FIVE, rf"(?<![0-9\0][-.,:/])(?<![a-z])(?P<n>{_HOTLINE})", _is_plain),
        ("LANDLINE", _FIVE, rf"{_AREA}(?P<n>[2-8](?:{_D}){{6,7}}){_EXTENSION}", _is_regular),
        ("SERVICE", _FIVE, "96[0-9]{3,4}|10000", _is_called),
        ("LANDLINE", _FIVE, "[2-8][0-9]{2,3}[ -]?[0-9]{4}", _is_called),
        ("NUM", "[0-9]{6}|[0-9]{4}[ -][0-9]{4}", _LONG, _is_plain),
    )
)


def find_pii(text: str) -> list[PiiSpan]:
    """The personal information in `text`, in order; placeholders are neither touched nor crossed.

    The rules run until they find nothing more, so that masking what they found is final.
    """
    found: list[PiiSpan] = []
    if not _TRIGGER.search(text):
        return found
    rest = _PLACEHOLDER.sub(lambda match: _BLANK * len(match[0]), text) if "[" in text else text
    while True:
        spans, view = _scan(rest)
        found += spans
        if not (spans and _TOUCHED.search(view)):
            return sorted(found)
        rest = replace_spans(rest, sorted(spans), blank=True)


def mask_pii(text: str) -> str:
    """`text` with a typed placeholder in place of every span of `find_pii`; idempotent."""
    return replace_spans(text, find_pii(text))


def replace_spans(text: str, spans: list[PiiSpan], *, blank: bool = False) -> str:
    """`text` with a placeholder in place of each span, or as many blanks as it has characters."""
    parts, last = [], 0
    for start, end, kind in spans:
        parts += [text[last:start], _BLANK * (end - start) if blank else f"[{kind}]"]
        last = end
    return "".join(parts) + text[last:]


def _scan(text: str) -> tuple[list[PiiSpan], str]:
    """What one pass of all rules finds in `text`, and the folded text without it."""
    view = text
    origin: Sequence[int] = range(len(text))
    if _INVISIBLE.search(text):
        origin = [i for i in origin if not _INVISIBLE.match(text[i])]
        view = "".join(text[i] for i in origin)
    if _ODD.search(view):
        view = view.translate(_FOLD)
    view = _CN_RUN.sub(lambda match: match[0].translate(_CN_DIGITS), view)
    found: list[PiiSpan] = []
    for kind, hint, pattern, check in _RULES:
        if hint.search(view):
            matches = filter(check, pattern.finditer(view))
            spans = [PiiSpan(*match.span(match.lastindex or 0), kind) for match in matches]
            found += spans
            view = replace_spans(view, spans, blank=True) if spans else view
    return [PiiSpan(origin[a], _whole(text, origin[b - 1] + 1), kind) for a, b, kind in found], view


def _whole(text: str, end: int) -> int:
    """`end` moved behind the marks that combine with the character before it."""
    while end < len(text) and unicodedata.category(text[end])[0] == "M":
        end += 1
    return end
