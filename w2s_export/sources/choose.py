"""Finds the generator among what a training saves beside it.

A checkpoint may hold a discriminator, averaged weights beside plain ones, an optimizer's state,
counters and metrics, under the names that training codes give them: BasicSR (`params_ema`), mmagic
(`generator_ema.module.`), Lightning (`state_dict`, `net_g.`), pix2pix (`netG.`), DataParallel
(`module.`). What is left aside is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from w2s_export.errors import CheckpointError
from w2s_export.foreign_text import shown
from w2s_export.sources.generator_names import both_ways, generator_among, is_aside
from w2s_export.sources.stored_tensor import Stored, check_count

_WRAPPERS = (
    "state_dict", "model_state_dict", "model", "module", "_orig_mod", "network", "net", "weights",
)  # fmt: skip
"""Names that any network may have: whatever lies beside them must be known, too."""


def choose(tensors: Sequence[Stored]) -> tuple[list[Stored], str]:
    """The generator's tensors, without the names that wrap them, and a sentence about the rest.

    Keys of nested ones are dotted.

    Raises:
        CheckpointError: more tensors than a network has, or two generators.
    """
    check_count(tensors)
    left = list(tensors)
    path: list[str] = []
    aside: list[str] = []
    while True:
        tops = {tensor.key.partition(".")[0]: tensor.key for tensor in left}
        _check_one_generator({top for top, key in tops.items() if top != key}, path)
        taken = _taken(left, tops)
        if taken is None:
            break
        aside += [top for top in tops if top != taken]
        left = [
            replace(tensor, key=tensor.key.removeprefix(f"{taken}."))
            for tensor in left
            if tensor.key.startswith(f"{taken}.")
        ]
        path.append(taken)
    others = [top for top in tops if is_aside(top)]
    if len(others) < len(tops):
        aside += others
        left = [tensor for tensor in left if tensor.key.partition(".")[0] not in others]
    return left, chosen(".".join(path), aside)


def _check_one_generator(groups: Iterable[str], path: Sequence[str]) -> None:
    found = both_ways(groups, inside=generator_among(path) is not None)
    if found:
        names = ", ".join(f"'{shown('.'.join([*path, name]), 80)}'" for name in found)
        raise CheckpointError(
            f"holds the generators of both directions, {shown(names)}, and a package has one "
            "network; save the one you want alone, torch.save(GENERATOR.state_dict(), FILE), and "
            "give that file"
        )


def chosen(taken: str, aside: Iterable[str]) -> str:
    """What was taken and what was left aside; empty where nothing was."""
    names = ", ".join(f"'{shown(name, 40)}'" for name in dict.fromkeys(aside))
    if not names:
        return ""
    return f"{f'took {taken!r}' if taken else 'took the generator'}, left aside {shown(names)}"


def _taken(tensors: Sequence[Stored], tops: Iterable[str]) -> str | None:
    """The name to go into, None where the network's own names begin."""
    groups = {tensor.key.partition(".")[0] for tensor in tensors if "." in tensor.key}
    unnamed = _without_names(tensors)
    groups -= unnamed
    if (generator := generator_among(groups)) is not None:
        return generator
    known = [top for top in tops if not is_aside(top) and top not in unnamed]
    if len(known) != 1 or known[0] not in groups:
        return None
    (name,) = known
    below = [t.key.split(".")[1:] for t in tensors if t.key.startswith(f"{name}.")]
    inner = {parts[0] for parts in below}
    if name in _WRAPPERS:
        # `model.0` and `model.1` are layers of ESRGAN's oldest style, not a wrapper's content.
        return None if all(part.isdecimal() for part in inner) else name
    while len(inner) == 1 and all(len(parts) > 1 for parts in below):  # one wrapper in another
        below = [parts[1:] for parts in below]
        inner = {parts[0] for parts in below}
    holds_a_training = generator_among(inner) and any(is_aside(part) for part in inner)
    return name if holds_a_training else None


def _without_names(tensors: Sequence[Stored]) -> set[str]:
    """Groups whose kernels are numbered in a list, as the averages of torch-ema: no network."""
    kernels = [tensor.key for tensor in tensors if len(tensor.shape) > 1 and "." in tensor.key]
    numbered = {key.partition(".")[0] for key in kernels if key.rpartition(".")[2].isdecimal()}
    named = {key.partition(".")[0] for key in kernels if not key.rpartition(".")[2].isdecimal()}
    return numbered - named
