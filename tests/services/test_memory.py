"""What a service holds after large pictures. In a process of its own: the setting is one of the process."""

import json
import subprocess
import sys

from tests.worker.support import ROOT

PROGRAM = """
import io, json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image
from services.common.memory import give_back_large_blocks
from shared.imaging import decode_upload

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if sys.argv[1] == "back":
    give_back_large_blocks()
file = io.BytesIO()
Image.new("RGB", (3000, 2000)).save(file, "JPEG")
kept = []
def decode(number):
    decode_upload(file.getvalue())
    kept.append(bytes(2000 + number))
before = resident()
for _ in range(2):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, range(8)))
print(json.dumps((resident() - before) / 2**20))
"""


def held(how: str) -> float:
    """MiB that are held after sixteen pictures of 6 million pixels."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], cwd=ROOT, check=True, capture_output=True)
    return float(json.loads(done.stdout))


def test_large_blocks_go_back() -> None:
    """Found by the soak: the sender's memory grew in steps of 80 MiB."""
    assert held("back") < 20
