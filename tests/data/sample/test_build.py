"""The bundled sample: its size, its reproducibility, its reserved contacts and its hard twins."""

import csv
import difflib
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import yaml

from smstune.data.sample.build import (
    COLUMNS,
    FOLDER,
    Templates,
    build_rows,
    fill,
    load_templates,
)

LABEL_MAPS = Path(__file__).parents[3] / "configs" / "labels"
HOST = re.compile(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
RESERVED_HOST = re.compile(
    r"(?:.+\.)?example\.(?:com|net|org)|.+\.(?:example|test|invalid)", re.IGNORECASE
)
CONTACTS = {  # how a contact looks -> the only form it may have here
    r"(?<!\d)1\d{2}[- ]?\d{4}[- ]?\d{4}(?!\d)": r"120[- ]?0000[- ]?\d{4}",
    r"(?<![\dA-Za-z-])0\d{2,3}-?\d{7,8}(?!\d)": r"000-5550\d{4}",
    r"(?<!\d)[48]00-?\d{3}-?\d{4}(?!\d)": r"(?!)",
    # The name of the railway's ticket service ends with its hotline.
    r"(?<![\d.,])(?<!铁路)(?:95|96|10|11|12)\d{3}(?![\d.,])": r"95000",
    r"(?<=QQ)\s*\d{5,}|(?<=扣扣)\s*\d{5,}": r"\s*0000\d{4}",
    r"(?<![A-Za-z0-9/])(?:wx|vx|weixin)_?[A-Za-z0-9_-]+": r"wx_example\d{2}",
}


def foreign_contacts(text: str) -> list[str]:
    """Return what looks like a URL, a number or an account outside the reserved ranges."""
    plain = unicodedata.normalize("NFKC", text)
    found = [host for host in HOST.findall(plain) if not RESERVED_HOST.fullmatch(host)]
    for shape, allowed in CONTACTS.items():
        hits = (hit[0] for hit in re.finditer(shape, plain))
        found += [hit for hit in hits if not re.fullmatch(allowed, hit)]
    return found


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """Return the rows of messages.csv."""
    with (FOLDER / "messages.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


@pytest.fixture(scope="module")
def labels() -> list[dict[str, str]]:
    """Return the label map of the sample."""
    return yaml.safe_load((LABEL_MAPS / "sample.yaml").read_text(encoding="utf-8"))["labels"]


def test_counts(rows: list[dict[str, str]], labels: list[dict[str, str]]) -> None:
    """The sample is large enough and every label has its templates."""
    groups = Counter(group.rsplit("-", 1)[0] for group in {row["group"] for row in rows})
    assert len(rows) >= 1500
    assert groups.total() >= 300
    assert list(load_templates()["templates"]) == [label["name"] for label in labels]
    assert {row["label"] for row in rows} == {label["name"] for label in labels}
    assert min(groups[label["name"]] for label in labels) >= 18
    assert 35 <= sum(len(row["text"]) for row in rows) / len(rows) <= 75


def test_csv_is_what_build_makes(rows: list[dict[str, str]]) -> None:
    """The committed file is the builder's output, the same on a second run."""
    assert rows == build_rows() == build_rows()


def test_texts_are_distinct_and_complete(rows: list[dict[str, str]]) -> None:
    """No text occurs twice and no slot is left unfilled."""
    assert max(Counter(row["text"] for row in rows).values()) == 1
    assert [row["text"] for row in rows if re.search(r"[{}]|^\s|\s$", row["text"])] == []


def test_group_has_one_label(rows: list[dict[str, str]]) -> None:
    """A group is one template, of one label, with four to eight messages."""
    pairs = {(row["group"], row["label"]) for row in rows}
    sizes = Counter(row["group"] for row in rows)
    assert len(pairs) == len(sizes)
    assert [group for group, label in pairs if group.rsplit("-", 1)[0] != label] == []
    assert set(sizes.values()) <= set(range(3, 9))


def test_contacts_are_reserved(rows: list[dict[str, str]]) -> None:
    """No message carries a contact that could be somebody's."""
    found = {row["text"]: foreign_contacts(row["text"]) for row in rows}
    assert {text: hits for text, hits in found.items() if hits} == {}


@pytest.mark.parametrize(
    "text",
    [
        "致电13900000000",
        "电询１３９００００００００",
        "拨139-0000-0000",
        "电话010-55550000",
        "热线400-123-0000",
        "致电95999。",
        "详询10999",
        "点 http://t.example.cc/a",
        "点 www.example.cn",
        "加QQ 123456",
        "加wx_abc99",
    ],
)
def test_contact_check_sees_foreign_contacts(text: str) -> None:
    """The check above is not blind."""
    assert foreign_contacts(text)


def test_hard_twins(labels: list[dict[str, str]]) -> None:
    """At least 40 forged templates copy a genuine one nearly word for word."""
    parent = {label["name"]: label["parent"] for label in labels}
    templates = [item for items in load_templates()["templates"].values() for item in items]
    by_id = {item["id"]: item for item in templates}
    assert len(by_id) == len(templates)
    close = 0
    for forged in (item for item in templates if "twin" in item):
        genuine = by_id[forged["twin"]]
        assert parent[forged["id"].rsplit("-", 1)[0]] in {"fraud", "illegal"}
        assert parent[genuine["id"].rsplit("-", 1)[0]] in {"normal", "marketing"}
        close += difflib.SequenceMatcher(None, genuine["text"], forged["text"]).ratio() >= 0.6
    assert close >= 40


def test_urls_and_signatures_in_every_parent(
    rows: list[dict[str, str]], labels: list[dict[str, str]]
) -> None:
    """Neither a URL nor a signature tells one parent from the others."""
    parent = {label["name"]: label["parent"] for label in labels}
    urls = Counter(parent[row["label"]] for row in rows if HOST.search(row["text"]))
    signed = Counter(parent[row["label"]] for row in rows if "【" in row["text"])
    assert min(urls[name] for name in set(parent.values())) >= 50
    assert min(signed[name] for name in set(parent.values())) >= 100


def test_four_parents_cover_the_labels(labels: list[dict[str, str]]) -> None:
    """sample4.yaml maps every label once, onto its parent."""
    four = yaml.safe_load((LABEL_MAPS / "sample4.yaml").read_text(encoding="utf-8"))["labels"]
    pairs = [(name, item["name"]) for item in four for name in item["from"]]
    assert pairs == [(label["name"], label["parent"]) for label in labels]


class First:
    """A generator that always takes the first choice."""

    def choice(self, values: list[str]) -> str:
        """Return the first value."""
        return values[0]


def fill_first(template: str) -> str:
    """Return a template filled with the first values of a few invented slots."""
    content: Templates = {
        "seed": 0,
        "copies": (1, 1),
        "slots": {"a": ["x", "y"], "shop": ["bakery", "florist"]},
        "fitting": {
            "shop": {"bakery": {"item": ["bread"]}, "florist": {"item": ["rose"]}},
            "item": {"bread": {"price": ["3"]}, "rose": {"price": ["5"]}},
        },
        "templates": {},
    }
    return fill(template, content, First())  # type: ignore[arg-type]


def test_fill_keeps_a_slot_and_varies_its_second() -> None:
    """`{a}` twice is one value; `{a2}` is another."""
    assert fill_first("{a}{a}{a2}") == "xxy"


def test_fill_takes_what_fits() -> None:
    """Goods fit the shop and a price the goods, whichever comes first in the message."""
    assert fill_first("{price} {item} {shop}") == "3 bread bakery"


def test_goods_and_prices_fit_in_the_messages(rows: list[dict[str, str]]) -> None:
    """No message offers goods that its shop does not sell, or a price that is none of theirs."""
    fitting = load_templates()["fitting"]
    sellers = {item: shop for shop, slots in fitting["shop"].items() for item in slots["item"]}
    offers = 0
    for row in rows:
        shops = [shop for shop in fitting["shop"] if f"【{shop}】" in row["text"]]
        for item, seller in sellers.items():
            price = re.search(re.escape(item) + r"(?:只要|限时| )?([\d.]+)元", row["text"])
            if price and shops:
                offers += 1
                assert shops == [seller], row["text"]
                assert price[1] in fitting["item"][item]["price"], row["text"]
    assert offers >= 10


def test_every_slot_is_used() -> None:
    """No slot is left over from a template that is gone."""
    content = load_templates()
    templates = [item["text"] for items in content["templates"].values() for item in items]
    used = {name for text in templates for name in re.findall(r"\{([a-z_]+)2?\}", text)}
    fitting = {
        slot
        for options_by_value in content["fitting"].values()
        for options in options_by_value.values()
        for slot in options
    }
    assert (set(content["slots"]) | fitting) - used - set(content["fitting"]) == set()


# Each kind of message that a reader expects, by words that occur in no other kind.
KINDS = {
    "railway": "铁路12306",
    "parcel locker": "智能柜",
    "hospital": "门诊",
    "school": "【(?:临湖一小|青岚实验小学|云川三中|东澜附小|江屿中学)】",
    "vaccine": "疫苗",
    "journey": "航班",
    "part of a longer message": "[（(][12]/2[）)]",
    "line break": "\n",
    "emoji": "[\U0001f300-\U0001faff]",
    "short link": "http://t\\.example/",
    "English code": "(?i)your .*code",
    "traditional characters": "閣下",
}


@pytest.mark.parametrize("words", KINDS.values(), ids=KINDS)
def test_kinds_of_messages(rows: list[dict[str, str]], words: str) -> None:
    """The sample holds several templates of each kind."""
    groups = {row["group"] for row in rows if re.search(words, row["text"])}
    assert len(groups) >= 3
