"""Finds the generator among what a training saves beside it.

A checkpoint may hold a discriminator, averaged weights beside plain ones, an optimizer's state,
counters and metrics, under the names that training codes give them: BasicSR (`params_ema`), mmagic
(`generator_ema.module.`), Lightning (`state_dict`, `net_g.`), pix2pix (`netG.`), DataParallel
(`module.`). What is left aside is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from w2s_export.shown import shown
from w2s_export.sources.stored import Stored, check_count

_GENERATORS = (
    "params_ema", "generator_ema", "gen_ema", "net_g_ema", "netG_ema", "G_ema", "g_ema",
    "ema_model", "model_ema", "ema",
    "params", "generator", "gen", "net_g", "netG", "G",
)  # fmt: skip
"""Names that say what they hold, the best first: averaged weights before raw ones."""
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network", "net", "weights")
"""Names that any network may have: whatever lies beside them must be known, too."""
_ASIDE = re.compile(
    r"D|dis|disc|discriminators?\w*|net_?[dD]\w*|critics?|cri_\w+|(\w+_)?opt(im|imizer)?s?(_\w+)?"
    r"|(lr_)?schedulers?\w*|(\w+_)?(steps?|epochs?|iters?|iterations?|counter|n_averaged|initted)"
    r"|(\w+_)?(metrics?|loss(es)?(_\w+)?|psnr|ssim)|(perceptual|vgg|lpips)\w*|(grad_)?scaler"
    r"|callbacks|loops"
)
"""Names of what is no generator."""


def choose(tensors: Sequence[Stored]) -> tuple[list[Stored], str]:
    """The generator's tensors, without the names that wrap them, and a sentence about the rest.

    Args:
        tensors: all of the file's, nested ones by dotted keys.
    """
    check_count(tensors)
    left, path, aside = list(tensors), [], []
    while True:
        tops = {tensor.key.partition(".")[0]: tensor.key for tensor in left}
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
    others = [top for top in tops if _ASIDE.fullmatch(top)]
    if len(others) < len(tops):
        aside += others
        left = [tensor for tensor in left if tensor.key.partition(".")[0] not in others]
    return left, chosen(".".join(path), aside)


def chosen(taken: str, aside: Iterable[str]) -> str:
    """What was taken and what was left aside; empty where nothing was."""
    names = ", ".join(f"'{shown(name, 40)}'" for name in dict.fromkeys(aside))
    if not names:
        return ""
    return f"{f'took {taken!r}' if taken else 'took the generator'}, left aside {shown(names)}"


def _taken(tensors: Sequence[Stored], tops: Iterable[str]) -> str | None:
    """The name to go into, None where the network's own names begin."""
    groups = {tensor.key.partition(".")[0] for tensor in tensors if "." in tensor.key}
    for name in _GENERATORS:
        if name in groups:
            return name
    for name in _WRAPPERS:
        if name in groups and all(top == name or _ASIDE.fullmatch(top) for top in tops):
            inner = {t.key.split(".")[1] for t in tensors if t.key.startswith(f"{name}.")}
            # `model.0` and `model.1` are layers of ESRGAN's oldest style, not a wrapper's content.
            return None if all(part.isdecimal() for part in inner) else name
    return None
