"""Batches in the engine: everybody gets an own outcome, whatever the others do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ComputationFailed, DdsrError, JobCancelled, JobTimeout, PromptTooLong, RecipeMismatch
from shared.recipe import Recipe
from shared.recipe_files import recipes_in
from tests.pictures import pixels
from tests.worker.arithmetic import STEPS, ArithmeticCore
from tests.worker.support import face, hide_request, recover_request
from worker.core import load_engine
from worker.engine import Engine, Stop, Unwanted


def ignore(part: Sequence[int], step: int, steps: int) -> None:
    """No progress wanted."""


def make(limit: int = 8) -> tuple[Engine, ArithmeticCore]:
    core = ArithmeticCore()
    return Engine(core, limit=limit), core


def test_one_batch_and_the_way_back() -> None:
    engine, core = make()
    outcomes = engine.run([hide_request(seed=i, prompt=f"p{i}") for i in range(4)], ignore)
    assert core.batches == [4]
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    assert len(results) == 4
    assert all(recipes_in(result.picture) == [result.recipe] for result in results)
    requests = [recover_request(r.picture, r.recipe, prompt=f"p{i}") for i, r in enumerate(results)]
    for i, outcome in enumerate(engine.run(requests, ignore)):
        assert outcome.result is not None
        assert np.array_equal(pixels(outcome.result.picture), face(i))


def test_the_poisoned_fails_alone() -> None:
    engine, core = make()
    texts = ["a", "b", "poison", "c", "d", "too long", "e", "f"]
    errors: list[BaseException] = []
    outcomes = engine.run([hide_request(text) for text in texts], ignore, errors.append)
    failed = {i: type(outcome.error) for i, outcome in enumerate(outcomes) if outcome.error is not None}
    assert failed == {2: ComputationFailed, 5: PromptTooLong}
    assert sum(core.batches) == 6
    assert "the prompt" not in str(outcomes[2].error)
    assert {type(error) for error in errors} == {ArithmeticError}
    assert engine.limit == 8


def test_out_of_memory_halves_now_and_later() -> None:
    engine, core = make()
    outcomes = engine.run([hide_request("big") for _ in range(8)], ignore)
    assert all(outcome.result is not None for outcome in outcomes)
    assert core.batches == [2, 2, 2, 2]
    assert engine.limit == 2
    core.batches.clear()
    engine.run([hide_request() for _ in range(4)], ignore)
    assert core.batches == [2, 2]


@pytest.mark.parametrize(
    ("end", "error", "after", "computed"), [(Stop, JobTimeout, JobTimeout, 1), (Unwanted, JobCancelled, None, 2)]
)
def test_what_is_finished_is_kept_when_time_is_up_or_nobody_wants_a_part(
    end: type[BaseException], error: type[DdsrError], after: type[DdsrError] | None, computed: int
) -> None:
    """Stop ends all that is not finished, Unwanted the part being computed and nothing else."""
    engine, core = make(limit=2)
    seen = []

    def watch(part: Sequence[int], step: int, steps: int) -> None:
        seen.append((tuple(part), step, steps))
        if part[0] == 2 and step == 3:
            raise end

    outcomes = engine.run([hide_request() for _ in range(6)], watch)
    assert seen[:STEPS] == [((0, 1), step, STEPS) for step in range(1, STEPS + 1)]
    assert seen[STEPS : STEPS + 3][-1] == ((2, 3), 3, STEPS)
    assert core.batches == [2] * computed
    found = [None if outcome.error is None else type(outcome.error) for outcome in outcomes]
    assert found == [None, None, error, error, after, after]
    assert all((outcome.result is None) == (outcome.error is not None) for outcome in outcomes)


def test_a_recipe_of_another_model() -> None:
    engine, _ = make()
    made = engine.run([hide_request()], ignore)[0].result
    assert made is not None
    foreign = Recipe("b" * 16, "keyed", "sum", STEPS, "a cat", bytes(16)).to_text()
    outcome = engine.run([recover_request(made.picture, foreign)], ignore)[0]
    assert isinstance(outcome.error, RecipeMismatch)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_formats(form: str) -> None:
    engine, _ = make()
    result = engine.run([hide_request(format=form)], ignore)[0].result
    assert result is not None
    assert result.media_type == f"image/{form}"
    assert recipes_in(result.picture) == [result.recipe]


def test_a_network_in_half_precision_answers_recipes_of_the_whole_one(tmp_path: Path) -> None:
    from shared.diffusion.tiny import build_tiny

    whole, half = (load_engine(str(build_tiny(tmp_path)), "cpu", precision=name) for name in ("float32", "bfloat16"))
    found = whole.run([hide_request(scheme="matched", solver="heun", steps=1)], lambda part, step, steps: None)[0]
    assert found.result is not None
    back = half.run([recover_request(found.result.picture, found.result.recipe)], lambda part, step, steps: None)[0]
    assert back.error is None
