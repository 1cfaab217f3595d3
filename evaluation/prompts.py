"""Prompts of the protocol: what identifies a face, what disguises it, and what an attacker would try.

Identity prompts are captions made from a face's own attributes. That is the weak key that people will choose
and that the paper uses; a secret word would only make the attacker's work harder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DISGUISES: Mapping[str, tuple[str, ...]] = {
    "mountain": ("a snowy mountain under a blue sky", "a rocky mountain"),
    "glacier": ("a glacier under a blue sky", "a bright glacier"),
    "sea": ("a calm sea under a cloudy sky", "a blue sea"),
    "forest": ("a dark forest", "a green forest"),
    "street": ("a street in a city", "a bright street"),
    "buildings": ("tall buildings under a blue sky", "a photo of buildings"),
}
UNKNOWN = (  # disguises of which training knows no word (training/captions.py; a test holds them apart)
    "a castle",
    "a photo of a castle at a lake",
    "a bridge",
    "the bridge over a river",
    "a garden",
    "my garden",
    "a boat",
    "a boat in the harbour",
    "a kitchen",
    "my kitchen",
    "my holiday",
    "holiday pictures",
    "a birthday party",
    "our wedding",
    "a picnic",
    "a waterfall",
    "a volcano",
    "an island",
    "a farm",
    "a tractor",
    "a motorcycle",
    "an airplane",
    "a rocket",
    "a robot",
    "a laptop",
    "a telephone",
    "a sofa",
    "a pizza",
    "a sandwich",
    "tomatoes",
    "a mushroom",
    "a cactus",
    "a penguin",
    "a panda",
    "a shark",
    "a lizard",
    "a statue",
    "a fountain",
    "a tower",
    "a skyscraper",
    "a stadium",
    "a hospital",
    "a library",
    "a theatre",
    "a market",
    "a concert",
    "a football match",
    "a chessboard",
    "a snowman",
    "fireworks",
)  # fmt: skip - fifty prompts, some to a line
NO_PROMPT = "a photo of a face"  # what is left to say for someone who knows only that a face is hidden
COMMON = (
    "a man",
    "a woman",
    "a smiling woman",
    "a smiling man",
    "a young woman",
    "a young man",
    "a photo of a face",
    "a portrait of a person",
)
_HAIR = (
    ("Blond_Hair", "blond"),
    ("Black_Hair", "black"),
    ("Brown_Hair", "brown"),
    ("Gray_Hair", "gray"),
)
_NEAR = (
    ("young", "old"),
    ("old", "young"),
    ("woman", "man"),
    ("man", "woman"),
    ("smiling", "serious"),
    ("serious", "smiling"),
)


def disguise(index: int, scenes: Sequence[str] = tuple(DISGUISES)) -> tuple[str, str]:
    """(scene, prompt) of the index-th picture: all scenes in turn, so that any first N cover them evenly."""
    scene = scenes[index % len(scenes)]
    variants = DISGUISES[scene]
    return scene, variants[(index // len(scenes)) % len(variants)]


def identity(fields: Mapping[str, Any]) -> str:
    """A caption such as "a smiling young woman with blond hair" from CelebA's attributes; without
    attributes, "a person"."""
    present = set(fields.get("attributes", ()))
    if not present:
        return "a photo of a person"
    words = ["a", "smiling" if "Smiling" in present else "serious", "young" if "Young" in present else "old"]
    words.append("man" if "Male" in present else "woman")
    hair = next((colour for name, colour in _HAIR if name in present), None)
    extras = [f"{hair} hair"] if hair else []
    extras += ["glasses"] if "Eyeglasses" in present else []
    return " ".join(words) + (" with " + " and ".join(extras) if extras else "")


def near(prompt: str) -> str:
    """The prompt with one word changed: the first that has an opposite here, else the last one replaced."""
    words = prompt.split()
    for old, new in _NEAR:
        if old in words:
            words[words.index(old)] = new
            return " ".join(words)
    return " ".join([*words[:-1], "stranger" if words[-1] != "stranger" else "person"])


def wrong(prompt: str, pool: Sequence[str], seed: Sequence[int]) -> str:
    """Another face's prompt, drawn by the seed from those of the pool that differ; the common ones where all agree."""
    others = [other for other in (*pool, *COMMON) if other != prompt]
    return others[int(np.random.default_rng(seed).integers(len(others)))]
