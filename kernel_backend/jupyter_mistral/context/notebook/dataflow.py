"""Finds the names that a cell defines, changes and uses, from its code alone: nothing is run."""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .cells import Cell

MAX_PARSED = 40_000

_MAGIC_LINE = re.compile(r"^(\s*)(?:(?:[\w, ]+=\s*)?[%!]|\?|.*\?\s*$)")
_BODY_IS_CODE = re.compile(r"^%%(?:time|timeit|capture|prun|memit|mprun|lprun|debug)\b")
_WORD = re.compile(r"[^\W\d]\w*")
_ASSIGNED = re.compile(
    r"^[ \t]*(?:(?:const|let|local|global|mutable struct|struct|macro|module|function|def|class|val|var)\s+)?"
    r"([^\W\d][\w.]*)\s*(?:\([^)\n]*\))?\s*(?:<<?-|:=|=(?![=>]))"
    r"|^[ \t]*(?:function|def|class|struct|mutable struct|macro)\s+([^\W\d]\w*)"
    r"|->>?\s*([^\W\d][\w.]*)[ \t]*$",
    re.M,
)


@dataclass(frozen=True)
class Names:
    """The names in a cell.

    defines: names it binds. changes: names whose items or attributes it sets. uses: names it reads without binding them
    before. later: those of `uses` that are read only inside a function, so not until it is called.
    """

    defines: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()


def of_cell(cell: Cell, language: str) -> Names:
    if not cell.is_code or not cell.source.strip():
        return Names()
    if language in ("python", "python3", "ipython") and len(cell.source) <= MAX_PARSED:
        code = strip_magics(cell.source)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _of_tree(ast.parse(code))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    return _of_text(cell.source[:MAX_PARSED])


def strip_magics(source: str) -> str:
    """The Python code of a cell: lines with %, ! or ? become `pass`, a cell in another language becomes empty."""
    first = source.lstrip().split("\n", 1)
    if first[0].startswith("%%"):
        if not _BODY_IS_CODE.match(first[0]):
            return ""
        source = first[1] if len(first) > 1 else ""
    if not any(mark in source for mark in "%!?"):
        return source
    lines = []
    for line in source.split("\n"):
        match = _MAGIC_LINE.match(line)
        lines.append(f"{match[1]}pass" if match and not line.lstrip().startswith("#") else line)
    return "\n".join(lines)


def _of_text(source: str) -> Names:
    defines = {name for groups in _ASSIGNED.findall(source) for name in groups if name}
    used = set(_WORD.findall(source)) | {w for w in re.findall(r"[^\W\d][\w.]*", source) if "." in w}
    return Names(frozenset(defines), frozenset(), frozenset(used - defines))


def _of_tree(tree: ast.Module) -> Names:
    defines: set[str] = set()
    changes: set[str] = set()
    uses: set[str] = set()
    now: set[str] = set()
    for statement in _flat(tree.body):
        bound, changed, used = _of_statement(statement)
        uses |= used - defines
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            now |= used - defines
        changes |= changed - defines
        defines |= bound
    return Names(frozenset(defines), frozenset(changes), frozenset(uses), frozenset(uses - now))


def _flat(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Statements in the order in which they bind and read names: the target of a loop or `with` comes before its body."""
    for node in body:
        if isinstance(node, (ast.For, ast.AsyncFor)):
            yield from (node.iter, node.target)
            yield from _flat([*node.body, *node.orelse])
        elif isinstance(node, (ast.While, ast.If)):
            yield node.test
            yield from _flat([*node.body, *node.orelse])
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                yield from (item.context_expr, *([item.optional_vars] if item.optional_vars else []))
            yield from _flat(node.body)
        elif isinstance(node, ast.Try):
            yield from _flat(node.body)
            for handler in node.handlers:
                yield from (handler.type,) if handler.type else ()
                if handler.name:
                    yield ast.Name(handler.name, ast.Store())
                yield from _flat(handler.body)
            yield from _flat([*node.orelse, *node.finalbody])
        else:
            yield node


def _of_statement(statement: ast.AST) -> tuple[set[str], set[str], set[str]]:
    bound: set[str] = set()
    changed: set[str] = set()
    used: set[str] = set()
    nodes = _walk(statement)
    local = _locals(statement, nodes)
    for node in nodes:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            if isinstance(node.ctx, ast.Del):
                bound.discard(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names if alias.name != "*"}
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            root = _root(node)
            if root:
                changed.add(root)
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        used.add(statement.target.id)
    return bound - local, changed - local, used - local


def _walk(root: ast.AST) -> list[ast.AST]:
    """Like `ast.walk`, without the context nodes, which would take most of the time for 10,000 cells."""
    nodes, todo = [], [root]
    while todo:
        node = todo.pop()
        nodes.append(node)
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                todo += [each for each in value if isinstance(each, ast.AST)]
            elif name != "ctx" and isinstance(value, ast.AST):
                todo.append(value)
    return nodes


def _locals(statement: ast.AST, nodes: Sequence[ast.AST]) -> set[str]:
    """Names local to a function, class, lambda or comprehension of the statement."""
    inside: set[str] = set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inside |= {arg.arg for arg in _arguments(node.args)}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            shared = {n for g in ast.walk(node) if isinstance(g, ast.Global) for n in g.names}
            stores = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            nested = {
                n.name for n in ast.walk(node) if n is not node and isinstance(n, (ast.FunctionDef, ast.ClassDef))
            }
            inside |= (stores | nested) - shared
        elif isinstance(node, ast.comprehension):
            inside |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        inside.discard(statement.name)
    return inside


def _arguments(args: ast.arguments) -> Iterator[ast.arg]:
    yield from [*args.posonlyargs, *args.args, *args.kwonlyargs]
    yield from (arg for arg in (args.vararg, args.kwarg) if arg is not None)


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


@dataclass(frozen=True)
class Graph:
    """The names of every cell, and the positions of the cells that define or change each name, in order."""

    names: tuple[Names, ...]
    definers: dict[str, tuple[int, ...]]
    changers: dict[str, tuple[int, ...]]
    _needs: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)

    def needs(self, index: int) -> dict[str, int]:
        """The cell that defines each name used by a cell: the nearest above, else the last below."""
        if index not in self._needs:
            needs = {}
            for name in self.names[index].uses:
                cells = self.definers.get(name)
                if cells:
                    above = bisect_left(cells, index)
                    needs[name] = cells[above - 1] if above else cells[-1]
            self._needs[index] = {name: at for name, at in needs.items() if at != index}
        return self._needs[index]


def graph(cells: Sequence[Cell], language: str) -> Graph:
    names = tuple(of_cell(cell, language) for cell in cells)
    definers: dict[str, list[int]] = {}
    changers: dict[str, list[int]] = {}
    for i, each in enumerate(names):
        for name in each.defines:
            definers.setdefault(name, []).append(i)
        for name in each.changes:
            changers.setdefault(name, []).append(i)
    return Graph(
        names, {n: tuple(where) for n, where in definers.items()}, {n: tuple(where) for n, where in changers.items()}
    )
