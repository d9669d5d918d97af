import pytest
import torch

from embridge.errors import InvalidInput
from embridge.training.lightning.loop import CHECKPOINT, train
from embridge.training.lightning.run import Run
from embridge.training.lightning.task import Loop


class Diverging:
    """Its loss is finite for one step, and then is not."""

    def __init__(self):
        self.weight = torch.ones(1, requires_grad=True)

    def state(self):
        return {"weight": self.weight}

    def optimizer(self):
        return torch.optim.SGD([self.weight], lr=1e30)

    def batch(self, step):
        return torch.ones(1)

    def step(self, batch, backward):
        loss = (self.weight * batch).square().sum()
        backward(loss)
        return {"loss": loss.detach()}

    def score(self):
        return 0.0


def test_a_training_that_diverges_ends_in_one_line_and_keeps_no_checkpoint(tmp_path):
    loop = Loop("toy", "toy steps", steps=6, seed=0, share=lambda _: 1.0, checks=0, checkpoint_every_steps=3)
    message = (
        r"diverged: by step \d of 6 \(toy steps\) the (loss|weights) held NaN or infinity; set a lower learning_rate"
    )
    with pytest.raises(InvalidInput, match=message):
        train(Diverging(), loop, Run(folder=tmp_path))
    assert not (tmp_path / CHECKPOINT).exists()
