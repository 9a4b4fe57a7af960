"""prepare: what goes in comes out, counted, grouped, split, or rejected with its reason."""

from __future__ import annotations

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors import TINY_OVERRIDES, run, write_csv

from smstune import SmsClassifier
from smstune.data.prepared import load_preparation
from smstune.errors import UserError
from smstune.inference import manifest as inference_manifest
from smstune.text.normalize import preprocess

FILES = {
    "train.parquet",
    "validation.parquet",
    "test.parquet",
    "rejected.jsonl",
    "labels.json",
    "manifest.json",
    "report.html",
}
SPLITS = ("train", "validation", "test")
COLUMNS = ["text", "label", "source", "time", "group", "copies", "group_size", "group_time"]


def rows(folder):
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in SPLITS}


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text("utf-8"))


def test_exact_files_and_columns(prepared, capsys):
    assert {path.name for path in prepared.iterdir()} == FILES
    table = pq.read_table(prepared / "train.parquet")
    assert table.column_names == COLUMNS
    labels = json.loads((prepared / "labels.json").read_text("utf-8"))
    assert [row["name"] for row in labels] == ["gambling", "bank_phishing", "retail", "bank_alert"]


def test_the_manifest_has_these_keys_and_is_read_back_whole(prepared):
    written = manifest(prepared)
    assert list(written) == [
        "format_version", "text", "inputs", "tests", "terms", "counts", "dropped_labels", "split",
        "contamination", "sha256",
    ]  # fmt: skip
    assert list(written["counts"]) == [
        "read", "kept", "merged", "rejected", "set_aside", "groups", "splits",
    ]  # fmt: skip
    # A key that does not concern this split is absent, not null.
    assert list(written["split"]) == ["method", "held_out", "seed", "fractions"]
    assert load_preparation(prepared).to_json() == written


def test_a_broken_manifest_is_refused_with_its_key(prepared, tmp_path):
    broken = manifest(prepared)
    del broken["counts"]["read"]
    (tmp_path / "manifest.json").write_text(json.dumps(broken), "utf-8")
    with pytest.raises(UserError, match=r"manifest\.json: counts\.read: .*prepare again"):
        load_preparation(tmp_path)


def test_no_group_straddles_and_nothing_is_contaminated(prepared):
    groups = {split: {row["group"] for row in rows(prepared)[split]} for split in SPLITS}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
    shares = manifest(prepared)["contamination"]
    assert shares["group"] == {"exact": 0.0, "near": 0.0}
    # Three copies of each template: a random split leaks, and says so.
    assert shares["random"]["near"] > 0.3


def test_the_users_groups_hold_even_where_texts_differ(tmp_path):
    texts = ["今晚吃饭", "周末爬山", "明天开会", "记得带伞", "生日快乐", "到家回电"]
    table = [(text, label, "together") for text in texts[:3] for label in ("a",)]
    table += [(f"{text}了吗", "ab"[i % 2], f"g{i}") for i, text in enumerate(texts * 1)]
    table += [(f"{text}的事", "ab"[i % 2], f"h{i}") for i, text in enumerate(texts)]
    path = write_csv(tmp_path / "m.csv", table, ("text", "label", "group"))
    assert run("prepare", path, "--output", tmp_path / "out") == 0
    where = {row["text"]: split for split, part in rows(tmp_path / "out").items() for row in part}
    assert len({where[text] for text in texts[:3]}) == 1


BAD_ROWS = [
    ("", "bank_alert", "no text"),
    ("\u200b \u3000", "bank_alert", "no text"),
    ("没有标签的消息", "", "no label"),
    ("标签不认识的消息", "spam", "unknown label 'spam': add it to the label file"),
    ("同一句话两个标签", "retail", "the same text under two labels: gambling, retail"),
    ("同一句话两个标签", "gambling", "the same text under two labels: gambling, retail"),
    ("长" * 20_000, "retail", "longer than 17085 characters, which no SMS can be: found 20000"),
]


def test_bad_rows_are_rejected_with_file_line_and_reason(tmp_path, messages, labels_file):
    bad = write_csv(tmp_path / "bad.csv", [row[:2] for row in BAD_ROWS], ("text", "label"))
    out = tmp_path / "out"
    assert run("prepare", messages, bad, "--labels", labels_file, "--output", out) == 0
    lines = (out / "rejected.jsonl").read_text("utf-8").splitlines()
    rejected = sorted(map(json.loads, lines), key=lambda row: row["line"])
    assert [row["reason"] for row in rejected] == [row[2] for row in BAD_ROWS]
    assert [row["line"] for row in rejected] == list(range(2, 2 + len(BAD_ROWS)))
    assert {row["file"] for row in rejected} == {str(bad)}
    counts = manifest(out)["counts"]
    assert sum(counts["rejected"].values()) == len(BAD_ROWS)
    assert counts["read"] == counts["kept"] + counts["merged"] + len(BAD_ROWS)
    assert counts["kept"] == sum(len(part) for part in rows(out).values())


def test_hostile_bytes_are_rejected_or_cleaned_and_the_rest_is_prepared(tmp_path, messages):
    hostile = tmp_path / "hostile.jsonl"
    lines = [
        json.dumps({"text": "空\x00字节的消息", "label": "retail"}),
        r'{"text": "\ud800孤立的代理项", "label": "retail"}',
        json.dumps({"text": "一" * 1_000_000, "label": "retail"}, ensure_ascii=False),
        json.dumps({"text": "短信是数字零", "label": "retail"}),
        json.dumps({"text": "=cmd()", "label": "retail"}),
    ]
    hostile.write_text("\n".join(lines) + "\n", "utf-8")
    out = tmp_path / "out"
    assert run("prepare", messages, hostile, "--output", out) == 0
    kept = {row["text"] for part in rows(out).values() for row in part}
    assert {"空字节的消息", "孤立的代理项", "短信是数字零", "=cmd()"} <= kept
    (rejected,) = (out / "rejected.jsonl").read_text("utf-8").splitlines()
    assert "longer than 17085 characters, which no SMS can be" in rejected


def test_a_row_that_is_too_long_is_rejected_unread(tmp_path, messages, monkeypatch):
    longest = 0

    def noted(text, **options):
        nonlocal longest
        longest = max(longest, len(text))
        return preprocess(text, **options)

    monkeypatch.setattr(inference_manifest, "preprocess", noted)
    bad = write_csv(tmp_path / "bad.csv", [("1 " * 9_000, "retail")], ("text", "label"))
    assert run("prepare", messages, bad, "--output", tmp_path / "out") == 0
    assert "found 18000" in (tmp_path / "out" / "rejected.jsonl").read_text("utf-8")
    assert 0 < longest < 1_000


def test_exact_copies_are_merged_and_counted(tmp_path, messages):
    out = tmp_path / "out"
    assert run("prepare", messages, messages, "--output", out) == 0
    counts = manifest(out)["counts"]
    kept = [row for part in rows(out).values() for row in part]
    assert sum(row["copies"] for row in kept) == counts["read"] == counts["kept"] + counts["merged"]
    assert all(row["copies"] % 2 == 0 for row in kept)


def test_personal_information_is_masked_unless_asked(tmp_path, messages):
    masked, kept = tmp_path / "masked", tmp_path / "kept"
    assert run("prepare", messages, "--output", masked) == 0
    assert run("prepare", messages, "--output", kept, "--keep-pii") == 0
    texts = {
        folder: " ".join(row["text"] for part in rows(folder).values() for row in part)
        for folder in (masked, kept)
    }
    assert "[URL]" in texts[masked]
    assert ".example" not in texts[masked]
    assert "[URL]" not in texts[kept]
    assert ".example" in texts[kept]
    assert manifest(kept)["text"]["mask_pii"] is False


def test_preparing_twice_gives_the_same_bytes(tmp_path, messages, prepared, labels_file):
    out = tmp_path / "again"
    assert run("prepare", messages, "--labels", labels_file, "--output", out) == 0
    for split in SPLITS:
        name = f"{split}.parquet"
        assert (out / name).read_bytes() == (prepared / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (None, [], "nothing at"),
        ("", [], "empty file"),
        ("a,b\n1,2\n", [], "expected column text, label"),
        ("text,label\n你好,a\n再见,a\n", [], "at least two labels"),
        ("text,label\n,a\n,b\n", [], "expected usable messages, found none in 2 rows: 2 x no text"),
        ("text,label\n你好,a\n再见,b\n", [], "Too few have: a (1 campaign), b (1 campaign)"),
        ("text,label\n你好,a\n", ["--source", "doc"], "unknown source"),
        ("text,label\n你好,a\n", ["--labels", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_useless_call_ends_with_status_2_and_no_output(
    tmp_path, capsys, content, arguments, expected
):
    path = tmp_path / "m.csv"
    if content is not None:
        path.write_text(content, "utf-8")
    out = tmp_path / "out"
    assert run("prepare", path, "--output", out, *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert expected in error
    assert [item.name for item in tmp_path.iterdir() if item != path] == []


def test_output_with_content_is_refused_and_left(tmp_path, messages, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert run("prepare", messages, "--output", tmp_path) == 2
    assert "mine.txt was not written by smstune prepare" in capsys.readouterr().err
    assert run("prepare", messages, "--output", tmp_path, "--overwrite") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("split", ["group", "folds"])
def test_a_prepared_folder_is_replaced_only_when_asked(tmp_path, messages, capsys, split):
    out = tmp_path / "out"
    words = ("--output", out, "--split", split)
    assert run("prepare", messages, *words, "--seed", "7") == 0
    folder = out / "fold-0" if split == "folds" else out
    assert manifest(folder)["split"]["seed"] == 7
    assert run("prepare", messages, *words) == 2
    assert f"{out} exists: name another output, or replace it with --overwrite" in (
        capsys.readouterr().err
    )
    # A failure leaves the earlier folder.
    empty = write_csv(tmp_path / "empty.csv", [], ("text", "label"))
    assert run("prepare", empty, *words, "--overwrite") == 2
    assert manifest(folder)["split"]["seed"] == 7
    assert run("prepare", messages, *words, "--overwrite") == 0
    assert manifest(folder)["split"]["seed"] == 42
    assert run("prepare", folder / "test.parquet", *words, "--overwrite") == 2
    assert "holds an input" in capsys.readouterr().err
    (folder / "notes.txt").touch()
    assert run("prepare", messages, *words, "--overwrite") == 2
    assert "notes.txt was not written by smstune prepare" in capsys.readouterr().err


def test_a_run_is_no_prepared_folder(tmp_path, messages, finished_run, capsys):
    (tmp_path / "run").mkdir()
    shutil.copy(finished_run / "manifest.json", tmp_path / "run")
    assert run("prepare", messages, "--output", tmp_path / "run", "--overwrite") == 2
    assert "manifest.json was not written by smstune prepare" in capsys.readouterr().err


def test_split_by_time_is_in_order(tmp_path):
    # Thirty messages that have no three characters in common, a day each.
    texts = ["".join(chr(0x4E00 + 40 * day + k) for k in range(12)) for day in range(30)]
    days = [f"2024-01-{day + 1:02d}" for day in range(30)]
    table = [(text, "ab"[day % 2], days[day]) for day, text in enumerate(texts)]
    path = write_csv(tmp_path / "m.csv", table, ("text", "label", "time"))
    assert run("prepare", path, "--split", "time", "--output", tmp_path / "out") == 0
    times = {split: [row["time"] for row in part] for split, part in rows(tmp_path / "out").items()}
    assert max(times["train"]) < min(times["validation"])
    assert max(times["validation"]) < min(times["test"])


def test_one_source_is_held_out_and_shared_campaigns_set_aside(tmp_path, messages):
    lines = messages.read_text("utf-8").splitlines()
    # Every message of the second source is a near copy of one of the first, but for one.
    copied = lines[:40]
    other = tmp_path / "other.csv"
    other.write_text(
        "\n".join(copied).replace("。", "！") + "\n只有这里才有的一句话,retail,z\n", "utf-8"
    )
    out = tmp_path / "out"
    arguments = ("--split", "source", "--held-out", "other", "--output", out)
    assert run("prepare", messages, other, *arguments) == 0
    assert {row["source"] for row in rows(out)["test"]} == {"other"}
    assert {row["source"] for row in rows(out)["train"]} == {"messages"}
    assert manifest(out)["contamination"]["source"]["near"] == 0
    counts = manifest(out)["counts"]
    listed = (out / "set_aside.jsonl").read_text("utf-8").splitlines()
    assert counts["set_aside"] == len(listed) > 0
    in_splits = sum(len(part) for part in rows(out).values())
    assert counts["kept"] == in_splits + counts["set_aside"]


def test_random_split_warns(tmp_path, messages, capsys):
    assert run("prepare", messages, "--split", "random", "--output", tmp_path / "out") == 0
    assert "scores measure memory" in capsys.readouterr().err.replace("\n", " ")


def test_held_out_goes_with_split_source(tmp_path, messages, capsys):
    for arguments in (["--split", "source"], ["--held-out", "messages"]):
        assert run("prepare", messages, *arguments, "--output", tmp_path / "out") == 2
        assert "expected --held-out SOURCE with --split source" in capsys.readouterr().err


def test_check_pii_finds_or_not(tmp_path, prepared, capsys):
    leak = tmp_path / "leak.csv"
    leak.write_text("text\n你好\n请致电13000001234\n", "utf-8")
    assert run("prepare", "--check-pii", leak) == 2
    error = capsys.readouterr().err
    assert "found 1 PHONE; first lines 3" in error
    assert "13000001234" not in error
    assert run("prepare", "--check-pii", prepared / "train.parquet") == 0
    # As text, the compressed bytes would hide it.
    table = pa.table({"text": ["请致电13000001234"] * 2})
    pq.write_table(table, tmp_path / "LEAK.PARQUET", compression="zstd")
    assert run("prepare", "--check-pii", tmp_path / "LEAK.PARQUET") == 2
    assert "found 2 PHONE" in capsys.readouterr().err


def test_report_measures_tokens_when_asked(tmp_path, messages, checkpoint):
    out = tmp_path / "out"
    arguments = ("--tokenizer", checkpoint, "--max-length", "40", "--output", out)
    assert run("prepare", messages, *arguments) == 0
    page = (out / "report.html").read_text("utf-8")
    (cut,) = re.findall(r"messages cut by max_length 40</td>\s*<td>(\d+) %", page)
    assert 0 < int(cut) < 100
    assert "Not measured" not in page


def test_label_errors_are_listed(tmp_path, messages):
    lines = messages.read_text("utf-8").splitlines()
    # One message of a campaign gets the label of another.
    wrong = next(index for index, line in enumerate(lines) if ",gambling," in line)
    lines[wrong] = lines[wrong].replace(",gambling,", ",bank_alert,")
    spoilt = tmp_path / "spoilt.csv"
    spoilt.write_text("\n".join(lines) + "\n", "utf-8")
    out = tmp_path / "out"
    assert run("prepare", spoilt, "--find-label-errors", "--output", out) == 0
    suspects = [json.loads(line) for line in (out / "label_errors.jsonl").open(encoding="utf-8")]
    assert manifest(out)["label_errors"]["suspects"] == len(suspects) > 0
    table = rows(out)
    for suspect in suspects:
        row = table[suspect["split"]][suspect["row"]]
        assert row["label"] == suspect["given"] != suspect["likely"]
    assert ("bank_alert", "gambling") in {(row["given"], row["likely"]) for row in suspects}


def test_terms_of_a_public_set_are_in_the_manifest(tmp_path):
    folder = tmp_path / "fbs"
    folder.mkdir()
    for name, offset in (("FR:Other", 0), ("Other", 9000)):
        lines = [" ".join(chr(0x4E00 + offset + 40 * i + k) for k in range(12)) for i in range(20)]
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    assert run("prepare", f"fbs:{folder}", "--output", tmp_path / "out") == 0
    (terms,) = manifest(tmp_path / "out")["terms"]
    assert terms["commercial_use"] == "unclear"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected an input and --output"),
        (["--download", "fbss"], "did you mean"),
        (["--download", "fbs"], "--accept-terms fbs"),
    ],
)
def test_registry_calls_that_cannot_be_carried_out(tmp_path, capsys, arguments, expected):
    output = ["--output", tmp_path / "out"] if arguments else []
    assert run("prepare", *arguments, *output) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--seed", "4294967296"), ("--seed", "-1"), ("--folds", "2")])
def test_flags_keep_the_bounds_of_the_section(messages, tmp_path, capsys, flags):
    folds = ("--split", "folds") if flags[0] == "--folds" else ()
    assert run("prepare", messages, "--output", tmp_path / "out", *flags, *folds) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {flags[0][2:]}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("column", ["text", "label", "group", "time"])
@pytest.mark.parametrize("odd", ['"\\ud83d"', '["\\ud83d"]', "9" * 5000])
def test_an_odd_cell_rejects_its_row_whatever_the_column(tmp_path, messages, column, odd):
    cells = {"text": '"你好"', "label": '"retail"', "group": "1", "time": '"2015"'} | {column: odd}
    line = ", ".join(f'"{name}": {cell}' for name, cell in cells.items())
    good = '{"text": "今天全场五折", "label": "retail", "group": null, "time": null}'
    (tmp_path / "odd.jsonl").write_text(f"{good}\n{{{line}}}\n", "utf-8")
    out = tmp_path / "out"
    assert run("prepare", messages, tmp_path / "odd.jsonl", "--output", out) == 0
    (rejected,) = map(json.loads, (out / "rejected.jsonl").read_text("utf-8").splitlines())
    reason = "half a character" if "ud83d" in odd else "a number with too many digits"
    # The normaliser drops half a character, and nothing else was there.
    reason = "no text" if (column, odd[0]) == ("text", '"') else reason
    assert (rejected["line"], rejected["reason"]) == (2, reason)


def test_a_bad_byte_in_a_group_rejects_its_row(tmp_path, messages):
    table = "text,label,group\n你好,retail,".encode() + b"\xff\n" + "再见,retail,a\n".encode()
    (tmp_path / "odd.csv").write_bytes(table)
    out = tmp_path / "out"
    assert run("prepare", messages, tmp_path / "odd.csv", "--output", out) == 0
    (rejected,) = map(json.loads, (out / "rejected.jsonl").read_text("utf-8").splitlines())
    assert (rejected["line"], rejected["reason"]) == (2, "undecodable bytes")


def test_punctuation_is_dropped_from_every_message_and_by_the_run(
    messages, labels_file, checkpoint, tmp_path
):
    config = tmp_path / "plain.yaml"
    config.write_text(
        f"prepare:\n  inputs: ['{messages}']\n  labels: {labels_file}\n  drop_punctuation: true\n"
        f"data:\n  path: {tmp_path / 'plain'}\nmodel:\n  name_or_path: {checkpoint}\n",
        "utf-8",
    )
    assert run("prepare", "--config", config) == 0
    texts = [row["text"] for split in rows(tmp_path / "plain").values() for row in split]
    assert texts
    assert not [text for text in texts if re.search("[，。！【】:/]", text)]
    assert any("[URL]" in text for text in texts)
    assert manifest(tmp_path / "plain")["text"]["drop_punctuation"] is True
    overrides = (*TINY_OVERRIDES, "training.num_train_epochs=1")
    assert run("finetune", config, *overrides, f"training.output_dir={tmp_path / 'run'}") == 0
    (answer,) = SmsClassifier.from_pretrained(tmp_path / "run").predict(["【商城】满减，退订回T！"])
    assert answer.text == "商城满减退订回T"
