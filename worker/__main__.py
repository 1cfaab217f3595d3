"""`python -m worker`: one worker process, configured by the environment (`shared.settings`)."""

import sys

from shared.settings import QueueSettings, WorkerSettings
from worker.app import run
from worker.engine import Engine


def main() -> int:
    queue_settings, settings = QueueSettings(), WorkerSettings()

    def load() -> Engine:
        from worker.core import load_engine  # torch takes seconds: errors of the settings come first

        return load_engine(settings.model, settings.device, precision=settings.precision, limit=settings.batch_size)

    return run(queue_settings, settings, load)


if __name__ == "__main__":
    sys.exit(main())
