"""Scores how relevant each cell is to a question: BM25 over its text, then its neighbours, section and definitions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..notebook import html_tables
from ..notebook.cells import Cell
from ..notebook.dataflow import Graph
from . import words

K1, B = 1.2, 0.6
FOLLOW, SECTION = 0.5, 0.3
# the weight of a term of each kind in a question
KINDS = {"=": 2.0, "~": 0.6, "^": 0.35}
INDEXED_CHARS = 2_500_000

_HEADING = re.compile(r"^\s{0,3}(#{1,6})\s+(.+)$", re.M)
_ELISION = re.compile(r"(?i)\b(?:[cdjlmnst]|qu)['’]|-t-|['’]s\b")
_IDENTIFIER = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_CELL_NUMBER = re.compile(r"\bcell\s*#?\s*(\d+)|\[cell (\d+)\]", re.I)
_RUN_NUMBER = re.compile(r"\b(?:In|Out)\s*\[(\d+)\]")
_ABOUT_ERRORS = re.compile(
    r"(?i)\b(?:error|exception|traceback|fail|crash|broken|wrong|fehler|erreur|échou|errore|erro|fout|why does it not)"
)


@dataclass(frozen=True)
class Index:
    """The term counts of all cells, for one state of a notebook."""

    counts: tuple[dict[str, float], ...]
    lengths: tuple[float, ...]
    frequency: dict[str, int]
    sections: tuple[tuple[int, ...], ...]

    def score(self, question_terms: dict[str, float]) -> list[float]:
        """The BM25 score of each cell for weighted terms."""
        total = len(self.counts)
        mean = (sum(self.lengths) / total if total else 0.0) or 1.0  # cells without a word have no length
        scores = [0.0] * total
        for term, weight in question_terms.items():
            n = self.frequency.get(term, 0)
            if not n:
                continue
            idf = math.log(1 + (total - n + 0.5) / (n + 0.5)) * weight
            for i, counts in enumerate(self.counts):
                tf = counts.get(term)
                if tf:
                    scores[i] += idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * self.lengths[i] / mean))
        return scores


def index(cells: Sequence[Cell]) -> Index:
    max_chars = max(250, INDEXED_CHARS // max(1, len(cells)))
    sections = _sections(cells)
    counts: list[dict[str, float]] = []
    for i, cell in enumerate(cells):
        terms = dict(_counts(tuple(_fields(cell, max_chars))))
        for depth, heading in enumerate(reversed(sections[i])):
            if heading != i:
                for term in set(words.terms(_heading_line(cells[heading]))):
                    terms[term] = terms.get(term, 0.0) + 0.5 / (depth + 1)
        counts.append(terms)
    frequency: Counter[str] = Counter(term for each in counts for term, n in each.items() if n >= 0.75)
    lengths = tuple(sum(n for t, n in each.items() if t[0] not in "~^=" and not t[0].isdigit()) for each in counts)
    return Index(tuple(counts), lengths, dict(frequency), sections)


@lru_cache(maxsize=4096)
def _counts(fields: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Weighted counts of the terms of one cell. The result is cached: do not change it."""
    counts: dict[str, float] = {}
    for text, weight in fields:
        for term, n in Counter(words.terms(text)).items():
            counts[term] = counts.get(term, 0.0) + weight * n
    return counts


def _fields(cell: Cell, max_chars: int) -> list[tuple[str, float]]:
    source = cell.source[:max_chars]
    fields = [(source, 1.0)]
    if not cell.is_code:
        fields += [(line, 1.0) for _, line in _HEADING.findall(source)]
    else:
        fields += [(line, 0.5) for line in re.findall(r"#(.*)$", source[:4000], re.M)]
    for out in cell.outputs[:20]:
        text = out.text[: max_chars // 2]
        if out.html and (not text.strip() or text.startswith("<")):
            text = html_tables.of_html(out.html[: max_chars // 2])
        fields.append((text, 0.7))
        if out.kind == "error":
            fields.append((f"error exception {out.mime}", 1.0))
        elif out.kind == "image":
            fields.append(("plot figure image", 0.5))
    return fields


def _sections(cells: Sequence[Cell]) -> tuple[tuple[int, ...], ...]:
    """For each cell, the positions of the headings above it, outermost first."""
    path: list[tuple[int, int]] = []
    sections = []
    for i, cell in enumerate(cells):
        if not cell.is_code:
            for marks, _ in _HEADING.findall(cell.source[:5000]):
                path = [(level, at) for level, at in path if level < len(marks)]
                path.append((len(marks), i))
        sections.append(tuple(dict.fromkeys(at for _, at in path)))
    return tuple(sections)


def _heading_line(cell: Cell) -> str:
    return " ".join(title for _, title in _HEADING.findall(cell.source[:5000]))


def heading(cells: Sequence[Cell], at: int) -> str:
    """The first heading of a cell, without its `#` characters."""
    match = _HEADING.search(cells[at].source[:5000])
    return match[2].strip(" #*`")[:60] if match else ""


@dataclass(frozen=True)
class Question:
    """A question as the search sees it: the newest message at full weight, earlier turns at a quarter."""

    text: str
    before: str = ""
    focus: int | None = None

    def weighted_terms(self) -> dict[str, float]:
        terms: dict[str, float] = {}
        for text, share in ((self.text, 1.0), (self.before, 0.25)):
            for term, n in Counter(words.terms(_ELISION.sub(" ", text[:20_000]))).items():
                weight = KINDS.get(term[0], 1.0) * share * min(n, 2)
                terms[term] = max(terms.get(term, 0.0), weight)
        for short in _initials(self.text[:2000]):
            terms.setdefault(short, 0.5)
        return terms

    def identifiers(self) -> set[str]:
        return set(_IDENTIFIER.findall(self.text[:20_000])) | set(re.findall(r"[^\W\d]\w*", self.text[:20_000]))


def _initials(text: str) -> set[str]:
    """Abbreviations of two to four words in a row: code says `rf` for random forest and `sf` for San Francisco."""
    listed = [w.lower() for w in re.findall(r"[^\W\d_]+", text)]
    runs = (listed[i : i + n] for n in (2, 3, 4) for i in range(len(listed) - n + 1))
    return {"".join(w[0] for w in run) for run in runs if not words.STOP.intersection(run)}


def scores(cells: Sequence[Cell], cell_index: Index, names: Graph, question: Question) -> list[float]:
    """A score for each cell, higher is more relevant. Cells that the question names come first."""
    base = cell_index.score(question.weighted_terms())
    top = max(base, default=0.0) or 1.0
    base = [s / top for s in base]
    total = _spread(cells, base, cell_index)
    _add_followers(total, base, names)
    _add_sections(total, base, cell_index)
    _add_definitions(total, names, question, cells)
    _add_named(total, cells, question)
    _add_focus(total, cells, names, question)
    if _ABOUT_ERRORS.search(question.text):
        for i, cell in enumerate(cells):
            if any(out.kind == "error" for out in cell.outputs):
                total[i] += 0.5
    return total


def _spread(cells: Sequence[Cell], base: list[float], cell_index: Index) -> list[float]:
    """Raise the neighbours of relevant cells: prose often explains the code below it, and code shows what prose describes."""
    total = list(base)
    for i, score in enumerate(base):
        for distance, share in ((1, 0.45), (2, 0.25), (3, 0.12)):
            for at, part in ((i + distance, share), (i - distance, share * 0.7)):
                if 0 <= at < len(cells):
                    total[at] = max(total[at], base[at] + score * part)
    return total


def _add_followers(total: list[float], base: list[float], names: Graph) -> None:
    """Raise the cells that use names defined in relevant cells: results are often shown further down."""
    gains = [0.0] * len(total)
    users: dict[tuple[str, int], list[int]] = {}
    for i in range(len(total)):
        for name, at in names.needs(i).items():
            if at < i:
                users.setdefault((name, at), []).append(i)
    for (_, at), where in users.items():
        for i in where:
            gains[i] = max(gains[i], FOLLOW * base[at] / math.sqrt(len(where)))
    for i, gain in enumerate(gains):
        total[i] += gain


def _add_sections(total: list[float], base: list[float], cell_index: Index) -> None:
    """Raise all cells of a relevant section."""
    members: dict[int, list[int]] = {}
    for i, path in enumerate(cell_index.sections):
        if path:
            members.setdefault(path[-1], []).append(i)
    for where in members.values():
        best = sorted((base[i] for i in where), reverse=True)[:3]
        for i in where:
            total[i] += SECTION * sum(best) / 3


def _add_definitions(total: list[float], names: Graph, question: Question, cells: Sequence[Cell]) -> None:
    asked = question.identifiers()
    for name in asked:
        where = names.definers.get(name, ())
        if where and (len(name) > 2 or len(where) < 4):
            rare = 1.0 / math.sqrt(len(where))
            for at in where:
                total[at] += 0.35 * rare
            last = [at for at in where if question.focus is None or cells[at].index <= question.focus] or list(where)
            total[last[-1]] += 0.6
        for at in names.changers.get(name, ())[-4:]:
            total[at] += 0.15
    best = sorted(range(len(total)), key=lambda i: -total[i])[:8]
    for rank, i in enumerate(best):
        for at in set(names.needs(i).values()):
            total[at] += 0.25 / (1 + rank * 0.5) * min(1.0, total[i])


def _add_named(total: list[float], cells: Sequence[Cell], question: Question) -> None:
    """Put cells first that the question names: `cell 12`, `[cell 12]`, `In[7]`."""
    numbers = {int(a or b) for a, b in _CELL_NUMBER.findall(question.text) if len(a or b) < 9}
    runs = {int(n) for n in _RUN_NUMBER.findall(question.text) if len(n) < 9}
    for i, cell in enumerate(cells):
        if cell.index in numbers or (cell.run is not None and cell.run in runs):
            total[i] += 5.0


def _add_focus(total: list[float], cells: Sequence[Cell], names: Graph, question: Question) -> None:
    if question.focus is None:
        return
    for i, cell in enumerate(cells):
        distance = abs(cell.index - question.focus)
        total[i] += 10.0 if distance == 0 else 0.25 / distance
        if distance == 0:
            for at in names.needs(i).values():
                total[at] += 0.5
