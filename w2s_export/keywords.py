"""Makes the fields of an options class the keywords of a function, for people, types and `help`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Options = TypeVar("Options")
Result = TypeVar("Result")
Called = TypeVar("Called", bound=Callable[..., Any])


def with_keywords_of(
    options: Callable[P, Options],
) -> Callable[[Callable[[Options], Result]], Callable[P, Result]]:
    """Let a function of an options object take its fields as keywords."""

    def decorate(function: Callable[[Options], Result]) -> Callable[P, Result]:
        returned = inspect.signature(function).return_annotation
        signature = inspect.signature(options).replace(return_annotation=returned)

        @wraps(function)
        def called(*values: P.args, **keywords: P.kwargs) -> Result:
            signature.bind(*values, **keywords)  # its error names the function's keyword alone
            return function(options(*values, **keywords))

        return documented(called, signature, help_of(options))

    return decorate


def documented(function: Called, signature: inspect.Signature, texts: dict[str, str]) -> Called:
    """The function with a signature, and the help of each parameter in its documentation."""
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    told = "\n".join(
        fill(f"{name}: {texts[name]}", 100, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name in signature.parameters
    )
    plain = [
        one.replace(annotation=re.sub(r"^Annotated\[(.*), [A-Z]+\]$", r"\1", one.annotation))
        for one in signature.parameters.values()
    ]
    function.__doc__ = f"{summary}\n\nArgs:\n{told}\n\n{rest}".rstrip()
    function.__signature__ = signature.replace(parameters=plain)  # type: ignore[attr-defined]
    return function


def help_of(kind: Any) -> dict[str, str]:
    """The help of each option of a class, by its name, in their order."""
    return {one.name: one.metadata["help"] for one in fields(kind)}
