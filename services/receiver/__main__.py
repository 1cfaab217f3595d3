"""`python -m services.receiver`: serve on `DDSR_HOST`, port `DDSR_RECEIVER_PORT` (8002)."""

import sys

from services.common.serve import serve
from services.receiver.app import ReceiverSettings, create_app

if __name__ == "__main__":
    sys.exit(serve(ReceiverSettings, create_app))
