"""What every process that sees faces and prompts does at its start."""

import resource


def no_core_dumps() -> None:
    """A core dump would hold faces and prompts. For this process and those that it starts, for good."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
