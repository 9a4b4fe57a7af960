import json
import sys
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smstune.data.readers.fbs import map_fbs_placeholders
from smstune.text.normalize import preprocess
from smstune.text.pii.find import find_pii
from smstune.text.pii.mask import mask_pii
from smstune.text.pii.placeholders import PLACEHOLDERS, PiiSpan

FIXTURE = Path(__file__).parents[2] / "fixtures" / "pii.jsonl"
ROWS = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]
TYPES = [placeholder[1:-1] for placeholder in PLACEHOLDERS[:-2]]
# Floors (precision, recall, share of labelled spans found to the character), a little below what
# the labelled set gives today; its labels are by intent and hold cases that the rules miss.
FLOORS = {
    "PHONE": (0.99, 0.95, 0.95),
    "LANDLINE": (0.99, 0.94, 0.92),
    "SERVICE": (0.99, 0.93, 0.93),
    "ID": (0.99, 0.99, 0.99),
    "CARD": (0.99, 0.99, 0.99),
    "URL": (0.99, 0.95, 0.95),
    "EMAIL": (0.99, 0.99, 0.99),
    "WECHAT": (0.99, 0.90, 0.90),
    "QQ": (0.99, 0.98, 0.95),
    "CODE": (0.99, 0.90, 0.87),
    "MONEY": (0.99, 0.92, 0.90),
    "NUM": (0.90, 0.95, 0.90),
}


def overlaps(one: PiiSpan, other: PiiSpan) -> bool:
    return one.type == other.type and one.start < other.end and other.start < one.end


def scores() -> dict[str, tuple[float, float, float]]:
    count: Counter[tuple[str, str]] = Counter()
    for row in ROWS:
        found, labelled = find_pii(row["text"]), [PiiSpan(*span) for span in row["spans"]]
        for span in labelled:
            count["labelled", span.type] += 1
            count["hit", span.type] += any(overlaps(span, other) for other in found)
            count["exact", span.type] += span in found
        for span in found:
            count["found", span.type] += 1
            count["right", span.type] += any(overlaps(span, other) for other in labelled)
    return {
        kind: (
            count["right", kind] / count["found", kind],
            count["hit", kind] / count["labelled", kind],
            count["exact", kind] / count["labelled", kind],
        )
        for kind in TYPES
    }


def kinds(text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in find_pii(text)]


class TestLabelledSet:
    def test_fixture_is_large_and_well_formed(self):
        labels = Counter(span[2] for row in ROWS for span in row["spans"])
        assert len(ROWS) >= 320
        assert sum(not row["spans"] for row in ROWS) >= 80
        assert set(labels) == set(TYPES)
        assert min(labels.values()) >= 20
        for row in ROWS:
            ends = [0, *(end for _, end, _ in row["spans"])]
            starts = [*(start for start, _, _ in row["spans"]), len(row["text"])]
            assert all(end <= start for end, start in zip(ends, starts, strict=True)), row

    @pytest.mark.parametrize("kind", TYPES)
    def test_precision_recall_and_exactness(self, kind):
        measured = scores()[kind]
        assert all(value >= floor for value, floor in zip(measured, FLOORS[kind], strict=True)), (
            measured
        )

    def test_messages_without_information_are_left_alone(self):
        touched = [row["text"] for row in ROWS if not row["spans"] and find_pii(row["text"])]
        assert touched == []

    def test_normalised_text_is_read_as_well_as_raw_text(self):
        for row in ROWS:
            raw = Counter(span.type for span in find_pii(row["text"]))
            folded = unicodedata.normalize("NFKC", row["text"]).replace("\u200b", "")
            assert Counter(span.type for span in find_pii(folded)) == raw, row["text"]


# Pieces that stand next to each other in every order: the seams are where masking goes wrong.
PIECES = st.sampled_from(
    [
        *("13000000001", "130-0000-0002", "１３０００００００３", "幺三零零零零零零零零四", "86"),
        *("010-62000001", "62000002", "95588", "10086", "4000000001", "106", "转", "电话", "询"),
        *("110101190001010014", "6222000000000000005", "SF1000000000001", "123456", "2024", "7"),
        *("https://a.example/b?c=1", "b.test", "www.example.com", "c点com", "x@example.com", "www"),
        *("微信", "abc_123", "加V", "QQ", "10000001", "验证码", "482910", "com", "http://", "点"),
        *(
            "5元",
            "¥30",
            "三百块",
            "1,000",
            "元",
            "块",
            "万",
            "年",
            "号",
            "是",
            "为",
            "零",
            "一",
            "百",
        ),
        *".-:：/,，。（）()[]@#+aZ1é①\u0301\u200b\ufe0f\u20e3\n ",
        *("[PHONE]", "[NUM]", "[URL]", "[CODE", "[[QQ]"),
        *(
            "lx",
            "v",
            "扣扣",
            "企鹅",
            "群",
            "我的",
            "订单号",
            "额度",
            "输入",
            "k e f u 8 8",
            "❤",
            "•",
        ),
        *(
            "(1)",
            "【130】",
            "加",
            "爱",
            "l",
            "O",
            "壹",
            "①",
            "、",
            "→",
            "=",
            "和",
            "或",
            "艾特",
            "圆",
        ),
    ]
)
MESSAGES = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=60))


class TestProperties:
    @settings(max_examples=1500, deadline=None)
    @given(MESSAGES)
    def test_masking_twice_changes_nothing(self, text):
        once = mask_pii(text)
        assert mask_pii(once) == once
        assert find_pii(once) == []

    @settings(max_examples=1000, deadline=None)
    @given(MESSAGES)
    def test_spans_are_in_range_in_order_and_apart(self, text):
        spans = find_pii(text)
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        assert all(one.end <= other.start for one, other in pairwise(spans))
        assert {span.type for span in spans} <= set(TYPES)

    @settings(max_examples=1000, deadline=None)
    @given(MESSAGES)
    def test_everything_outside_the_spans_is_kept(self, text):
        parts, last = [], 0
        for start, end, kind in ((span.start, span.end, span.type) for span in find_pii(text)):
            parts += [text[last:start], f"[{kind}]"]
            last = end
        assert mask_pii(text) == "".join(parts) + text[last:]

    @settings(max_examples=1000, deadline=None)
    @given(MESSAGES)
    def test_no_mask_splits_a_character(self, text):
        for start, end in ((span.start, span.end) for span in find_pii(text)):
            assert not unicodedata.category(text[start]).startswith("M")
            assert end == len(text) or not unicodedata.category(text[end]).startswith("M")

    @settings(max_examples=500, deadline=None)
    @given(MESSAGES, st.sampled_from(PLACEHOLDERS), MESSAGES)
    def test_placeholders_survive(self, before, placeholder, behind):
        text = before + placeholder + behind
        place = range(len(before), len(before) + len(placeholder))
        assert not any(
            span.start < place.stop and place.start < span.end for span in find_pii(text)
        )

    @given(st.text(alphabet="我你他们的了在有，。！", max_size=60))
    def test_plain_chinese_comes_back_as_it_is(self, text):
        assert mask_pii(text) == text


class TestCheckDigits:
    def test_identity_number_needs_its_check_character(self):
        assert kinds("证件110101190001010014") == [("ID", "110101190001010014")]
        for digit in "012356789X":
            assert [kind for kind, _ in kinds(f"证件11010119000101001{digit}")] == ["NUM"]

    @pytest.mark.parametrize("day", ["19000230", "19001301", "21000101", "19000100"])
    def test_identity_number_needs_a_date(self, day):
        body = f"110101{day}001"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        check = "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]
        assert "ID" not in [kind for kind, _ in kinds(f"证件{body}{check}")]

    def test_card_needs_luhn(self):
        found = [kinds(f"卡号622200000000000000{digit}")[0][0] for digit in range(10)]
        assert found.count("CARD") == 1
        assert found.count("NUM") == 9


DECIMAL_SCRIPTS = [
    "".join(chr(zero + digit) for digit in range(10))
    for zero in range(sys.maxunicode)
    if unicodedata.category(chr(zero)) == "Nd" and unicodedata.numeric(chr(zero)) == 0
]
# Digits that are no decimal numbers to Unicode, with a zero where they have one.
OTHER_DIGITS = [
    "0⑴⑵⑶⑷⑸⑹⑺⑻⑼",
    "0⓵⓶⓷⓸⓹⓺⓻⓼⓽",
    "⓪①②③④⑤⑥⑦⑧⑨",
    "⓿❶❷❸❹❺❻❼❽❾",
    "0➀➁➂➃➄➅➆➇➈",
    "0➊➋➌➍➎➏➐➑➒",
    "0⒈⒉⒊⒋⒌⒍⒎⒏⒐",
    "🄁🄂🄃🄄🄅🄆🄇🄈🄉🄊",
    "0㈠㈡㈢㈣㈤㈥㈦㈧㈨",
    "0㊀㊁㊂㊃㊄㊅㊆㊇㊈",
    "〇〡〢〣〤〥〦〧〨〩",
    "⁰¹²³⁴⁵⁶⁷⁸⁹",
    "₀₁₂₃₄₅₆₇₈₉",
    "零壹貳參肆伍陸柒捌玖",
    "零壹贰叁肆伍陆柒捌玖",
]


class TestDigits:
    def test_unicode_knows_scripts_with_digits(self):
        assert len(DECIMAL_SCRIPTS) > 60

    @pytest.mark.parametrize("digits", DECIMAL_SCRIPTS + OTHER_DIGITS)
    @pytest.mark.parametrize(
        ("number", "kind"), [("13000001234", "PHONE"), ("01062005678", "LANDLINE")]
    )
    def test_numbers_in_every_script_are_masked_raw_and_normalised(self, digits, number, kind):
        text = f"电话{number.translate(str.maketrans('0123456789', digits))}，谢谢"
        for masked in (mask_pii(text), preprocess(text, mask=True)):
            assert f"[{kind}]" in masked, masked
            assert not any(unicodedata.numeric(sign, -1) in range(10) for sign in masked), masked

    @pytest.mark.parametrize("text", ["陆参加了活动", "十几个人", "二〇二四年", "第Ⅳ章", "㎡和½杯"])
    def test_words_and_single_numbers_are_left(self, text):
        assert mask_pii(text) == text


class TestObfuscation:
    @pytest.mark.parametrize(
        ("text", "kind", "value"),
        [
            ("电１３０００００００１２", "PHONE", "１３０００００００１２"),
            ("电幺三零零零零零零零一二", "PHONE", "幺三零零零零零零零一二"),
            ("电130 0000 0012", "PHONE", "130 0000 0012"),
            ("电130.0000.0012。", "PHONE", "130.0000.0012"),
            ("电1-3-0-0-0-0-0-0-0-1-2", "PHONE", "1-3-0-0-0-0-0-0-0-1-2"),
            ("电130__0000__0012", "PHONE", "130__0000__0012"),
            ("电⒈⒊00⒈⒈00012完", "PHONE", "⒈⒊00⒈⒈00012"),
            ("电1我3爱0你0中0国0人0民0大0会1好2完", "PHONE", "1我3爱0你0中0国0人0民0大0会1好2"),
            ("客服9a5b5c8d8完", "SERVICE", "9a5b5c8d8"),
            ("电130\u200b0000\u200b0012完", "PHONE", "130\u200b0000\u200b0012"),
            ("电③①①①①", "", ""),
            ("加V abc12345", "WECHAT", "abc12345"),
            ("威 信：abc12345", "WECHAT", "abc12345"),
            ("扣扣10000012", "QQ", "10000012"),
            ("进hxxp://a.example/b看", "URL", "hxxp://a.example/b"),
            ("进abc点com看", "URL", "abc点com"),
            ("进abc。com看", "URL", "abc。com"),
        ],
    )
    def test_is_found_to_the_character(self, text, kind, value):
        assert kinds(text) == ([(kind, value)] if kind else [])

    @pytest.mark.parametrize("amount", ["5,956.82元", "956.82元", "1,955.88元", "95,588元"])
    def test_an_amount_is_no_hotline_in_groups(self, amount):
        assert kinds(f"退款{amount}预计到账") == [("MONEY", amount)]

    def test_message_with_several_types(self):
        text = "加微信abc_123或电13000000012，客服95588，验证码482910，5元"
        assert mask_pii(text) == "加微信[WECHAT]或电[PHONE]，客服[SERVICE]，验证码[CODE]，[MONEY]"


class TestFbs:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ("详情 点击 URLctpn 看 直播", "详情点击[URL]看直播"),
            ("申请 wapURL 逾期", "申请[URL]逾期"),
            ("活动 URLtd 退订", "活动[URL]td退订"),
            ("娱乐 wwwjcom 已 开通", "娱乐[URL]已开通"),
            ("登录 httpccbrepcom 兑换", "登录[URL]兑换"),
            ("进 wwwPHONE 玩", "进[URL]玩"),
            ("电话 CELLPHONE 或 PHONE", "电话[PHONE]或[LANDLINE]"),
            ("询 HOTLINE 回 td 退订", "询[SERVICE]回td退订"),
            ("电话 CELLPHONECELLPHONE", "电话[PHONE][PHONE]"),
            ("电话 CELLPHONE99 户", "电话[PHONE]户"),
            ("客服 QQWECHAT", "客服[QQ][WECHAT]"),
            ("联系 QQcjyauWECHAT", "联系[QQ][WECHAT]"),
            ("加 WECHATrdh", "加[WECHAT]"),
            ("添加 微信 jlnPHONE 开户", "添加微信[WECHAT]开户"),
            ("凭 fPHONE 至", "凭[NUM]至"),
            ("农行 BANK 户主 NAME PLACE", "农行[CARD]户主[NAME][PLACE]"),
            ("满 DIGIT 减 DIGIT 元", "满[NUM]减[MONEY]"),
            ("DIGIT 元旦", "[NUM]元旦"),
            ("验证码 DIGIT 联系", "验证码[CODE]联系"),
            ("送 iphone plus 手机", "送iphone plus手机"),
            ("用 qq 聊", "用qq聊"),
        ],
    )
    def test_marks_become_placeholders(self, words, text):
        assert map_fbs_placeholders(words) == text

    @pytest.mark.parametrize(
        ("words", "raw"),
        [
            (
                "尊敬 的 用户 请 登录 URLdfge 领取 DIGIT 元",
                "尊敬的用户请登录a.example/dfge领取500元",
            ),
            ("代开 发票 电话 CELLPHONE NAME 经理", "代开发票电话13000000012[NAME]经理"),
            ("售楼部 电话 PHONE 询 HOTLINE", "售楼部电话62000001询4000000001"),
            ("联系 客服 QQ 或 加 微信 jlnPHONE", "联系客服QQ10000012或加微信jln123456"),
        ],
    )
    def test_reads_as_the_raw_message_reads(self, words, raw):
        masked = mask_pii(map_fbs_placeholders(words))
        assert masked.replace("客服[QQ]", "客服QQ[QQ]") == mask_pii(raw)

    def test_mapping_twice_changes_nothing(self):
        once = map_fbs_placeholders("询 HOTLINE 或 CELLPHONE NAME 加 WECHAT URLab PHONE BANK QQ")
        assert map_fbs_placeholders(once) == once
