"""The normaliser: one form, reached at once."""

from __future__ import annotations

import csv
import re
import unicodedata

import pytest
from doors import SAMPLE
from hypothesis import given
from hypothesis import strategies as st

from smstune.text.normalize import normalize, preprocess
from smstune.text.pii.placeholders import PLACEHOLDER

GENUINE = {"verification_code", "bank_alert", "delivery_notice", "government", "personal"}
ANY_TEXT = st.text(st.characters(), max_size=80)
TRICKY = st.text(
    st.sampled_from(
        "彳亍亻言❤🔥"
        "薴著乾隆後來，。！【】ＡＢ１２①㈱ﬁ\u200b\u200d\ufe0f\u3164\x00\ud800 \t\u3000é\u0301https"
    ),
    max_size=40,
)


@given(ANY_TEXT | TRICKY)
def test_normalize_is_idempotent(text):
    assert normalize(normalize(text)) == normalize(text)


@given(ANY_TEXT | TRICKY)
def test_preprocess_is_idempotent(text):
    once = preprocess(text, mask=True)
    assert preprocess(once, mask=True) == once


@given(ANY_TEXT | TRICKY)
def test_result_is_printable_and_folded(text):
    result = normalize(text)
    categories = {unicodedata.category(character) for character in result}
    assert not categories & {"Cc", "Cs"}
    assert "  " not in result
    assert result == result.strip()
    result.encode()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ＡＢＣ１２３", "ABC123"),
        ("加\u200b微\u200d信", "加微信"),
        ("威❤\ufe0f信", "威信"),
        ("加★☆微🔥信", "加微信"),
        ("秒杀，🔥速抢🔥 a❤b", "秒杀，🔥速抢🔥 a❤b"),
        ("中国工商银彳亍短亻言", "中国工商银行短信"),
        ("彳❤亍亻🔥言", "行信"),
        ("茶几女子木几", "茶几女子木几"),
        ("點擊領取 後來", "点击领取 后来"),
        ("著名的乾隆", "著名的乾隆"),
        ("a \t\u3000 b\n", "a b"),
        ("①⑵㊂", "1(2)三"),
        ("\x00\ud800好\ufeff", "好"),
        ("【云禾银行】您好，余额：￥100！", "【云禾银行】您好，余额：¥100！"),
    ],
)
def test_examples(raw, clean):
    assert normalize(raw) == clean


MARKS = st.text(
    st.sampled_from(
        "aé한\u0301\u0323\u0334\u0345\u035c\u0f71\u0f73\u0f74\u0344ﾞ가\u1100\u1161\u11a8"
    ),
    max_size=120,
)


@given(MARKS)
def test_many_combining_marks_are_folded_as_few_are(text):
    expected = unicodedata.normalize("NFKC", text)
    assert normalize(text) == expected


def test_clean_text_is_left_as_it_is():
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream) if row["label"] in GENUINE]
    # Line breaks become spaces, and traditional characters simplified ones.
    clean = [text for text in texts if not re.search("[\n請媽]", text)]
    assert len(clean) > 400
    assert [text for text in clean if normalize(text) != text] == []
    assert all(normalize(text) != text for text in texts if text not in clean)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("【招商银行】您尾号1234的卡，消费￥99.50元！", "招商银行您尾号1234的卡消费[MONEY]"),
        ("点 https://t.example/ab 领取、退订回T", "点[URL]领取退订回T"),
        ("iPhone 15 pro-max, 8.5折。", "iPhone 15 pro max 8 5折"),
        ("🎉好消息🎉", "好消息"),
        ("！？", ""),
    ],
)
def test_without_punctuation_only_words_and_placeholders_remain(raw, read):
    assert preprocess(raw, mask=True, drop_punctuation=True) == read


@given(ANY_TEXT | TRICKY)
def test_no_mark_outside_placeholders_is_left(text):
    read = PLACEHOLDER.sub("", preprocess(text, mask=True, drop_punctuation=True))
    assert not {unicodedata.category(character)[0] for character in read} & {"P", "S"}
