"""Train phase one of a configuration in PyTorch: the same batches, losses, rates and validation.

python examples/train_with_pytorch.py CONFIG.yaml DATA OUTPUT.npz

On some processors PyTorch takes a step in less time than `w2s-export train`. Batches come from the
project's own sampler, so seed and step decide them; only the rounding of the steps differs. The
best weights by validation are written as `w2s-export train` writes them. Needs torch.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from train_structures_l import Generator

from w2s_export.data.patches import Batch
from w2s_export.networks.layout import tensor_shapes
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.load import load_checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint
from w2s_export.training.config import TrainingConfig, read_training_config
from w2s_export.training.fit import with_scores
from w2s_export.training.mixture import Sampler, make_sampler
from w2s_export.training.run import read_mixed, read_split
from w2s_export.training.validation import Validator

Image = np.ndarray


def as_tensor(images: Image) -> torch.Tensor:
    """(N, H, W, C) → (N, C, H, W), its memory as it was."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class Learner:
    """The generator, the moving average of its weights, and Adam."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.network = Generator(config.generator)
        self.average = Generator(config.generator)
        if config.start:
            stored = load_checkpoint(config.start).weights
            for parameter, name in zip(
                self.network.parameters(), tensor_shapes(config.generator), strict=True
            ):
                value = torch.from_numpy(np.array(stored[name], np.float32))
                parameter.data.copy_(value.permute(3, 2, 0, 1) if value.ndim == 4 else value)
        self.average.load_state_dict(self.network.state_dict())
        self.adam = torch.optim.Adam(
            self.network.parameters(), betas=(config.beta_1, config.beta_2), eps=1e-7, amsgrad=True
        )

    def learn(self, batch: Batch, rate: float) -> float:
        """One step; the loss."""
        config = self.config
        distance = nn.L1Loss() if config.loss == "l1" else nn.MSELoss()
        loss = distance(self.network(as_tensor(batch.low)), as_tensor(batch.high))
        self.adam.param_groups[0]["lr"] = rate
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), 1 - config.ema
            )
        return float(loss.detach())

    @torch.no_grad()
    def restore(self, low: Image) -> Image:
        """(1, H, W, C) → (1, s·H, s·W, C) by the average."""
        return self.average(as_tensor(low)).permute(0, 2, 3, 1).numpy()

    def state(self, best: float, step: int) -> dict[str, Any]:
        """All that `resume` needs."""
        parts = (self.network, self.average, self.adam)
        return {"best": best, "step": step, "parts": [part.state_dict() for part in parts]}

    def resume(self, state: dict[str, Any]) -> tuple[float, int]:
        """Go on from a state: the best score and the next step."""
        for part, values in zip(
            (self.network, self.average, self.adam), state["parts"], strict=True
        ):
            part.load_state_dict(values)
        return state["best"], state["step"]

    def checkpoint(self) -> Checkpoint:
        """The average, as the project stores it: kernels (height, width, in, out)."""
        config = self.config
        arrays = [value.detach().numpy() for value in self.average.parameters()]
        arrays = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in arrays]
        weights = dict(zip(tensor_shapes(config.generator), arrays, strict=True))
        origin = config.provenance.model_copy(update={"name": config.name})
        return Checkpoint(config.generator, weights, config.normalisation, origin)


def train(config: TrainingConfig, sampler: Sampler, validator: Validator, output: Path) -> None:
    """Write the weights that validation likes best; the state beside them, to go on from."""
    learner, began, state = Learner(config), time.monotonic(), output.with_suffix(".state")
    best, first = -np.inf, 0
    if state.exists():
        best, first = learner.resume(torch.load(state, weights_only=True))
    for step in range(first, config.steps):
        rate = config.schedule.rate(step, sampler.steps_per_epoch, config.steps)
        loss = learner.learn(sampler.batch(step), rate)
        if (step + 1) % config.validate_every and step + 1 < config.steps:
            continue
        scores = validator(learner.restore).scores
        chosen = ""
        if scores[config.choose_by] > best:
            best, chosen = scores[config.choose_by], ", kept"
            named = {f"validation_{key}": value for key, value in scores.items()}
            save_checkpoint(with_scores(learner.checkpoint(), named), output)
        torch.save(learner.state(best, step + 1), state)
        print(
            f"step {step + 1}, {time.monotonic() - began:.0f} s, loss {loss:.4f}, "
            f"{config.choose_by} {scores[config.choose_by]}{chosen}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    wanted = read_training_config(given.config)
    split = read_split(wanted, given.data)
    batches = make_sampler(wanted, split.training, read_mixed(wanted, given.data, split))
    try:
        train(wanted, batches, Validator(split.validation, None, wanted.loss), given.output)
    finally:
        batches.close()
