"""`python -m examples.face_verification`: three visits to a kiosk, on this machine, with the embedded model.

Exit code: 0 when the same person was verified and nobody else; 3 otherwise, or when something did not start.
"""

import argparse
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from examples.face_verification.recogniser import Recogniser, RecogniserMissing
from examples.face_verification.story import PROMPT, ROOT, WRONG_PROMPT, Outcome, Scene, StoryError, Visit, readable
from stack.supervisor import StartError

HERE = Path(__file__).parent
PORTRAIT = ROOT / "examples" / "portrait.jpg"
NOBODY = HERE / "nobody.png"
SUBJECT = "eileen"
OUT = ROOT / "demo" / "face_verification"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    given = _parser().parse_args(arguments)
    try:
        Recogniser()
    except RecogniserMissing as error:
        print(f"{error}: pip install -r {(HERE / 'requirements.txt').relative_to(ROOT)}")
        return 3
    given.out.mkdir(parents=True, exist_ok=True)
    log_file = given.out / "processes.log"
    with tempfile.TemporaryDirectory(prefix="ddsr-verify-") as name:
        folder = Path(name)
        same = given.again or second_take(given.enrolled, folder / "second-take.jpg")
        visits = [
            Visit("the same person", same, PROMPT, True),
            Visit("another person", given.other, PROMPT, False),
            Visit("the same person, a wrong prompt", same, WRONG_PROMPT, False),
        ]
        print("starting Redis, worker, sender, receiver and the verification backend ...", flush=True)
        try:
            with open(log_file, "w") as log:
                outcomes = perform(Scene(folder, log, SUBJECT, given.enrolled), visits)
        except (StartError, StoryError) as error:
            print(f"it failed: {error}\nlog: {log_file}")
            return 3
        leaks = readable(log_file.read_text(), outcomes, [PROMPT, WRONG_PROMPT])
        sheet(outcomes).save(given.out / "visits.png")
        answers = {outcome.visit.title: outcome.answer for outcome in outcomes}
        (given.out / "answers.json").write_text(json.dumps(answers, indent=2) + "\n")
        for number, outcome in enumerate(outcomes):
            shutil.copy(outcome.stego, given.out / f"sent{number}.png")
    show(outcomes)
    print(f"what the kiosk saw, what it sent, and the answers: {given.out}")
    print("\n".join(["READABLE:", *leaks]) if leaks else "looked for the prompts in all logs and stegos: nothing")
    right = all(outcome.verified == outcome.visit.expected for outcome in outcomes)
    return 0 if right and not leaks else 3


def perform(scene: Scene, visits: Sequence[Visit]) -> list[Outcome]:
    """Start, receive every visit, stop. Raises StartError, StoryError."""
    try:
        scene.start()
        return [scene.receive(visit, number) for number, visit in enumerate(visits)]
    finally:
        scene.stop()


def second_take(portrait: Path, target: Path) -> Path:
    """Stands in for a second photograph: the first one mirrored, turned a little, darker, recompressed."""
    with Image.open(portrait) as image:
        take = ImageOps.mirror(image.convert("RGB")).rotate(4, Image.Resampling.BICUBIC, expand=False)
    darker = ImageEnhance.Contrast(ImageEnhance.Brightness(take).enhance(0.85)).enhance(0.9)
    darker.save(target, quality=80)
    return target


def sheet(outcomes: Sequence[Outcome], edge: int = 232) -> Image.Image:
    """One column a visit: the capture above, the stego below, the answer under both."""
    margin, caption = 10, 34
    width = len(outcomes) * (edge + margin) + margin
    found = Image.new("RGB", (width, 2 * (edge + margin) + margin + caption), "white")
    draw = ImageDraw.Draw(found)
    for column, outcome in enumerate(outcomes):
        left = margin + column * (edge + margin)
        for row, data in enumerate((outcome.visit.picture.read_bytes(), outcome.stego.read_bytes())):
            with Image.open(io.BytesIO(data)) as image:
                square = ImageOps.fit(image.convert("RGB"), (edge, edge), Image.Resampling.BICUBIC)
            found.paste(square, (left, margin + row * (edge + margin)))
        text = f"{outcome.visit.title}\n{_verdict(outcome)}"
        draw.text((left, 2 * (edge + margin) + margin - 2), text, fill="black")
    return found


def show(outcomes: Sequence[Outcome]) -> None:
    """A table on standard output."""
    print(f"\n{'visit':<34}{'so the person is':<19}{'similarity':>10}{'seconds':>9}")
    for outcome in outcomes:
        alike = "no face" if outcome.similarity is None else f"{outcome.similarity:.3f}"
        says = "verified" if outcome.verified else "not verified"
        print(f"{outcome.visit.title:<34}{says:<19}{alike:>10}{outcome.seconds:>9.1f}")
    print()


def _verdict(outcome: Outcome) -> str:
    says = "verified" if outcome.verified else "not verified"
    return says if outcome.similarity is None else f"{says}, similarity {outcome.similarity:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.face_verification", description=__doc__.split("\n")[0])
    parser.add_argument("--enrolled", type=Path, default=PORTRAIT, help="photograph of the enrolled person")
    parser.add_argument("--again", type=Path, help="another one of the same person; default: a second take, made")
    parser.add_argument("--other", type=Path, default=NOBODY, help="somebody else; default: a face that a model drew")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "demo" / "face_verification", help="folder of what it writes"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
