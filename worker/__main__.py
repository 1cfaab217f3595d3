"""`python -m worker`: one worker process, configured by the environment (`shared.settings`)."""

import sys

from shared.settings import QueueSettings, WorkerSettings
from worker.app import run
from worker.engine import Engine


def main() -> int:
    queue_settings, settings = QueueSettings(), WorkerSettings()
    return run(
        queue_settings,
        settings,
        lambda: Engine.load(settings.model, settings.device, precision=settings.precision, limit=settings.batch_size),
    )


if __name__ == "__main__":
    sys.exit(main())
