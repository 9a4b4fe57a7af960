"""Near-duplicate groups: exact on what brute force can check, indifferent to order."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smstune.benchmark.grouping import (
    GroupingRecall,
    benchmark_grouping,
    recall_against_brute_force,
)
from smstune.campaigns.grouping import campaign_groups, near_matches
from smstune.campaigns.sketch import skeleton

TEMPLATES = [
    "【云杉超市】周年庆典全场生鲜低至三折起，会员到店即送鸡蛋一盒，详询[PHONE]，退订回T",
    "【晴川银行】您的信用卡积分即将到期清零，请尽快登录[URL]兑换礼品，逾期视为自动放弃",
    "【小鹿出行】本周末打车立减券已经放入您的账户，最高抵扣十五元，打开应用即可使用",
    "【百川教育】暑期数学思维训练营开始报名，名师小班授课，前五十名免费试听两节课程",
    "【南湖影城】国庆观影特惠双人套票含爆米花和可乐，凭本短信到前台领取纪念徽章一枚",
    "尊敬的用户您本月套餐内流量已经使用超过八成，建议及时订购加油包以免产生额外费用",
    "老同学好久不见，下个月的聚会地点定在江边那家饭馆，你能来的话请回复我一声好安排座位",
    "低息贷款无需抵押，凭身份证当天放款，额度高达[DIGIT]万，有意请联系[NAME]经理[CELLPHONE]",
]
LETTERS = "春夏秋冬东西南北风花雪月山水云天"


def edited(text: str, edits: int, rng: random.Random) -> str:
    characters = list(text)
    for _ in range(edits):
        at, kind = rng.randrange(len(characters)), rng.randrange(3)
        characters[at : at + (kind > 0)] = [] if kind == 1 else [rng.choice(LETTERS)]
    return "".join(characters)


def messages(count: int, seed: int, most_edits: int = 3) -> list[str]:
    rng = random.Random(seed)
    return [edited(rng.choice(TEMPLATES), rng.randint(0, most_edits), rng) for _ in range(count)]


def jaccard(a: str, b: str) -> float:
    sets = [{s[i : i + 3] for i in range(max(1, len(s) - 2))} for s in (skeleton(a), skeleton(b))]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def partition(groups: np.ndarray, names: list[int]) -> set[frozenset[int]]:
    found: dict[int, set[int]] = {}
    for name, group in zip(names, groups.tolist(), strict=True):
        found.setdefault(group, set()).add(name)
    return {frozenset(members) for members in found.values()}


def test_skeleton_keeps_only_letters():
    assert (
        skeleton("【Acme】尾号 8842_①②③，请致电[PHONE]！[CELL_PHONE]★ ABC三折")
        == "acme尾号请致电abc三折"
    )
    assert skeleton("[phone] [Aa]") == "phoneaa"  # not placeholders: not capitals
    assert skeleton("12 34 [URL] ☎ ，。") == ""


@given(st.text())
def test_skeleton_of_a_skeleton_is_itself(text: str):
    assert skeleton(skeleton(text)) == skeleton(text)


def test_ids_are_first_indices_and_repeat():
    texts = messages(300, seed=1)
    groups = campaign_groups(texts)
    assert groups.dtype == np.int64
    assert np.array_equal(groups, campaign_groups(texts))
    assert np.array_equal(groups[groups], groups)
    assert (groups <= np.arange(len(texts))).all()
    assert len(np.unique(groups)) < 150  # or nothing was grouped


def test_digits_placeholders_and_punctuation_do_not_separate():
    texts = [
        "您的验证码是1234，请勿告诉他人",
        "今晚七点老地方见面吃饭",
        "您的验证码是 99 ，请勿告诉他人[URL]！",
        "【】您的验证码是[DIGIT]请勿告诉他人",
    ]
    assert campaign_groups(texts).tolist() == [0, 1, 0, 0]
    # Nine letters in common are not enough when nine others differ.
    assert campaign_groups(["甲乙丙丁戊己庚辛壬", "甲乙丙丁戊春夏秋冬"]).tolist() == [0, 1]


def test_different_campaigns_stay_apart():
    rng = random.Random(2)
    texts = [edited(text, 1, rng) for text in TEMPLATES for _ in range(20)]
    assert campaign_groups(texts).tolist() == [i // 20 * 20 for i in range(len(texts))]


def test_threshold_decides_at_the_exact_similarity():
    # 17 grams in common of 23: 0.739...
    a, b = LETTERS + "甲乙丙丁戊己", "子丑寅" + LETTERS + "甲乙丙"
    similarity = jaccard(a, b)
    assert similarity == 17 / 23
    assert campaign_groups([a, b], threshold=similarity).tolist() == [0, 0]
    assert campaign_groups([a, b], threshold=np.nextafter(similarity, 1)).tolist() == [0, 1]
    assert near_matches([a], [b], threshold=similarity).tolist() == [0]
    assert near_matches([a], [b], threshold=np.nextafter(similarity, 1)).tolist() == [-1]


def test_a_chain_of_near_copies_is_one_campaign():
    steps = ["".join(chr(0x4E00 + i) for i in range(n, n + 30)) for n in range(0, 60, 3)]
    assert jaccard(steps[0], steps[-1]) == 0
    assert set(campaign_groups(steps).tolist()) == {0}
    broken = steps[:10] + steps[13:]
    assert campaign_groups(broken).tolist() == [0] * 10 + [10] * 7


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.7])
def test_recall_and_precision_against_brute_force(threshold: float):
    texts = messages(400, seed=3, most_edits=5)
    result = recall_against_brute_force(texts, threshold)
    assert result.pairs > 200
    assert result.recall >= 0.98
    assert result.false_merges == 0


def test_brute_force_itself_counts_pairs_and_errors(monkeypatch: pytest.MonkeyPatch):
    texts = messages(60, seed=4, most_edits=3)
    distinct = sorted({skeleton(text) for text in texts})
    near = [jaccard(a, b) >= 0.7 for i, a in enumerate(distinct) for b in distinct[:i]]
    assert recall_against_brute_force(texts, 0.7).pairs == sum(near)
    alone = "smstune.benchmark.grouping.campaign_groups"
    monkeypatch.setattr(alone, lambda texts, **_: np.arange(len(texts)))
    assert recall_against_brute_force(texts, 0.7).recall == 0
    monkeypatch.setattr(alone, lambda texts, **_: np.zeros(len(texts), dtype=np.int64))
    components: list[set[str]] = []
    for text in distinct:
        touched = [c for c in components if any(jaccard(text, other) >= 0.7 for other in c)]
        components = [c for c in components if c not in touched] + [{text}.union(*touched)]
    assert recall_against_brute_force(texts, 0.7).false_merges == len(components) - 1


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_partition_does_not_depend_on_order(rng: random.Random, seed: int):
    texts = [*messages(80, seed), "", "!", "?", "!", "12"]
    names = list(range(len(texts)))
    before = partition(campaign_groups(texts), names)
    rng.shuffle(names)
    after = campaign_groups([texts[name] for name in names])
    assert partition(after, names) == before


def test_a_large_campaign_of_different_messages_keeps_its_pairs():
    # Buckets are far larger than the window of comparisons.
    rng = random.Random(5)
    result = recall_against_brute_force(
        [edited("".join(TEMPLATES[:3]), 6, rng) for _ in range(1500)], 0.7
    )
    assert result.pairs > 3_000
    assert result.recall >= 0.99
    assert result.false_merges == 0


def test_near_matches_agrees_with_brute_force():
    texts = messages(400, seed=6, most_edits=6)
    queries, references = texts[:120], texts[120:]
    matches = near_matches(queries, references)
    expected = [any(jaccard(q, r) >= 0.7 for r in references) for q in queries]
    assert 20 < sum(expected) < 120
    assert (matches >= 0).tolist() == expected
    found = [(q, references[m]) for q, m in zip(queries, matches.tolist(), strict=True) if m >= 0]
    assert all(jaccard(q, r) >= 0.7 for q, r in found)


def test_near_matches_of_texts_without_letters_are_exact():
    assert near_matches(["123", "!", "", "甲"], ["", "!", "!", "甲1"]).tolist() == [-1, 1, 0, 3]


def test_empty_input():
    assert campaign_groups([]).tolist() == []
    assert near_matches([], ["甲"]).tolist() == []
    assert near_matches(["甲", ""], []).tolist() == [-1, -1]
    assert recall_against_brute_force([], 0.7) == GroupingRecall(
        pairs=0, recall=1.0, false_merges=0
    )


def test_texts_without_letters_group_by_exact_text():
    assert campaign_groups(["", "12", "", "34", "12", "[URL]"]).tolist() == [0, 1, 0, 3, 1, 5]


def test_skeletons_shorter_than_a_gram_are_compared_whole():
    texts = ["好", "好的", "好!", "的好", "好的1", "好xx", "好的x"]
    assert campaign_groups(texts).tolist() == [0, 1, 0, 3, 1, 5, 6]


def test_a_repeated_gram_counts_once():
    assert campaign_groups(["哈" * 20, "哈" * 5]).tolist() == [0, 0]


def test_one_very_long_text():
    rng = random.Random(7)
    long = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(100_000))
    texts = [TEMPLATES[0], long, edited(long, 3, rng), TEMPLATES[0] + "好", long[:50_000]]
    assert campaign_groups(texts).tolist() == [0, 1, 1, 0, 4]
    assert near_matches([long], texts[2:]).tolist() == [0]


def test_a_thousand_identical_texts():
    assert campaign_groups([TEMPLATES[0]] * 1000).tolist() == [0] * 1000
    assert near_matches([TEMPLATES[0]] * 1000, [TEMPLATES[1], TEMPLATES[0]]).tolist() == [1] * 1000


def test_lone_surrogates_are_text_too():
    assert campaign_groups(["\ud800", "甲", "\ud800", "甲\udfff乙丙"]).tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize("threshold", [0, 0.05, 1.2, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float):
    with pytest.raises(ValueError, match=r"from 0\.1 to 1, found"):
        campaign_groups(["甲"], threshold=threshold)
    with pytest.raises(ValueError, match=r"from 0\.1 to 1, found"):
        near_matches(["甲"], ["乙"], threshold=threshold)


def test_a_missing_message_is_refused_by_its_index():
    with pytest.raises(ValueError, match="found NoneType at 1"):
        campaign_groups(["甲", None])  # type: ignore[list-item]


def test_benchmark_reports_each_size():
    rows = benchmark_grouping(TEMPLATES, [200, 400])
    assert [row.messages for row in rows] == [200, 400]
    assert np.isnan(rows[0].exponent)
    assert np.isfinite(rows[1].exponent)
    for row in rows:
        assert row.messages_per_second == pytest.approx(row.messages / row.seconds)
        assert 1 <= row.groups < row.messages
        assert row.peak_rss_gib > 0
    with pytest.raises(ValueError, match="at least one seed text"):
        benchmark_grouping([], [10])
