"""All stages one after the other within a budget, for a machine that is lent for half an hour: `ddsr train all`.

The stages work in `runs`, where each has its folder with its checkpoint. A killed run goes on from there, and what is
finished is not done again. `out` gets what is worth carrying away: after every checkpoint the weights so far, as
`model.tar.000`, `model.tar.001`, ... (`cat model.tar.* | tar x`), and at the end a report with figures, the losses and
a sheet of pictures. No file of it is larger than 16 MiB, and there are eight at most.
"""

import dataclasses
import functools
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from figures.fidelity import psnrs
from figures.provenance import machine, provenance
from figures.tables import markdown
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.errors import InvalidOption, ModelError
from training import clip, diffusion, pcr, plan, rates, vae
from training.captions import PERSON, SCENE_NOUNS
from training.data import TRAIN_FACES, load_tars
from training.pack import pack
from training.runs import Saved

SHARES = {"clip": 0.15, "diffusion": 0.6, "pcr": 0.1}  # of the budget; the rest loads, measures and draws
PART = 15 * 2**20  # bytes of a part of the archive
MOST_PARTS = 5  # beside report, losses and sheet
SHOWN = 12  # faces of the sheet
Say = Callable[[str], None]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Stages:
    """The configuration of every stage."""

    vae: vae.VaeConfig
    clip: clip.ClipConfig
    diffusion: diffusion.DiffusionConfig
    pcr: pcr.PcrConfig
    plan: plan.PlanConfig
    rates: rates.RatesConfig


TINY = Stages(dataclasses.replace(vae.TINY, channels=16), clip.TINY, diffusion.TINY, pcr.TINY, plan.TINY, rates.TINY)


def stages(minutes: float, device: str) -> Stages:
    """Configurations that take a budget of minutes, in larger batches on a GPU."""
    long, gpu = 10**6, device.startswith("cuda")
    times = {name: share * minutes for name, share in SHARES.items()}
    return Stages(
        vae.VaeConfig(every=8),
        clip.ClipConfig(steps=20_000, minutes=times["clip"], batch=512 if gpu else 128),
        diffusion.DiffusionConfig(steps=long, minutes=times["diffusion"], batch=256 if gpu else 32),
        pcr.PcrConfig(steps=long, minutes=times["pcr"]),
        plan.PlanConfig(),
        rates.RatesConfig(stegos=40),
    )


def train(
    material: Path, runs: Path, out: Path, config: Stages, *, seed: int = 0, device: str = "cpu", say: Say = print
) -> Path:
    """Run what is left of the stages; returns the report.

    Raises:
        InvalidOption: a GPU is asked for and there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidOption("torch finds no CUDA device; --device cpu trains on the processor")
    way = _Way(material, runs, out, config, seed, device)
    for task in (way.vae, way.clip, way.diffusion, way.pcr, way.final):
        done = runs / f"{task.__name__}.done"
        say(f"{task.__name__}: {'was done' if done.is_file() else 'begins'}")
        if not done.is_file():
            task()
            done.touch()
    return report(material, runs, out, config.diffusion.size, seed)


@dataclass(frozen=True)
class _Way:
    """The stages in their order; each goes on from its checkpoint."""

    material: Path
    runs: Path
    out: Path
    config: Stages
    seed: int
    device: str

    def vae(self) -> None:
        vae.train(self.material, self.runs / "vae", self.config.vae, seed=self.seed)

    def clip(self) -> None:
        folder, about = self.runs / "clip", self.config.clip
        saved = functools.partial(bundle, folder / "clip", self.out, "clip")
        clip.train(self.material, folder, about, seed=self.seed, device=self.device, saved=saved)

    def diffusion(self) -> None:
        folder, codes = self.runs / "diffusion", (self.runs / "vae" / "vae", self.runs / "clip" / "clip")
        about, saved = self.config.diffusion, self._carried("diffusion")
        diffusion.train(self.material, folder, *codes, about, seed=self.seed, device=self.device, saved=saved)
        self._planned("model", "diffusion")

    def pcr(self) -> None:
        folder, start = self.runs / "pcr", (self.runs / "model", self.runs / "clip" / "clip")
        about, saved = self.config.pcr, self._carried("pcr")
        pcr.train(self.material, folder, *start, about, seed=self.seed, device=self.device, saved=saved)

    def final(self) -> None:
        rates.measure(self.material, self._planned("final", "pcr"), self.config.rates, seed=self.seed)
        bundle(self.runs / "final", self.out)

    def _packed(self, name: str, network: str) -> Path:
        """The pipeline `name` with the network of a stage."""
        runs = self.runs
        parts = {"vae": runs / "vae" / "vae", "clip": runs / "clip" / "clip", "unet": runs / network / "unet"}
        return pack(runs / name, **parts, scheduler=runs / "diffusion" / "scheduler")

    def _planned(self, name: str, network: str) -> Path:
        pipeline = self._packed(name, network)
        plan.measure(self.material, pipeline, self.config.plan, seed=self.seed)
        return pipeline

    def _carried(self, network: str) -> Saved:
        return lambda: bundle(self._packed("packed", network), self.out)


def bundle(folder: Path, out: Path, name: str = "model", part: int = PART) -> None:
    """Write a folder to `out` as an archive in parts of at most `part` bytes; older parts are replaced.

    Args:
        name: of the folder within the archive.

    Raises:
        ModelError: it needs more than MOST_PARTS.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, arcname=name)
    data = archive.getvalue()
    pieces = [data[start : start + part] for start in range(0, len(data), part)]
    if len(pieces) > MOST_PARTS:
        raise ModelError(f"the weights are larger than {MOST_PARTS} files of {part} bytes")
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"model.tar.{number:03d}" for number in range(len(pieces))]
    halves = [path.with_name(path.name + ".half") for path in paths]
    for half, piece in zip(halves, pieces, strict=True):
        half.write_bytes(piece)
    for half, path in zip(halves, paths, strict=True):  # all at once: a kill leaves the old parts or the new ones
        half.replace(path)
    for path in set(out.glob("model.tar.*")) - set(paths):
        path.unlink()


def report(material: Path, runs: Path, out: Path, size: int, seed: int) -> Path:
    """Write `report.md`, `losses.png` and `sheet.jpg` about the pipeline `runs`/final."""
    model = DiffusionModel.load(runs / "final")
    faces = load_tars(material, TRAIN_FACES[:1], size=size, limit=SHOWN).pixels
    shown = _shown(model, faces)
    _sheet([faces, *shown.values()], out / "sheet.jpg")
    shutil.copyfile(runs / "diffusion" / "losses.png", out / "losses.png")
    made = provenance(seed=seed, threads=torch.get_num_threads(), model=model.fingerprint)
    lines = [
        "# Training",
        "",
        f"`{made['command']}`, commit {made['commit']}, {made['day']}, {machine(made)}. Model {model.fingerprint}.",
        "",
        *markdown(("stage", "steps", "seconds", "last losses"), [_told(runs / name) for name in SHARES]),
        f"{len(faces)} faces of training, scheme `keyed`; PSNR to the face:",
        "",
        *markdown(("", "dB"), [(name, f"{mean(psnrs(faces, pictures)):.2f}") for name, pictures in shown.items()]),
        f"![faces, and of each: {', '.join(shown)}](sheet.jpg)",
        "",
        "![losses of diffusion](losses.png)",
    ]
    path = out / "report.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _shown(model: DiffusionModel, faces: Pixels) -> dict[str, Pixels]:
    """What becomes of faces, by name."""
    nouns = [names[0] for names in SCENE_NOUNS.values()]
    disguises = [f"a photo of {nouns[i % len(nouns)]}" for i in range(len(faces))]
    prompts, wrong = ([f"{PERSON}, {word} {i}" for i in range(len(faces))] for word in ("kettle", "kite"))
    hidden = hide(model, faces, prompts, disguises)
    stegos, recipes = np.stack([one.stego for one in hidden]), [one.recipe for one in hidden]
    return {
        "stego": stegos,
        "decode(encode(x))": model.decode(model.encode(faces)),
        "recovered": recover(model, stegos, prompts, recipes),
        "recovered under a wrong prompt": recover(model, stegos, wrong, recipes),
    }


def _told(run: Path) -> tuple[str, str, str, str]:
    lines = [json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines()]
    last = {name: value for line in lines for name, value in line.items()}
    losses = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name not in ("step", "seconds"))
    return run.name, str(last["step"]), f"{last['seconds']:.0f}", losses


def _sheet(rows: list[Pixels], path: Path) -> None:
    lines = [np.concatenate(list(row), axis=1) for row in rows]
    Image.fromarray(np.concatenate(lines)).save(path, quality=88)
