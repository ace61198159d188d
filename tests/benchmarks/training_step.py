"""How fast a training step is, against the same network, batch and optimizer in PyTorch.

The two take turns in one process, so that whatever else the machine does slows both. The fastest
steps are compared: PyTorch's threads wait for each other, and on a busy machine its median says how
busy that is. Exits with 1 below `--least`. From the repository root, with the `torch` extra:

    python -m tests.benchmarks.training_step --blocks 3 --features 32 --patch 48 --batch 4
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from w2s_export.config import GeneratorConfig
from w2s_export.data.patches import Batch
from w2s_export.networks.layout import conv_name
from w2s_export.runtime.onednn import onednn
from w2s_export.training.config import TrainingConfig

WARM_UP = 3
_SWITCHES = ExitStack()
RATE = 1e-4


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of each timed step."""

    ours: list[float]
    pytorch: list[float]

    @property
    def ratio(self) -> float:
        """Throughput against PyTorch's: above 1, ours is the faster."""
        return min(self.pytorch) / min(self.ours)


def compare_steps(config: TrainingConfig, *, threads: int, turns: int) -> StepTimes:
    """Time steps of phase one on one batch of noise; the losses of the first must agree.

    Both start from the same weights and take the loss to Python after each step. Threads can only
    be set before TensorFlow runs anything else in the process.
    """
    # Before TensorFlow: what PyTorch's optimizers import later crashes beside it.
    import torch._dynamo  # isort: skip

    _SWITCHES.enter_context(onednn(True))  # as `fit` does, to the end of this process
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    side = config.patch * config.generator.scale
    batch = Batch(
        rng.random((config.batch, config.patch, config.patch, 1), np.float32),
        rng.random((config.batch, side, side, 1), np.float32),
    )
    ours, weights = _ours(config, batch)
    steps = ours, _pytorch(config, batch, weights)
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(WARM_UP + turns):
        losses = []
        for step, seconds in zip(steps, taken, strict=True):
            start = time.perf_counter()
            losses.append(step())
            if turn >= WARM_UP:
                seconds.append(time.perf_counter() - start)
        if turn == 0:  # one network: 2e-7 apart; a layer left out is 1e-3 or more
            np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    return StepTimes(*taken)


def _ours(config: TrainingConfig, batch: Batch) -> tuple[Callable[[], float], dict[str, Any]]:
    from w2s_export.training.distribution import choose_strategy
    from w2s_export.training.learner import TOTAL, Learner, reproducible
    from w2s_export.training.phases import phases

    _SWITCHES.enter_context(reproducible())  # as `fit` does, to the end of this process
    learner = Learner(config, phases(config)[0], None, choose_strategy())
    return lambda: learner.learn(batch, RATE)[TOTAL], learner.weights()


def _pytorch(config: TrainingConfig, batch: Batch, weights: dict[str, Any]) -> Callable[[], float]:
    import torch
    from torch.nn import functional

    sizes = config.generator
    tensors = {
        name: torch.tensor(
            value.transpose(3, 2, 0, 1) if value.ndim == 4 else value, requires_grad=True
        )
        for name, value in weights.items()
    }
    adam = torch.optim.Adam(
        tensors.values(), RATE, (config.beta_1, config.beta_2), eps=1e-7, amsgrad=True
    )
    average = [value.detach().clone() for value in tensors.values()]
    low, high = (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for x in (batch.low, batch.high))

    def conv(x: Any, name: str) -> Any:
        return functional.conv2d(x, tensors[f"{name}/kernel"], tensors[f"{name}/bias"], padding=1)

    def leaky(x: Any) -> Any:
        return functional.leaky_relu(x, sizes.negative_slope, inplace=True)

    def generator(x: Any) -> Any:
        shallow = x = conv(x, "conv_first")
        for block in range(sizes.nb):
            before = x
            for dense in (1, 2, 3):
                seen = [x]
                for index in range(1, 6):
                    y = conv(torch.cat(seen, 1), conv_name(block, dense, index))
                    seen.append(leaky(y) if index < 5 else y)
                x = x + sizes.residual_scale * y
            x = before + sizes.residual_scale * x
        x = leaky(shallow + conv(x, "conv_body"))
        x = functional.interpolate(x, scale_factor=sizes.scale, mode="nearest")
        return conv(leaky(conv(x, "conv_hr")), "conv_last")

    def step() -> float:
        adam.zero_grad()
        loss = functional.l1_loss(generator(low), high)
        loss.backward()
        adam.step()
        with torch.no_grad():
            values = [value.detach() for value in tensors.values()]
            torch._foreach_lerp_(average, values, 1 - config.ema)
        return float(loss.detach())

    return step


def main() -> int:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=3, help="RRDBs of the network")
    parser.add_argument("--features", type=int, default=32, help="nf; gc is half of it")
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of either")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--least", type=float, default=0.9, help="ratio below which to exit with 1")
    options = parser.parse_args()
    generator = GeneratorConfig(nb=options.blocks, nf=options.features, gc=options.features // 2)
    config = TrainingConfig(
        name="benchmark", generator=generator, patch=options.patch, batch=options.batch
    )
    times = compare_steps(config, threads=options.threads, turns=options.turns)
    for name, seconds in (("w2s-export", times.ours), ("PyTorch", times.pytorch)):
        print(
            f"{name}: median {statistics.median(seconds) * 1e3:.0f} ms a step, "
            f"fastest {min(seconds) * 1e3:.0f} ms"
        )
    print(f"ratio {times.ratio:.2f}")
    return 0 if times.ratio >= options.least else 1


if __name__ == "__main__":
    raise SystemExit(main())
