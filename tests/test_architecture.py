"""Rules of the house that no linter knows; CONTRIBUTING.md says why they are there."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hepdl.schema import load_schema

ROOT = Path(__file__).parents[1]
TREES = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "hepdl").rglob("*.py"))}
ANALYSES = sorted(path for path in (ROOT / "analyses").iterdir() if path.is_dir())
SCHEMAS = sorted((ROOT / "data_schemas").glob("*.yaml"))

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "analyses",
    "data_schemas",
    "hepdl",
    "notebooks",
    "pyproject.toml",
    "tests",
}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "core", "base", "misc"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "yaml.load",
    "yaml.unsafe_load",
}
PUBLISHED_ROOMS = {"models", "losses", "evaluate"}
HEAVY = ("torch", "mlflow", "awkward")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _shows_a_value(node: ast.AST | None) -> bool:
    """A message is made of a value: an f-string with a place in it, or the result of a call."""
    return node is not None and any(
        isinstance(part, ast.FormattedValue | ast.Call) for part in ast.walk(node)
    )


def _is_about_absence(test: ast.expr) -> bool:
    """Whether a condition only asks if something is there: then there is no value to show."""
    match test:
        case ast.BoolOp(values=parts):
            return all(_is_about_absence(part) for part in parts)
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
            return True
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            return _is_about_absence(left) and _is_about_absence(right)
    return False


def _excused(function: ast.AST) -> set[int]:
    """Return the lines that only run because something is missing."""
    return {
        line
        for node in ast.walk(function)
        if isinstance(node, ast.If) and _is_about_absence(node.test)
        for inner in node.body
        for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1)
    }


def _tracked() -> list[str]:
    """Return the files of the repository, or skip where there is none (an unpacked archive)."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    command = [git, "ls-files"]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")[:-1]


def test_the_import_contract_holds() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as m; m()"]
    done = subprocess.run(
        [*command, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "from hepdl.cli import cli; cli.main(['--help'], standalone_mode=False)",
        "from hepdl.cli import cli; cli.main(['run', '--help'], standalone_mode=False)",
        "import hepdl.evaluate",
        "import hepdl.track",
        "import hepdl",
    ],
)
def test_what_answers_at_once_loads_nothing_heavy(code: str) -> None:
    check = f"{code}\nimport sys\nsys.exit(str([n for n in {HEAVY} if n in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


def _raises_without_value(path: Path, tree: ast.AST) -> Iterator[str]:
    for function in _functions(tree):
        excused = _excused(function)
        shown = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign | ast.AugAssign) and _shows_a_value(node.value)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            called = ast.unparse(node.exc.func).rpartition(".")[2]
            if called == "AssertionError" or node.lineno in excused:
                continue
            arguments = node.exc.args
            if called[0].islower():  # a function that words the message from what it is given
                is_shown = any(not isinstance(argument, ast.Constant) for argument in arguments)
            else:
                is_shown = any(
                    _shows_a_value(argument)
                    or (isinstance(argument, ast.Name) and argument.id in shown)
                    for argument in arguments
                )
            if not is_shown:
                yield f"{_name(path)}:{node.lineno}"


def test_every_raise_shows_the_offending_value() -> None:
    found = {place for path, tree in TREES.items() for place in _raises_without_value(path, tree)}
    assert not found, "\n".join(sorted(found))


def test_a_module_is_one_idea_of_a_size_that_can_be_read() -> None:
    found = []
    for path, tree in TREES.items():
        n_lines = path.read_text().count("\n")
        if n_lines > 400:
            found.append(f"{_name(path)} has {n_lines} lines: there is a second idea in it")
        for function in _functions(tree):
            size = (function.end_lineno or function.lineno) - function.lineno + 1
            size -= len((ast.get_docstring(function, clean=False) or "").splitlines())
            if size > 80:
                found.append(f"{_name(path)}:{function.lineno} {function.name} has {size} lines")
    assert not found, "\n".join(found)


def test_a_module_says_what_it_is_and_what_it_hands_out() -> None:
    found = []
    for path, tree in TREES.items():
        if not ast.get_docstring(tree):
            found.append(f"{_name(path)} has no docstring")
        if VAGUE_NAMES & {path.stem, path.parent.name}:
            found.append(f"{_name(path)}: a helper lives in the room whose word it uses")
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        is_empty = not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in tree.body)
        if "__all__" not in names and not is_empty:
            found.append(f"{_name(path)} has no __all__")
    assert not found, "\n".join(found)


def test_nothing_that_is_read_is_executed() -> None:
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called, where = ast.unparse(node.func), f"{_name(path)}:{node.lineno}"
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in FORBIDDEN_CALLS:
                found.append(f"{where} calls {called}")
            if called == "torch.load" and keywords.get("weights_only") != "True":
                found.append(f"{where}: torch.load may unpickle without weights_only=True")
            if "True" in (keywords.get("allow_pickle"), keywords.get("shell")):
                found.append(f"{where}: {called} with a pickle or a shell")
    assert not found, "\n".join(found)


def test_the_module_of_a_published_method_names_its_paper() -> None:
    found = [
        f"{_name(path)}: no Reference"
        for path, tree in TREES.items()
        if path.parent.name in PUBLISHED_ROOMS and path.stem != "__init__"
        if "Reference" not in (ast.get_docstring(tree) or "")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", ANALYSES, ids=_name)
def test_an_analysis_decides_and_does_not_compute(folder: Path) -> None:
    for name in ("analysis.yaml", "README.md", "run.py", "expected.yaml"):
        assert (folder / name).is_file(), f"{_name(folder)} has no {name}"
    script = (folder / "run.py").read_text()
    assert len(script.splitlines()) <= 60, f"{_name(folder)}/run.py is no longer thin"
    for node in ast.walk(ast.parse(script)):
        imported: list[str] = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        for module in imported:
            is_known = module == "hepdl" or module in sys.stdlib_module_names
            assert is_known, f"{_name(folder)}/run.py imports {module}"


@pytest.mark.parametrize("path", SCHEMAS, ids=_name)
def test_every_shipped_schema_loads(path: Path) -> None:
    assert load_schema(path).name == path.stem


def test_the_top_of_the_repository_holds_what_it_should() -> None:
    found = {name.partition("/")[0] for name in _tracked()}
    assert found <= TOP_LEVEL, f"not expected: {sorted(found - TOP_LEVEL)}"


def test_no_large_file_is_in_the_repository() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in _tracked() if (ROOT / name).is_file()}
    heavy = {name: size for name, size in sizes.items() if size > 200_000}
    assert not heavy, f"larger than 200 kB: {heavy}"


def test_no_two_test_files_share_a_name() -> None:
    """`--import-mode=importlib` allows it; a report that names only the file does not."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
