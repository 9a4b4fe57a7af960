"""What docs/operations.md tells people to run."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from doors import ROOT, write_csv

from smstune.data.prepared import load_split

PAGE = (ROOT / "docs/operations.md").read_text("utf-8")


def block(language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return text


@pytest.mark.slow
def test_three_days_with_drift_on_the_third(learned_run, prepared, tmp_path):
    folder = tmp_path / "srv"
    for name in ("incoming", "answers", "bin"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(learned_run, folder / "runs/mine")
    program = folder / "bin/smstune"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m smstune "$@"\n')
    daily = folder / "daily.sh"
    daily.write_text(block("sh"), "utf-8")
    for path in (program, daily):
        path.chmod(0o755)
    usual = [(text,) for text in load_split(prepared, "test")["text"]]
    # Long, and each a campaign of its own: a single campaign is no drift, however often it comes.
    draw = random.Random(0)
    strange = [
        ("".join(chr(draw.randrange(0x4E00, 0x9FA5)) for _ in range(90)),) for _ in range(80)
    ]
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "train"),
    }
    statuses = []
    # The third day is run twice: its answers are there already.
    for number, rows in enumerate((usual, usual[::-1], strange, strange), 1):
        day = f"2026-11-0{min(number, 3)}"
        write_csv(folder / f"incoming/{day}.csv", rows, ("text",))
        done = subprocess.run(
            [daily, day], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        statuses.append(done.returncode)
        assert (folder / f"answers/{day}.csv").is_file()
        assert (folder / f"runs/mine/eval/{day}/drift.html").is_file()
    assert statuses == [0, 0, 3, 3]
    assert "evaluation.max_drift" in done.stderr.splitlines()[-1]


def test_the_cron_line_is_one_line_with_escaped_percents():
    (line,) = re.findall(r"^30 6 \* \* \* .*$", PAGE, re.MULTILINE)
    assert "%" not in line.replace(r"\%", "")


def test_the_cron_job_is_not_retried_after_what_a_retry_cannot_fix():
    job = yaml.safe_load(block("yaml"))["spec"]["jobTemplate"]["spec"]
    (codes,) = [rule for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes["action"] == "FailJob"
    assert codes["onExitCodes"] == {"operator": "In", "values": [2, 3]}
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    # Without exec the shell would get the signals.
    assert "|| exec smstune predict " in container["command"][-1]
