"""Reads what stands below the fields of a class: Python keeps no documentation of them."""

from __future__ import annotations

import ast
from itertools import pairwise


def texts_below(source: str) -> dict[tuple[str, str], str]:
    """The text below each field of each class in a source, in one line, by class and field."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for pair in pairwise(node.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(field)), ast.Expr(ast.Constant(str(text))):
                    found[node.name, field] = " ".join(text.split())
    return found
