"""Reads and writes YAML as bioimageio.spec does: version 1.2, safely, and bounded.

PyYAML reads version 1.1, in which `1e-06` is text, `on` is true and `1:30` is ninety. Here its
parser, in C where it was built with it, reads scalars by the table of ruyaml, which bioimageio.spec
uses and which is fifteen times as slow.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from w2s_export.errors import ConfigError

_DEEPEST_YAML = 50  # the reader's time grows with the square of the depth
_LONGEST_NUMBER = 64
"""Characters; a float64 takes 24. Python reads integers in a time that grows with the square."""

# ruyaml/resolver.py 0.91, version (1, 2): tag, expression, first characters.
_SCALARS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (
        "float",
        r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
    (
        "int",
        r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$",
        "-+0123456789",
    ),
    ("merge", r"^(?:<<)$", "<"),
    ("null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    (
        "timestamp",
        r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
        r"(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$",
        "0123456789",
    ),
    ("value", r"^(?:=)$", "="),
)
_BASES = {"0b": 2, "0o": 8, "0x": 16}


class YamlAliasError(ConfigError):
    """YAML with aliases: a few lines of nested ones expand to gigabytes."""


class YamlDepthError(ConfigError):
    """YAML nested deeper than any description is."""


class YamlNumberError(ConfigError):
    """YAML with a number longer than any number is written."""


class _Yaml12Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of version 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way

    def int_12(self, node: Any) -> int:
        """`12`, `0o17`, `0x1F`, `0b11`, `1_000`; `017` is seventeen."""
        text = self._number(node)
        sign, text = (-1 if text[0] == "-" else 1), text.lstrip("-+")
        base = _BASES.get(text[:2])
        return sign * (int(text) if base is None else int(text[2:], base))

    def float_12(self, node: Any) -> float:
        """`1e-06`, `.5`, `1.`, `.inf`, `.nan`."""
        text = self._number(node).lower()
        return float(re.sub(r"\.(?=inf|nan)", "", text))

    def _number(self, node: Any) -> str:
        text: str = self.construct_scalar(node).replace("_", "")
        if len(text) > _LONGEST_NUMBER:
            line = node.start_mark.line + 1
            raise YamlNumberError(f"line {line} holds a number of {len(text)} characters")
        return text


class _Dumper(yaml.SafeDumper):
    """Writes what reads the same in versions 1.1 and 1.2: text like a number in either is quoted.

    An alias would save lines, and our own reader and careful ones refuse it.
    """

    def ignore_aliases(self, data: Any) -> bool:
        """All data is written out."""
        return True


for _kind, _expression, _first in _SCALARS:
    for _class in (_Yaml12Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(_expression), list(_first)
        )
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _Yaml12Loader.int_12)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:float", _Yaml12Loader.float_12)


def write_yaml(values: Any) -> bytes:
    """YAML of plain values, in their order, ASCII."""
    text = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=100, line_break="\n"
    )
    return str(text).encode("ascii")


def read_yaml(path: Path, limit: int = 1 << 20) -> object:
    """Read a small YAML file with the safe loader.

    Raises:
        ConfigError: missing, larger than `limit` bytes, or not what `parse_yaml` takes.
    """
    if path.exists() and not path.is_file():  # a pipe would wait for its other end
        raise ConfigError(f"{path}: is no file; give a YAML file")
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigError(f"{path}: larger than {limit} bytes, too large for a YAML file")
    return parse_yaml(data, str(path))


def parse_yaml(data: bytes, name: str, most_values: int | None = None) -> object:
    """Parse YAML 1.2 safely.

    Args:
        data: the text, bounded by the caller.
        name: of the file, for the message.
        most_values: None refuses aliases; a number allows them as long as the file, with its
            aliases written out, has no more values than that.

    Raises:
        ConfigError: not UTF-8 or not YAML.
        YamlDepthError: nested more than 50 deep.
        YamlAliasError: with aliases that are not allowed, or expand to too much.
        YamlNumberError: with a number of more than 64 characters.
    """
    try:
        text = data.decode("utf-8")
        _check_yaml(text, name, most_values)
        return yaml.load(text, _Yaml12Loader)  # noqa: S506 - it is a safe one
    except YamlNumberError as error:
        raise YamlNumberError(f"{name}: {error}") from None
    except ConfigError:
        raise
    except Exception as error:  # besides its own, PyYAML lets KeyError, IndexError and others out
        reason = " ".join(str(error).split())[:200]
        if "nesting depth" in reason:  # the C parser's own limit comes before its first event
            raise YamlDepthError(f"{name}: nests more than {_DEEPEST_YAML} deep") from None
        raise ConfigError(f"{name}: is not readable YAML: {reason}") from None


def _check_yaml(text: str, name: str, most_values: int | None) -> None:
    """Refuse text that is too deep or, with its aliases written out, too much."""
    anchors: dict[str, tuple[int, int]] = {}  # number of values, height
    open_nodes: list[tuple[str | None, int, int]] = []
    for event in yaml.parse(text, _Yaml12Loader):
        values, height, anchor = 1, 1, getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, 1, 1))
            height = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, height = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            if most_values is None:
                raise YamlAliasError(f"{name}: uses YAML aliases (*name); write the values out")
            if anchor not in anchors:
                raise YamlAliasError(f"{name}: alias *{anchor} stands for nothing, or for itself")
            values, height = anchors[anchor]
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        if len(open_nodes) + height > _DEEPEST_YAML:
            raise YamlDepthError(f"{name}: nests more than {_DEEPEST_YAML} deep")
        if isinstance(event, yaml.CollectionStartEvent):
            continue
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            anchors[anchor] = values, height
        if open_nodes:
            outer, sum_of_values, highest = open_nodes[-1]
            open_nodes[-1] = outer, sum_of_values + values, max(highest, height + 1)
            if most_values is not None and open_nodes[-1][1] > most_values:
                message = f"with its aliases written out, has more than {most_values} values"
                raise YamlAliasError(f"{name}: {message}")
