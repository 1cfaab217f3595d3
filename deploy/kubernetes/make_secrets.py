"""Make the secrets of the Kubernetes deployment: `.venv/bin/python deploy/kubernetes/make_secrets.py`.

They go to deploy/kubernetes/base/secrets, which git ignores and kustomize reads. What is there already stays, so that a
second run changes nothing. Keep the folder as you keep other private keys, or destroy it and make a new one: nothing
that outlives a day depends on it.
"""

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[0] = str(ROOT)  # in place of this folder


def make(folder: Path) -> None:
    """Everything that docker/make_secrets.py makes, and the key pairs that containers make by themselves there."""
    from shared.envelope import Keyring
    from shared.webhooks import load_secret

    runpy.run_path(str(ROOT / "docker/make_secrets.py"))["make"](folder, ROOT / "stack/redis.conf")
    for service in ("sender", "receiver"):
        Keyring.load_or_create(folder / f"{service}-keys")
    worker = Keyring.load_or_create(folder / "worker-keys")
    load_secret(folder / "worker-keys" / "webhook.secret")
    public = "".join(key.to_text() + "\n" for key in worker.public_keys)
    (folder / "worker.pub").write_text(public, encoding="ascii")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "base" / "secrets")
