"""Titles of a label file reach labels.json and every report, page and table beside the name."""

from __future__ import annotations

import json
import shutil

import pytest
from doors import LEARNING_OVERRIDES, run, write_csv
from serving import serving

from smstune.deploy.hub.card import escape_markdown
from smstune.deploy.hub.folder import write_published_folder
from smstune.inference.labels import LabelMap

# The label retail has no title.
TITLES = {
    "gambling": "{zh: 赌博短信}",
    "bank_phishing": "{zh: 冒充银行, en: Bank & phishing}",
    "bank_alert": "{en: Notices}",
}
ENGLISH = ("gambling (赌博短信)", "bank_phishing (Bank &amp; phishing)")
CHINESE = ("gambling (赌博短信)", "bank_phishing (冒充银行)")


@pytest.fixture(scope="module")
def titled_data(tmp_path_factory, messages, labels_file):
    folder = tmp_path_factory.mktemp("titled")
    text = labels_file.read_text("utf-8")
    for name, title in TITLES.items():
        text = text.replace(f"name: {name},", f"name: {name}, title: {title},")
    (folder / "labels.yaml").write_text(text, "utf-8")
    output = folder / "data"
    labels = folder / "labels.yaml"
    assert run("prepare", messages, "--labels", labels, "--output", output) == 0
    return output


@pytest.fixture(scope="module")
def titled_run(titled_data, config_file):
    folder = titled_data.with_name("run")
    words = [*LEARNING_OVERRIDES, f"data.path={titled_data}", f"training.output_dir={folder}"]
    assert run("finetune", config_file, *words) == 0
    assert run("eval", folder, "evaluation.bootstrap_samples=50") == 0
    return folder


def test_the_prepared_folder_has_them_and_its_report_shows_them(titled_data):
    rows = json.loads((titled_data / "labels.json").read_text("utf-8"))
    titles = {row["name"]: row.get("title") for row in rows}
    assert titles["gambling"] == {"zh": "赌博短信", "en": None}
    assert titles["bank_phishing"] == {"zh": "冒充银行", "en": "Bank & phishing"}
    # Entries without a title have the keys that they had before there were titles.
    assert [tuple(row) for row in rows if "title" not in row] == [("name", "parent")]
    page = (titled_data / "report.html").read_text("utf-8")
    assert all(f">{shown}</t" in page for shown in ENGLISH)
    assert ">retail</t" in page
    # Campaigns list their labels with counts.
    assert ">bank_alert (Notices) 3<" in page


def test_the_run_has_them_and_its_evaluation_shows_them(titled_run, capsys):
    assert LabelMap.load(titled_run / "labels.json").titles["gambling"].zh == "赌博短信"
    assert run("eval", titled_run, "evaluation.bootstrap_samples=50") == 0
    assert "F1 gambling (赌博短信)" in capsys.readouterr().out
    page = (titled_run / "eval/test/report.html").read_text("utf-8")
    assert all(f">{shown}</t" in page for shown in ENGLISH)
    assert "| gambling (赌博短信) |" in (titled_run / "eval/test/report.md").read_text("utf-8")
    metrics = json.loads((titled_run / "eval/test/metrics.json").read_text("utf-8"))
    assert "gambling" in metrics["per_label"]


def test_compare_drift_audit_cards_and_the_server_s_page_show_them(
    titled_run, messages, tmp_path, capsys, monkeypatch
):
    copy = shutil.copytree(titled_run, tmp_path / "copy")
    # Long paths would leave the labels a column of four characters.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(titled_run, "run")
    assert run("compare", "run", "copy", "--draws", "20") == 0
    # The terminal wraps the cell.
    assert "赌博短信" in capsys.readouterr().out
    texts = [("今天全场五折",), ("您的账户存在异常",), ("明天开会",)]
    path = write_csv(tmp_path / "new.csv", texts, ("text",))
    assert run("eval", copy, "--drift", path) == 0
    page = (copy / "eval/new/drift.html").read_text("utf-8")
    assert all(f">{shown}</t" in page for shown in ENGLISH)
    audit = ("--output", tmp_path / "audit", "--marketing", "gambling,bank_phishing")
    assert run("audit", titled_run, messages, *audit, "--lang", "zh") == 0
    page = (tmp_path / "audit/audit.html").read_text("utf-8")
    assert any(f">{shown}</t" in page for shown in CHINESE)
    findings = (tmp_path / "audit/findings.csv").read_text("utf-8-sig")
    assert "标签,标签名称,得分" in findings
    assert "gambling,赌博短信," in findings or "bank_phishing,冒充银行," in findings
    folder = write_published_folder(titled_run, tmp_path / "clean")
    card = (folder / "README.zh-CN.md").read_text("utf-8")
    assert all(card.count(f"| {escape_markdown(shown)} |") == 2 for shown in CHINESE)
    card = (folder / "README.md").read_text("utf-8")
    assert card.count(f"| {escape_markdown('bank_alert (Notices)')} |") == 2
    with serving(tmp_path, titled_run) as served:
        page = served.client.get("/").text
    assert '<span data-label="gambling">gambling (赌博短信)</span>' in page
    assert '<span data-label="bank_phishing">bank_phishing (Bank &amp; phishing)</span>' in page
