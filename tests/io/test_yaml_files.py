"""YAML as bioimageio.spec reads it. The oracle is ruyaml, which it uses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruyaml import YAML

from w2s_export.errors import ConfigError
from w2s_export.io.yaml_files import YamlNumberError, parse_yaml, write_yaml


def spec_reads(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-06", 1e-6),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1_000", 1000),
        ("0o17", 15),
        ("017", 17),
        ("08", 8),
        ("-0x1F", -31),
        ("0b11", 3),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("on", "on"),
        ("N", "N"),
        ("TRUE", True),
        ("~", None),
        ("", None),
        (".5e3", ".5e3"),
        ("1:1:1:1", "1:1:1:1"),
    ],
)
def test_scalars_are_those_of_version_1_2(text: str, value: object) -> None:
    assert same(parse_yaml(f"a: {text}\n".encode(), "x"), {"a": value})
    assert same(spec_reads(f"a: {text}\n"), {"a": value})


@settings(max_examples=1500, deadline=None)
@given(st.text("0123456789_+-.:eExobfinaNTZyYrul~=< ", min_size=1, max_size=12))
def test_any_scalar_is_read_as_bioimageio_spec_does(text: str) -> None:
    document = f"a: {text}\n"
    try:
        expected = spec_reads(document)
    except Exception:  # it lets ValueError, IndexError and its own out
        return
    assert same(parse_yaml(document.encode(), "x")["a"], expected["a"])  # type: ignore[index]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["1e3", "1e-06", "0o17", "08", "yes", "1:30", ".5e3", "1_0", "=", "<<", "~"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_what_is_written_reads_the_same_in_both_versions(value: object) -> None:
    written = write_yaml({"a": value})
    assert yaml.safe_load(written) == {"a": value}
    assert parse_yaml(written, "x") == {"a": value}
    assert spec_reads(written.decode()) == {"a": value}


@pytest.mark.parametrize(
    "number", ["9" * 5000, "0x" + "f" * 4000, "1." + "0" * 90, "-" + "1_" * 70, "0b" + "1" * 99]
)
def test_long_numbers_are_refused(number: str) -> None:
    with pytest.raises(YamlNumberError, match="file: line 2 holds a number of"):
        parse_yaml(f"b: 1\na: {number}\n".encode(), "file")


def test_long_text_is_read() -> None:
    """Sixty thousand sexagesimal digits took 25 s; in version 1.2 they are text."""
    text = ":".join(["1"] * 60_000)
    assert parse_yaml(f"a: {text}".encode(), "file") == {"a": text}


@pytest.mark.parametrize("text", ["!!int x", "!!int 0x", "!!float yes", "!!int ''", "0x_", "="])
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not readable YAML"):
        parse_yaml(f"a: {text}".encode(), "file")
