"""Run the report's experiments small: each loss on a small network, on paired images of yours.

python examples/04_experiments.py DATA OUTPUT [VGG19.npz] [STEPS_ONE STEPS_TWO]

DATA holds lr/ and hr/; examples/experiments/ has the same experiments at the report's own scale.
OUTPUT gets the trainings and, in evaluation/, their table and figure beside bicubic enlargement.
"""

import sys
from pathlib import Path

from w2s_export.cli.app import run
from w2s_export.config import GeneratorConfig
from w2s_export.data.layouts import PairedFolders
from w2s_export.networks.discriminator import DiscriminatorConfig
from w2s_export.training.config import TrainingConfig, read_training_config
from w2s_export.training.run import train
from w2s_export.training.schedules import Schedule

EXPERIMENTS = Path(__file__).parent / "experiments"
SPLIT = EXPERIMENTS.parent.parent / "models" / "wf2sim-microtubules-s" / "config.yaml"
ORDER = ("pixel-l1", "pixel-l2", "perceptual", "texture", "gan-l1", "gan-l2")


def shrink(
    config: TrainingConfig, data: PairedFolders, trained: Path, vgg: Path | None, steps: list[int]
) -> TrainingConfig:
    """The experiment on another size and other images; its losses and weights stay."""
    changes = {
        "data": data,
        "generator": GeneratorConfig(nf=16, gc=8, nb=2),
        "patch": 32,
        "batch": 4,
        "ema": 0.95,
        "provenance": config.provenance.model_copy(update={"data": "see the command"}),
    }
    if config.adversarial is None:
        cosine = Schedule(kind="cosine", initial=1e-3, final=1e-5, warmup_steps=20)
        changes |= {"steps": steps[0], "schedule": cosine, "validate_every": max(1, steps[0] // 4)}
    else:
        two = {
            "steps": steps[1],
            "schedule": Schedule(kind="constant", initial=1e-4),
            "feature_weights": vgg,
            "discriminator": DiscriminatorConfig(nf=16),
        }
        changes |= {
            "adversarial": config.adversarial.model_copy(update=two),
            "start": trained / Path(str(config.start)).relative_to("trained"),
            "validate_every": max(1, steps[1] // 4),
        }
    return config.model_copy(update=changes)


def main(
    folder: Path,
    output: Path,
    data: PairedFolders,
    vgg: Path | None,
    steps: list[int],
    experiments: tuple[str, ...] = ORDER,
) -> None:
    for name in experiments:
        stored = read_training_config(EXPERIMENTS / f"{name}.yaml")
        config = shrink(stored, data, output / "trained", vgg, steps)
        place = output / "trained" / name
        if (place / f"{config.name}.npz").exists():
            continue
        print(name)
        trained = train(config, folder, place, resume=(place / "state.npz").exists())
        print(trained.scores)


def compare(folder: Path, output: Path) -> int:
    """Score every experiment on the held-out fields; figure and tables."""
    trained = [str(output / "trained" / name / f"w2s-{name}.npz") for name in ORDER]
    where = ["--data", str(folder), "--config", str(SPLIT), "--output", str(output / "evaluation")]
    return run(["evaluate", *trained, *where, "--overwrite"])


def biosr_split() -> PairedFolders:
    """The split of the embedded model, with three of its validation fields."""
    data = read_training_config(SPLIT).data
    return data.model_copy(update={"validation": data.validation[:3]})


if __name__ == "__main__":
    folder, output, *rest = sys.argv[1:]
    vgg = Path(rest[0]) if rest else None
    steps = [int(text) for text in rest[1:3]] or [400, 150]
    main(Path(folder), Path(output), biosr_split(), vgg, steps)
    sys.exit(compare(Path(folder), Path(output)))
