"""`python -m stack.pdeathsig COMMAND...`: become COMMAND, and die with the process that started it.

Linux sends the chosen signal to a process whose parent is gone (`PR_SET_PDEATHSIG`); the setting survives
`exec`. So a supervisor that is killed outright leaves nothing behind. Elsewhere this only becomes COMMAND.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """`arguments`: the supervisor's process id, then the command."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)  # it died before the call
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
