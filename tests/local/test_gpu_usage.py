"""A GPU that works for a command counts as work of it, where NVIDIA's library can be asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tailrace._local.gpu_usage import ANYBODY, GpuUsage, Nvml

LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; } sample;
typedef struct { unsigned gpu, memory; } utilization;

static int mode(const char *wanted) { return strcmp(getenv("FAKE_NVML"), wanted) == 0; }
static unsigned pid(void) {
    unsigned pid = 0;
    FILE *file = fopen(getenv("FAKE_PID"), "r");
    if (file) { if (fscanf(file, "%u", &pid) != 1) pid = 0; fclose(file); }
    return pid;
}

int nvmlInit_v2(void) { return mode("no driver") ? 9 : 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)(size_t)(index + 1);
    return index == 1 ? 15 : 0;
}
int nvmlDeviceGetUtilizationRates(void *device, utilization *found) {
    if (device != (void *)1) abort();
    found->gpu = mode("idle") ? 0 : 40;
    found->memory = 0;
    return 0;
}
int nvmlDeviceGetProcessUtilization(void *device, sample *samples, unsigned *count, unsigned long long since) {
    struct timespec now;
    if (device != (void *)1) abort();
    clock_gettime(CLOCK_REALTIME, &now);
    if (mode("no processes")) return 3;
    if (mode("idle") || since > now.tv_sec * 1000000ULL + 1000000) return 6;
    if (!samples) { *count = 1; return 7; }
    if (*count < 2) abort();
    *count = 2;
    samples[0] = (sample){pid(), now.tv_sec * 1000000ULL, 0, 3, 0, 25};
    samples[1] = (sample){999999, now.tv_sec * 1000000ULL, 80, 0, 0, 0};
    return 0;
}
"""

PROGRAM = """
import os, sys
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerTimeoutError
from tailrace._local import gpu_usage
import anyio

if sys.argv[2] == "host":
    gpu_usage._FIRST_NAMESPACE = os.readlink("/proc/self/ns/pid")
else:
    gpu_usage._FIRST_NAMESPACE = "elsewhere"
job = WorkerJob("sh", ["-c", "echo $$ > $FAKE_PID; sleep 8"], cpu_idle_timeout=3)
try:
    print(anyio.run(LocalWorkerAdapter(backend=sys.argv[1]).execute, job).exit_code)
except WorkerTimeoutError as error:
    print(error.kind)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    source = folder / "nvml.c"
    source.write_text(LIBRARY)
    compiler = shutil.which("cc")
    assert compiler is not None, "this test needs a C compiler: install gcc or clang"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


@pytest.fixture
def end_of_command(library: Path, tmp_path: Path) -> Callable[[str, str, str], str]:
    """Run a command that does nothing; return its exit status, or the limit that ended it."""

    def run(mode: str, backend: str, namespace: str) -> str:
        env = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": mode, "FAKE_PID": str(tmp_path / "pid")}
        command = [sys.executable, "-c", PROGRAM, backend, namespace]
        return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    return run


@pytest.mark.parametrize("backend", ["native", "python"])
def test_a_command_whose_gpu_works_is_left_alone(backend: str, end_of_command: Callable[[str, str, str], str]) -> None:
    assert end_of_command("busy", backend, "host") == "0"


@pytest.mark.parametrize("namespace", ["host", "container"])
def test_a_command_whose_gpu_does_nothing_is_ended(
    namespace: str, end_of_command: Callable[[str, str, str], str]
) -> None:
    assert end_of_command("idle", "native", namespace) == "cpu"


@pytest.mark.parametrize(("mode", "namespace"), [("busy", "container"), ("no processes", "host")])
def test_where_nobody_knows_whose_work_it_is_a_busy_gpu_counts_for_all(
    mode: str, namespace: str, end_of_command: Callable[[str, str, str], str]
) -> None:
    assert end_of_command(mode, "native", namespace) == "0"


def test_a_library_without_a_driver_is_as_none(end_of_command: Callable[[str, str, str], str]) -> None:
    assert end_of_command("no driver", "native", "host") == "cpu"


def test_nothing_is_known_where_the_library_is_missing() -> None:
    def load() -> Nvml:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    gpus = GpuUsage(load)
    assert gpus.busy([1, ANYBODY]) == 0
