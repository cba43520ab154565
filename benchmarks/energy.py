"""Energy per call, from the counter that NVML keeps of an NVIDIA GPU since its driver was loaded.

The counter (millijoules of the whole card, idle power included) moves every few dozen milliseconds, so a call
is repeated for a second or more. Other machines have no such counter that a program may read.
"""

import ctypes
import os
import time
from collections.abc import Callable
from ctypes.util import find_library
from typing import Any

#: Seconds of calls between two readings.
SECONDS = 1.5


class NoMeter(Exception):
    """No energy can be measured; the text says why."""


class Meter:
    """The energy counter of the GPU that JAX's first device is.

    Args:
      nvml: the loaded library.
      visible: as in the environment variable ``CUDA_VISIBLE_DEVICES``: which GPU is the first.
    """

    def __init__(self, nvml: Any, visible: str = "") -> None:
        self._nvml, self._device = nvml, ctypes.c_void_p()
        first = visible.split(",")[0].strip()
        if self._nvml.nvmlInit_v2():
            raise NoMeter("NVML does not start: is there an NVIDIA driver?")
        if first and not first.isdigit():
            found = nvml.nvmlDeviceGetHandleByUUID(first.encode(), ctypes.byref(self._device))
        else:
            found = nvml.nvmlDeviceGetHandleByIndex_v2(int(first or 0), ctypes.byref(self._device))
        if found:
            raise NoMeter("NVML finds no GPU")
        self.joules()

    def joules(self) -> float:
        """Since the driver was loaded."""
        value = ctypes.c_ulonglong()
        if self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device, ctypes.byref(value)):
            raise NoMeter("this GPU has no energy counter (Volta and later have one)")
        return value.value / 1000

    def per_call(
        self,
        call: Callable[[], object],
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> float:
        """Joules of a call that waits for its result."""
        call()
        start, before, calls = clock(), self.joules(), 0
        while calls == 0 or clock() - start < seconds:
            call()
            calls += 1
        return (self.joules() - before) / calls


def meter() -> Meter:
    """The meter of this machine; raises ``NoMeter`` with a sentence."""
    try:
        nvml = ctypes.CDLL(find_library("nvidia-ml") or "libnvidia-ml.so.1")
    except OSError:
        raise NoMeter(
            "NVML (libnvidia-ml), which reads the counter of an NVIDIA GPU, is not on this machine"
        ) from None
    return Meter(nvml, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
