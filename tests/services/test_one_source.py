"""The limits of steps and prompts have one source: forms, settings, recipes, core and documents agree."""

from pathlib import Path

import pytest

from services.common.settings import ServiceSettings
from services.receiver.schemas import RecoverForm
from services.sender.schemas import HideForm
from shared.errors import InvalidOption, RecipeError
from shared.limits import MAX_PROMPT, MAX_STEPS
from shared.recipe import Recipe

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def test_forms_settings_and_documents() -> None:
    hide, recover = HideForm.model_json_schema()["properties"], RecoverForm.model_json_schema()["properties"]
    prompts = (hide["identity_prompt"], hide["disguise_prompt"], recover["identity_prompt"])
    assert {prompt["maxLength"] for prompt in prompts} == {MAX_PROMPT}
    assert hide["steps"]["maximum"] == ServiceSettings().max_steps == MAX_STEPS
    assert ServiceSettings().max_prompt == MAX_PROMPT
    assert f"1 to {MAX_STEPS} (`DDSR_MAX_STEPS`)" in API
    assert API.count(f"1 to {MAX_PROMPT} characters") == 2


def test_recipes() -> None:
    assert Recipe("0" * 16, "keyed", "heun", MAX_STEPS, "x" * MAX_PROMPT, bytes(16))
    for steps, prompt in ((MAX_STEPS + 1, "x"), (1, "x" * (MAX_PROMPT + 1))):
        with pytest.raises(RecipeError):
            Recipe("0" * 16, "keyed", "heun", steps, prompt, bytes(16))


def test_core() -> None:
    from shared.diffusion.walks import HideOptions

    assert HideOptions(steps=MAX_STEPS).resolved_steps == MAX_STEPS
    with pytest.raises(InvalidOption):
        HideOptions(steps=MAX_STEPS + 1)
