"""Loaded pipelines in the device process; the least recently used one is evicted when memory is short."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import psutil

from antenna_orchestration import errors
from antenna_orchestration.pipelines import identity, interface, outcomes, registry
from antenna_orchestration.pipelines.at_once import AtOnce
from antenna_orchestration.pipelines.device_errors import free_after, free_cached_memory, is_out_of_memory
from antenna_orchestration.pipelines.sources import Source
from antenna_orchestration.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Model:
    """A loaded pipeline."""

    # The batch group's number.
    batch_group: int
    pipeline: interface.Pipeline[Any, Any]
    # Bytes that loading it took, on the device or, without one, of the process.
    memory: int
    # Images at once; reduced when the device runs out of memory.
    at_once: AtOnce = field(default_factory=AtOnce)
    # What its results are checked against.
    declared: outcomes.Declared = field(init=False)

    def __post_init__(self) -> None:
        self.declared = outcomes.declared_by(self.pipeline.spec)


class Models:
    """The pipelines of the batch groups, loaded when first asked for.

    Loading runs beside inference. Whoever infers, a warm-up included, holds `device_lock`.
    """

    def __init__(self, *, settings: Settings, device: str, device_lock: threading.Lock) -> None:
        self._settings = settings
        self.device = device
        self._is_cuda = device.startswith("cuda")
        self._device_lock = device_lock
        self._loading = threading.Lock()
        self._known: dict[int, tuple[str, Mapping[str, Any], str, Source | None]] = {}
        # What each pipeline was when this process read its code, by slug: code is read once.
        self._read_as: dict[str, str] = {}
        self._loaded: OrderedDict[int, Model] = OrderedDict()
        self._evicted: list[int] = []

    def know(
        self, batch_group: int, slug: str, config: Mapping[str, Any], digest: str = "", source: Source | None = None
    ) -> None:
        """Remember which pipeline and configuration a batch group has, and their digest, if that is known.

        `source` is of a pipeline that the registry does not know.
        """
        self._known[batch_group] = (slug, config, digest, source)

    def get(self, batch_group: int) -> Model:
        """The group's pipeline, loaded now if it is not yet. Raises whatever its loading raises."""
        with self._loading:
            if batch_group not in self._loaded:
                self._loaded[batch_group] = self._load_in_any_case(batch_group)
                self._make_room(keep=batch_group)
            self.touch(batch_group)
            return self._loaded[batch_group]

    def _load_in_any_case(self, batch_group: int) -> Model:
        """Load it; if memory runs out, once more with all others evicted, regardless of the budget."""
        try:
            return self._load(batch_group)
        except Exception as error:
            if not self._loaded or not is_out_of_memory(error):
                raise
            free_after(error)
        # Outside of the handler: it keeps alive what was loaded so far.
        while self._loaded:
            self._evict_oldest()
        return self._load(batch_group)

    def _load(self, batch_group: int) -> Model:
        slug, config, digest, source = self._known[batch_group]
        before = self._memory_used()
        paths = self._settings.pipeline_paths
        if source is None:
            was = self._read_as.setdefault(slug, identity.digest_of(registry.get(slug, paths)))
            spec = registry.imported(slug, paths)
        else:
            # Its files are never changed.
            spec, was = registry.imported_from(source, slug), source.pulled
        pipeline = interface.build(spec, config, top_k=self._settings.top_k)
        pipeline.load(self.device)
        self._warm_up(pipeline)
        # After all of it was read: so it is what the results are said to come of.
        found = identity.digest_of(spec)
        if digest and (found != was or identity.with_files_of(found, config) != digest):
            raise errors.OtherVersion(
                f"files of pipeline {slug} are not those that it was to be loaded with: they changed meanwhile"
            )
        # On a GPU by its tensors: what the allocator says grows with whatever another pipeline infers meanwhile.
        held = tensor_bytes(pipeline, self.device) if self._is_cuda else 0
        return Model(batch_group, pipeline, held or max(0, self._memory_used() - before))

    def peek(self, batch_group: int) -> Model | None:
        """The group's pipeline if it is loaded; any thread may ask."""
        return self._loaded.get(batch_group)

    def touch(self, batch_group: int) -> None:
        """Mark the group's pipeline as used just now."""
        if batch_group in self._loaded:
            self._loaded.move_to_end(batch_group)

    def take_evicted(self) -> list[int]:
        """Batch groups whose pipelines were evicted since the last call."""
        evicted, self._evicted = self._evicted, []
        return evicted

    def _warm_up(self, pipeline: interface.Pipeline[Any, Any]) -> None:
        """Run the pipeline's example through it: gets slow first calls over with, and shows that it works here."""
        example = pipeline.example()
        if example is None:
            return
        prepared = pipeline.prepare(example)
        with self._device_lock:
            results = pipeline.infer([prepared])
        if len(results) != 1:
            raise errors.InternalError(f"pipeline {pipeline.spec.slug} gave {len(results)} results for one image")
        pipeline.finish(prepared, results[0])

    def _make_room(self, *, keep: int) -> None:
        while len(self._loaded) > 1 and self._held() > self._budget():
            if next(iter(self._loaded)) == keep:
                break
            self._evict_oldest()

    def _held(self) -> int:
        """Bytes that the loaded pipelines take; a network that several share counts once.

        On the CPU it counts with who loaded it, and no more when that one is evicted before the others.
        """
        loaded = list(self._loaded.values())
        shared = shared_bytes([model.pipeline for model in loaded], self.device) if self._is_cuda else 0
        return sum(model.memory for model in loaded) - shared

    def _evict_oldest(self) -> None:
        batch_group, model = self._loaded.popitem(last=False)
        self._evicted.append(batch_group)
        logger.info("pipeline %s leaves the device to make room", model.pipeline.spec.slug)
        del model
        free_cached_memory()

    def _budget(self) -> int:
        """Bytes that loaded pipelines may take together: as set, else half of the device's or the host's memory."""
        if self._settings.worker_models_mb:
            return self._settings.worker_models_mb * 2**20
        torch = sys.modules.get("torch")
        if self._is_cuda and torch is not None:
            return int(torch.cuda.get_device_properties(self.device).total_memory) // 2
        return psutil.virtual_memory().total // 2

    def _memory_used(self) -> int:
        """Bytes allocated on the GPU, or without one the resident memory of this process."""
        torch = sys.modules.get("torch")
        if self._is_cuda:
            return int(torch.cuda.memory_allocated(self.device)) if torch is not None else 0
        return int(psutil.Process().memory_info().rss)


def shared_bytes(owners: Sequence[object], device: str) -> int:
    """Bytes of tensors on the device that would count more than once if each owner's `tensor_bytes` were added up."""
    return sum(tensor_bytes(owner, device) for owner in owners) - tensor_bytes(owners, device)


def tensor_bytes(owner: object, device: str) -> int:
    """Bytes of the tensors on the device that an object holds, in its attributes and what they hold, each once."""
    torch = sys.modules.get("torch")
    if torch is None:
        return 0
    sizes: dict[int, int] = {}
    seen: set[int] = set()
    left: list[object] = [owner]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            if one.device == torch.device(device):
                storage = one.untyped_storage()
                sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, torch.nn.Module):
            left += [*one.parameters(), *one.buffers()]
        elif isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple | set):
            left += one
        elif not isinstance(one, type | ModuleType) and hasattr(one, "__dict__"):
            left += vars(one).values()
    return sum(sizes.values())
