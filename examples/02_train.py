"""Train a small network on simulated microtubules: widefield in, SIM out.

python examples/02_train.py OUTPUT [STEPS]
"""

import sys
from pathlib import Path

from w2s_export.config import GeneratorConfig, Provenance
from w2s_export.io.images import write_imagej_tiff
from w2s_export.simulation.fields import SimulationConfig, simulate_pair
from w2s_export.training.config import PairedFolders, TrainingConfig
from w2s_export.training.fit import Step
from w2s_export.training.run import train
from w2s_export.training.schedules import Schedule


def main(output: Path, steps: int = 400) -> None:
    optics = SimulationConfig()
    names = [f"{seed:03}.tif" for seed in range(8)]
    for folder in ("lr", "hr"):
        (output / "data" / folder).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        widefield, sim = simulate_pair(optics, seed)
        pixel = optics.pixel_size_um
        write_imagej_tiff(output / "data" / "lr" / name, widefield, pixel)
        write_imagej_tiff(output / "data" / "hr" / name, sim, pixel / 2)

    config = TrainingConfig(
        name="simulated-microtubules",
        data=PairedFolders(validation=(names[-2],), test=(names[-1],)),
        generator=GeneratorConfig(nf=16, gc=8, nb=2),
        patch=32,
        batch=4,
        steps=steps,
        schedule=Schedule(kind="cosine", initial=1e-3),
        ema=0.95,
        validate_every=max(1, steps // 4),
        provenance=Provenance(data="simulated", license="CC0-1.0"),
    )

    def report(step: Step) -> None:
        if step.scores:
            print(step.step, step.scores)

    trained = train(config, output / "data", output / "trained", progress=report)
    print(trained.checkpoint, trained.scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
