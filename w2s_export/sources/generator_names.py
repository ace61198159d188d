"""Names that trainings give the generator, and what they save beside it.

Imports no other module of this package: a worker starts in the time of its own library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_GENERATORS = (
    "params_ema", "generator_ema", "gen_ema", "net_g_ema", "netg_ema", "network_g_ema", "g_ema",
    "generator_averaged", "averaged_generator", "generator_swa", "swa_generator", "ema_generator",
    "ema_g", "ema_model", "model_ema", "averaged_model", "swa_model",
    "state_dict_ema", "model_state_dict_ema", "ema",
    "params", "generator", "gen", "net_g", "netg", "network_g", "model_g", "modelg", "g_model",
    "g_net", "gen_model", "generator_model", "g",
)  # fmt: skip
"""Names that say what they hold, the best first: averaged weights before raw ones. In small
letters, without the endings of `_bare`."""
_ENDING = re.compile(r"(?<=\w)_(state_dict|state|weights)$")
_ASIDE = re.compile(
    r"(d|dis|disc)(_([abxy]|\d))?|discriminators?\w*|net_?d\w*|network_d\w*|model_?d|d_(net|model)"
    r"|critics?|cri_\w+"
    r"|(\w+_)?opt(im|imizer)?s?(_?[gd]|_\w+)?|(lr_)?schedulers?\w*|(\w+_)?sched(uler)?(_\w+)?"
    r"|(\w+_)?(steps?|epochs?|iters?|iterations?|counter|n_averaged|initted)"
    r"|(\w+_)?(metrics?|loss(es)?(_\w+)?|psnr|ssim)|(perceptual|vgg|lpips)\w*"
    r"|((grad|amp)_)?scaler|amp|(\w+_)?rng|random|callbacks|loops"
)
"""Names of what is no generator."""
_STEM = r"(?:generator|gen|net_?g|network_g|model_?g|g)"
_WAY = r"(?P<way>a_?(?:2|to)_?b|b_?(?:2|to)_?a|x_?(?:2|to)_?y|y_?(?:2|to)_?x|ab|ba|xy|yx|[abxy])"
_ONE_WAY = (
    re.compile(rf"{_STEM}_?{_WAY}(?:_ema)?"),
    re.compile(rf"(?:ema_)?{_WAY}_{_STEM}"),
    re.compile(_WAY),
)
"""Names of one of two generators, of a network that learns both directions (CycleGAN); the last one
inside what is called a generator."""


def generator_among(names: Iterable[str]) -> str | None:
    """The name that says that it holds the generator, averaged weights before raw ones."""
    found = {_bare(name): name for name in sorted(names, reverse=True)}
    return next((found[name] for name in _GENERATORS if name in found), None)


def _bare(name: str) -> str:
    """A name as the lists above have it: `netG_state_dict` is `netg`, `params-ema` `params_ema`."""
    return _ENDING.sub("", name.lower().replace("-", "_"))


def is_aside(name: str) -> bool:
    """Whether the name is that of a discriminator, an optimizer, a counter and the like."""
    return _ASIDE.fullmatch(_bare(name)) is not None


def both_ways(names: Iterable[str], *, inside: bool) -> list[str]:
    """Names of generators of opposite directions, as `netG_A2B` and `netG_B2A`; empty if not two.

    Args:
        names: of one level of a file.
        inside: the level lies inside what is called a generator: `A2B` and `B2A` suffice.
    """
    styles = _ONE_WAY if inside else _ONE_WAY[:-1]
    found: dict[str, str] = {}
    for name in sorted(names):
        match = next(filter(None, (style.fullmatch(_bare(name)) for style in styles)), None)
        if match:
            found[name] = re.sub(r"_?(2|to)_?", "", match["way"])
    ways = set(found.values())
    opposite = any(
        set(pair) <= ways for pair in (("a", "b"), ("x", "y"), ("ab", "ba"), ("xy", "yx"))
    )
    return list(found) if opposite else []
