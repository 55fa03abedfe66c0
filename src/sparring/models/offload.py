"""Models that take turns on one device: while one is on it, the others wait in the memory of the CPU.

Whoever decodes keeps the device until nobody waits for a reply of that model any more. So hundreds of episodes that
talk to two models move each of them once a turn of their conversations, not once a reply. Models of which none asks to
be alone share the device, and do not wait for each other.

Not here: what is decoded (`model`), and when weights are trained (`trainer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakSet

import torch
from torch import Tensor, nn

_CPU = torch.device("cpu")


def across(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; from a GPU into pinned memory, out of which it goes back at full speed."""
    if tensor.device.type == "cuda" and device.type == "cpu":
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)
    return tensor.to(device, non_blocking=True)


class Resident:
    """Tensors that are on `device` all together or not at all; the tensors stay the same objects, their data moves.

    `alone`: it begins in the memory of the CPU, and is never on the device with anything else.
    """

    def __init__(self, tensors: Callable[[], Iterable[Tensor]], device: torch.device, *, alone: bool = False) -> None:
        self._tensors, self._device = tensors, device
        self.alone = alone
        self.present = not alone
        self._resting: dict[Tensor, Tensor] = {}
        for tensor in tensors() if alone else ():
            tensor.data = self._resting[tensor] = tensor.data.pin_memory() if device.type == "cuda" else tensor.data

    def leave(self) -> None:
        """To the memory of the CPU; what never changes is there already, but for the first time."""
        for tensor in self._tensors():
            if tensor.device.type != self._device.type:  # an optimiser counts its steps on the CPU
                continue
            if tensor not in self._resting:
                self._resting[tensor] = across(tensor.data, _CPU)
            elif not isinstance(tensor, nn.Parameter) or tensor.requires_grad:
                self._resting[tensor].copy_(tensor.data)
            tensor.data = self._resting[tensor]
        self.present = False

    def arrive(self) -> None:
        """Back to the device."""
        for tensor, resting in self._resting.items():
            tensor.data = across(resting, self._device)
        self.present = True


class Turns:
    """Whose turn it is on a device; `handovers` counts how often something came back to it."""

    def __init__(self) -> None:
        self.handovers = 0
        self._residents: WeakSet[Resident] = WeakSet()
        self._decoding: dict[object, bool] = {}

    def join(self, resident: Resident) -> Resident:
        """Tells of somebody on the device."""
        self._residents.add(resident)
        return resident

    def take(self, who: object, needs: Resident | None) -> bool:
        """Whether it is the turn of `who` to decode; then what it `needs` is on the device. Ends with `give`."""
        alone = needs is not None and needs.alone
        if who not in self._decoding and self._decoding and (alone or any(self._decoding.values())):
            return False
        self._decoding[who] = alone
        self.bring(*([needs] if needs else []))
        return True

    def give(self, who: object) -> None:
        """`who` has nothing left to decode."""
        self._decoding.pop(who, None)

    def bring(self, *needs: Resident) -> None:
        """What is in `needs` comes to the device, if it is not there; what cannot be there with it leaves before."""
        alone = any(resident.alone for resident in needs)
        for other in self._residents:
            if other.present and other not in needs and (alone or other.alone):
                other.leave()
        for resident in needs:
            if not resident.present:
                torch.cuda.empty_cache()  # else what the others left is kept for tensors of just their sizes
                resident.arrive()
                self.handovers += 1


_TURNS: dict[tuple[str, int], Turns] = {}


def turns(device: torch.device) -> Turns:
    """Those of `device`, in this process."""
    return _TURNS.setdefault((device.type, device.index or 0), Turns())
