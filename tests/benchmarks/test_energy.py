import ctypes

import pytest

from benchmarks import energy
from benchmarks.energy import Meter, NoMeter


class Nvml:
    """Stands in for the library: a card of 200 W whose clock is the test's."""

    def __init__(self, clock, broken=()):
        self.clock, self.broken, self.asked = clock, broken, None

    def nvmlInit_v2(self):
        return int("driver" in self.broken)

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        self.asked = index
        return int("card" in self.broken)

    def nvmlDeviceGetHandleByUUID(self, name, handle):
        self.asked = name
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, value):
        if "counter" in self.broken:
            return 3
        ctypes.cast(value, ctypes.POINTER(ctypes.c_ulonglong))[0] = int(200_000 * self.clock.now)
        return 0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_joules_per_call_are_watts_times_seconds():
    clock = Clock()

    def call():
        clock.now += 0.25

    assert Meter(Nvml(clock)).per_call(call, 1.0, clock) == pytest.approx(50)


@pytest.mark.parametrize(("visible", "asked"), [("", 0), ("2,3", 2), ("GPU-8f", b"GPU-8f")])
def test_the_card_is_the_first_that_is_visible(visible, asked):
    nvml = Nvml(Clock())
    Meter(nvml, visible)
    assert nvml.asked == asked


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("driver", "is there an NVIDIA driver?"),
        ("card", "NVML finds no GPU"),
        ("counter", "this GPU has no energy counter"),
    ],
)
def test_without_a_counter_a_sentence_says_why(broken, sentence):
    with pytest.raises(NoMeter, match=sentence):
        Meter(Nvml(Clock(), {broken}))


def test_a_machine_without_the_library_says_so(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(energy.ctypes, "CDLL", missing)
    with pytest.raises(NoMeter, match="is not on this machine"):
        energy.meter()
