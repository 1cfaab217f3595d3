"""One target under atheris: `python -m fuzz.one TARGET FOLDER... [-libFuzzer options]`."""

import sys

import atheris

with atheris.instrument_imports(include=["PIL", "shared", "json", "base64"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
