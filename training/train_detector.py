"""Trains the network of the default pipeline on drawn scenes, and writes the weights that the package ships.

    python -m training.train_detector [--steps 1800] [--folder .antenna/training] [--device cpu|cuda]

It takes about an hour on two cores, one of which draws, and minutes on a GPU once the scenes are drawn. Started again
with the same arguments, it continues from its last checkpoint. No real photograph is used;
`benchmarks/detector_accuracy.py` measures on those.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.ops import generalized_box_iou_loss

from antenna_orchestration.pipelines.light_trap.insect_network import STRIDE, InsectNetwork, Maps
from training.examples import Example, Scenes, collate, fields

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUT = REPOSITORY / "antenna_orchestration" / "pipelines" / "light_trap" / "insect_network.pt"


def main() -> None:
    """Draw, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--scenes", type=int, default=2400, help="number of different scenes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2.5e-3, help="the highest learning rate")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch; scenes are drawn in separate processes"
    )
    parser.add_argument("--drawers", type=int, default=1, help="number of processes that draw scenes")
    parser.add_argument("--side", type=int, default=512, help="side of a scene in pixels")
    parser.add_argument("--keep-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".antenna" / "training")
    parser.add_argument("--start", type=Path, help="weights to start from instead of random ones")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    network = train(arguments)
    print(f"{write_weights(network, arguments.output)}  {arguments.output}")


def train(arguments: argparse.Namespace, stop_after: int | None = None) -> InsectNetwork:
    """Train, and return a network with the moving average of the weights.

    `stop_after` ends the training after that step, as if it had been interrupted there.
    """
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    network = InsectNetwork()
    if arguments.start:
        network.load_state_dict(torch.load(arguments.start, weights_only=True))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), arguments.rate, weight_decay=0.01)
    state: dict[str, Any] = {"step": 0}
    checkpoint = arguments.folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        print(f"continues from step {state['step']}")
    done = state["step"]
    loader = DataLoader(
        Scenes(
            arguments.folder / "scenes",
            seed=arguments.seed,
            distinct=arguments.scenes,
            count=arguments.steps * arguments.batch,
            side=arguments.side,
        ),
        batch_size=arguments.batch,
        sampler=range(done * arguments.batch, arguments.steps * arguments.batch),
        num_workers=arguments.drawers,
        collate_fn=collate,
        prefetch_factor=8 if arguments.drawers else None,
    )
    network.train()
    mixed = has_bfloat16(device)
    sums, began = torch.zeros(3), time.monotonic()
    for step, batch in enumerate(loader, start=done + 1):
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * schedule(step, arguments.steps)
        on_device = Example(*(tensor.to(device) for tensor in fields(batch)))
        pictures = (on_device.picture.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            maps = network(pictures)
        parts = losses(maps, on_device)
        optimizer.zero_grad()
        (parts * torch.tensor([1.0, 2.0, 0.5], device=device)).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        follow(average, network, min(0.998, step / (step + 20)))
        sums += parts.detach().cpu()
        if step % 25 == 0:
            middle, box, kind = (sums / 25).tolist()
            sums.zero_()
            spent = (time.monotonic() - began) / (step - done)
            print(
                f"step {step}: middle {middle:.3f}, box {box:.3f}, kind {kind:.3f}; {spent:.2f} s per step", flush=True
            )
        if step % arguments.keep_every == 0 or step == arguments.steps:
            save(
                {
                    "step": step,
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
                checkpoint,
            )
            write_weights(average, arguments.folder / "average.pt")
        if step == stop_after:
            break
    return average


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself: a CPU that imitates it needs several times as long for a step."""
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def schedule(step: int, steps: int) -> float:
    """The learning rate at a step, as a share of the highest: warm-up, plateau, and linear decay in the last third.

    Before the last third it does not depend on `steps`. So an interrupted training may be continued with another number
    of steps, as if it had been started with that number.
    """
    return min(1.0, step / 100, max(0.0, (steps - step) / (steps / 3)) + 1e-3)


def losses(maps: Maps, truth: Example) -> Tensor:
    """Three losses: centres (CenterNet's focal loss), boxes (generalised IoU) and kinds (cross-entropy)."""
    probability = maps.middle.sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = (truth.middle > 0.999).float()
    hit = -torch.log(probability) * (1 - probability) ** 2 * peak
    miss = -torch.log(1 - probability) * probability**2 * (1 - truth.middle) ** 4 * (1 - peak)
    middle = ((hit + miss) * truth.asked).sum() / peak.sum().clamp(min=1)

    where = truth.positive > 0
    count = where.sum().clamp(min=1)
    _, rows, columns = where.nonzero(as_tuple=True)
    x, y = (columns + 0.5) * STRIDE, (rows + 0.5) * STRIDE
    left, top, right, bottom = maps.reach.permute(1, 0, 2, 3)[:, where]
    predicted = torch.stack([x - left, y - top, x + right, y + bottom], 1)
    box = generalized_box_iou_loss(predicted, truth.boxes.permute(0, 2, 3, 1)[where], reduction="sum") / count
    kind = functional.binary_cross_entropy_with_logits(maps.moth[where], truth.moth[where], reduction="sum") / count
    return torch.stack([middle, box, kind])


@torch.no_grad()
def follow(average: InsectNetwork, network: InsectNetwork, keep: float) -> None:
    """Update the exponential moving average of the weights: `keep` of the average and the rest of the network.

    Integers, such as batch norm's counts of batches, are copied.
    """
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - keep)
        else:
            mine.copy_(theirs)


def write_weights(network: InsectNetwork, path: Path) -> str:
    """Write the weights so that `torch.load(weights_only=True)` can read them; returns the file's SHA-256."""
    state = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(what: dict[str, Any], path: Path) -> None:
    """Write to a temporary file and rename it, so that an interruption leaves the previous file intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(what, part)
    part.rename(path)


if __name__ == "__main__":
    main()
