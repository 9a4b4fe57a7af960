"""The quickstart's model answers the examples of README and messages that it has never seen."""

from __future__ import annotations

import csv
import difflib
import re

import pytest
from doors import ROOT, SAMPLE, run

EXAMPLES = ROOT / "train/smstune/data/sample/examples.txt"
EXAMPLE_LABELS = (
    "bank_alert",
    "bank_phishing",
    "retail",
    "fake_delivery",
    "fake_documents",
    "personal",
)
# Invented, and no copies of templates: a forged message, then a genuine one that resembles it.
UNSEEN = (
    (
        "bank_phishing",
        "您在江屿银行的卡片已被锁定，若想继续使用请于24小时内到 t.example/zz1 验证信息",
    ),
    (
        "bank_alert",
        "【云禾银行】您的信用卡将于本月25日自动扣还1,208.00元，请确保绑定的储蓄卡余额充足。",
    ),
    (
        "fake_delivery",
        "快递理赔通知：因仓库失火您的包裹已损毁，领取188元赔偿请加QQ 00003317并准备好银行卡",
    ),
    (
        "fake_police",
        "你的手机卡涉嫌群发诈骗信息，三小时后停机，要申诉请转接临湖警方，不要告诉任何人",
    ),
    (
        "government",
        "【东澜反诈中心】凡是自称公检法要求转账汇款的，都是诈骗！遇到请立即挂断。",
    ),
    (
        "fake_acquaintance",
        "妈，我同学骑车把人撞了，急着交医药费，你先转五千到这个卡，我手机没电了别打",
    ),
    (
        "personal",
        "妈，晚饭别等我了，单位临时开会，九点多回",
    ),
    (
        "fake_loan",
        "恭喜过审！八万额度已就绪，先交一笔验资款就能提现，联系经理12000003321",
    ),
    (
        "finance",
        "【屿信消费金融】您有一张7天免息券待使用，年化利率7.2%起，请理性借款，退订回复0",
    ),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def quickstart_run(tmp_path_factory):
    """Return the run folder that the commands of `make quickstart` leave."""
    folder = tmp_path_factory.mktemp("quickstart")
    assert run("prepare", "--config", "quickstart", f"data.path={folder / 'prepared'}") == 0
    paths = (f"data.path={folder / 'prepared'}", f"training.output_dir={folder / 'run'}")
    assert run("finetune", "quickstart", *paths) == 0
    return folder / "run"


def answers(run_folder, path):
    """Return the labels of a file of messages, one a line."""
    output = path.with_suffix(".csv")
    assert run("predict", run_folder, path, output) == 0
    with output.open(encoding="utf-8-sig", newline="") as stream:
        return [row["label"] for row in csv.DictReader(stream)]


def test_readme_states_the_answer_to_its_own_message(quickstart_run, tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    (message,) = re.findall(r'classifier\.predict\(\["(.*?)"\]\)', readme)
    (label,) = re.findall(r"step 6's message is `(\w+)`", readme)
    (tmp_path / "readme.txt").write_text(message + "\n", "utf-8")
    assert answers(quickstart_run, tmp_path / "readme.txt") == [label] == ["bank_phishing"]


def test_the_examples_of_the_quickstart(quickstart_run, tmp_path):
    copy = tmp_path / "examples.txt"
    copy.write_bytes(EXAMPLES.read_bytes())
    assert answers(quickstart_run, copy) == list(EXAMPLE_LABELS)


def test_unseen_messages_and_their_genuine_likenesses(quickstart_run, tmp_path):
    labels, messages = zip(*UNSEEN, strict=True)
    (tmp_path / "unseen.txt").write_text("\n".join(messages) + "\n", "utf-8")
    assert answers(quickstart_run, tmp_path / "unseen.txt") == list(labels)


def test_unseen_messages_are_no_copies():
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        sample = [row["text"] for row in csv.DictReader(stream)]
    for _, message in UNSEEN:
        matcher = difflib.SequenceMatcher(None, b=message, autojunk=False)
        for text in sample:
            matcher.set_seq1(text)
            assert matcher.quick_ratio() < 0.7 or matcher.ratio() < 0.7, text
