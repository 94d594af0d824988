"""Reads the locks from the Cython sources: which function takes which locks, and what it calls while it holds them.

By the text alone: a call through a function pointer (a hook, a background job) is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

DEFINITION = re.compile(r"( *)(cdef|cpdef|def) [^=]*?\b(\w+)\(")
CIMPORT = re.compile(r"^from kafka_cy\.([\w.]+) cimport (\([^)]*\)|.*)$", re.MULTILINE)
# A trylock counts as a lock: what follows in the text may have it.
LOCK = re.compile(r"pthread_mutex_(?:try)?(lock|unlock)\(&([\w.\[\]]+)\)")
CALL = re.compile(r"(?<![\w.])([a-zA-Z_]\w*)\(")
LEAVES = re.compile(r"\s*(return|raise|continue|break)\b")  # the rest of the block is unreachable


class Function:
    """`lines`: (line number in its file, text) of the body. `in_c`: C code can call it by name."""

    def __init__(self, path: Path, name: str, in_c: bool, nogil: bool, lines: list[tuple[int, str]]) -> None:
        self.path, self.name, self.in_c, self.nogil, self.lines = path, name, in_c, nogil, lines

    def place(self, number: int) -> str:
        return f"{self.path.parent.name}/{self.path.name}:{number} ({self.name})"


def functions_of(path: Path) -> Iterator[Function]:
    blank = lambda match: "\n" * match[0].count("\n")  # noqa: E731  line numbers stay
    text = re.sub(r"#.*", "", re.sub(r'""".*?"""', blank, path.read_text(), flags=re.DOTALL))
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        match = DEFINITION.match(lines[at])
        if match is None:
            at += 1
            continue
        header = lines[at]
        while header.count("(") > header.count(")"):
            at += 1
            header += lines[at]
        at += 1
        if not header.rstrip().endswith(":"):
            continue  # a declaration
        first, depth = at, len(match[1])
        while at < len(lines) and (not lines[at].strip() or indent(lines[at]) > depth):
            at += 1
        body = [(i + 1, lines[i]) for i in range(first, at) if lines[i].strip()]
        yield Function(path, match[3], match[2] == "cdef" and depth == 0, "nogil" in header, body)


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def lock_name(path: Path, expression: str) -> str:
    """`log.append_mutex` is append_mutex, `pool.control.mutex` is control.mutex, a module's `mutex` is module.mutex."""
    parts = re.sub(r"\[.*?\]", "", expression).split(".")
    if parts[-1] != "mutex":
        return parts[-1]
    return f"{parts[-2] if len(parts) > 1 else path.stem}.mutex"


class Sources:
    """All functions of some packages, and what they take. A unit is a module: its .pxd and its .pyx."""

    def __init__(self, root: Path, packages: Sequence[str]) -> None:
        paths = sorted(path for package in packages for path in (root / package).glob("*.p[yx][xd]"))
        self.functions = [function for path in paths for function in functions_of(path)]
        self._unit = {path: f"{path.parent.name}.{path.stem}" for path in paths}
        texts = {path: path.read_text() for path in paths}
        self._imported: dict[tuple[str, str], str] = {}  # (unit, name): the module that it is cimported from
        for path, text in texts.items():
            for module, names in CIMPORT.findall(re.sub("#.*", "", text)):
                for name in re.findall(r"\w+", names):
                    self._imported[self._unit[path], name] = module
        self._functions: dict[tuple[str, str], list[Function]] = {}
        for function in self.functions:
            if function.in_c:
                self._functions.setdefault((self._unit[function.path], function.name), []).append(function)

    def called(self, caller: Function, name: str) -> list[Function]:
        """What `name` means in the caller's module. A name may be cimported from a module that cimports it itself."""
        unit = self._unit[caller.path]
        while unit and (unit, name) not in self._functions:
            unit = self._imported.get((unit, name), "")
        return self._functions.get((unit, name), [])

    def unseen(self, package: str) -> set[str]:
        """Functions that are called by a name cimported from `package`, and whose text was not found."""
        found = set()
        for caller in self.functions:
            unit = self._unit[caller.path]
            for name in CALL.findall("\n".join(line for _, line in caller.lines)):
                module = self._imported.get((unit, name), "")
                if module.startswith(f"{package}.") and not self.called(caller, name):
                    found.add(f"{module}.{name}")
        return found

    @cached_property
    def wrappers(self) -> dict[Function, list[tuple[str, str]]]:
        """Functions that only take or only release locks: [("lock" or "unlock", lock)]."""
        found = {}
        for function in self.functions:
            changes = {(how, lock_name(function.path, e)) for _, line in function.lines for how, e in LOCK.findall(line)}
            if len({how for how, _ in changes}) == 1:
                found[function] = sorted(changes)
        return found

    def steps(self, function: Function) -> Iterator[tuple[int, str, str, frozenset[str]]]:
        """(line number, "lock", "unlock", "call" or "return", lock or callee, locks held before), in the order of the text."""
        held: frozenset[str] = frozenset()
        blocks: list[tuple[int, frozenset[str]]] = []  # (indent, locks held at the start of the block)
        left = False
        for number, line in function.lines:
            while blocks and indent(line) < blocks[-1][0]:
                if left:
                    held = blocks[-1][1]
                blocks.pop()
                left = False
            if not blocks or indent(line) > blocks[-1][0]:
                blocks.append((indent(line), held))
            changes = [(how, lock_name(function.path, expression)) for how, expression in LOCK.findall(line)]
            for name in CALL.findall(line):
                callees = self.called(function, name)
                yield number, "call", name, held
                for callee in callees:
                    changes += self.wrappers.get(callee, [])
            for how, lock in changes:
                yield number, how, lock, held
                held = held | {lock} if how == "lock" else held - {lock}
            left = LEAVES.match(line) is not None
            if re.match(r"\s*return\b", line):
                yield number, "return", "", held
        if function.lines and not left:
            yield function.lines[-1][0], "return", "", held

    @cached_property
    def taken(self) -> dict[Function, set[str]]:
        """Every lock that a function takes, directly or indirectly."""
        calls = {f: {(how, what) for _, how, what, _ in self.steps(f)} for f in self.functions}
        taken = {f: {what for how, what in found if how == "lock"} for f, found in calls.items()}
        changed = True
        while changed:
            changed = False
            for function, found in calls.items():
                for how, name in found:
                    for callee in self.called(function, name) if how == "call" else []:
                        if not taken[callee] <= taken[function]:
                            taken[function] |= taken[callee]
                            changed = True
        return taken

    def reaching(self, names: set[str]) -> set[Function]:
        """The functions that call one of `names`, directly or indirectly."""
        calls = {f: set(CALL.findall("\n".join(line for _, line in f.lines))) for f in self.functions}
        found = {function for function, called in calls.items() if called & names}
        grown = True
        while grown:
            more = {f for f, called in calls.items() if any(c in found for name in called for c in self.called(f, name))}
            grown = not more <= found
            found |= more
        return found

    def with_gil(self, function: Function) -> Iterator[tuple[int, str]]:
        """The lines of a Python function that are not inside `with nogil`."""
        inside = -1
        for number, line in function.lines:
            if 0 <= inside < indent(line):
                continue
            inside = indent(line) if re.match(r"\s*with nogil:", line) else -1
            yield number, line
