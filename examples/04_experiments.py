"""Run the report's experiments small: each loss on a small network, with three seeds.

python examples/04_experiments.py DATA OUTPUT [VGG19.npz] [STEPS_ONE STEPS_TWO]

DATA holds lr/ and hr/; examples/experiments/ has the same experiments at the report's own scale.
OUTPUT gets the trainings, a comparison with bicubic enlargement for each seed, and seeds.md: means
over the seeds and their spread.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from w2s_export.config import GeneratorConfig
from w2s_export.data.layouts import PairedFolders
from w2s_export.data.split import assign
from w2s_export.evaluate.compare import evaluate
from w2s_export.evaluate.report import write_evaluation
from w2s_export.evaluate.tables import summarise
from w2s_export.networks.discriminator import DiscriminatorConfig
from w2s_export.sources.feature_weights import load_features
from w2s_export.training.config import TrainingConfig, read_training_config
from w2s_export.training.run import train
from w2s_export.training.schedules import Schedule

EXPERIMENTS = Path(__file__).parent / "experiments"
SPLIT = EXPERIMENTS.parent.parent / "models" / "wf2sim-microtubules-s" / "config.yaml"
ORDER = ("pixel-l1", "pixel-l2", "perceptual", "texture", "gan-l1", "gan-l2")
SEEDS = (1, 2, 3)
SHOWN = ("psnr_db", "ssim", "resolution_px", "feature_distance")


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
            "validate_every": max(1, steps[1] // 5),
        }
    return config.model_copy(update=changes)


def main(
    folder: Path, output: Path, data: PairedFolders, vgg: Path | None, steps: list[int]
) -> None:
    """Train every experiment with every seed; what is finished stays."""
    for seed in SEEDS:
        trained = output / f"seed-{seed}"
        for name in ORDER:
            stored = read_training_config(EXPERIMENTS / f"{name}.yaml")
            config = shrink(stored, data, trained, vgg, steps).model_copy(update={"seed": seed})
            place = trained / name
            if not (place / f"{config.name}.npz").exists():
                print(f"seed {seed}: {name}", flush=True)
                print(train(config, folder, place, resume=(place / "state.npz").exists()).scores)


def compare(folder: Path, output: Path, vgg: Path | None) -> None:
    """Score every experiment on the held-out fields: tables and a figure for each seed, and means.

    A second table tells how far validation fell back within phase two.
    """
    files = assign(read_training_config(SPLIT).data, folder)["test"]
    features = load_features(vgg).stages if vgg else None
    means: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS:
        trained = [output / f"seed-{seed}" / name / f"w2s-{name}.npz" for name in ORDER]
        found = evaluate(trained, files, features=features)
        write_evaluation(found, output / f"evaluation-{seed}")
        for row in summarise(found):
            means.setdefault(row.method, []).append(row.means)
    keys = [key for key in SHOWN if key in means["bicubic"][0]]
    lines = [f"| method | {' | '.join(keys)} |", f"|{' --- |' * (len(keys) + 1)}"]
    for method, seeds in means.items():
        values = [np.array([one[key] for one in seeds]) for key in keys]
        cells = [f"{value.mean():.4g} ± {value.std(ddof=1):.2g}" for value in values]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += [
        "",
        "| phase two | largest fall of validation PSNR below its beginning, dB |",
        "|---|---|",
    ]
    for name in ORDER[2:]:
        falls = []
        for seed in SEEDS:
            text = (output / f"seed-{seed}" / name / "scores-adversarial.csv").read_text()
            psnr = [float(row["psnr_db"]) for row in csv.DictReader(text.splitlines())]
            falls.append(psnr[0] - min(psnr))
        lines.append(f"| {name} | {', '.join(f'{fall:.2f}' for fall in falls)} |")
    (output / "seeds.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def biosr_split() -> PairedFolders:
    """The split of the embedded model, with three of its validation fields."""
    data = read_training_config(SPLIT).data
    return data.model_copy(update={"validation": data.validation[:3]})


if __name__ == "__main__":
    folder, output, *rest = sys.argv[1:]
    vgg = Path(rest[0]) if rest else None
    steps = [int(text) for text in rest[1:3]] or [400, 150]
    main(Path(folder), Path(output), biosr_split(), vgg, steps)
    compare(Path(folder), Path(output), vgg)
