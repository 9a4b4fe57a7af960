"""Invented messages that hold a contact, plain or disguised, and messages that hold none.

`DISGUISES` is a table of the ways in which senders write a contact so that a filter misses it.
Every third row of each of its families, by position, is *unseen*: the masking rules were tuned on
the other two thirds and measured once on these (docs/personal_information.md). A new row goes to
the end of its family, so that no row changes sides.

All contacts are invented: mobile numbers 130 0000 ...., landlines 6200 ...., cards that begin with
6222 0000 0000, identity numbers of the year 1900, domains of RFC 2606.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from smstune.text.pii.find import find_pii
from smstune.text.pii.placeholders import CONTACTS as CONTACT_KINDS
from smstune.text.pii.placeholders import PiiSpan


@dataclass(frozen=True)
class Phrase:
    """A contact as a message states it: keyword, link and values, or values and what follows."""

    kind: str
    keyword: str
    values: tuple[str, ...]
    link: str = "："
    between: str = "、"
    behind: str = ""


Rewrite = Callable[[Phrase, Random], Phrase]


@dataclass(frozen=True)
class Disguise:
    """One way to write a contact of any of ``kinds``."""

    name: str
    kinds: tuple[str, ...]
    rewrite: Rewrite
    unseen: bool = False


@dataclass(frozen=True)
class Sample:
    """A message, the contacts in it, and how they are disguised (``None``: not at all)."""

    text: str
    spans: tuple[PiiSpan, ...]
    disguise: Disguise | None = None


# Contacts


def _digits(rng: Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def _phone(rng: Random) -> str:
    return f"1300000{_digits(rng, 4)}"


def _landline(rng: Random) -> str:
    return f"{rng.choice(('010', '021', '0755', '0571', '028'))}-6200{_digits(rng, 4)}"


def _service(rng: Random) -> str:
    return rng.choice((f"400-000-{_digits(rng, 4)}", "95588", "95599", "10086", "12315", "96110"))


def _identity(rng: Random) -> str:
    body = f"1101011900{rng.randint(1, 12):02}{rng.randint(1, 28):02}{_digits(rng, 3)}"
    total = sum(int(digit) * (2 ** (17 - index) % 11) for index, digit in enumerate(body))
    return body + "10X98765432"[total % 11]


def _card(rng: Random) -> str:
    body = f"62220000{_digits(rng, rng.choice((7, 10)))}"
    doubled = [int(digit) * 2 for digit in body[::-2]]
    total = sum(int(digit) for digit in body[-2::-2]) + sum(n - 9 * (n > 9) for n in doubled)
    return f"{body}{-total % 10}"


def _mail(rng: Random) -> str:
    name = rng.choice(("li.ming", "service", "hr01", "wang_hong", "kefu88", "jack-chen"))
    return (
        f"{name}{rng.randint(1, 99)}@{rng.choice(('example.com', 'mail.example.cn', 'abc.test'))}"
    )


def _address(rng: Random) -> str:
    host = rng.choice(("www.example.com", "m.example.cn", "vip.example.net", "yh-app.test"))
    return host + rng.choice(("", f"/k{rng.randint(1, 99)}", "/login"))


def _account(rng: Random) -> str:
    name = rng.choice(("kefu", "xiaomei", "licai", "daikuan", "tony_", "niuniu", "fuli"))
    return f"{name}{rng.randint(10, 99999)}"


def _qq(rng: Random) -> str:
    return f"1000{_digits(rng, rng.choice((4, 5)))}"


def _code(rng: Random) -> str:
    return _digits(rng, rng.choice((4, 6, 6, 6)))


def _amount(rng: Random) -> str:
    return f"{rng.choice((99, 200, 888, 3500, 5000, 12000))}元"


def _number(rng: Random) -> str:
    return rng.choice((f"2024{_digits(rng, 8)}", f"SF{_digits(rng, 12)}", _digits(rng, 10)))


#: For each kind: keywords, and what makes a value.
CONTACTS: dict[str, tuple[tuple[str, ...], Callable[[Random], str]]] = {
    "PHONE": (("电话", "手机", "联系人", "详询", "速联"), _phone),
    "LANDLINE": (("电话", "座机", "传真", "售楼处", "热线"), _landline),
    "SERVICE": (("客服", "热线", "请拨打", "详询"), _service),
    "ID": (("身份证", "身份证号", "证件号码"), _identity),
    "CARD": (("卡号", "账号", "汇款至", "收款卡"), _card),
    "URL": (("网址", "登录", "点击", "官网"), _address),
    "EMAIL": (("邮箱", "简历发至", "投稿", "E-mail"), _mail),
    "WECHAT": (("微信", "微信号", "加微信", "客服微信"), _account),
    "QQ": (("QQ", "QQ号", "加QQ", "QQ群"), _qq),
    "CODE": (("验证码", "您的验证码是", "校验码"), _code),
    "MONEY": (("到账", "余额", "仅需", "优惠价"), _amount),
    "NUM": (("订单号", "运单号", "流水号", "编号"), _number),
}


def _phrase(kind: str, rng: Random) -> Phrase:
    keywords, value = CONTACTS[kind]
    return Phrase(kind, rng.choice(keywords), (value(rng),), rng.choice(("：", "", ":", " ")))


# Ways to write digits

_ASCII = "0123456789"
_CHINESE = "零一二三四五六七八九"
_FINANCIAL = "零壹贰叁肆伍陆柒捌玖"
_TRADITIONAL = "零壹貳參肆伍陸柒捌玖"
_CIRCLED = "⓪①②③④⑤⑥⑦⑧⑨"
_FULL_WIDTH = "０１２３４５６７８９"
_ARABIC_INDIC = "٠١٢٣٤٥٦٧٨٩"
_DEVANAGARI = "०१२३४५६७८९"
_THAI = "๐๑๒๓๔๕๖๗๘๙"
_BOLD = "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"
_SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SUZHOU = "〇〡〢〣〤〥〦〧〨〩"
_NEGATIVE_CIRCLED = "⓿❶❷❸❹❺❻❼❽❾"


def _values(write: Callable[[str, Random], str]) -> Rewrite:
    """Return a rewrite that writes each value by ``write``."""

    def rewrite(phrase: Phrase, rng: Random) -> Phrase:
        return replace(phrase, values=tuple(write(value, rng) for value in phrase.values))

    return rewrite


def _in_script(*scripts: str, share: float = 1.0) -> Rewrite:
    """Write a share of the digits in one of these scripts, drawn for each digit."""
    return _values(
        lambda value, rng: "".join(
            rng.choice(scripts)[int(sign)] if sign in _ASCII and rng.random() < share else sign
            for sign in value
        )
    )


def _tokens(value: str) -> list[str]:
    """Return the characters of a number without the hyphens of the plain form."""
    return list(value.replace("-", ""))


def _groups(value: str) -> list[str]:
    """Return a number in groups as people write it: 138 0013 8000, 010 6200 0001, 482 910."""
    if "-" in value:
        return value.split("-")
    sizes = {11: (3, 4, 4), 18: (6, 8, 4), 6: (3, 3), 8: (4, 4), 5: (3, 2), 9: (3, 3, 3)}.get(
        len(value), (4,) * (len(value) // 4) + ((len(value) % 4,) if len(value) % 4 else ())
    )
    groups, start = [], 0
    for size in sizes:
        groups.append(value[start : start + size])
        start += size
    return groups


def _grouped(*marks: str) -> Rewrite:
    """Put one of ``marks``, the same all through, between the groups of a number."""
    return _values(lambda value, rng: rng.choice(marks).join(_groups(value)))


def _spelt(*marks: str) -> Rewrite:
    """Put one of ``marks``, the same all through, between all digits."""
    return _values(lambda value, rng: rng.choice(marks).join(_tokens(value)))


def _strewn(marks: str) -> Rewrite:
    """Put any of ``marks`` between all digits."""

    def write(value: str, rng: Random) -> str:
        first, *others = _tokens(value)
        return first + "".join(rng.choice(marks) + token for token in others)

    return _values(write)


def _bracketed(pairs: str) -> Rewrite:
    """Put each digit in brackets, one of ``pairs``, the same all through."""

    def write(value: str, rng: Random) -> str:
        start = 2 * rng.randrange(len(pairs) // 2)
        opening, closing = pairs[start : start + 2]
        return "".join(f"{opening}{token}{closing}" for token in _tokens(value))

    return _values(write)


def _look_alikes(zeros: str, ones: str, share: float) -> Rewrite:
    def write(value: str, rng: Random) -> str:
        signs = {"0": zeros, "1": ones}
        return "".join(
            rng.choice(signs[sign]) if signs.get(sign) and rng.random() < share else sign
            for sign in value
        )

    return _values(write)


def _bracketed_groups(value: str, rng: Random) -> str:
    return "".join(f"【{group}】" for group in _groups(value))


def _chinese_group(value: str, rng: Random) -> str:
    groups = _groups(value)
    index = rng.randrange(len(groups))
    groups[index] = groups[index].translate(str.maketrans(_ASCII, _CHINESE))
    return "".join(groups)


def _broken(value: str, rng: Random) -> str:
    groups = _groups(value)
    return "".join(groups[:-1]) + "\n" + groups[-1]


NUMBERS = ("PHONE", "LANDLINE", "SERVICE", "ID", "CARD", "QQ", "CODE", "NUM")

_DIGITS: tuple[tuple[str, tuple[str, ...], Rewrite], ...] = (
    ("blanks between groups", NUMBERS, _grouped(" ")),
    ("hyphens between all digits", NUMBERS, _spelt("-")),
    ("dots between groups", NUMBERS, _grouped(".", "·")),
    ("emoji digits", NUMBERS, _values(lambda value, _: "".join(
        f"{sign}\ufe0f\u20e3" if sign in _ASCII else sign for sign in value))),
    ("Chinese digits", NUMBERS, _in_script(_CHINESE)),
    ("circled digits", NUMBERS, _in_script(_CIRCLED)),
    ("Chinese digits among others", NUMBERS, _in_script(_CHINESE, share=0.5)),
    ("financial digits", NUMBERS, _in_script(_FINANCIAL)),
    ("digits in round brackets", NUMBERS, _bracketed("()（）")),
    ("O and l", NUMBERS, _look_alikes("O", "l", 1.0)),
    ("emoji between groups", NUMBERS, _grouped("❤", "🔥", "★")),
    ("full-width digits", NUMBERS, _in_script(_FULL_WIDTH)),
    ("stars between all digits", NUMBERS, _spelt("*")),
    ("zero-width characters", NUMBERS, _spelt("\u200b", "\u200d")),
    ("Arabic-Indic digits", NUMBERS, _in_script(_ARABIC_INDIC)),
    ("three scripts mixed", NUMBERS, _in_script(_CHINESE, _FINANCIAL, _CIRCLED, _ASCII)),
    ("slashes between groups", NUMBERS, _grouped("/", "／")),
    ("〇 and ○ for zero", NUMBERS, _look_alikes("〇○", "", 1.0)),
    ("one character between all digits", NUMBERS, _spelt("加", "爱")),
    ("commas between groups", NUMBERS, _grouped("，", "、", ",")),
    ("two blanks between groups", NUMBERS, _grouped("  ")),
    ("line break inside", NUMBERS, _values(_broken)),
    ("groups in brackets", NUMBERS, _values(_bracketed_groups)),
    ("mathematical digits", NUMBERS, _in_script(_BOLD)),
    ("underscores between groups", NUMBERS, _grouped("_")),
    ("plus signs between all digits", NUMBERS, _spelt("+", "＋")),
    ("I and o among digits", NUMBERS, _look_alikes("oO", "IlL", 0.6)),
    ("any emoji between all digits", NUMBERS, _strewn("❤★🔥☆👉💰")),
    ("parenthesised digits", NUMBERS, _in_script("0⑴⑵⑶⑷⑸⑹⑺⑻⑼")),
    ("dashes between all digits", NUMBERS, _spelt("—", "–", "~")),
    ("Devanagari or Thai digits", NUMBERS, _values(lambda value, rng: value.translate(
        str.maketrans(_ASCII, rng.choice((_DEVANAGARI, _THAI)))))),
    ("traditional financial digits", NUMBERS, _in_script(_TRADITIONAL)),
    ("any letter between all digits", NUMBERS, _strewn("abcdefgh")),
    ("superscript digits", NUMBERS, _in_script(_SUPERSCRIPT)),
    ("digits in any bracket", NUMBERS, _bracketed("【】[]「」<>《》")),
    ("bullets between groups", NUMBERS, _grouped("•", "●")),
    ("blanks between all digits", NUMBERS, _spelt(" ")),
    ("Suzhou numerals", NUMBERS, _in_script(_SUZHOU)),
    ("one group in Chinese digits", NUMBERS, _values(_chinese_group)),
    ("negative circled digits", NUMBERS, _in_script(_NEGATIVE_CIRCLED)),
    ("digits with full stops", NUMBERS, _in_script("0⒈⒉⒊⒋⒌⒍⒎⒏⒐")),
    ("arrows between groups", NUMBERS, _grouped("→", "=", "=>")),
)  # fmt: skip

# Ways to write an account, an address, an amount


def _translated(*first_letters: str) -> Rewrite:
    """Write letters in another alphabet of Unicode, which begins at one of ``first_letters``."""

    def write(value: str, rng: Random) -> str:
        first = ord(rng.choice(first_letters))
        return "".join(
            chr(first + ord(sign.lower()) - ord("a")) if sign.isascii() and sign.isalpha() else sign
            for sign in value
        )

    return _values(write)


def _wide(value: str, rng: Random) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in value)


def _any_case(value: str, rng: Random) -> str:
    return "".join(rng.choice((sign.upper(), sign.lower())) for sign in value)


def _replaced(**marks: str) -> Rewrite:
    """Write each sign (``at``, ``dot``) as one of the marks given for it, split at |."""
    signs = {"at": "@", "dot": "."}

    def write(value: str, rng: Random) -> str:
        for name, choices in marks.items():
            value = value.replace(signs[name], rng.choice(choices.split("|")))
        return value

    return _values(write)


def _letters_apart(value: str, rng: Random) -> str:
    return " ".join(value)


def _split_in_two(mark: str) -> Callable[[str, Random], str]:
    def write(value: str, rng: Random) -> str:
        middle = next(index for index, sign in enumerate(value) if sign.isdigit())
        return value[:middle] + mark + value[middle:]

    return write


def _linked(*links: str) -> Rewrite:
    return lambda phrase, rng: replace(phrase, link=rng.choice(links))


def _enclosed(*pairs: str) -> Rewrite:
    def rewrite(phrase: Phrase, rng: Random) -> Phrase:
        opening, closing = rng.choice(pairs)
        return replace(phrase, link=opening, behind=closing)

    return rewrite


_ACCOUNTS: tuple[tuple[str, tuple[str, ...], Rewrite], ...] = (
    ("account: blanks between all letters", ("WECHAT",), _values(_letters_apart)),
    ("account: full-width", ("WECHAT",), _values(_wide)),
    ("account: any case", ("WECHAT",), _values(_any_case)),
    ("account: emoji inside", ("WECHAT",), _values(_split_in_two("❤"))),
    ("account: circled letters", ("WECHAT",), _translated("ⓐ")),
    ("account: zero-width inside", ("WECHAT",), _values(_split_in_two("\u200b"))),
    ("account: Chinese digits", ("WECHAT",), _in_script(_CHINESE)),
    ("account: lenticular brackets", ("WECHAT",), _enclosed("【】", "「」")),
    ("account: quotes", ("WECHAT",), _enclosed("“”", '""')),
    ("account: blank inside", ("WECHAT",), _values(_split_in_two(" "))),
    ("account: line break before", ("WECHAT",), _linked("\n", "：\n")),
    ("account: equals sign", ("WECHAT",), _linked("=", "＝")),
    ("account: mathematical letters", ("WECHAT",), _translated("𝐚", "𝒂")),
    ("account: round brackets", ("WECHAT",), _enclosed("()", "（）")),
    ("account: dot inside", ("WECHAT",), _values(_split_in_two("."))),
)

_ADDRESSES: tuple[tuple[str, tuple[str, ...], Rewrite], ...] = (
    ("mail: 艾特", ("EMAIL",), _replaced(at="艾特")),
    ("mail: [at]", ("EMAIL",), _replaced(at="[at]")),
    ("mail: (at)", ("EMAIL",), _replaced(at="(at)|（at）")),
    ("mail: 点", ("EMAIL",), _replaced(dot="点")),
    ("mail: full-width", ("EMAIL",), _values(_wide)),
    ("mail: blanks around @", ("EMAIL",), _replaced(at=" @ ")),
    ("mail: # for @", ("EMAIL",), _replaced(at="#")),
    ("mail: zero-width", ("EMAIL",), _replaced(at="\u200b@\u200b")),
    ("mail: Chinese full stop", ("EMAIL",), _replaced(dot="。")),
    ("mail: at", ("EMAIL",), _replaced(at=" at | AT ")),
    ("mail: dot", ("EMAIL",), _replaced(dot=" dot |(dot)|[dot]")),
    ("mail: letters apart", ("EMAIL",), _values(_letters_apart)),
    ("mail: two @", ("EMAIL",), _replaced(at="@@")),
    ("mail: 爱特", ("EMAIL",), _replaced(at="爱特")),
    ("mail: [.]", ("EMAIL",), _replaced(dot="[.]")),
    ("mail: any case", ("EMAIL",), _values(_any_case)),
    ("mail: line break at @", ("EMAIL",), _replaced(at="\n@")),
    ("mail: ＠ and ．", ("EMAIL",), _replaced(at="＠", dot="．")),
    ("mail: emoji around @", ("EMAIL",), _replaced(at="❤@❤")),
    ("mail: 圈a", ("EMAIL",), _replaced(at="圈a|(a)")),
    ("mail: (点)", ("EMAIL",), _replaced(dot="(点)|（点）")),
    ("mail: mathematical letters", ("EMAIL",), _translated("𝐚")),
    ("mail: blanks and 点", ("EMAIL",), _replaced(at=" @ ", dot=" 点 ")),
    ("mail: 艾特 and 点", ("EMAIL",), _replaced(at="艾特", dot="点")),
    ("web: 点", ("URL",), _replaced(dot="点")),
    ("web: Chinese full stop", ("URL",), _replaced(dot="。")),
    ("web: hxxp", ("URL",), _values(lambda value, _: f"hxxp://{value}")),
    ("web: full-width", ("URL",), _values(_wide)),
    ("web: blanks around dots", ("URL",), _replaced(dot=" . ")),
    ("web: zero-width", ("URL",), _replaced(dot="\u200b.")),
    ("web: [.]", ("URL",), _replaced(dot="[.]")),
    ("web: any case", ("URL",), _values(_any_case)),
    ("web: (.)", ("URL",), _replaced(dot="(.)")),
    ("web: middle dot", ("URL",), _replaced(dot="·")),
    ("web: circled letters", ("URL",), _translated("ⓐ")),
    ("web: without dots", ("URL",), _values(
        lambda value, _: "www" + value.split("/")[0].replace(".", "").removeprefix("www"))),
    ("web: letters apart", ("URL",), _values(_letters_apart)),
    ("web: dot", ("URL",), _replaced(dot=" dot |(dot)")),
    ("web: 点 with blanks", ("URL",), _replaced(dot=" 点 ")),
)  # fmt: skip


def _counted(amount: str, digits: str, units: str) -> str:
    """Return an amount as one says it: 3500 as 三千五百."""
    words = ""
    for index, digit in enumerate(amount):
        power = len(amount) - 1 - index
        if digit != "0":
            words += digits[int(digit)] + ("", *units)[power]
        elif not words.endswith(digits[0]) and int(amount[index:]):
            words += digits[0]
    return words


def _sum(write: Callable[[str], str]) -> Rewrite:
    """Return a rewrite of the figures of an amount, which ``write`` makes whole again."""
    return _values(lambda value, _: write(value.removesuffix("元")))


def _in_thousands(amount: str) -> str:
    return f"{int(amount) / 1000:g}千元" if len(amount) > 3 else f"{int(amount) / 100:g}百元"


_AMOUNTS: tuple[tuple[str, tuple[str, ...], Rewrite], ...] = (
    ("amount: counted", ("MONEY",), _sum(lambda sum_: _counted(sum_, _CHINESE, "十百千万") + "元")),
    ("amount: financial", ("MONEY",), _sum(
        lambda sum_: _counted(sum_, _FINANCIAL, "拾佰仟万") + "元整")),
    ("amount: full-width", ("MONEY",), _values(_wide)),
    ("amount: RMB", ("MONEY",), _sum(lambda sum_: f"RMB{sum_}")),
    ("amount: ¥", ("MONEY",), _sum(lambda sum_: f"¥ {sum_}")),
    ("amount: 块", ("MONEY",), _sum(lambda sum_: f"{sum_}块")),
    ("amount: 圆", ("MONEY",), _sum(lambda sum_: f"{sum_}圆")),
    ("amount: thousands apart", ("MONEY",), _sum(lambda sum_: f"{int(sum_):,}.00元")),
    ("amount: in thousands", ("MONEY",), _sum(_in_thousands)),
    ("amount: blanks between all digits", ("MONEY",), _sum(lambda sum_: " ".join(sum_) + "元")),
    ("amount: circled", ("MONEY",), _in_script(_CIRCLED)),
    ("amount: Chinese digits", ("MONEY",), _in_script("〇一二三四五六七八九")),
    ("amount: O for zero", ("MONEY",), _look_alikes("O", "l", 1.0)),
    ("amount: CNY", ("MONEY",), _sum(lambda sum_: f"CNY {sum_}")),
    ("amount: 大洋", ("MONEY",), _sum(lambda sum_: f"{sum_}大洋")),
    ("amount: 人民币", ("MONEY",), _sum(lambda sum_: f"{sum_}人民币")),
    ("amount: 块钱 with blanks", ("MONEY",), _sum(lambda sum_: f"{sum_} 块 钱")),
    ("amount: zero-width", ("MONEY",), _sum(lambda sum_: "\u200b".join(sum_) + "元")),
    ("amount: 圓", ("MONEY",), _sum(lambda sum_: f"{sum_}圓")),
    ("amount: two scripts mixed", ("MONEY",), _in_script(_FINANCIAL, _ASCII)),
    ("amount: emoji digits", ("MONEY",), _sum(
        lambda sum_: "".join(f"{sign}\ufe0f\u20e3" for sign in sum_) + "元")),
    ("amount: yuan", ("MONEY",), _sum(lambda sum_: f"{sum_}yuan")),
    ("amount: $", ("MONEY",), _sum(lambda sum_: f"${sum_}")),
    ("amount: 美金", ("MONEY",), _sum(lambda sum_: f"{sum_}美金")),
)  # fmt: skip

# Ways to write the keyword


def _named(kind: str, *words: str) -> tuple[str, tuple[str, ...], Rewrite]:
    def rewrite(phrase: Phrase, rng: Random) -> Phrase:
        return replace(phrase, keyword=rng.choice(words))

    return f"keyword: {words[0]!r}", (kind,), rewrite


_KEYWORDS: tuple[tuple[str, tuple[str, ...], Rewrite], ...] = (
    _named("WECHAT", "薇信", "薇信号"),
    _named("WECHAT", "威信", "加威信"),
    _named("WECHAT", "V信", "V信号"),
    _named("WECHAT", "+V", "+v", "加V"),
    _named("WECHAT", "vx", "VX", "v x"),
    _named("WECHAT", "微.信", "微-信", "微_信"),
    _named("WECHAT", "加薇", "加微", "加威"),
    _named("WECHAT", "lx v", "lx+v", "lx加v", "联系v"),
    _named("WECHAT", "徽信", "徽 信"),
    _named("WECHAT", "微❤信", "威❤信"),
    _named("WECHAT", "WX", "w x", "wx号"),
    _named("WECHAT", "wechat", "WeChat"),
    _named("WECHAT", "卫星", "卫星号"),
    _named("WECHAT", "微 信", "薇  信"),
    _named("WECHAT", "维信", "唯信"),
    _named("WECHAT", "加我V", "加我v信", "加我微"),
    _named("WECHAT", "➕薇", "➕V", "➕微"),
    _named("WECHAT", "薇心", "微芯"),
    _named("WECHAT", "VX号", "vx号是"),
    _named("WECHAT", "v❤", "V心", "V♥信"),
    _named("WECHAT", "绿泡泡", "绿色软件"),
    _named("WECHAT", "weixin", "wei xin"),
    _named("WECHAT", "微\n信", "威\n信"),
    _named("WECHAT", "wei信", "w信"),
    _named("WECHAT", "微x", "薇x"),
    _named("WECHAT", "魏信", "巍信"),
    _named("WECHAT", "＋Ｖ", "Ｖ信", "ＶＸ"),
    _named("QQ", "扣扣", "加扣扣"),
    _named("QQ", "Q群", "q群号"),
    _named("QQ", "企鹅", "企鹅号"),
    _named("QQ", "q q", "Q Q"),
    _named("QQ", "抠抠", "抠抠号"),
    _named("QQ", "Q", "q"),
    _named("QQ", "加扣", "加抠"),
    _named("QQ", "企鹅群", "企 鹅"),
    _named("QQ", "球球", "球球号"),
    _named("QQ", "扣❤扣", "Q❤Q"),
    _named("QQ", "QQ裙", "Q裙"),
    _named("QQ", "秋秋", "加秋秋"),
    _named("QQ", "Q号", "q号是"),
    _named("QQ", "扣群", "扣扣群号"),
    _named("QQ", "q.q", "Q-Q", "Q_Q"),
    _named("QQ", "进裙", "加裙"),
    _named("QQ", "Q扣", "扣Q"),
    _named("QQ", "群号", "加群"),
    _named("QQ", "口口", "口口号"),
    _named("QQ", "小企鹅", "加企鹅"),
    _named("QQ", "ＱＱ", "ＱＱ群"),
    _named("CODE", "验 证 码", "验  证  码"),
    _named("CODE", "校验码", "校验码为"),
    _named("CODE", "动态码", "动态口令"),
    _named("CODE", "驗證碼", "驗證碼是"),
    _named("CODE", "yzm", "YZM"),
    _named("CODE", "验证-码", "验-证-码", "验.证.码"),
    _named("CODE", "动态密码", "动态密码是"),
    _named("CODE", "短信验证码", "您的短信验证码是"),
    _named("CODE", "确认码", "确认码是"),
    _named("CODE", "验❤证❤码", "验★证★码"),
    _named("CODE", "code", "Code is"),
    _named("CODE", "verification code is", "OTP", "verification code"),
    _named("CODE", "登录码", "登陆码"),
    _named("CODE", "取件码", "取货码"),
    _named("CODE", "提货码", "自提码"),
    _named("CODE", "验证马", "验正码"),
    _named("CODE", "验\n证码", "验证\n码"),
    _named("CODE", "授权码", "安全码"),
    _named("CODE", "识别码", "注册码"),
    _named("CODE", "验证号", "验证数字"),
    _named("CODE", "随机码", "随机密码"),
)

# Ways to place it


def _behind(*words: str) -> Rewrite:
    """Put the keyword behind the value."""

    def rewrite(phrase: Phrase, rng: Random) -> Phrase:
        keyword = {"EMAIL": "邮箱"}.get(phrase.kind, CONTACTS[phrase.kind][0][0])
        return replace(phrase, keyword="", link="", behind=rng.choice(words).format(keyword))

    return rewrite


def _several(count: int, *marks: str) -> Rewrite:
    """Put several contacts behind one keyword."""

    def rewrite(phrase: Phrase, rng: Random) -> Phrase:
        values = tuple(CONTACTS[phrase.kind][1](rng) for _ in range(count))
        return replace(phrase, values=values, between=rng.choice(marks))

    return rewrite


_ALL = tuple(kind for kind in CONTACTS if kind not in ("MONEY", "NUM"))
_LAYOUT: tuple[tuple[str, tuple[str, ...], Rewrite], ...] = (
    ("keyword in brackets behind", _ALL, _behind("（{}）", "({})")),
    ("two behind one keyword", _ALL, _several(2, "、", "，", ",")),
    ("line break before the value", _ALL, _linked("\n", "：\n")),
    ("keyword behind: 是我的", _ALL, _behind("是我的{}", "是{}", "为您的{}")),
    ("two, a slash between", _ALL, _several(2, "/", " / ", "／")),
    ("three behind one keyword", _ALL, _several(3, "、", "和", "或")),
    ("line breaks around", _ALL, lambda phrase, _: replace(
        phrase, keyword=f"\n{phrase.keyword}", behind="\n")),
    ("value in lenticular brackets", _ALL, _enclosed("【】")),
    ("arrow before the value", _ALL, _linked("→", "--", "=>")),
    ("two, a word between", _ALL, _several(2, "或者", "及", "或")),
    ("keyword behind a blank", _ALL, _behind(" {}")),
    ("line break between two", _ALL, _several(2, "\n")),
)  # fmt: skip

#: The whole table; every third row of each family is unseen.
DISGUISES = tuple(
    Disguise(name, kinds, rewrite, unseen=index % 3 == 2)
    for family in (_DIGITS, _ACCOUNTS, _ADDRESSES, _AMOUNTS, _KEYWORDS, _LAYOUT)
    for index, (name, kinds, rewrite) in enumerate(family)
)

# Messages around a contact: ordinary, marketing, fraud

_CARRIERS = (
    "师傅您好，我下班后过去拿，{}，麻烦了",
    "今晚聚餐改到老地方，{}，到了说一声",
    "房子还在租吗？{}，看到请回复",
    "妈，我换了，{}，以后找我用这个",
    "同学会筹备中，{}，请大家尽快登记。",
    "您好，快递放在门卫了，{}。",
    "资料已经整理好，{}，请查收",
    "老师您好，孩子明天请假，{}",
    "【禾木家居】周年庆全场五折起，{}，回T退订",
    "【青橙书店】会员专享，买二送一，{}，先到先得！",
    "精装两居，地铁口，拎包入住，{}，欢迎看房",
    "春季班火热招生，小班授课，{}，名额有限",
    "新店开业，进店有礼，{}。地址：人民路口",
    "名酒名茶批发，价格从优，{}，诚招代理",
    "尊敬的会员，您的积分即将清零，{}，请及时处理",
    "代理记账、公司注册，{}，当天出证",
    "【云禾银行】您的账户存在异常，{}，请立即核实",
    "恭喜您被选为幸运用户，{}，今日有效",
    "无抵押贷款，当天放款，{}，额度高利息低",
    "兼职刷单日结，在家可做，{}，非诚勿扰",
    "您的包裹因地址不详被退回，{}，逾期作废",
    "内部消息，跟着老师稳赚不赔，{}",
    "您的医保卡将被停用，{}，以免影响使用",
    "同城交友，真实可靠，{}，等你来",
)


def _message(phrase: Phrase, rng: Random, disguise: Disguise | None) -> Sample:
    before, behind = rng.choice(_CARRIERS).split("{}")
    text = before + phrase.keyword + phrase.link
    spans = []
    for index, value in enumerate(phrase.values):
        text += phrase.between if index else ""
        spans.append(PiiSpan(len(text), len(text) + len(value), phrase.kind))
        text += value
    return Sample(text + phrase.behind + behind, tuple(spans), disguise)


def plain(count: int) -> Iterator[Sample]:
    """Yield ``count`` messages for each kind of contact, none of them disguised."""
    for kind in CONTACTS:
        rng = Random(f"plain {kind}")
        for _ in range(count):
            yield _message(_phrase(kind, rng), rng, None)


def disguised(count: int) -> Iterator[Sample]:
    """Yield ``count`` messages for each disguise and each kind of contact it is for."""
    for disguise in DISGUISES:
        for kind in disguise.kinds:
            rng = Random(f"{disguise.name} {kind}")
            for _ in range(count):
                phrase = disguise.rewrite(_phrase(kind, rng), rng)
                yield _message(phrase, rng, disguise)


# Messages without a contact

_WITHOUT = (
    "【示例航空】您预订的{flight}航班{month}月{day}日{hour}:{minute}起飞，请提前到达机场。",
    "您已购{month}月{day}日{train}次{coach}车{seat}号，请凭证件乘车",
    "订单号{order}已发货，预计{day}日送达",
    "您的订单{order}已取消，款项原路退回",
    "运单号：{order}，正在派送中",
    "快递单号{order}已签收，感谢使用",
    "流水号{order}，交易成功",
    "合同编号：{order}，请妥善保管",
    "发票号码{number8}，开票日期2024年{month}月{day}日",
    "股票代码{stock}今日涨停，收盘价{price}",
    "{stock}现价{price}，涨幅{percent}%",
    "关注{stock}、{stock}、{stock}三只股票",
    "上证指数{index}点，成交{count}亿",
    "原价{price}元，现价{price}元，满{hundred}减{ten}",
    "充{hundred}送{ten}，仅限{month}月{day}日",
    "余额{price}元，消费{price}元",
    "会议定于2024-{month:02}-{day:02} {hour}:{minute}召开",
    "{month}月{day}日至{month}月{day}日停水，请提前储水",
    "比赛结果{ten}:{day}，主队胜",
    "三局比分21:{day}、21:{hour}、{day}:21",
    "系统升级至v{month}.{day}.{hour}，修复若干问题",
    "版本{month}.{day}.{minute}已发布，请更新",
    "您的车京A·{plate}有{month}条违章未处理",
    "沪C{plate}请尽快挪车",
    "身高{tall}，体重{day}公斤，血压{tall}/{ten}",
    "本月用电{count}度，用水{day}吨",
    "今日气温{day}到{hour}度，风力{month}级",
    "内存8+256G，电池{count}mAh，屏幕{price}英寸",
    "房号{month}-{day}-{room}，面积{price}平米",
    "{month}号楼{day}单元{room}，明天装修",
    "您获得{count}积分，可兑换礼品",
    "已有{count}人报名，还剩{ten}个名额",
    "尾号{tail}的卡{month}月{day}日支出{price}元",
    "您尾号{tail}的账户收入{count}元，余额{count}元",
    "学号{number8}的同学请到教务处",
    "考场{month}，座位{day}，准考证{number10}",
    "病历号{number8}，请到{month}楼{day}诊室",
    "第{count}期开奖号码{day:02} {hour:02} {month:02} {ten}",
    "微信支付{price}元成功",
    "微信运动今日{count}步",
    "QQ音乐会员{ten}折起",
    "Q{quarter} 2024业绩增长{percent}%",
    "验证码已失效，请重新获取",
    "验证码{month}分钟内有效，请勿泄露",
    "验证码错误{month}次，请{day}分钟后再试",
    "扫码领取{ten}元红包，限{count}份",
    "邮箱里有{day}封未读邮件",
    "请携带身份证原件，{hour}点到{room}室",
    "加群的朋友请备注姓名，已满{count}人",
    "电话打不通，{hour}点再打",
    "手机剩余电量{ten}%，请充电",
    "客服工作时间{month}:00-{hour}:{minute}",
    "登录次数{day}次，上次登录{month}月{day}日{hour}:{minute}",
    "周一至周五 9:00-17:30，周末 10:00-16:00",
    "选项1、2、3、4、5、6任选其一",
    "1/2/3/4/5/6/7号线均可到达",
    "一二三四五六七，七六五四三二一",
    "地址：中山路{hundred}号{month}楼{room}",
    "邮编100{stock3}",
    "套餐：{price}元{ten}GB{hundred}分钟",
    "尺寸{tall}x{ten}x{day}cm，净重{price}kg",
    "汇率{price}，手续费{percent}%",
    "跑完{price}公里，用时{month}:{minute}:{day:02}",
    "型号XR{count}，序列号SN{number10}",
    "ISBN 978-7-{number4}-{number4}-{month}",
    "{count}米接力赛，{month}月{day}日{hour}点开始",
    "航班{flight}延误至{hour}:{minute}，登机口{month}{letter}",
    "G{number4}次列车晚点{day}分钟",
    "价格从{count}降到{count}，只限今天",
    "2024/{month:02}/{day:02} {hour}:{minute}:00 设备离线",
)


def without_contact(count: int) -> Iterator[str]:
    """Yield ``count`` messages that hold figures of every sort and no contact."""
    for index in range(count):
        rng = Random(f"without {index}")
        yield _WITHOUT[index % len(_WITHOUT)].format(
            flight=rng.choice(("CA", "MU", "CZ", "HU")) + _digits(rng, 4),
            train=rng.choice(("G", "D", "K", "Z")) + str(rng.randint(1, 9999)),
            month=rng.randint(1, 12),
            day=rng.randint(10, 28),
            hour=rng.randint(8, 22),
            minute=rng.randint(10, 59),
            coach=rng.randint(1, 16),
            seat=f"{rng.randint(1, 20)}{rng.choice('ABCDF')}",
            order=_order_number(rng),
            number4=f"{rng.randint(1, 9)}{_digits(rng, 3)}",
            number8=f"{rng.randint(1, 9)}{_digits(rng, 7)}",
            number10=f"{rng.randint(1, 9)}{_digits(rng, 9)}",
            stock=rng.choice(("600", "000", "300", "002")) + _digits(rng, 3),
            stock3=_digits(rng, 3),
            price=f"{rng.randint(1, 9999)}.{rng.randint(0, 99):02}",
            percent=f"{rng.randint(0, 20)}.{rng.randint(0, 99):02}",
            index=f"{rng.randint(2800, 3900)}.{rng.randint(0, 99):02}",
            count=rng.choice((rng.randint(100, 999), rng.randint(1000, 99999))),
            hundred=rng.randint(1, 9) * 100,
            ten=rng.randint(2, 9) * 10,
            tail=_digits(rng, 4),
            plate=rng.choice("ABCDEFGH") + _digits(rng, 4),
            room=rng.randint(101, 2808),
            tall=rng.randint(110, 190),
            quarter=rng.randint(1, 4),
            letter=rng.choice("ABC"),
        )


def _order_number(rng: Random) -> str:
    """Return the number of an order, which may look like a telephone or a card."""
    return rng.choice(
        (
            f"2024{_digits(rng, 12)}",
            _digits(rng, 12),
            _phone(rng),
            _card(rng),
            f"SF{_digits(rng, 12)}",
            f"YT{_digits(rng, 13)}",
            f"95{_digits(rng, 3)}",
            f"{rng.randint(2, 8)}{_digits(rng, 7)}",
            f"{_digits(rng, 4)}-{_digits(rng, 4)}-{_digits(rng, 4)}",
        )
    )


# Scores

#: A contact counts as masked when this share of its letters and digits is.
_ENOUGH = 0.8


def _covered(sample: Sample, label: PiiSpan, spans: Iterable[PiiSpan]) -> bool:
    signs = [index for index in range(label.start, label.end) if sample.text[index].isalnum()]
    masked = sum(any(span.start <= index < span.end for span in spans) for index in signs)
    return masked >= _ENOUGH * len(signs)


def recall(samples: Iterable[Sample]) -> dict[str, float]:
    """Return for each kind the share of contacts masked; one masked as another kind is half."""
    points: Counter[str] = Counter()
    contacts: Counter[str] = Counter()
    for sample in samples:
        spans = find_pii(sample.text)
        for label in sample.spans:
            contacts[label.type] += 1
            same = [span for span in spans if span.type == label.type]
            points[label.type] += (
                _covered(sample, label, same) + _covered(sample, label, spans)
            ) / 2
    return {kind: points[kind] / contacts[kind] for kind in contacts}


def precision(samples: Iterable[Sample]) -> dict[str, float]:
    """Return for each kind the share of finds that overlap a contact of that kind.

    In a message without a contact amounts and numbers are not labelled, and not counted.
    """
    right: Counter[str] = Counter()
    finds: Counter[str] = Counter()
    for sample in samples:
        for span in find_pii(sample.text):
            if not sample.spans and span.type in ("MONEY", "NUM"):
                continue
            finds[span.type] += 1
            right[span.type] += any(
                span.start < label.end and label.start < span.end and span.type == label.type
                for label in sample.spans
            )
    return {kind: right[kind] / finds[kind] for kind in finds}


def false_alarms(texts: Iterable[str]) -> list[str]:
    """Return those of ``texts``, which hold no contact, in which one is masked."""
    alarming = {*CONTACT_KINDS, "CODE"}
    return [text for text in texts if alarming & {span.type for span in find_pii(text)}]
