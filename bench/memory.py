"""Memory as Linux counts it, in MiB."""

import os
from pathlib import Path


def resident(pid: int | None = None) -> float:
    """Resident memory of a process now; 0 when it is gone."""
    return _status(pid or os.getpid(), "VmRSS")


def peak() -> float:
    """The most that this process held since `reset_peak`."""
    return _status(os.getpid(), "VmHWM")


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), 0.0)
