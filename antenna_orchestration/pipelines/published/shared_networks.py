"""Networks that are on a device already: pipelines and configurations that read the same checkpoint share one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from torch import nn

from antenna_orchestration.pipelines.torch_device import TorchDevice

_known: WeakValueDictionary[tuple[object, ...], nn.Module] = WeakValueDictionary()


def shared(what: str, checkpoint: Path, device: TorchDevice, make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` makes of a checkpoint, or the one that it made before and that somebody still has.

    `what` tells apart networks of the same file. Whoever has one changes nothing in it; what torchvision's detector
    remembers of its first call depends on the network alone. Raises what `make` raises.
    """
    stat = checkpoint.stat()
    key = (what, str(checkpoint.resolve()), stat.st_ino, stat.st_mtime_ns, stat.st_size, device.name, device.precision)
    network = _known.get(key)
    if network is None:
        network = _known[key] = make()
    return network
