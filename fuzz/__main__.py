"""`python -m fuzz [--seconds 60] [--only TARGET] [--out runs/fuzz]`: every target, each in a process of its own.

What is bred goes to `--out`, the committed corpus stays as it is. A find is kept in `--out/TARGET/find-*`: put it into
`fuzz/corpus/TARGET`, where it is a test from then on, and mend what it broke. Ends with 1 when there is a find, with 2
without atheris (`pip install -r requirements/fuzz.txt`).
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Coverage-guided fuzzing with atheris")
    parser.add_argument("--seconds", type=int, default=60, help="of every target")
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("atheris is not installed: pip install -r requirements/fuzz.txt\n")
        return 2
    found = []
    for name in [options.only] if options.only else sorted(TARGETS):
        if run(name, options.seconds, options.out / name) != 0:
            found.append(name)
    sys.stdout.write(f"finds: {', '.join(found) or 'none'}\n")
    return 1 if found else 0


def run(name: str, seconds: int, out: Path) -> int:
    """One target for that many seconds; the exit status of atheris, 0 where nothing was found."""
    bred = out / "bred"
    bred.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=16384"]
    command = [sys.executable, "-m", "fuzz.one", name, str(bred), str(CORPUS / name), *limits]
    with open(out / "log", "wb") as log:
        done = subprocess.run([*command, f"-artifact_prefix={out}/find-"], stdout=log, stderr=log)
    last = (out / "log").read_text(errors="replace").splitlines()[-1:]
    sys.stdout.write(f"{name}: {' '.join(last)} (exit {done.returncode}, log {out / 'log'})\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
