"""The evasion transforms: nothing at 0, all at 1, the same for the same seed, never a crash."""

from __future__ import annotations

import csv
import re
from typing import get_args

import pytest
from doors import SAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st

from smstune.config.schema import TransformName
from smstune.text.evasion import TRANSFORMS, evade
from smstune.text.normalize import normalize, preprocess
from smstune.text.pii.placeholders import PLACEHOLDERS
from smstune.text.variants import BOUND_PARTS, PARTS, look_alikes

NAMES = st.sampled_from(sorted(TRANSFORMS))
STRENGTH = st.floats(0, 1)
# The first call reads pypinyin's and OpenCC's tables.
TABLES_LOAD_ONCE = settings(deadline=None)
PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
TEXT = st.lists(
    st.characters() | st.sampled_from([*PLACEHOLDERS, *"【贷款】微信行好138ab，", "a.example.com"])
).map("".join)
MESSAGE = "【云禾银行】恭喜您获得贷款资格，请加微信ab了解，电话[PHONE]，退订回复[NUM]，网址[URL]"
# What each makes of the message when it changes all it can; a draw among several is left out.
WHOLE = {
    "full_width": MESSAGE.replace("ab", "ａｂ"),
    "pinyin": "【yunheyinhang】gongxininhuodedaikuanzige，qingjiaweixinabliaojie，dianhua[PHONE]，"
    "tuidinghuifu[NUM]，wangzhi[URL]",
    "initials": "【yhyh】gxnhddkzg，qjwxablj，dh[PHONE]，tdhf[NUM]，wz[URL]",
    "split_characters": "【云禾钅艮彳亍】恭喜您获得代贝士示欠资木各，讠青力口微亻言ab了解，"
    "电讠舌[PHONE]，退讠丁回复[NUM]，网土止[URL]",
    "shuffle": "【禾云行银】喜恭获您贷得资款格，加请信微ab解了，"
    "话电[PHONE]，订退复回[NUM]，址网[URL]",
}


def sample(*labels):
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        return [row["text"] for row in csv.DictReader(stream) if row["label"] in labels]


def test_configuration_names_every_transform():
    assert list(get_args(TransformName)) == list(TRANSFORMS)


@TABLES_LOAD_ONCE
@given(TEXT, NAMES)
def test_strength_0_changes_nothing(text, name):
    assert evade(text, name, 0.0, 7) == text


@TABLES_LOAD_ONCE
@given(TEXT, NAMES, STRENGTH, st.integers(0, 9))
def test_same_arguments_same_text_and_serving_can_read_it(text, name, strength, seed):
    written = evade(text, name, strength, seed)
    assert evade(text, name, strength, seed) == written
    preprocess(written, mask=True).encode()


@TABLES_LOAD_ONCE
@given(TEXT, NAMES, STRENGTH)
def test_placeholders_are_whole_or_written_out(text, name, strength):
    before = PLACEHOLDER.findall(text)
    after = PLACEHOLDER.findall(evade(text, name, strength, 1))
    if name in ("digit_words", "contacts"):
        written_out = {"[PHONE]", "[NUM]", "[URL]"}
        before = [one for one in before if one not in written_out]
        after = [one for one in after if one not in written_out]
    assert after == before


@pytest.mark.parametrize("name", WHOLE)
def test_strength_1_changes_all_it_can(name):
    assert evade(MESSAGE, name, 1.0) == WHOLE[name]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("zero_width", "微[\u200b-\u200d\u2060\ufeff]信[\u200b-\u200d\u2060\ufeff]a"),
        ("traditional", "貸款.*請.*電話"),
        ("look_alike", "[徽徵⺀-⿟豈-龎]"),
        ("symbols", "贷[^\\w，【】\\[\\]]款"),
        ("signature", "^【(?!云禾)[^】]{4,5}】恭喜"),
        ("benign_text", "^.*，网址\\[URL\\](?:[^。]+。){6}$"),
        ("digit_words", "电话\\D*[^\\x00-\\xff\\[]{11}，"),
        ("contacts", "网址(?!\\[URL\\])"),
    ],
)
def test_strength_1_shows_its_habit(name, pattern):
    assert re.search(pattern, evade(MESSAGE, name, 1.0))


def test_homophones_sound_the_same():
    written = evade(MESSAGE, "homophones", 1.0)
    assert len(written) == len(MESSAGE)
    assert sum(a != b for a, b in zip(MESSAGE, written, strict=True)) >= 25
    assert evade(written, "pinyin", 1.0).startswith("【yunhe")


def test_the_least_strength_changes_one_place():
    assert re.fullmatch("喜*x喜*", evade("喜" * 9, "initials", 0.01))


def test_a_smaller_strength_changes_a_part_of_what_a_larger_one_does():
    text = "恭喜您获得贷款资格请微信联系我们"
    at = [evade(text, "homophones", strength) for strength in (0.25, 0.5)]
    places = [{i for i, a in enumerate(text) if a != one[i]} for one in at]
    assert len(places[0]) == 4
    assert len(places[1]) == 8
    assert places[0] < places[1]
    assert all(at[0][i] == at[1][i] for i in places[0])


@pytest.mark.parametrize(
    # OpenCC has no way back for four of 1,332 variants of common characters, such as 衞 and 著.
    ("name", "share"),
    [("full_width", 1), ("zero_width", 1), ("traditional", 0.95)],
)
def test_normaliser_undoes(name, share):
    texts = sample("bank_alert", "retail", "bank_phishing", "gambling")
    clean = [normalize(text) for text in texts]
    written = [evade(text, name, 1.0) for text in clean]
    assert sum(a != b for a, b in zip(clean, written, strict=True)) > 0.9 * len(clean)
    undone = [normalize(text) == plain for text, plain in zip(written, clean, strict=True)]
    assert sum(undone) >= share * len(clean)


def test_normaliser_undoes_parts_and_symbols_where_it_can():
    for character, parts in BOUND_PARTS.items():
        assert normalize(f"短{parts}息") == f"短{character}息"
    written = [evade("贷款", "symbols", 1.0, seed) for seed in range(60)]
    assert {normalize(text) for text in written if text[1] in "❤★☆●◆◎🔥💰👉⭐"} == {"贷款"}


def test_masking_reads_through_what_it_can():
    text = "请致电[PHONE]，详见[URL]"
    words = {preprocess(evade(text, "digit_words", 1.0, seed), mask=True) for seed in range(40)}
    assert text in words
    hidden = {preprocess(evade(text, "contacts", 1.0, seed), mask=True) for seed in range(40)}
    assert hidden == {text}


def test_tables_hold_what_they_claim():
    assert len(set(BOUND_PARTS.values())) == len(BOUND_PARTS)
    assert all(len(parts) >= 2 for parts in PARTS.values())
    assert "微" in look_alikes()["徽"]
    assert all(one not in others for one, others in look_alikes().items())


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_outside_the_unit_range_is_refused(strength):
    with pytest.raises(ValueError, match="from 0 to 1"):
        evade(MESSAGE, "pinyin", strength)
