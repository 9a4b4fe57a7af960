"""The house rules that a machine can check, from the syntax tree and in fresh interpreters."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from smstune.commands.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "train"
PACKAGE = SOURCE / "smstune"
LIBRARY = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
# A file imports its own room and rooms of earlier lines. Rooms of one line do not see each other.
ORDER = (
    {
        "arrays",
        "language",
        "errors",
        "files",
        "paths",
        "command",
        "progress",
        "ray_cluster",
        "results",
        "config",
    },
    {"text"},
    {"reporting"},
    {"tables"},
    {"campaigns"},
    {"inference"},
    {"modeling"},
    {"data"},
    {"evaluation"},
    {"training", "deploy"},
    {"sweep"},
    {"benchmark"},
    {"commands"},
)
# The first line is one storey of files, which may see each other.
GROUND = ORDER[0]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
FORBIDDEN_NAMES = {
    "utils", "common", "helpers", "misc", "train", "evaluate", "datasets", "tokenize", "logging",
    "types",
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in LIBRARY}


def imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= submodules or {node.module}
    return found


def ours(path: Path) -> set[str]:
    # The package itself holds the version and the lazy public names.
    return {name for name in imports(path) if name.startswith("smstune.")}


def room(module: str) -> str:
    return module.split(".")[1]


def may_import(importer: str, imported: str) -> bool:
    here, there = room(importer), room(imported)
    if here == "__main__":
        return there == "commands"
    if here == there or {here, there} <= GROUND:
        return True
    return LEVEL[there] < LEVEL[here]


@pytest.mark.parametrize("module", [name for name in MODULES if "." in name])
def test_imports_follow_the_order_of_the_rooms(module):
    path = MODULES[module]
    foreign = {name for name in ours(path) if not may_import(module, name)}
    assert not foreign, f"{module} imports {foreign}"
    assert path.stem not in FORBIDDEN_NAMES
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: bare assert"


def inner_order(folder: Path) -> list[str]:
    """Return the order that a room's ``__init__`` states for what is in it."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    _, _, order = docstring.partition("Order: ")
    return [name.strip() for name in order.rstrip(".").replace("\n", " ").split(",") if order]


ROOMS_WITH_ROOMS = sorted(
    {path.parent.parent for path in LIBRARY if path.parent.parent not in (PACKAGE, SOURCE)}
)


@pytest.mark.parametrize("folder", ROOMS_WITH_ROOMS, ids=lambda path: path.name)
def test_inner_rooms_follow_the_order_that_their_room_states(folder):
    order = inner_order(folder)
    inside = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    inside -= {"__init__", "__pycache__"}
    if order:
        assert set(order) == inside
    prefix = module_name(folder / "__init__.py") + "."
    for path in folder.rglob("*.py"):
        importer = module_name(path).removeprefix(prefix).split(".")[0]
        for name in ours(path):
            imported = name.removeprefix(prefix).split(".")[0]
            if not name.startswith(prefix) or imported == importer:
                continue
            assert order, f"{importer} imports {imported}, and {folder.name} names no order"
            assert order.index(imported) < order.index(importer), f"{importer} imports {imported}"


def test_every_room_says_what_enters_and_what_leaves():
    for path in LIBRARY:
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


#: Modules of the standard library that Windows lacks.
POSIX_ONLY = {
    "crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd", "readline",
    "resource", "spwd", "syslog", "termios", "tty",
}  # fmt: skip


def imported_at_once(node: ast.AST) -> set[str]:
    """Return the packages that a file imports when it is imported itself."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return set()
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    return set().union(*map(imported_at_once, ast.iter_child_nodes(node)))


@pytest.mark.parametrize("path", LIBRARY + SCRIPTS, ids=lambda path: path.stem)
def test_no_file_imports_at_once_what_windows_lacks(path):
    assert not imported_at_once(parsed(path)) & POSIX_ONLY


def test_files_form_no_cycle():
    graph = {name: ours(path) & set(MODULES) for name, path in MODULES.items()}
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {name for name, needs in graph.items() if needs - {name} <= done} - done
        assert ready, f"cycle among {sorted(set(graph) - done)}"
        done |= ready


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_hides_a_package(path):
    # A script's folder comes first on the path: its name must hide no package.
    assert path.stem not in set(packages_distributions()) | set(sys.stdlib_module_names)


HEAVY = ("torch", "transformers", "datasets", "sklearn", "scipy", "captum")
#: Import torch, and are imported themselves only once it is chosen.
OF_TORCH = {
    f"smstune.inference.backends.{name}"
    for name in ("torch_backend", "torch_devices", "first_token")
}
LIGHT_ROOMS = {room for rooms in ORDER[: LEVEL["inference"] + 1] for room in rooms}
LIGHT_JOBS = tuple(f"smstune.deploy.{job}." for job in ("batch", "server", "audit", "learn"))
LIGHT = sorted(
    name
    for name in set(MODULES) - OF_TORCH
    if "." not in name or room(name) in LIGHT_ROOMS or name.startswith(LIGHT_JOBS)
)


def loaded_after(code: str, packages: tuple[str, ...]) -> list[str]:
    """Return those of ``packages`` that a fresh interpreter has loaded after ``code``."""
    check = f"{code}\nimport sys\nprint(*[name for name in {packages} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def heavy_after(code: str) -> list[str]:
    """Return the heavy packages that a fresh interpreter has loaded after ``code``."""
    return loaded_after(code, HEAVY)


def test_scoring_imports_no_yaml():
    assert loaded_after("import smstune.inference.classifier", ("yaml",)) == []


def test_rooms_up_to_inference_and_jobs_import_nothing_heavy():
    assert "smstune.inference.classifier" in LIGHT
    assert "smstune.deploy.server.serve" in LIGHT
    assert heavy_after(f"import {', '.join(LIGHT)}") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name):
    code = f"import smstune.commands.{name} as command"
    code += "\ntry: command.main(['--help'])\nexcept SystemExit: pass"
    assert heavy_after(code) == []


def test_scripts_are_the_commands():
    assert {path.stem for path in SCRIPTS} == set(COMMANDS)
    for path in SCRIPTS:
        assert imports(path) == {"sys", f"smstune.commands.{path.stem}"}


# shared/vague_names.txt, and a few of their kind: they say nothing of what a variable holds.
VAGUE_NAMES = {
    "at", "data", "each", "every", "foo", "found", "given", "held", "info", "item", "items", "kept",
    "known", "made", "mine", "obj", "one", "others", "ours", "own", "part", "parts", "piece",
    "pieces", "place", "places", "res", "result", "ret", "thing", "things", "tmp", "val", "value",
    "stuff", "there", "what", "wanted", "way", "ways",
}  # fmt: skip


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def stored_names(tree: ast.Module) -> list[str]:
    """Return the names of all variables that are stored and of all parameters."""
    return [
        node.id if isinstance(node, ast.Name) else node.arg
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        or isinstance(node, ast.arg)
    ]


def test_names_say_what_they_hold():
    names = [name.strip("_") for path in LIBRARY for name in stored_names(parsed(path))]
    vague = [name for name in names if name in VAGUE_NAMES]
    assert len(vague) <= 0.01 * len(names), Counter(vague).most_common()


#: JSON and YAML of any shape stay there, and what other libraries pass on.
JSON_EDGE = {
    PACKAGE / name
    for name in (
        "results.py", "config/yaml_files.py", "config/wording.py", "tables/json_text.py",
        "training/terminal.py", "evaluation/report/training_curves.py",
    )
}  # fmt: skip
UNTYPED = re.compile(r"(?:dict|Mapping)\[str, (?:Any|object)\]|[\w)]: Any\b|-> Any\b")


def test_results_have_types():
    lines = [
        line
        for path in LIBRARY
        if path not in JSON_EDGE
        for line in path.read_text("utf-8").splitlines()
    ]
    # A signature that another library dictates is marked, and looked at when it is added.
    untyped = [line for line in lines if UNTYPED.search(line) and "noqa: ANN401" not in line]
    assert len(untyped) <= 2 * len(lines) / 1000, untyped


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


#: What other libraries call: torch's autograd, evaluate's metric.
DICTATED = {("cpu_layer.py", "forward"), ("metrics.py", "_compute")}


def test_no_function_has_more_than_six_parameters():
    for path in LIBRARY:
        for function in functions(parsed(path)):
            arguments = function.args
            names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = len([name for name in names if name.arg not in ("self", "cls")])
            dictated = (path.name, function.name) in DICTATED
            assert count <= 6 or dictated, f"{path.name}: {function.name} has {count} parameters"


def test_no_result_is_a_named_tuple():
    for path in LIBRARY:
        assert "NamedTuple" not in path.read_text("utf-8"), path


def test_no_report_is_parsed_back():
    for path in LIBRARY:
        assert not imports(path) & {"html.parser", "matplotlib"}, path
