"""Models that take turns on one device: while one is on it, the others rest in CPU memory.

A model that decodes keeps the device until none of its requests is left. So hundreds of episodes that talk to two
models move each model once per turn of the conversations, not once per reply. Models that are not exclusive share the
device and do not wait for each other.

Not here: decoding (`inference.model`), and when weights are trained (`training.trainer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakSet

import torch
from torch import Tensor, nn

_CPU = torch.device("cpu")


def across(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; from a GPU into pinned CPU memory, from which it returns at full speed."""
    if tensor.device.type == "cuda" and device.type == "cpu":
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)
    return tensor.to(device, non_blocking=True)


class Resident:
    """Tensors that are on `device` all together or not at all; the tensors stay the same objects, their data moves.

    `alone`: exclusive. The tensors begin in CPU memory and are never on the device together with other residents.
    """

    def __init__(self, tensors: Callable[[], Iterable[Tensor]], device: torch.device, *, alone: bool = False) -> None:
        self._tensors, self._device = tensors, device
        self.alone = alone
        self.present = not alone
        self._resting: dict[Tensor, Tensor] = {}
        for tensor in tensors() if alone else ():
            tensor.data = self._resting[tensor] = tensor.data.pin_memory() if device.type == "cuda" else tensor.data

    def leave(self) -> None:
        """Move to CPU memory. Frozen weights are copied only the first time."""
        for tensor in self._tensors():
            if tensor.device.type != self._device.type:  # an optimiser's step counter is on the CPU anyway
                continue
            if tensor not in self._resting:
                self._resting[tensor] = across(tensor.data, _CPU)
            elif not isinstance(tensor, nn.Parameter) or tensor.requires_grad:
                self._resting[tensor].copy_(tensor.data)
            tensor.data = self._resting[tensor]
        self.present = False

    def arrive(self) -> None:
        """Move back to the device."""
        for tensor, resting in self._resting.items():
            tensor.data = across(resting, self._device)
        self.present = True


class Turns:
    """Decides which models are on a device; `handovers` counts how often a resident was moved back to it."""

    def __init__(self) -> None:
        self.handovers = 0
        self._residents: WeakSet[Resident] = WeakSet()
        self._decoding: dict[object, bool] = {}  # owner → whether it needs the device alone

    def join(self, resident: Resident) -> Resident:
        """Register a resident of the device; return it."""
        self._residents.add(resident)
        return resident

    def acquire(self, owner: object, needs: Resident | None) -> bool:
        """Try to take the turn for `owner` to decode, with what it `needs` on the device; return whether it worked.

        `release` ends the turn.
        """
        alone = needs is not None and needs.alone
        is_new = owner not in self._decoding
        if is_new and self._decoding and (alone or any(self._decoding.values())):
            return False
        self._decoding[owner] = alone
        self.bring(*([needs] if needs else []))
        return True

    def release(self, owner: object) -> None:
        """End the turn of `owner`."""
        self._decoding.pop(owner, None)

    def bring(self, *needs: Resident) -> None:
        """Move all `needs` to the device, after moving away the residents that cannot share it with them."""
        alone = any(resident.alone for resident in needs)
        for other in self._residents:
            if other.present and other not in needs and (alone or other.alone):
                other.leave()
        for resident in needs:
            if not resident.present:
                torch.cuda.empty_cache()  # or the allocator keeps what the others freed for tensors of their sizes only
                resident.arrive()
                self.handovers += 1


_TURNS: dict[tuple[str, int], Turns] = {}


def turns(device: torch.device) -> Turns:
    """Return the turns of `device` in this process."""
    return _TURNS.setdefault((device.type, device.index or 0), Turns())
