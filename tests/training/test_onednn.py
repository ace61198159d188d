"""Training with oneDNN, which tests otherwise run without: the same bits, again and resumed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_PROGRAM = """
    import hashlib, json, sys
    from pathlib import Path

    import numpy as np
    from w2s_export.runtime.onednn import onednn

    with onednn(True):
        from tensorflow.python.framework.test_util import IsMklEnabled
        from w2s_export.config import GeneratorConfig
        from w2s_export.data.patches import Batch
        from w2s_export.networks.discriminator import DiscriminatorConfig
        from w2s_export.sources.feature_weights import load_features
        from w2s_export.training.config import AdversarialPhase, TrainingConfig
        from w2s_export.training.distribution import choose_strategy
        from w2s_export.training.learner import Learner, reproducible
        from w2s_export.training.phases import phases

    vgg = Path(sys.argv[1])
    config = TrainingConfig(
        name="onednn", generator=GeneratorConfig(nb=1, nf=16, gc=8), patch=24, batch=3,
        adversarial=AdversarialPhase(
            feature_weights=vgg, discriminator=DiscriminatorConfig(nf=8, levels=3)
        ),
    )
    rng = np.random.default_rng(0)
    batches = [
        Batch(rng.random((3, 24, 24, 1), np.float32), rng.random((3, 48, 48, 1), np.float32))
        for _ in range(6)
    ]
    def learned(learner, batches):
        for batch in batches:
            learner.learn(batch, 1e-3)
        found = learner.weights()
        return hashlib.sha256(b"".join(found[n].tobytes() for n in sorted(found))).hexdigest()

    sums = []
    with reproducible():
        for phase in phases(config)[:int(sys.argv[2])]:
            learner = Learner(config, phase, load_features(vgg), choose_strategy())
            begun = learner.state()
            half, whole = learned(learner, batches[:3]), learner.state()
            ends = [learned(learner, batches[3:])]
            learner.restore(begun)
            ends.append(learned(learner, batches))
            learner.restore(whole)
            ends.append(learned(learner, batches[3:]))
            sums.append({"ends": ends, "half": half})
    print(json.dumps({"sums": sums, "onednn": IsMklEnabled()}))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is of x86")
@pytest.mark.parametrize(
    "phases", [1, pytest.param(2, marks=pytest.mark.thorough)], ids=["pixel", "both phases"]
)
def test_with_onednn_steps_repeat_and_resume_to_the_same_bits(vgg16: Path, phases: int) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    del environment["TF_ENABLE_ONEDNN_OPTS"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(vgg16), str(phases)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["onednn"]
    assert len(answer["sums"]) == phases
    for sums in answer["sums"]:
        assert len(sums["ends"]) == 3
        assert len(set(sums["ends"])) == 1
        assert sums["half"] != sums["ends"][0]
