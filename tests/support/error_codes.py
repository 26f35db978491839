"""The codes that the sources give their errors, read from the syntax: literal, handed on, or put together."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from confidential_spark.agent.bounded_http import Failure
from confidential_spark.hooks import attestation, collateral
from confidential_spark.verification.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
# Codes of other programs: what an Azure service, or its stand-in, answers.
FOREIGN = frozenset({"answers.py"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path
    tree: ast.Module

    @cached_property
    def imported(self) -> frozenset[str]:
        """Names of modules that are imported as such: ``files`` of ``from … import files``."""
        names = (node.names for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom))
        return frozenset(name.name for group in names for name in group if name.name.islower())

    def constant(self, name: str) -> str | None:
        """Return what a name of the module is, where that is a text."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
                return node.value.value if isinstance(node.value, ast.Constant) else None
        return None


@dataclass(frozen=True)
class Use:
    """One expression that becomes a code, and where it stands."""

    value: ast.expr
    module: Module
    function: Function | None


def error_codes(folder: Path) -> dict[str, str]:
    """Return each code that a folder's sources raise, and a place that does, ``FILE:LINE``.

    :raises LookupError: a code is put together in a way that this reader does not know.
    """
    modules = [
        Module(path, ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(folder.rglob("*.py"))
        if path.name not in FOREIGN
    ]
    calls = [use for module in modules for use in _calls(module)]
    codes: dict[str, str] = {}
    for use in _uses(calls):
        for code in _texts(use.value, use, calls):
            codes.setdefault(code, f"{use.module.path.relative_to(folder)}:{use.value.lineno}")
    return codes


def _calls(module: Module) -> Iterator[Use]:
    def walk(node: ast.AST, function: Function | None) -> Iterator[Use]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield Use(child, module, function)
            yield from walk(child, child if isinstance(child, Function) else function)

    return walk(module.tree, None)


def _uses(calls: Sequence[Use]) -> Iterator[Use]:
    for call in calls:
        for keyword in call.value.keywords:
            if keyword.arg == "code":
                yield Use(keyword.value, call.module, call.function)


def _texts(value: ast.expr, use: Use, calls: Sequence[Use]) -> list[str]:
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=one, orelse=other):
            return [*_texts(one, use, calls), *_texts(other, use, calls)]
        case ast.BoolOp(values=either):
            return [text for one in either for text in _texts(one, use, calls)]
        case ast.JoinedStr(values=parts):
            codes = [""]
            for part in parts:
                inner = part.value if isinstance(part, ast.FormattedValue) else part
                codes = [before + text for text in _texts(inner, use, calls) for before in codes]
            return codes
    written = ast.unparse(value)
    if written in VARIABLE_PARTS:
        return list(VARIABLE_PARTS[written])
    if isinstance(value, ast.Attribute) and ast.unparse(value.value) in ENUMERATIONS:
        return [str(ENUMERATIONS[ast.unparse(value.value)][value.attr])]
    if written.endswith(PASSED_ON):
        return []
    if isinstance(value, ast.Name):
        return _named(value.id, use, calls)
    raise LookupError(f"{use.module.path}:{value.lineno}: {written}")


def _named(name: str, use: Use, calls: Sequence[Use]) -> list[str]:
    constant = use.module.constant(name)
    if constant is not None:
        return [constant]
    if use.function is None:
        raise LookupError(f"{use.module.path}: {name}")
    arguments = [*use.function.args.posonlyargs, *use.function.args.args]
    names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
    if name in names:
        return _handed_over(use, name, names.index(name), calls)
    return _assigned(name, use, calls)


def _handed_over(use: Use, name: str, index: int, calls: Sequence[Use]) -> list[str]:
    """Return what callers give for a parameter; private functions are called in their own module only."""
    called = use.function.name
    is_method = any(argument.arg in ("self", "cls") for argument in use.function.args.args)
    codes = []
    for call in calls:
        receiver, _, function = ast.unparse(call.value.func).rpartition(".")
        if function != called or (receiver and not is_method and receiver not in call.module.imported):
            continue
        if called.startswith("_") and call.module is not use.module:
            continue
        given = [keyword.value for keyword in call.value.keywords if keyword.arg == name]
        given += call.value.args[index : index + 1]
        codes += [text for value in given for text in _texts(value, call, calls)]
    if not codes:
        raise LookupError(f"{use.module.path}: nobody calls {called}")
    return codes


def _assigned(name: str, use: Use, calls: Sequence[Use]) -> list[str]:
    """Return what a function gives one of its own variables."""
    codes = []
    for node in ast.walk(use.function):
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=True))
        for left, right in pairs:
            if ast.unparse(left) == name:
                codes += _texts(_plain(right), use, calls)
    return codes


def _plain(value: ast.expr) -> ast.expr:
    """Return the argument of ``str(…)``."""
    return value.args[0] if isinstance(value, ast.Call) and ast.unparse(value.func) == "str" else value
