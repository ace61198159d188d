"""How models/wf2sim-structures-l was trained: PyTorch, one H100, 9.2 minutes.

python examples/train_structures_l.py DATA OUTPUT.npz [--seconds 570] [--workers 12]

DATA holds lr/ and hr/, the 90 pairs of BioSR's microtubules that the model's config.yaml splits.
Pairs fill 60 % of each batch and an endless stream of simulated fields 40 % (20 % in the last
quarter). The clock ends the training, and which simulated fields come is decided by how fast the
worker processes are: unlike `w2s-export train`, it does not give the same weights twice.
Needs torch; without CUDA it runs, too slowly for anything but a trial (give a small --blocks).
"""

import argparse
import math
import multiprocessing
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from w2s_export.config import GeneratorConfig, PercentileNormalisation, Provenance
from w2s_export.data.split import read_split
from w2s_export.networks.layout import tensor_shapes
from w2s_export.simulation.fields import SimulationConfig, simulate_pair
from w2s_export.sources.checkpoint import Checkpoint
from w2s_export.sources.npz_checkpoint import save_checkpoint
from w2s_export.training.config import read_training_config

CONFIG = Path(__file__).parents[1] / "models" / "wf2sim-structures-l" / "config.yaml"
NORMALISATION = PercentileNormalisation()
FIELD, PATCH, KEPT = 96, 64, 6000
RATE, LAST_RATE, WARM_UP, DECAY = 4e-4, 0.005, 200, 0.999


def draw_optics(rng: np.random.Generator) -> SimulationConfig:
    """A sample, a microscope and a camera at random; quantities of light and density by orders."""

    def orders(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    structure = str(rng.choice(["filaments", "vesicles", "mitochondria"], p=[0.5, 0.25, 0.25]))
    return SimulationConfig.model_validate(
        {
            "structure": structure,
            "density": orders(0.3, 3.0),
            "height": FIELD,
            "width": FIELD,
            "pixel_size_um": rng.uniform(0.055, 0.085),
            "numerical_aperture": rng.uniform(1.25, 1.45),
            "emission_um": rng.uniform(0.5, 0.62),
            "haze": rng.uniform(0.2, 0.7),
            "haze_um": rng.uniform(0.1, 0.3),
            "photons": orders(20, 800),
            "background": orders(2, 40),
            "frames": int(rng.choice([1, 4, 9])),
            "read_noise": rng.uniform(1, 3),
        }
    )


def normalised(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, [NORMALISATION.low, NORMALISATION.high])
    return ((image - low) / (high - low + 1e-6)).astype(np.float16)


def simulate_forever(seed: int, fields: Any) -> None:
    """What a worker process does: put pairs into the queue."""
    rng = np.random.default_rng(seed)
    while True:
        low, high = map(normalised, simulate_pair(draw_optics(rng), int(rng.integers(2**31))))
        if np.isfinite(low).all() and np.isfinite(high).all() and np.abs(high).max() < 20:
            fields.put((low, high))


class DenseBlock(nn.Module):
    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(nf + index * gc, nf if index == 4 else gc, 3, 1, 1) for index in range(5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x
        for conv in self.convs[:4]:
            features = torch.cat((features, functional.leaky_relu(conv(features), 0.2)), 1)
        return x + 0.2 * self.convs[4](features)


class Generator(nn.Module):
    """RRDBNet, `plain` ×2; its convolutions in the order of `w2s_export.networks.layout`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        nf, gc = config.nf, config.gc
        self.first = nn.Conv2d(1, nf, 3, 1, 1)
        self.body = nn.ModuleList(
            nn.Sequential(*(DenseBlock(nf, gc) for _ in range(3))) for _ in range(config.nb)
        )
        self.trunk = nn.Conv2d(nf, nf, 3, 1, 1)
        self.hr = nn.Conv2d(nf, nf, 3, 1, 1)
        self.last = nn.Conv2d(nf, 1, 3, 1, 1)
        for conv in self.convolutions():
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data *= 0.1
            nn.init.zeros_(conv.bias)

    def convolutions(self) -> list[nn.Conv2d]:
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        y = first
        for block in self.body:
            y = y + 0.2 * block(y)
        y = functional.leaky_relu(first + self.trunk(y), 0.2)
        y = functional.interpolate(y, scale_factor=2, mode="nearest")
        return self.last(functional.leaky_relu(self.hr(y), 0.2))


def as_checkpoint(config: GeneratorConfig, values: list[torch.Tensor]) -> Checkpoint:
    """Kernels (out, in, 3, 3) and biases, in order, as the project stores them (HWIO)."""
    arrays = [value.float().cpu().numpy() for value in values]
    arrays = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in arrays]
    weights = dict(zip(tensor_shapes(config), arrays, strict=True))
    origin = Provenance(name="wf2sim-structures-l", data="BioSR microtubules, simulated fields")
    return Checkpoint(config, weights, NORMALISATION, origin)


def patches(low: Any, high: Any, chosen: Any, rng: np.random.Generator) -> Iterator[Any]:
    """A patch of each chosen field (N, H, W), (N, 2H, 2W), in one of eight orientations."""
    for index in chosen:
        top, left = rng.integers(low.shape[-1] - PATCH + 1, size=2)
        x = low[index, top : top + PATCH, left : left + PATCH].float()
        y = high[index, 2 * top : 2 * (top + PATCH), 2 * left : 2 * (left + PATCH)].float()
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        for image in (x, y):
            turned = torch.rot90(image, turns)
            yield (turned.T if mirrored else turned)[None]


def train(data: Path, output: Path, config: GeneratorConfig, options: argparse.Namespace) -> None:
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    fields = context.Queue(maxsize=256)
    for index in range(options.workers):
        context.Process(target=simulate_forever, args=(1000 + index, fields), daemon=True).start()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    split = read_split(read_training_config(CONFIG).data, data, 2, NORMALISATION, NORMALISATION)
    pairs = [
        torch.tensor(np.stack([getattr(pair, side)[..., 0] for pair in split.training])).to(device)
        for side in ("low", "high")
    ]
    stream = [
        torch.empty((KEPT, side, side), dtype=torch.float16, device=device)
        for side in (FIELD, 2 * FIELD)
    ]
    network = Generator(config).to(device, memory_format=torch.channels_last)
    average = [p.detach().clone() for p in network.parameters()]
    adam = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), amsgrad=True)
    if device == "cuda":
        for block in network.body:
            block.compile()
    seen = step = 0
    while (spent := (time.monotonic() - began) / options.seconds) < 1:
        while seen < KEPT or rng.random() < 0.5:  # the newest take the places of the oldest
            try:
                pair = fields.get_nowait()
            except queue.Empty:
                break
            for kept, image in zip(stream, pair, strict=True):
                kept[seen % KEPT] = torch.from_numpy(image).to(device)
            seen += 1
        cosine = 0.5 * (1 + math.cos(math.pi * spent)) * (1 - LAST_RATE) + LAST_RATE
        for group in adam.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * cosine
        share = 0.4 if spent < 0.75 else 0.2
        simulated = round(options.batch * share) if seen > 50 else 0
        images = [
            *patches(*pairs, rng.integers(len(pairs[0]), size=options.batch - simulated), rng),
            *patches(*stream, rng.integers(max(1, min(seen, KEPT)), size=simulated), rng),
        ]
        low, high = torch.stack(images[::2]), torch.stack(images[1::2])
        with torch.autocast(device, torch.bfloat16):
            restored = network(low.contiguous(memory_format=torch.channels_last))
        loss = (restored.float() - high).abs().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        decay = min(DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [p.data for p in network.parameters()], 1 - decay)
        step += 1
        if step % 100 == 0:
            print(f"step {step}, loss {loss.item():.4f}, {seen} simulated fields", flush=True)
    save_checkpoint(as_checkpoint(config, average), output, half=True)
    print(f"{output}: {step} steps, {seen} simulated fields")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=550)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--blocks", type=int, default=23)
    given = parser.parse_args()
    train(given.data, given.output, GeneratorConfig(nb=given.blocks), given)
