"""The codes that the sources give their errors, read from the syntax: literal, handed on, or put together."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from confidential_spark.agent.bounded_http import Failure
from confidential_spark.hooks import attestation, collateral
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import StrEnum
    from pathlib import Path

# What parts of a code can be that only a running program knows.
VARIABLE_PARTS = {
    "error.failure": tuple(map(str, Failure)),
    "self._service": (attestation.SERVICE, collateral.SERVICE),
    # The programs that `agent/job/process.py` starts.
    "self.name": ("java", "python"),
}
ENUMERATIONS: dict[str, type[StrEnum]] = {"Failure": Failure, "Refusal": Refusal}
# An error that passes on the code of another one, or of a row of the failure table.
PASSED_ON = (".code", ".name", ".value")
# Codes of another program: what the stand-in of an Azure service answers.
FOREIGN = "simulation/service/answers.py"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def error_codes(folder: Path) -> Mapping[str, str]:
    """Return each code that a folder's sources raise, and a place that does, ``FILE:LINE``.

    :raises LookupError: a code is put together in a way that this reader does not know.
    """
    return Sources(folder).codes()


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path
    tree: ast.Module

    @cached_property
    def imported(self) -> frozenset[str]:
        """Names that are imported and may be modules: ``files`` of ``from … import files``."""
        names = (node.names for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom))
        return frozenset(name.name for group in names for name in group if name.name.islower())

    @cached_property
    def constants(self) -> Mapping[str, str]:
        """The module's names for texts."""
        return {
            ast.unparse(node.targets[0]): node.value.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        }


@dataclass(frozen=True)
class Call:
    """One call, the module it stands in, and the function, if it stands in one."""

    node: ast.Call
    module: Module
    function: Function | None


class Sources:
    """The modules below a folder."""

    def __init__(self, folder: Path) -> None:
        """Read them."""
        self._folder = folder
        self._calls: list[Call] = []
        self._calls_of: dict[str, list[Call]] = defaultdict(list)
        for path in sorted(folder.rglob("*.py")):
            if not path.as_posix().endswith(FOREIGN):
                module = Module(path, ast.parse(path.read_text(encoding="utf-8")))
                self._calls += _calls(module, module.tree, None)
        for call in self._calls:
            self._calls_of[_called(call)[1]].append(call)

    def codes(self) -> dict[str, str]:
        """Return each code, and the first place that raises it."""
        codes: dict[str, str] = {}
        for call in self._calls:
            for keyword in call.node.keywords:
                if keyword.arg == "code":
                    place = f"{call.module.path.relative_to(self._folder)}:{keyword.value.lineno}"
                    codes |= {code: place for code in self._texts(keyword.value, call) if code not in codes}
        return codes

    def _texts(self, value: ast.expr, at: Call) -> list[str]:
        """Return every text that an expression can be."""
        match value:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp(body=one, orelse=other):
                return [*self._texts(one, at), *self._texts(other, at)]
            case ast.BoolOp(values=either):
                return [text for one in either for text in self._texts(one, at)]
            case ast.JoinedStr(values=parts):
                return self._joined(parts, at)
            case ast.Call(func=ast.Name(id="str"), args=[inner]):
                return self._texts(inner, at)
            case ast.Attribute(value=ast.Name(id=name), attr=member) if name in ENUMERATIONS:
                return [str(ENUMERATIONS[name][member])]
        written = ast.unparse(value)
        if written in VARIABLE_PARTS:
            return list(VARIABLE_PARTS[written])
        if written.endswith(PASSED_ON):
            return []
        if isinstance(value, ast.Name):
            return self._named(value.id, at)
        raise LookupError(f"{at.module.path}:{value.lineno}: {written}")

    def _joined(self, parts: list[ast.expr], at: Call) -> list[str]:
        codes = [""]
        for part in parts:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            codes = [before + text for text in self._texts(inner, at) for before in codes]
        return codes

    def _named(self, name: str, at: Call) -> list[str]:
        if name in at.module.constants:
            return [at.module.constants[name]]
        if at.function is None:
            raise LookupError(f"{at.module.path}: {name}")
        parameters = _parameters(at.function)
        if name in parameters:
            return self._handed_over(name, parameters.index(name), at.function, at.module)
        return self._assigned(name, at.function, at)

    def _handed_over(self, name: str, index: int, function: Function, module: Module) -> list[str]:
        """Return what callers give for a parameter; private functions are called in their own module only."""
        codes = []
        for call in self._calls_of[function.name]:
            receiver, _ = _called(call)
            if receiver and not _is_method(function) and receiver not in call.module.imported:
                continue
            if function.name.startswith("_") and call.module is not module:
                continue
            given = [keyword.value for keyword in call.node.keywords if keyword.arg == name]
            given += call.node.args[index : index + 1]
            codes += [text for value in given for text in self._texts(value, call)]
        if not codes:
            raise LookupError(f"{module.path}: nobody calls {function.name}")
        return codes

    def _assigned(self, name: str, function: Function, at: Call) -> list[str]:
        """Return what a function gives one of its own variables."""
        codes = []
        for node in ast.walk(function):
            if not isinstance(node, ast.Assign):
                continue
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            for target, value in pairs:
                if isinstance(target, ast.Name) and target.id == name:
                    codes += self._texts(value, at)
        return codes


def _calls(module: Module, node: ast.AST, function: Function | None) -> Iterator[Call]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield Call(child, module, function)
        yield from _calls(module, child, child if isinstance(child, Function) else function)


def _called(call: Call) -> tuple[str, str]:
    """Return on what, if on anything, and which function is called."""
    match call.node.func:
        case ast.Name(id=name):
            return "", name
        case ast.Attribute(value=receiver, attr=name):
            return ast.unparse(receiver), name
    return "", ""


def _parameters(function: Function) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return [*names[_is_method(function) :], *(argument.arg for argument in function.args.kwonlyargs)]


def _is_method(function: Function) -> bool:
    return any(argument.arg in ("self", "cls") for argument in function.args.args[:1])
