"""Write .tests/COVERAGE.md: which tests cover which threat and fault of SECURITY.md, from the marks on the tests.

python tests/coverage_page.py
"""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / ".tests" / "COVERAGE.md"
SLOW = " (--all)"
TABLE = TESTS / "security" / "threats.json"
HEAD = """# Tests by threat and fault

Written by each run of `python3 tests/run.py`, or by `python tests/coverage_page.py`, from the marks on the tests
(`@pytest.mark.threat("T3")`, `fault("F7")`) and from `tests/security/threats.json`. *partly*: tests exist, with what they do not cover.
*not yet*: no test, with the reason. *(--all)*: not in the short check.

"""


def marked() -> dict[str, list[str]]:
    """id -> tests, as folder/file::test, those marked slow with (--all) behind."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        is_slow_file = any(
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "pytestmark"
            and "mark.slow" in ast.unparse(node)
            for node in tree.body
        )
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            is_slow = is_slow_file or any(ast.unparse(mark) == "pytest.mark.slow" for mark in node.decorator_list)
            name = f"{path.relative_to(TESTS).as_posix()}::{node.name}" + (SLOW if is_slow else "")
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) in ("pytest.mark.threat", "pytest.mark.fault"):
                    for one in mark.args:
                        found[ast.literal_eval(one)].append(name)
    return dict(found)


def state(tests: list[str], gap: str) -> str:
    if tests and all(test.endswith(SLOW) for test in tests):
        return "only --all"
    if tests:
        return "partly" if gap else "covered"
    return "not yet"


def page() -> str:
    table: dict[str, dict[str, str]] = json.loads(TABLE.read_text())
    tests = marked()
    unknown = tests.keys() - table.keys()
    assert not unknown, f"marks of nothing: {sorted(unknown)}"
    rows, counts = [], defaultdict(int)
    for name, told in table.items():
        found, gap = tests.get(name, []), told.get("gap", "")
        assert found or gap, f"{name} has neither a test nor a reason why it has none"
        counts[state(found, gap)] += 1
        listed = "<br>".join(f"`{test}`" for test in found)
        rows.append(f"| {name} | {told['what']} | {state(found, gap)} | {listed} | {gap} |")
    told = ", ".join(f"{counts[one]} {one}" for one in ("covered", "partly", "only --all", "not yet"))
    top = "| | what | state | tests | what is left |\n| --- | --- | --- | --- | --- |\n"
    return f"{HEAD}{len(table)} threats and faults: {told}.\n\n{top}" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    print(PAGE.read_text().split("\n\n")[2])
