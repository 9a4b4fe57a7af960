"""The Dockerfile of docs/operations.md: its RUN and ENTRYPOINT lines in an empty environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SMSTUNE_LIGHT", "/nowhere"))
EXAMPLES = ROOT / "train/smstune/data/sample/examples.txt"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="run by make test-light")


def test_run_and_entrypoint_lines(tmp_path):
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    (text,) = re.findall(r"^```dockerfile\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    lines = [line.split(" ", 1) for line in text.splitlines()]
    values = {name: [words for key, words in lines if key == name] for name, _ in lines}
    assert values["USER"] == ["10001:10001"]
    (copied,) = values["COPY"]
    for name in copied.split()[:-1]:
        source = ROOT / name if (ROOT / name).is_file() else FOLDER / name
        shutil.copy(source, tmp_path)
    environment = tmp_path / "python"
    venv.create(environment, with_pip=True)
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    # Where pip finds its index and mirrors.
    variables |= {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
    for words in values["RUN"]:
        subprocess.run(["sh", "-c", words], cwd=tmp_path, env=variables, check=True)
    (entrypoint,) = map(json.loads, values["ENTRYPOINT"])
    program = shutil.which(entrypoint[0], path=variables["PATH"])
    assert program is not None
    assert Path(program).parent == environment / "bin"
    call = [program, *entrypoint[1:]]
    output = tmp_path / "out.csv"
    arguments = ["predict", FOLDER / "run", EXAMPLES, output]
    subprocess.run([*call, *arguments], cwd=tmp_path, env=variables, check=True)
    assert len(output.read_text("utf-8").splitlines()) > 5
    (default,) = map(json.loads, values["CMD"])
    subprocess.run([*call, *default], cwd=tmp_path, env=variables, check=True)
