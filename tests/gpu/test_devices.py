"""Two GPUs (NCCL) fit as one does; one GPU under the launcher is one process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError
from lode.model.training import Training
from tests.flows import devices

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]
TRAINING = Training(epochs=3, batch=32, device="cuda", precision="fp32", optimizer="sgd", learning_rate=0.001)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_two_gpus_agree_with_one(strategy: str, norm: str) -> None:
    one, alone = devices.fit(TRAINING, norm=norm)
    two, together = devices.fit(replace(TRAINING, devices=2, strategy=strategy), norm=norm)
    losses = [[entry["train_loss"] for entry in fitted.history] for fitted in (alone, together)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    first, second = (family.predict(devices.rows(61, 1))["risk"] for family in (one, two))
    assert np.abs(first - second).max() < 1e-4


def test_auto_is_every_gpu_and_more_than_there_are_is_refused() -> None:
    from lode.model import launch

    assert launch.num_processes(replace(TRAINING, devices="auto"), "cuda") == torch.cuda.device_count()
    with pytest.raises(ModelError, match=r"train\.devices: found 64, but torch sees"):
        devices.fit(replace(TRAINING, devices=64))
