"""Starts processes in order of readiness, keeps them alive, and takes them down with itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, TextIO

from stack.parts import Part

FIRST_PAUSE = 0.5  # seconds before the first restart; doubles
LONGEST_PAUSE = 30.0
GOOD_LIFE = 60.0  # a process that lived this long starts again from FIRST_PAUSE
_TAIL = 15  # lines of a failed start to show


class StartError(Exception):
    """A part did not get ready. The text ends with the last lines of its log."""


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    since: float
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))
    pause: float = FIRST_PAUSE
    again: float | None = None


class Supervisor:
    """Use `start`, then `watch` (or nothing), then `stop`.

    All of them from the same thread: Linux ties the life of the children to the thread that made them.
    """

    def __init__(self, log: TextIO, *, ready_timeout: float = 120.0) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._ready_timeout = ready_timeout
        self._running: list[_Running] = []
        self.stopping = threading.Event()
        self.inherit: tuple[int, ...] = ()  # file descriptors that every part keeps open

    def start(self, part: Part) -> int:
        """Start a part and wait until it is ready; gives its process id. Raises StartError."""
        return self.start_together([part])[0]

    def start_together(self, parts: Sequence[Part]) -> list[int]:
        """Start parts at once and wait for each in turn; gives their process ids. Raises StartError."""
        fresh = [self._spawn(part) for part in parts]
        self._running.extend(fresh)
        return [self._ready(running) for running in fresh]

    def _ready(self, running: _Running) -> int:
        part = running.part
        deadline = time.monotonic() + self._ready_timeout
        while not _asks(part, running.process.pid):
            if self.stopping.is_set():
                raise StartError("stopped")
            if running.process.poll() is not None or time.monotonic() > deadline:
                time.sleep(0.1)  # the last lines of the log arrive on a thread
                raise StartError("\n".join([f"{part.name} did not get ready", *running.tail]))
            time.sleep(0.05)
        self.say("ddsr", f"{part.name} is ready (pid {running.process.pid})")
        return running.process.pid

    def watch(self) -> None:
        """Restart what ends, with growing pauses, until `stopping` is set."""
        while not self.stopping.wait(0.2):
            self.check()

    def check(self) -> None:
        """One look at every process."""
        for index, running in enumerate(self._running):
            now = time.monotonic()
            if running.again is None and running.process.poll() is not None:
                if now - running.since > GOOD_LIFE:
                    running.pause = FIRST_PAUSE
                running.again = now + running.pause
                code = running.process.returncode
                self.say("ddsr", f"{running.part.name} ended ({code}); again in {running.pause:g} s")
            if running.again is not None and now >= running.again:
                fresh = self._spawn(running.part)
                fresh.pause = min(LONGEST_PAUSE, running.pause * 2)
                self._running[index] = fresh

    def stop(self) -> None:
        """End the parts, the last started first; one that takes longer than its patience is killed."""
        self.stopping.set()
        for running in reversed(self._running):
            process = running.process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(running.part.patience)
                except subprocess.TimeoutExpired:
                    self.say("ddsr", f"{running.part.name} does not end; killed")
                    process.kill()
                    process.wait()
        self._running.clear()

    def pids(self) -> dict[str, int]:
        return {running.part.name: running.process.pid for running in self._running}

    def say(self, name: str, line: str) -> None:
        """One line of the common log."""
        with self._lock:
            self._log.write(f"{name:<9}| {line}\n")
            self._log.flush()

    def _spawn(self, part: Part) -> _Running:
        ends_with_us = [sys.executable, "-m", "stack.pdeathsig", str(os.getpid())]
        process = subprocess.Popen(
            [*ends_with_us, *part.command],
            env=dict(part.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.inherit,
            start_new_session=True,  # Ctrl-C reaches the supervisor only, which then ends the parts in order
        )
        running = _Running(part, process, time.monotonic())
        stream = process.stdout
        if stream is not None:
            threading.Thread(target=self._copy, args=(running, stream), daemon=True).start()
        return running

    def _copy(self, running: _Running, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                running.tail.append(line)
                self.say(running.part.name, line)


def _asks(part: Part, pid: int) -> bool:
    try:
        return part.ready(pid)
    except OSError:
        return False
