"""Messages that are reported, as a file, and a run that may learn from them."""

from __future__ import annotations

import csv
from pathlib import Path

LOAN = "尊敬的客户您好我行推出低息贷款无需抵押当天放款额度二十万请致电13800138000办理"
VARIANT = "尊敬的客户您好我行推出低息贷款无需抵押当天放款额度三十万请致电13900139000办理"
OTHER = "【青禾书店】会员日满一百减三十，新书上架欢迎到店选购，凭短信领取帆布袋一个"
HEAD = ["text", "label", "action", "reason", "until"]


def with_limit(run_folder: Path, limit: float) -> Path:
    """Let a run's memory refuse what may match more than ``limit`` of the other campaigns."""
    text = (run_folder / "config.yaml").read_text("utf-8")
    lines = [
        f"  max_false_positive_rate: {limit}" if "max_false_positive_rate: 0.01" in line else line
        for line in text.splitlines()
    ]
    (run_folder / "config.yaml").write_text("\n".join(lines) + "\n", "utf-8")
    return run_folder


def reports_file(folder: Path, *rows: tuple[str, ...], name: str = "reports.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEAD)
        writer.writerows([*row, *[""] * (len(HEAD) - len(row))] for row in rows)
    return path
