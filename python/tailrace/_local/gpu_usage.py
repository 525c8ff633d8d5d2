"""How much the GPUs do for which process: NVIDIA's, as NVML tells (libnvidia-ml.so.1, of the driver)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping

_LIBRARY = "libnvidia-ml.so.1"
_INSUFFICIENT_SIZE = 7
_NOT_FOUND = 6
"""Of nvmlReturn_t (nvml.h). The latter: no process used the GPU."""
_SPARE = 16
"""How many processes more there may be than when the number was asked."""
_FIRST_NAMESPACE = "pid:[4026531836]"
"""What the machine's own process namespace is called (PROC_PID_INIT_INO, linux/proc_ns.h): NVML has its numbers."""

ANYBODY = 0
"""Stands for a process where nobody knows which it is."""

_EVERY = 1.0
"""How often to ask, in seconds."""
_WANTED = 5.0
"""How long after somebody wanted to know it is still asked, in seconds."""


class _Sample(ctypes.Structure):
    """nvmlProcessUtilizationSample_t."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("time", ctypes.c_ulonglong),
        ("sm", ctypes.c_uint),
        ("memory", ctypes.c_uint),
        ("encoder", ctypes.c_uint),
        ("decoder", ctypes.c_uint),
    )


class _Utilization(ctypes.Structure):
    """nvmlUtilization_t."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Nvml:
    """The library, loaded. Raises `OSError` where it is missing or cannot be used."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(_LIBRARY)
        self._call("nvmlInit_v2")
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._devices = []
        for index in range(count.value):
            device = ctypes.c_void_p()
            # One may have fallen off the bus.
            with contextlib.suppress(OSError):
                self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
                self._devices.append(device)
        # In microseconds, as the driver counts.
        self._asked = [time.time_ns() // 1000] * len(self._devices)
        with contextlib.suppress(OSError):
            self._knows_processes = os.readlink("/proc/self/ns/pid") == _FIRST_NAMESPACE  # noqa: PTH115

    _knows_processes = False

    def ask(self) -> Mapping[int, float]:
        """Return what part of a GPU each process used at most since the last call, from 0 to 1.

        Where nobody knows the processes, in a container or with an old GPU, that of all together is `ANYBODY`'s.
        """
        used: dict[int, float] = {}
        for place, device in enumerate(self._devices):
            with contextlib.suppress(OSError):
                for pid, part in self._ask(place, device):
                    used[pid] = max(used.get(pid, 0.0), part)
        return used

    def _ask(self, place: int, device: ctypes.c_void_p) -> list[tuple[int, float]]:
        if self._knows_processes:
            with contextlib.suppress(OSError):
                return self._ask_for_processes(place, device)
        utilization = _Utilization()
        self._call("nvmlDeviceGetUtilizationRates", device, ctypes.byref(utilization))
        return [(ANYBODY, utilization.gpu / 100)]

    def _ask_for_processes(self, place: int, device: ctypes.c_void_p) -> list[tuple[int, float]]:
        function, since = "nvmlDeviceGetProcessUtilization", ctypes.c_ulonglong(self._asked[place])
        count = ctypes.c_uint()
        status = self._call(function, device, None, ctypes.byref(count), since, also=(_INSUFFICIENT_SIZE, _NOT_FOUND))
        if status == _NOT_FOUND:
            return []
        count.value += _SPARE
        samples = (_Sample * count.value)()
        if self._call(function, device, samples, ctypes.byref(count), since, also=(_NOT_FOUND,)) == _NOT_FOUND:
            return []
        found = samples[: count.value]
        self._asked[place] = max([self._asked[place], *(sample.time for sample in found)])
        return [(sample.pid, max(sample.sm, sample.encoder, sample.decoder) / 100) for sample in found]

    def _call(self, name: str, *args: object, also: Iterable[int] = ()) -> int:
        """Call a function; raises `OSError` unless it succeeds or returns one of `also`."""
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise OSError(f"{_LIBRARY} has no {name}") from None
        status = int(function(*args))
        if status and status not in also:
            raise OSError(f"{name}: {status}")
        return status


class GpuUsage:
    """Asks the GPUs, while somebody wants to know, on a thread of its own: a driver may hang."""

    def __init__(self, load: Callable[[], Nvml] = Nvml) -> None:
        self._load = load
        self._changed = threading.Condition()
        self._busy: dict[int, float] = {}
        self._wanted_until = 0.0
        self._is_started = False

    def busy(self, processes: Iterable[int]) -> float:
        """Return the seconds of a GPU that these processes have used so far, as far as it was asked.

        It is asked from the first call on, and for a few seconds after the last; 0 where there is none.
        """
        with self._changed:
            self._wanted_until = time.monotonic() + _WANTED
            if not self._is_started:
                self._is_started = True
                with contextlib.suppress(RuntimeError):
                    threading.Thread(target=self._run, name="tailrace-gpu", daemon=True).start()
            self._changed.notify_all()
            return sum(self._busy.get(process, 0.0) for process in {*processes, ANYBODY})

    def _run(self) -> None:
        try:
            nvml = self._load()
        except OSError:
            # None, or no driver.
            return
        asked = time.monotonic()
        while True:
            with self._changed:
                while (now := time.monotonic()) >= self._wanted_until:
                    self._changed.wait()
                    asked = time.monotonic()
            used = nvml.ask()
            passed, asked = min(now - asked, 2 * _EVERY), now
            with self._changed:
                for process, part in used.items():
                    self._busy[process] = self._busy.get(process, 0.0) + part * passed
            time.sleep(_EVERY)
