"""Memory and CPU time of processes, as Linux counts them; memory in MiB."""

from pathlib import Path

import psutil

MIB = 2**20


def resident(pid: int | None = None) -> float:
    """Resident memory of a process (None: this one) with its children's; 0 for one that is gone."""
    try:
        process = psutil.Process(pid)
        return float(sum(part.memory_info().rss for part in (process, *process.children(recursive=True)))) / MIB
    except psutil.NoSuchProcess:
        return 0.0


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, user and system."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def peak() -> float:
    """The most that this process held since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def reset_peak() -> None:
    """Forget what this process held before."""
    Path("/proc/self/clear_refs").write_text("5")
