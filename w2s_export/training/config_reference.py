"""Every key of the configurations, from the typed configurations themselves.

The text is `docs/configuration.md` and what `w2s-export train --explain` prints.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from w2s_export.config import models_in
from w2s_export.field_texts import texts_below
from w2s_export.rdf.metadata import Metadata
from w2s_export.simulation.sets import SimulatedSet
from w2s_export.training.config import TrainingConfig

_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
_TAG = "Says which of several this is."
_START: dict[str, type[BaseModel]] = {
    "train CONFIG.yaml": TrainingConfig,
    "simulate --config CONFIG.yaml": SimulatedSet,
    "--metadata METADATA.yaml": Metadata,
}


def configuration_reference() -> str:
    """Markdown: a section per configuration, a row per key."""
    parts = [
        "# Configuration\n\nMade from the typed configurations by `w2s-export train --explain`. "
        "Keys that are not listed are refused. `w2s-export train --init CONFIG.yaml --data FOLDER` "
        "writes a start for your images."
    ]
    seen: set[type[BaseModel]] = set()
    for command, model in _START.items():
        parts.append(f"## `w2s-export {command}`")
        for one in _reached(model, seen):
            parts.append(_section(one))
    return "\n\n".join(parts) + "\n"


def allowed(annotation: Any) -> str:
    """What a key takes, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return allowed(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        kinds = [allowed(one) for one in arguments if one is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is tuple:
        return f"list of {allowed(arguments[0])}"
    if origin is dict:
        return f"{allowed(arguments[1])} for each {allowed(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default(field: FieldInfo) -> str:
    """The default as YAML would have it; nothing where a key must be given."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, BaseModel):
        given = ", ".join(f"{k}: {_plain(v)}" for k, v in value if k in value.model_fields_set)
        return f"`{{{given}}}`" if given else "its defaults"
    return f"`{_plain(value)}`"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        several = [_plain(one) for one in value]
        return f"[{', '.join(several if len(several) < 9 else [several[0], '…', several[-1]])}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_plain(v)}' for k, v in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reached(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            yield from _reached(inner, seen)


def _limits(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {_plain(getattr(one, name))}"
        for one in field.metadata
        for name, sign in signs.items()
        if isinstance(getattr(one, name, None), (int, float))
    ]
    return f" ({', '.join(found)})" if found else ""


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the text below each key of a configuration says, in one line.

    Pydantic would read it at every start of the program, which costs a tenth of a second.
    """
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if part.__module__.startswith("w2s_export."):
            texts = texts_below(inspect.getsource(part))
            found |= {key: text for (_, key), text in texts.items()}
    return found


def _section(model: type[BaseModel]) -> str:
    first, meaning = " ".join((model.__doc__ or "").split()), meanings(model)
    rows = [
        f"| `{key}` | {allowed(field.annotation)}{_limits(field)} | {default(field)} | "
        f"{meaning.get(key, _TAG)} |"
        for key, field in model.model_fields.items()
    ]
    table = "\n".join(["| key | takes | default | meaning |", "|---|---|---|---|", *rows])
    return f"### {model.__name__}\n\n{first}\n\n{table}"
