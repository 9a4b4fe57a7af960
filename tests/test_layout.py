"""The house rules that a machine can check, from the syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "train").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
# A folder may import itself and what stands before it; training and deploy never see each other.
MAY_IMPORT = {
    "top": {"top"},
    "data": {"top", "data"},
    "modeling": {"top", "data", "modeling"},
    "evaluation": {"top", "data", "modeling", "evaluation"},
    "training": {"top", "data", "modeling", "evaluation", "training"},
    "deploy": {"top", "data", "modeling", "evaluation", "deploy"},
}
FORBIDDEN_NAMES = {
    "utils", "common", "helpers", "misc", "train", "evaluate", "datasets", "tokenize", "logging",
    "types",
}  # fmt: skip


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else "top"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_file_keeps_the_rules(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    ours = {name for name in imports(path) if name.split(".")[0] == "train"}
    foreign = {name for name in ours if room(name) not in MAY_IMPORT[room(module)]}
    assert not foreign, f"{module} imports {foreign}"
    assert len(path.read_text("utf-8").splitlines()) <= 300
    assert path.stem not in FORBIDDEN_NAMES
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: bare assert"
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50 + len(ast.get_docstring(node) or "") // 40, (
                f"{path}:{node.lineno}: {node.name} is long"
            )


def test_rooms_form_no_cycle():
    graph = {
        path: {
            ROOT / (name.replace(".", "/") + ".py")
            for name in imports(path)
            if name.startswith("train.")
        }
        for path in LIBRARY
    }
    done: set[Path] = set()
    while len(done) < len(graph):
        ready = {path for path, needs in graph.items() if needs & set(graph) <= done} - done
        assert ready, f"cycle among {[str(path) for path in graph if path not in done]}"
        done |= ready


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_glue(path):
    assert len(path.read_text("utf-8").splitlines()) <= 60
    # A script's folder comes first on the path: its name must hide no package.
    assert path.stem not in set(packages_distributions()) | set(sys.stdlib_module_names)


def test_import_train_is_light():
    check = "import sys, train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_no_stray_script_name_shadows_train():
    assert not {path.stem for path in SCRIPTS} & {"train", "evaluate", "tokenize"}
