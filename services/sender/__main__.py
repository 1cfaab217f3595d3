"""`python -m services.sender`: serve on `DDSR_HOST`, port `DDSR_SENDER_PORT` (8001)."""

import sys

from services.common.serve import serve
from services.sender.app import SenderSettings, create_app

if __name__ == "__main__":
    sys.exit(serve(SenderSettings, create_app))
