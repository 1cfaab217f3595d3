"""Captions made from the metadata fields of a picture, several per picture.

A user's identity prompt may be a description ("a smiling young woman") or a mere pass phrase ("correct horse battery
staple"), and a disguise prompt may name what no picture here shows ("a castle"). So a part of the captions gets unknown
words, a part of the scenes' captions consists of nothing else, and a part of the faces' captions is `PERSON` and
unknown words. The model then reads whatever it does not know as some scene, and as some face after `PERSON`.
"""

import random
import string
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

PERSON = "a photo of a person"
_THINGS = """
airport ant apple arch autumn avenue bakery ball balcony barn basket bay bear bed bell bench berry bicycle bird book
bottle bowl box branch bread brook bucket bus butterfly button cabin cake camel camp canal candle canyon car carpet
cart cat cave chair chapel cheese cherry chimney church cliff clock cloud coast coffee coin corner cottage country
courtyard cow creek crop crown cup curtain dam dawn deer dock dog dolphin door dove dragon dream drum duck dune dusk
eagle earth egg elephant engine evening factory fair fall fence fern ferry fire fish flag flame flower fog fort fox
frog fruit gate ghost glass goat gold grape grass grove guitar hall hammer harvest hat hay hedge herd hill hive
horse hotel house hut ice inn iron jar journey jungle kite ladder lamp lane leaf lemon lighthouse lion lock log
machine map maple marsh meadow mill mirror mist moon morning moss moth museum music nest night oak office orchard
owl palace palm paper parrot pasture path pen piano pier pine pipe planet plant plaza plum pond poppy pot puddle
pumpkin pyramid quarry rabbit rail rain raven ribbon ridge ring rock roof room root rope rose ruin sail salt sand
school seed shadow sheep shell ship shop shore silver sled smoke snake spider spoon spring square squirrel stable
star station stone storm summer sun swamp swan table tail tea temple tent thunder tiger toy track train tree truck
tulip tunnel turtle umbrella vase view village vine violin wagon wall water wave weather weekend wheat wheel whale
willow wind winter wolf wood yard zebra
""".split()  # noqa: SIM905 - some four hundred words
_KINDS = ("old", "small", "big", "red", "green", "white", "black", "yellow", "quiet", "empty", "wooden", "long", "wild")

_HAIR = {
    "Black_Hair": "black hair",
    "Blond_Hair": "blond hair",
    "Brown_Hair": "brown hair",
    "Gray_Hair": "gray hair",
}
_WITH = {
    "Eyeglasses": "glasses",
    "Mustache": "a mustache",
    "Goatee": "a goatee",
    "Bangs": "bangs",
    "Bushy_Eyebrows": "bushy eyebrows",
    "Sideburns": "sideburns",
    "Double_Chin": "a double chin",
    "Receding_Hairline": "a receding hairline",
    "Big_Nose": "a big nose",
    "Rosy_Cheeks": "rosy cheeks",
    "5_o_Clock_Shadow": "a stubble beard",
    "Mouth_Slightly_Open": "an open mouth",
}
_WEARING = {
    "Wearing_Hat": "a hat",
    "Wearing_Earrings": "earrings",
    "Wearing_Lipstick": "lipstick",
    "Wearing_Necktie": "a necktie",
    "Wearing_Necklace": "a necklace",
    "Heavy_Makeup": "make-up",
}
_ADJECTIVES = {"Attractive": "attractive", "Chubby": "chubby", "Pale_Skin": "pale", "Bald": "bald"}
_PICTURE = ("a photo of", "a portrait of", "a picture of", "a photograph of", "the face of")
SCENE_NOUNS = {
    "mountain": ("mountain", "mountains", "mountain landscape"),
    "glacier": ("glacier", "glacier landscape", "icy landscape"),
    "sea": ("sea", "ocean", "sea landscape", "beach"),
    "forest": ("forest", "woods", "forest landscape"),
    "street": ("street", "city street"),
    "buildings": ("building", "buildings", "city"),
    "bamboo forest": ("bamboo forest",),
    "desert": ("desert", "desert landscape"),
    "campus": ("campus",),
    "sky": ("sky",),
    "sunrise": ("sunrise", "sunset"),
    "cloudy sky": ("cloudy sky",),
    "sunny sky": ("sunny sky",),
}
_OPEN_SKY = {"mountain", "glacier", "sea", "street", "buildings", "desert", "campus"}
_NATURE = {"mountain", "glacier", "sea", "forest", "desert", "bamboo forest"}


def caption(record: Record, rng: random.Random) -> str:
    """One caption of the picture that `record` describes; another call gives another wording."""
    if rng.random() < (0.2 if "scene" in record else 0.1):
        unknown = _unknown(rng)
        return unknown if "scene" in record else f"{PERSON}, {unknown}"
    text = scene_caption(record, rng) if "scene" in record else _face(record, rng)
    if rng.random() < 0.15:
        words = text.split()
        for _ in range(rng.randint(1, 3)):
            words.insert(rng.randint(0, len(words)), _pass_phrase_word(rng))
        text = " ".join(words)
    return text


def empty_caption(record: Record) -> str:
    """What stands in a caption's place when it is dropped: nothing for a scene, `PERSON` for a face."""
    return "" if "scene" in record else PERSON


def _unknown(rng: random.Random) -> str:
    """Words that no picture here shows: a pass phrase, or a thing as a person would name it."""
    if rng.random() < 0.4:
        phrase = [
            rng.choice(_THINGS) if rng.random() < 0.5 else _pass_phrase_word(rng) for _ in range(rng.randint(1, 6))
        ]
        return " ".join(phrase)
    thing = rng.choice(_THINGS) if rng.random() < 0.7 else _pass_phrase_word(rng)
    if rng.random() < 0.3:
        thing = f"{rng.choice(_KINDS)} {thing}"
    frame = rng.choice(("{a}", "{a}", "a photo of {a}", "a picture of {a}", "my {t}", "the {t}", "{t}", "{t} {u}"))
    return frame.format(a=_article(thing), t=thing, u=rng.choice(_THINGS))


def _pass_phrase_word(rng: random.Random) -> str:
    letters = string.ascii_lowercase if rng.random() < 0.8 else string.ascii_letters + string.digits
    return "".join(rng.choice(letters) for _ in range(rng.randint(2, 9)))


def _article(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text


def _noun(record: Record, rng: random.Random) -> str:
    if "attributes" in record:
        male, young = "Male" in record["attributes"], "Young" in record["attributes"]
        noun = "man" if male else "woman"
        if young:
            return rng.choice((noun, f"young {noun}", f"young {noun}"))
        return rng.choice((noun, f"old {noun}", f"middle-aged {noun}", f"older {noun}"))
    return _noun_of_age(_age(record, rng), record["gender"] == "male", rng)


def _age(record: Record, rng: random.Random) -> int:
    if "age" in record:
        return int(record["age"])
    if record["age_range"] == "more than 70":
        return rng.randint(71, 85)
    low, _, high = str(record["age_range"]).partition("-")
    return rng.randint(int(low), int(high or low))


def _noun_of_age(age: int, male: bool, rng: random.Random) -> str:
    noun, child = ("man", "boy") if male else ("woman", "girl")
    if age <= 2:
        return rng.choice(("baby", f"baby {child}"))
    if age <= 12:
        return rng.choice(("child", child, f"little {child}"))
    if age <= 19:
        return rng.choice((f"teenage {child}", f"young {noun}"))
    if age <= 35:
        return rng.choice((noun, f"young {noun}", f"{age} year old {noun}"))
    if age <= 55:
        return rng.choice((noun, f"middle-aged {noun}", f"{age} year old {noun}"))
    return rng.choice((f"old {noun}", f"elderly {noun}", f"{age} year old {noun}"))


def _some(table: dict[str, str], present: set[str], rng: random.Random, share: float) -> list[str]:
    found = [words for name, words in table.items() if name in present and rng.random() < share]
    rng.shuffle(found)
    return found[:2]


def _face(record: Record, rng: random.Random) -> str:
    present = set(record.get("attributes", ()))
    words = [_ADJECTIVES[a] for a in sorted(present & set(_ADJECTIVES)) if rng.random() < 0.3]
    if "Smiling" in present and rng.random() < 0.7:
        words.insert(0, "smiling")
    text = _article(" ".join([*words, _noun(record, rng)]))
    features = _some(_HAIR, present, rng, 0.6) + _some(_WITH, present, rng, 0.5)
    if features:
        text += " with " + " and ".join(features[:2])
    if wearing := _some(_WEARING, present, rng, 0.35):
        text += " wearing " + " and ".join(wearing)
    if "attributes" not in record:  # UTKFace and FairFace: the face fills the frame
        return f"a close-up of {text}"
    return f"{rng.choice(_PICTURE)} {text}" if rng.random() < 0.6 else text


def scene_caption(record: Record, rng: random.Random) -> str:
    """A caption of a scene in words that the model knows; one in sixteen of nature's names no more than a landscape."""
    scene = str(record["scene"])
    noun = rng.choice(SCENE_NOUNS[scene])
    light = {"dark": ("dark", "gloomy"), "bright": ("bright", "sunlit"), "normal": ("",)}[record["light"]]
    adjective = rng.choice(light) if rng.random() < 0.6 else ""
    text = _article(f"{adjective} {noun}".strip())
    if noun in ("mountains", "woods", "buildings"):
        text = f"{adjective} {noun}".strip()
    if rng.random() < 0.12 and scene in _NATURE:
        text = "a landscape" if rng.random() < 0.5 else f"a landscape with {text}"
    if rng.random() < 0.5:
        text += _colours(record, scene, rng)
    return f"a photo of {text}" if rng.random() < 0.4 else text


def _colours(record: Record, scene: str, rng: random.Random) -> str:
    top, bottom = record["top"], record["bottom"]
    if scene in _OPEN_SKY and rng.random() < 0.7:
        return f" under {_article(top)} sky"
    choices: Sequence[str] = (
        f" with {top} and {bottom} colours",
        f", {bottom} at the bottom",
        f", {top} above",
    )
    return rng.choice(choices)
