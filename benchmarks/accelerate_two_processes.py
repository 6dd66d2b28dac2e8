"""Train one network on two CPU processes through accelerate, and check that they stay equal.

    python benchmarks/accelerate_two_processes.py

Every process sees its own half of each batch; gradients are averaged, so that all end with the
same weights. The same mixin trains on several GPUs: start the script with ``accelerate launch``
after ``accelerate config``. Needs ``pip install accelerate``.
"""

import os
import socket
import sys

import torch
import torch.multiprocessing as processes
from accelerate import Accelerator
from skorch.hf import AccelerateMixin

from neurosal.models.networks import build_network
from neurosal.models.samples import WindowDataset
from neurosal.models.window_net import WindowNet

N_PROCESSES = 2


class DistributedNet(AccelerateMixin, WindowNet):
    """The same skorch net, its steps shared between processes."""


class PlainLoss:
    """Cross-entropy as no module: without weights there is nothing to keep equal."""

    def __call__(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch."""
        return torch.nn.functional.cross_entropy(logits, classes)


def make_windows(n: int = 64) -> WindowDataset:
    """Draw windows whose class shows in the mean of every region."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(n) % 2
    noise = torch.randn(n, 11, 20, generator=generator)
    return WindowDataset(noise + classes[:, None, None], classes)


def train(rank: int, port: int) -> None:
    """Train as one of the processes and compare weights with the others."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(N_PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(rank)
    net = DistributedNet(
        build_network("input-cell-lstm", n_features=20, n_classes=2, hidden_size=8, hops=4),
        criterion=PlainLoss,
        accelerator=accelerator,
        device=None,
        optimizer=torch.optim.AdamW,
        lr=1e-2,
        max_epochs=10,
        batch_size=8,
        train_split=None,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=lambda batch: batch,
        callbacks__valid_acc=None,
        verbose=0,
        input_noise=0.5,
    )
    net.fit(make_windows(), None)
    mine = torch.cat([p.detach().flatten() for p in net.module_.parameters()])
    everyone = accelerator.gather(mine[None])
    difference = (everyone - everyone[0]).abs().max().item()
    losses = net.history[:, "train_loss"]
    if accelerator.is_main_process:
        print(f"processes {len(everyone)}, largest difference of weights {difference:g}")
        print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    accelerator.end_training()
    if difference != 0 or losses[-1] >= losses[0]:
        sys.exit(1)


def free_port() -> int:
    """Ask the system for a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    processes.spawn(train, args=(free_port(),), nprocs=N_PROCESSES)
