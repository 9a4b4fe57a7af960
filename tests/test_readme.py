"""README and docs: their commands run, both languages agree, the indexes are complete."""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import httpx2
import pyarrow.parquet as pq
import pytest
import xlsxwriter
import yaml
from doors import ROOT, TINY_OVERRIDES, run, write_csv
from serving import serving

from smstune.commands.__main__ import COMMANDS as COMMANDS_BY_NAME
from smstune.config.schema import Config, ExportConfig, ServeConfig
from smstune.config.shipped import find_config
from smstune.deploy.audit.rules import load_rules

README = (ROOT / "README.md").read_text("utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text("utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
NAMES = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in NAMES), *DOCS]
CHINESE_SUFFIX = ".zh-CN.md"
IN_CHINESE = [path for path in PAGES if path.name.endswith(CHINESE_SUFFIX)]
# Helps in China only, so the English README lacks it.
MIRROR = re.compile(r"`pip config set global\.index-url https://\S+`")


def commands(page):
    """Return the lines of a page's bash blocks, without their comments."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", page, re.S | re.M)
    lines = (line for block in blocks for line in block.replace("\\\n", "").splitlines())
    return [line.strip().split("  #")[0] for line in lines if line.strip()]


COMMANDS = commands(README)


def write_workbook(path, table):
    """Write the rows of a csv as a sheet of Excel."""
    with table.open(encoding="utf-8", newline="") as stream, xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet()
        for number, cells in enumerate(csv.reader(stream)):
            sheet.write_row(number, 0, cells)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = [shlex.split(command)[1] for command in COMMANDS if command.startswith("make ")]
    assert targets == ["quickstart", "test"]
    assert all(f"\n{target}: " in makefile for target in targets)


def test_the_path_from_own_data_to_a_model_in_use(tmp_path, monkeypatch, checkpoint, messages):
    """Walk the README's own commands, in a folder of one's own, with the tiny encoder."""
    monkeypatch.chdir(tmp_path)
    for name in ("messages", "new", "outgoing"):
        write_workbook(tmp_path / f"{name}.xlsx", messages)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    names = ("bank_alert", "retail", "bank_phishing", "gambling")
    parents = ("normal", "marketing", "fraud", "illegal")
    pairs = zip(names, parents, strict=True)
    rows = "".join(f"- {{name: {name}, parent: {parent}}}\n" for name, parent in pairs)
    (tmp_path / "labels.yaml").write_text(f"labels:\n{rows}", "utf-8")
    walked = []
    for command in COMMANDS:
        words = shlex.split(command)
        if words[0] != "smstune":
            continue
        _, name, *arguments = words
        if name == "finetune":
            arguments += [f"model.name_or_path={checkpoint}", *TINY_OVERRIDES]
        assert run(name, *arguments) == 0, command
        walked.append(name)
    assert walked == ["prepare", "finetune", "eval", "predict", "audit", "publish"]
    assert (tmp_path / "audits/mine/audit.html").is_file()
    assert (tmp_path / "labelled.xlsx").is_file()


def test_commands_of_the_data_page_run(tmp_path, monkeypatch, messages, labels_file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "messages.csv").write_bytes(messages.read_bytes())
    (tmp_path / "labels.yaml").write_bytes(labels_file.read_bytes())
    found = commands((ROOT / "docs/data.md").read_text("utf-8"))
    assert len(found) == 2
    for command in found:
        _, name, *arguments = shlex.split(command)
        assert run(name, *arguments) == 0, command


def test_commands_of_the_page_on_continuing_run(
    tmp_path, monkeypatch, capsys, messages, checkpoint
):
    """Add a label to a run of three labels, and compare both."""
    monkeypatch.chdir(tmp_path)
    with messages.open(encoding="utf-8") as stream:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    new = [row for row in rows if row[1] == "gambling"]
    header = ("text", "label")
    write_csv(tmp_path / "messages.csv", [row for row in rows if row not in new], header)
    write_csv(tmp_path / "parcels.csv", new[:-6], header)
    write_csv(tmp_path / "parcels_test.csv", new[-6:], header)
    tiny = (f"model.name_or_path={checkpoint}", *TINY_OVERRIDES)
    assert run("prepare", "messages.csv", "--output", "prepared/mine") == 0
    assert run("finetune", "mine", *tiny) == 0
    names = ", ".join(sorted({row[1] for row in rows}))
    (tmp_path / "labels.yaml").write_text(f"labels: [{names}]\n", "utf-8")
    for command in commands((ROOT / "docs/continuing.md").read_text("utf-8")):
        _, name, *arguments = shlex.split(command)
        overrides = TINY_OVERRIDES if name == "finetune" else ()
        assert run(name, *arguments, *overrides) == 0, command
    printed = capsys.readouterr()
    for text in (
        "3 labels of runs/mine are taken over by name",
        "new labels, which start untrained: gambling",
        "labels that not every run has, left out: gambling",
    ):
        assert text in printed.err
    # All test messages of the first run, and no others.
    n_compared = pq.read_metadata("prepared/mine/test.parquet").num_rows
    assert f"test: {n_compared} messages" in printed.out
    assert "only these are compared" not in printed.err


def test_commands_of_the_serving_page_run(tmp_path, learned_run):
    """Start its servers on free ports, and send what it sends."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine").symlink_to(learned_run)
    page = (ROOT / "docs/serving.md").read_text("utf-8")
    own, *calls, for_others = (shlex.split(command) for command in commands(page))
    assert own[:2] == ["smstune", "serve"]
    assert [words[0] for words in calls] == ["curl"] * 4
    with serving(tmp_path, tmp_path / own[2], *own[3:], "--port", "0") as served:
        for words in calls:
            words = [word.replace("http://127.0.0.1:8000", served.address) for word in words]
            done = subprocess.run([*words, "--fail"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, words
    key, program, name, folder, *arguments = for_others
    assert (program, name) == ("smstune", "serve")
    environment = dict([key.split("=")])
    with serving(tmp_path, tmp_path / folder, *arguments, **environment) as served:
        assert (
            httpx2.get(served.address.replace("0.0.0.0", "127.0.0.1") + "/metrics").status_code
            == 401
        )


def test_defaults_of_the_serving_page():
    page = (ROOT / "docs/serving.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `?([\d.\[\]]+)`? \|", page, re.M)
    assert {name: yaml.safe_load(value) for name, value in rows} == ServeConfig().model_dump()


def test_commands_of_the_audit_page_run(tmp_path, monkeypatch, learned_run, messages):
    monkeypatch.chdir(tmp_path)
    with messages.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    sent = [(text, f"1300000{number:04}", "2026-05-04 12:00") for number, text in enumerate(texts)]
    write_csv(tmp_path / "outgoing.csv", sent, ("短信内容", "手机号", "发送时间"))
    write_workbook(tmp_path / "outgoing.xlsx", tmp_path / "outgoing.csv")
    ledger = [("13000000001", "2026-03-01", "门店表单7")]
    write_csv(tmp_path / "consents.csv", ledger, ("手机号", "同意时间", "证据"))
    write_workbook(tmp_path / "consents.xlsx", tmp_path / "consents.csv")
    replies = [("13000000001", "2026-04-01", "TD")]
    write_csv(tmp_path / "replies.csv", replies, ("手机号", "退订时间", "回复"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/mine").symlink_to(learned_run)
    found = commands((ROOT / "docs/audit.md").read_text("utf-8"))
    # The sample's shops mostly name no way to opt out, so the limits of the second are not kept.
    for command, status in zip(found, (0, 3, 0), strict=True):
        _, name, *arguments = shlex.split(command)
        assert run(name, *arguments) == status, command


def test_rules_of_the_audit_page_are_valid_and_whole(tmp_path):
    page = (ROOT / "docs/audit.md").read_text("utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.S | re.M)
    (tmp_path / "rules.yaml").write_text(block, "utf-8")
    assert load_rules(tmp_path / "rules.yaml").rules.night.from_hour == 21
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == [*load_rules().rules.by_name()]


def blocks(page):
    """Return the language and the lines of each block of code, without comments."""
    found = re.findall(r"^ *```(bash|sh|yaml|python)\n(.*?)^ *```", page, re.S | re.M)
    return [
        (language, [line.split("#")[0].rstrip() for line in code.splitlines()])
        for language, code in found
    ]


def in_english(path):
    """Return the path of the English page of a Chinese one."""
    return path.with_name(path.name.replace(CHINESE_SUFFIX, ".md"))


def english_link(link, path):
    """Return link of the page at path with the English page and heading that it leads to."""
    target, _, anchor = link.partition("#")
    page = path.parent / target if target else path
    if not page.name.endswith(CHINESE_SUFFIX):
        return link
    if anchor:
        number = anchors(page.read_text("utf-8")).index(anchor)
        anchor = "#" + anchors(in_english(page).read_text("utf-8"))[number]
    return target.replace(CHINESE_SUFFIX, ".md") + anchor


def in_digits(article):
    """Return the number of a matched 第四十三条 as 43, between blanks: English pages cite so."""
    tens, ten, units = article[1].rpartition("十")
    numerals = "〇一二三四五六七八九"
    tens_value = 10 * numerals.index(tens or "一") if ten else 0
    return f" {tens_value + numerals.index(units)} "


def facts(path):
    """Return what no translation changes: code, links in English, the numbers of tables."""
    page = path.read_text("utf-8").replace(switch(path), "", 1)
    page = re.sub(r"第([一二三四五六七八九十]+)[条款项]", in_digits, MIRROR.sub("", page))
    tables = [re.split(r"(?<!\\)\|", line)[1:-1] for line in re.findall(r"^\|.*", page, re.M)]
    code = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.S))
    return {
        "headings": re.findall(r"^#+ ", re.sub(r"```.*?```", "", page, flags=re.S), re.M),
        "blocks": blocks(page),
        "links": sorted(english_link(link, path) for link in re.findall(r"\]\(([^)]+)\)", page)),
        "code": sorted(" ".join(snippet.split()) for snippet in code),
        "widths": [len(cells) for cells in tables],
        "numbers": [re.findall(r"\d[\d,.]*\d|\d", " ".join(cells)) for cells in tables],
    }


def switch(path):
    """Return the line of a page that leads to the page in the other language."""
    if path.name.endswith(CHINESE_SUFFIX):
        return f"[English]({in_english(path).name}) | 中文\n"
    return f"English | [中文]({path.stem}{CHINESE_SUFFIX})\n"


@pytest.mark.parametrize("chinese", IN_CHINESE, ids=lambda path: path.name)
def test_a_chinese_page_states_the_same_facts_as_the_english_one(chinese):
    english = in_english(chinese)
    assert facts(chinese) == facts(english)
    for path in (chinese, english):
        # The README begins with its title, for package indexes and repositories' front pages.
        begin = "# smstune\n\n" if path.parent == ROOT else ""
        assert path.read_text("utf-8").startswith(begin + switch(path))


@pytest.mark.parametrize("chinese", IN_CHINESE, ids=lambda path: path.name)
def test_a_chinese_page_leads_to_chinese_pages(chinese):
    page = chinese.read_text("utf-8").replace(switch(chinese), "", 1)
    for link in re.findall(r"\]\(([^)]+)\)", page):
        target = chinese.parent / link.partition("#")[0]
        assert target not in [in_english(path) for path in IN_CHINESE], link


def test_the_chinese_readme_names_one_mirror_of_the_package_index():
    assert len(MIRROR.findall(CHINESE)) == 1


EVALUATION = (ROOT / "docs/evaluation.md").read_text("utf-8")


def test_commands_of_the_evaluation_page_run(tmp_path, monkeypatch, joined_run):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "last"):
        shutil.copytree(joined_run, tmp_path / "runs" / name)
    assert run("eval", "runs/last") == 0
    found = commands(EVALUATION)
    assert [shlex.split(command)[1] for command in found] == [
        "eval",
        "eval",
        "compare",
        "eval",
        "eval",
        "eval",
    ]
    for command in found:
        _, name, *arguments = shlex.split(command)
        assert run(name, *arguments) == 0, command


def test_configurations_of_the_evaluation_page_are_valid():
    blocks = re.findall(r"^```yaml\n(.*?)^```", EVALUATION, re.S | re.M)
    assert len(blocks) == 2
    for block in blocks:
        Config.model_validate({"data": {"path": "d"}, **yaml.safe_load(block)})


@pytest.mark.slow
def test_commands_of_the_scoring_page_run(tmp_path, monkeypatch, finished_run, messages):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run, tmp_path / "runs/mine")
    (tmp_path / "new.csv").write_bytes(messages.read_bytes())
    found = commands((ROOT / "docs/scoring.md").read_text("utf-8"))
    walked = []
    for command in found:
        program, name, *arguments = shlex.split(command)
        if program == "smstune":
            assert run(name, *arguments) == 0, command
            walked.append(name)
    assert walked == ["predict", "predict", "benchmark"]


def test_commands_of_the_export_page_run(tmp_path, monkeypatch, learned_run):
    page = (ROOT / "docs/export.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(learned_run, tmp_path / "runs/mine")
    found = commands(page)
    assert [shlex.split(command)[1] for command in found] == ["export", "eval"]
    for command in found:
        _, name, *arguments = shlex.split(command)
        assert run(name, *arguments) == 0, command
    rows = re.findall(r"^\| `(max_\w+)` \| ([\d.]+) \|", page, re.M)
    budgets = ExportConfig().model_dump(exclude={"keep_fp32"})
    assert {name: float(value) for name, value in rows} == budgets


def test_commands_and_code_of_the_publishing_page_run(hub, tmp_path, monkeypatch, evaluated_run):
    page = (ROOT / "docs/publishing.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(evaluated_run, tmp_path / "runs/mine")
    found = commands(page)
    assert [shlex.split(command)[1] for command in found] == ["eval", *["publish"] * 2]
    for command in found:
        _, name, *arguments = shlex.split(command)
        assert run(name, *arguments) == 0, command
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    exec(code, loaded := {})
    assert loaded["classifier"].predict(["你好"])


def test_python_example_runs(finished_run):
    (code,) = re.findall(r"^ *```python\n(.*?)^ *```", README, re.S | re.M)
    code = re.sub(r"^   ", "", code, flags=re.M).replace("runs/mine", str(finished_run))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


def test_readme_is_short_and_shows_the_way_from_file_to_model():
    for page in (README, CHINESE):
        assert len(page.splitlines()) < 200
        assert page.count("```mermaid\nflowchart LR\n") == 1
        assert "git clone " in page


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    for key in ("version", "license"):
        assert citation[key] == project[key]


def test_every_page_is_in_the_index_of_docs():
    index = (ROOT / "docs/README.md").read_text("utf-8")
    listed = re.findall(r"^\| \[(\S+)\]\(\1\) \|", index, re.M)
    assert sorted(listed) == [path.name for path in DOCS if path.name != "README.md"]


def anchors(page):
    """Return the anchors that GitHub gives a page's headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```", "", page, flags=re.S | re.M), re.M
    )
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        page = path.parent / target if target else path
        assert page.exists(), link
        assert not anchor or anchor in anchors(page.read_text("utf-8")), link


def test_every_experiment_has_a_row_in_the_table_of_findings():
    page = (ROOT / "docs/experiments.md").read_text("utf-8")
    entries = re.findall(r"^## ((\d{4}-\d\d-\d\d) · .*)$", page, re.M)
    rows = re.findall(r"^\| \[[^]]+\?\]\(#(.+)\) \| .+ \| .+ \| (\S+) \|$", page, re.M)
    assert rows == [(anchors(f"## {heading}")[0], date) for heading, date in entries]


def test_every_room_is_in_the_tree_of_the_code_and_no_other():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tree = page[page.index("  arrays.py") : page.index("tests/  ")]
    named = set(re.findall(r"^  (\w+)/ ", tree, re.M))
    package = ROOT / "train/smstune"
    assert named == {path.parent.name for path in package.glob("*/__init__.py")}


def test_scripts_and_table_of_commands_agree():
    named = set(re.findall(r"^\| `smstune (\w+)", README, re.M))
    assert named == set(COMMANDS_BY_NAME)
    assert named == {path.stem for path in (ROOT / "scripts").glob("*.py")}


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "scripts").glob("*.py")))
def test_help_of_each_script(name, capsys):
    with pytest.raises(SystemExit) as end:
        run(name, "--help")
    assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_quickstart_walks_the_whole_path():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipe = makefile[makefile.index("\nquickstart:") : makefile.index("\ntest:")]
    found = re.findall(r"/smstune (\w+)", recipe)
    assert found == ["prepare", "finetune", "predict", "eval"]


def test_commands_in_the_comments_of_shipped_configs_name_shipped_ones():
    for path in (ROOT / "configs").rglob("*.yaml"):
        lines = re.findall(r"^# (smstune (?:prepare|finetune) .*)", path.read_text("utf-8"), re.M)
        for words in map(shlex.split, lines):
            name = words[words.index("--config") + 1] if "--config" in words else words[2]
            assert find_config(name).is_file(), words


def test_lower_bounds_of_the_install_page_are_those_of_the_base():
    page = (ROOT / "docs/install.md").read_text("utf-8")
    table = page[page.index("| package | from |") : page.index("**OpenCC and Unicode.**")]
    cells = re.findall(r"\| ([a-z][\w-]+)[^|]*\| ([\d.]+) (?=\|)", table)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", one).groups() for one in project["dependencies"]]
    assert sorted(cells) == sorted(bounds)
