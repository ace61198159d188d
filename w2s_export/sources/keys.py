"""Names of the generator's layers in other people's files, and networks that are not it.

Sources of the styles: https://github.com/xinntao/ESRGAN (`RRDBNet_arch.py`; the older `model.N`
keys are those its `transer_RRDB_models.py` converts from), https://github.com/XPixelGroup/BasicSR
(`rrdbnet_arch.py`, which Real-ESRGAN uses), https://github.com/mchatton/w2s-tensorflow (Keras
attribute paths).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from w2s_export.counting import counted
from w2s_export.errors import CheckpointMismatchError
from w2s_export.networks.layout import conv_name
from w2s_export.sources.architecture import NOTHING_KNOWN
from w2s_export.sources.stored_tensor import Stored

_FIRST = re.compile(r"(?P<prefix>.*?)(?:conv_first|model[./]0)[./](?:weight|kernel)")
_PARTS = {"weight": "kernel", "kernel": "kernel", "bias": "bias"}
_LAYERS = (
    (re.compile(r"(?:body|rrdb_trunk)[._](\d+)[._]rdb([123])[._]conv([1-5])", re.I), None),
    (re.compile(r"conv_first"), "conv_first"),
    (re.compile(r"conv_body|trunk_conv"), "conv_body"),
    (re.compile(r"conv_up1|upconv1"), "conv_up1"),
    (re.compile(r"conv_up2|upconv2"), "conv_up2"),
    (re.compile(r"conv_hr|HRconv"), "conv_hr"),
    (re.compile(r"conv_last"), "conv_last"),
)
_SEQUENTIAL_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0")
_SEQUENTIAL_TRUNK = re.compile(r"model\.1\.sub\.(\d+)")
_SEQUENTIAL_TOP = re.compile(r"model\.(\d+)")

_OTHERS = (
    (r"relative_position_bias_table|\.attn\.", "a transformer such as SwinIR"),
    (r"\.conv_du\.|residual_group|\.rcab\.", "RCAN"),
    (
        r"(^|\.)features\.\d|classifier|weight_orig|(^|[./])bn\d_\d|(^|[./])linear\d",
        "a discriminator",
    ),
    (r"^head\.|^tail\.|conv_after_body|^sub_mean", "EDSR"),
    (r"^LFF_|^F_\d+_\d+|^GFF_", "RRDN"),
    (r"conv1x1", "ESRGAN+ (its dense blocks have extra 1×1 convolutions)"),
    (r"(^|[./])optimizer|^exp_avg|^param_groups|Adam/", "the state of an optimizer"),
)


_EXPECTED = (
    "expected an RRDBNet generator with keys such as conv_first.weight, body.0.rdb1.conv1.weight, "
    "conv_last.weight"
)


@dataclass(frozen=True, slots=True)
class Placed:
    """The weight map of a file whose keys tell each tensor's place."""

    pairs: tuple[tuple[str, Stored], ...]
    """(our name, tensor)."""
    left_over: tuple[Stored, ...]
    """Tensors that no style knows."""
    known: Mapping[str, Any]
    """Fields of the configuration that the keys show."""


def place(tensors: Sequence[Stored]) -> Placed:
    """Give every tensor its place in the generator.

    Prefixes such as `module.` or `generator.` before the first layer's key are dropped.

    Raises:
        CheckpointMismatchError: none of the styles; names the network where it is a known one.
    """
    if (other := known_network(tensors)) is not None:
        raise CheckpointMismatchError(f"holds {other}; {_EXPECTED}")
    firsts = [match for match in (_FIRST.fullmatch(tensor.key) for tensor in tensors) if match]
    if len(firsts) > 1:
        raise CheckpointMismatchError(
            f"holds {len(firsts)} networks, from '{firsts[0][0]}' and '{firsts[1][0]}' on; save "
            "the generator alone"
        )
    prefix = firsts[0]["prefix"] if firsts else ""
    split = {
        tensor.key: tensor.key.removeprefix(prefix).replace("/", ".").rpartition(".")[::2]
        for tensor in tensors
        if tensor.key.startswith(prefix)
    }
    layers = {layer for layer, _ in split.values()}
    sequential = any(_SEQUENTIAL_TRUNK.match(layer) for layer in layers)
    names, known = _sequential(layers) if sequential else (_named(layers), NOTHING_KNOWN)
    if not any("_rdb" in name for name in names.values()):
        raise CheckpointMismatchError(
            f"holds another network ({counted(len(tensors), 'tensor')}, first "
            f"{', '.join(map(str, tensors[:3]))}); {_EXPECTED}"
        )
    pairs, left_over = [], []
    for tensor in tensors:
        layer, part = split.get(tensor.key, ("", ""))
        if layer in names and part in _PARTS:
            pairs.append((f"{names[layer]}/{_PARTS[part]}", tensor))
        else:
            left_over.append(tensor)
    return Placed(tuple(pairs), tuple(left_over), known)


def known_network(tensors: Sequence[Stored]) -> str | None:
    """Name of another network often met, with the key that gives it away."""
    for pattern, name in _OTHERS:
        for tensor in tensors:
            if re.search(pattern, tensor.key):
                return f"{name} (key '{tensor.key}')"
    if all(re.fullmatch(r"body\.\d+\.(weight|bias)", tensor.key) for tensor in tensors):
        return f"SRVGGNetCompact (key '{tensors[0].key}')"
    return None


def _named(layers: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for layer in layers:
        for pattern, name in _LAYERS:
            if match := pattern.fullmatch(layer):
                names[layer] = name or conv_name(*(int(number) for number in match.groups()))
    return names


def _sequential(layers: Iterable[str]) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The oldest style: one `Sequential` whose indices count activations and upsampling too.

    model.0 first, model.1.sub.N blocks and (last) trunk convolution, then per ×2 step upsampling,
    convolution, activation; then conv_hr, its activation, conv_last.
    """
    names: dict[str, str] = {}
    tops: list[int] = []
    trunk, blocks = -1, 0
    for layer in layers:
        if match := _SEQUENTIAL_BLOCK.fullmatch(layer):
            block, dense, index = (int(number) for number in match.groups())
            names[layer] = conv_name(block, dense, index)
            blocks = max(blocks, block + 1)
        elif match := _SEQUENTIAL_TRUNK.fullmatch(layer):
            trunk = int(match[1])
            names[layer] = "conv_body"
        elif match := _SEQUENTIAL_TOP.fullmatch(layer):
            tops.append(int(match[1]))
    if trunk != blocks:
        raise CheckpointMismatchError(
            f"has {counted(blocks, 'block')}, model.1.sub.0 to model.1.sub.{blocks - 1}, but its "
            f"trunk convolution is model.1.sub.{trunk}: it lacks "
            f"{counted(trunk - blocks, 'block')}"
        )
    first, *ups, high, last = sorted(tops) if len(tops) > 2 else (0, -1, -1)
    if len(ups) > 2:
        raise CheckpointMismatchError(
            f"upsamples {len(ups)} times, to ×{2 ** len(ups)}; this tool exports ×1, ×2 and ×4"
        )
    names[f"model.{first}"] = "conv_first"
    names |= {f"model.{index}": f"conv_up{step}" for step, index in enumerate(ups, 1)}
    names |= {f"model.{high}": "conv_hr", f"model.{last}": "conv_last"}
    # Without upsampling the high-resolution convolution follows the trunk at once.
    return names, {"scale": 1} if not ups and high == 2 else NOTHING_KNOWN
