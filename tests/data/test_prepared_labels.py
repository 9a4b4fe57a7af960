"""prepare and labels: names written differently, label files, rare labels, what is said of them."""

from __future__ import annotations

import json
import random

import pytest
from doors import run, write_csv

from smstune.data.prepared import require_prepared
from smstune.errors import UserError
from smstune.inference.labels import LabelMap


def sentence(seed):
    """Return 14 Chinese characters at random: no two seeds share a campaign."""
    rng = random.Random(seed)
    return "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(14))


def write_messages(folder, labels, each=8, name="m.csv"):
    """Write ``each`` messages of every label, each its own campaign."""
    rows = [(sentence(f"{label}{number}"), label) for number in range(each) for label in labels]
    return write_csv(folder / name, rows, ("text", "label"))


@pytest.fixture
def prepare(tmp_path, capsys):
    """Return a function that prepares into ``out`` and returns status and what was logged."""

    def call(*arguments, output="out"):
        status = run("prepare", *arguments, "--output", tmp_path / output)
        return status, capsys.readouterr().err

    return call


def names(folder):
    return [row["name"] for row in json.loads((folder / "labels.json").read_text("utf-8"))]


def test_one_label_written_differently_stays_one_and_ids_follow_the_names(tmp_path, prepare):
    written = ["正常 ", "\u3000正常", "\u00a0正常\u200b", "1", "1.0", "TRUE", "true", "01", "诈骗"]
    status, said = prepare(write_messages(tmp_path, written))
    assert status == 0
    assert names(tmp_path / "out") == ["01", "1", "true", "正常", "诈骗"]
    assert "follow their sorted names: 01, 1, true, 正常, 诈骗" in said


def test_ids_of_the_rows_follow_the_sorted_names(tmp_path, prepare):
    path = write_csv(
        tmp_path / "m.csv",
        [(sentence(k), "z" if k < 30 else "a") for k in range(40)],
        ("text", "label"),
    )
    assert prepare(path)[0] == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    splits = manifest["counts"]["splits"].values()
    assert {label: sum(split[label] for split in splits) for label in "az"} == {"a": 10, "z": 30}


def test_numbers_and_booleans_of_json_are_the_labels_that_text_names(tmp_path, prepare):
    cells = [0, 0.0, "0", "0.0", True, "TRUE"]
    lines = [
        json.dumps({"text": sentence(f"{number}{cell!r}"), "label": cell})
        for number in range(4)
        for cell in cells
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines), "utf-8")
    assert prepare(tmp_path / "m.jsonl")[0] == 0
    assert names(tmp_path / "out") == ["0", "true"]


def test_names_that_differ_only_in_case_or_width_are_warned_of(tmp_path, prepare):
    status, said = prepare(write_messages(tmp_path, ["fraud", "FRAUD", "ｆraud", "ad"]))
    assert status == 0
    assert "differ only in case or width: FRAUD, fraud, ｆraud." in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.yaml", b"[ham, spam]"),
        ("l.yaml", "labels: [ham, spam]".encode("utf-16")),
        ("l.yaml", "{01: ham, 垃圾: spam}".encode("gb18030")),
        ("l.yaml", b"labels:\n  01: ham\n  yes: spam\n"),
        ("l.json", b'{\n\t"01": "ham",\n\t"\\u5783\\u573e": "spam"\n}'),
        ("l.json", b'[{"name": "ham", "parent": null, "from": [1.0]}, {"name": "spam"}]'),
        ("l.yaml", b"- {name: ham, from: 08}\n- {name: spam, from: [true]}\n"),
        ("l.yaml", "- {name: ' ham\u3000'}\n- {name: spam, from: ['垃圾 ']}\n".encode()),
    ],
)
def test_forms_of_a_label_file_meet_the_data(tmp_path, prepare, name, content):
    (tmp_path / name).write_bytes(content)
    labels = LabelMap.from_yaml(tmp_path / name)
    path = write_messages(tmp_path, [f"{source} " for source in labels.origins])
    assert prepare(path, "--labels", tmp_path / name)[0] == 0
    assert names(tmp_path / "out") == ["ham", "spam"]
    assert set(labels.origins) <= {"ham", "spam", "01", "垃圾", "yes", "1", "08", "true"}
    assert labels.parents == (None, None)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("l.yaml", "", "found no labels: expected a list of names"),
        ("l.yaml", "a\n", "found no labels"),
        ("l.yaml", "labels: [a, b]\nnote: x\n", "unknown key note beside labels"),
        ("l.yaml", "{正常: a, '正常 ': b}\n", "goes to both 'a' and 'b'"),
        ("l.yaml", "{x: [a], y: b}\n", "expected a name of source label 'x'"),
        ("l.yaml", "- [a]\n- b\n", "expected a name for every label"),
        ("l.yaml", "- {name: a, title: Fraud}\n- b\n", "expected a title such as"),
        ("l.yaml", "- {name: a, title: {fr: Fraude}}\n- b\n", "expected a title such as"),
        ("l.yaml", "labels:\n\t- {name: a}\n", "expected YAML"),
        ("l.json", "{", "expected JSON"),
        ("l.json", '{"a": "x", "a": "y"}', "'a' is given twice"),
    ],
)
def test_a_wrong_label_file_is_refused_in_one_line(tmp_path, prepare, name, content, expected):
    (tmp_path / name).write_text(content, "utf-8")
    status, said = prepare(write_messages(tmp_path, ["a", "b"]), "--labels", tmp_path / name)
    assert status == 2
    assert said.startswith(f"error: {tmp_path / name}: ")
    assert said.count("\n") == 1
    assert expected in said


def test_labels_that_meet_no_message_or_no_label_file_are_listed_with_counts(tmp_path, prepare):
    (tmp_path / "l.yaml").write_text("[a, b, never]", "utf-8")
    path = write_messages(tmp_path, ["a", "b", "优惠券"])
    status, said = prepare(path, "--labels", tmp_path / "l.yaml")
    assert status == 0
    assert "so their rows are rejected: 优惠券 (8 rows). Add each to the `from`" in said
    assert "rejected (see rejected.jsonl): never (0 rows)" in said
    assert names(tmp_path / "out") == ["a", "b"]


def test_a_fine_tune_accepts_data_whose_label_file_has_dropped_labels(tmp_path, prepare):
    (tmp_path / "l.yaml").write_text("[a, never, b]", "utf-8")
    assert prepare(write_messages(tmp_path, ["a", "b"]), "--labels", tmp_path / "l.yaml")[0] == 0
    require_prepared(tmp_path / "out", LabelMap.from_names(("a", "never", "b")), "`prepare`")
    with pytest.raises(UserError, match="prepared with the labels a, b, which are not"):
        require_prepared(tmp_path / "out", LabelMap.from_names(("a", "b", "c")), "`prepare`")


@pytest.mark.parametrize(
    "labels",
    [[f"今天全场五折欢迎光临{number:03}" for number in range(201)], ["很长的一条短信" * 6] * 9],
    ids=["many", "long"],
)
def test_a_column_of_messages_is_counted_not_printed(tmp_path, prepare, labels):
    rows = [(sentence(number), "ab"[number % 2]) for number in range(20)]
    rows += [(sentence(f"x{number}"), label) for number, label in enumerate(labels)]
    path = write_csv(tmp_path / "m.csv", rows, ("text", "label"))
    (tmp_path / "l.yaml").write_text("[a, b]", "utf-8")
    status, said = prepare(path, "--labels", tmp_path / "l.yaml")
    assert status == 0
    assert "more than 200 labels (201 rows)" in said or "1 label (9 rows)" in said
    # Without the label file each of them is a label, too rare or too few of another.
    status, said_without = prepare(path, output="other")
    assert "labels (201 campaigns)" in said_without or status == 0
    assert labels[0] not in said + said_without


def test_a_label_whose_messages_are_all_unusable_is_dropped_with_a_warning(tmp_path, prepare):
    rows = [(sentence(number), "ab"[number % 2]) for number in range(20)]
    rows += [(" ", "gambling")] * 7 + [("同一句话", "a"), ("同一句话", "twice")]
    status, said = prepare(write_csv(tmp_path / "m.csv", rows, ("text", "label")))
    assert status == 0
    assert "rejected (see rejected.jsonl): twice (1 row), gambling (7 rows)" in said
    assert "  7 x no text: rows 22, 23, 24, 25, 26, ...\n" in said
    assert "  2 x the same text under two labels: rows 29, 30\n" in said
    assert names(tmp_path / "out") == ["a", "b"]


def test_merged_copies_are_said_with_their_rows(tmp_path, prepare):
    rows = [(sentence(number % 12), "ab"[number % 2]) for number in range(13)]
    status, said = prepare(write_csv(tmp_path / "m.csv", rows, ("text", "label")))
    assert status == 0
    assert "  1 x copy of an earlier message: row 14\n" in said


def test_a_label_of_two_campaigns_is_an_error_or_dropped_on_request(tmp_path, prepare):
    rows = [(sentence(number), "abc"[number % 3]) for number in range(90)]
    rows += [(sentence("rare") + "甲乙丙丁戊己"[number], "rare") for number in range(6)]
    rows += [(sentence("other"), "rare")]
    path = write_csv(tmp_path / "m.csv", rows, ("text", "label"))
    status, said = prepare(path)
    assert status == 2
    last = said.splitlines()[-1]
    assert "Too few have: rare (2 campaigns). Join them" in last
    assert "--drop-rare" in last
    assert not (tmp_path / "out").exists()
    status, said = prepare(path, "--drop-rare")
    assert status == 0
    assert "drops these labels and their messages: rare (2 campaigns)" in said
    assert "fewer than 20" not in said
    assert names(tmp_path / "out") == ["a", "b", "c"]
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["counts"]
    assert counts["read"] == 97 == counts["kept"] + counts["merged"] + 7
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["line"] for line in rejected] == list(range(92, 99))


def test_dropping_rare_labels_leaves_two_or_fails(tmp_path, prepare):
    rows = [(sentence(number), "a") for number in range(9)] + [("只此一句", "b")]
    path = write_csv(tmp_path / "m.csv", rows, ("text", "label"))
    status, said = prepare(path, "--drop-rare")
    assert status == 2
    assert "expected at least two labels, found 1" in said.splitlines()[-1]


def test_a_label_of_few_messages_is_warned_of(tmp_path, prepare):
    rows = [(sentence(number), "a" if number < 25 else "b") for number in range(44)]
    status, said = prepare(write_csv(tmp_path / "m.csv", rows, ("text", "label")))
    assert status == 0
    assert "labels of fewer than 20 messages can hardly be learned or measured: b (19 me" in said


def test_a_label_file_to_begin_with(tmp_path, prepare, capsys):
    path = write_messages(tmp_path, ["诈骗 ", 'a "quoted": name', "01"], each=4)
    labels = tmp_path / "labels.yaml"
    assert run("prepare", path, "--write-labels", labels) == 0
    assert capsys.readouterr().out == f"{labels}\n"
    written = labels.read_text("utf-8")
    assert '  - {name: "01", title: {zh: "", en: ""}}  # 4 rows\n' in written
    assert prepare(path, "--labels", labels)[0] == 0
    assert names(tmp_path / "out") == ["01", 'a "quoted": name', "诈骗"]
    assert run("prepare", path, "--write-labels", labels) == 2
    assert "exists: choose another name" in capsys.readouterr().err
    assert labels.read_text("utf-8") == written
    assert run("prepare", path, "--write-labels", tmp_path / "x", "--output", tmp_path / "y") == 2
    assert "--write-labels only writes a label file" in capsys.readouterr().err


def test_no_label_file_is_made_of_a_column_of_messages(tmp_path, capsys, prepare):
    rows = [(sentence(number), "a") for number in range(201)]
    path = write_csv(tmp_path / "m.csv", rows, ("text", "label"))
    labels = tmp_path / "labels.yaml"
    assert run("prepare", path, "--label-column", "text", "--write-labels", labels) == 2
    error = capsys.readouterr().err
    assert "found more than 200 labels (201 rows), which look like messages" in error
    assert sentence(0) not in error
    assert not labels.exists()
    status, said = prepare(path, "--label-column", "text")
    assert status == 2
    assert "Too few have: 201 labels (201 campaigns)" in said
    assert sentence(0) not in said
