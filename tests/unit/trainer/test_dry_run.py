"""`--dry-run`: the arithmetic by hand, and that it leaves nothing and asks for one group, which the run then reuses."""

from __future__ import annotations

import pytest

from markbook.config.settings import Config, Rlaif, Training
from markbook.contract import Counters
from markbook.trainer.__main__ import BAD_CONFIG, FINISHED, GAVE_UP
from markbook.trainer.dry_run import Part, evaluations, forecast, parts
from tests.unit.trainer.stub import StubService, unscored
from tests.unit.trainer.test_run import by_hash

CONFIG = Config(
    training=Training(max_steps=10, prompts_per_step=3, eval_every_steps=4, eval_samples_per_task=9),
    rlaif=Rlaif(num_samples_per_prompt=8),
)


@pytest.mark.parametrize(
    ("steps", "every", "count"),
    [
        (10, None, 2),
        (10, 5, 3),
        (10, 10, 2),
        (10, 4, 4),
        (1, 1, 2),
        (3, 1, 4),
    ],
)
def test_evaluations_of_a_run(steps, every, count):
    assert evaluations(steps, every) == count


def test_parts_of_a_run():
    # 30 groups of 8 in one call each; 4 evaluations of 5 tasks with 9 samples, two calls a task
    assert parts(CONFIG, 5, 8) == {
        "training": Part(30, 240, 30),
        "4 evaluations": Part(20, 180, 40),
        "together": Part(50, 420, 70),
    }
    assert parts(CONFIG, 0, 4)["together"] == Part(30, 240, 60)


def stats(service, **runs):
    return service.stats().model_copy(
        update={
            "runs": runs,
            "totals": Counters(teacher_calls=4, api_tokens_sent=4000, api_tokens_received=80, cost_usd=None),
            "profile_inputs": service.stats().profile_inputs.model_copy(update={"max_group_size": 8}),
        }
    )


@pytest.fixture
def service():
    with StubService(by_hash) as running:
        yield running


def rows(lines):
    return {line[:28].strip(): line[28:].split() for line in lines}


def test_the_price_is_what_this_group_cost_a_call(service):
    mine = Counters(
        teacher_calls=2, api_tokens_sent=1000, api_tokens_received=41, cost_usd=0.02, cache_creation_input_tokens=9
    )
    lines = list(forecast(CONFIG, 5, stats(service, mine=mine), "mine"))
    found = rows(lines)
    assert found["samples"] == ["240", "180", "420"]
    assert found["teacher calls, at most"] == ["30", "40", "70"]
    assert found["input tokens, at most about"] == ["15,000", "20,000", "35,000"]
    assert found["output tokens, at most about"] == ["615", "820", "1,435"]
    assert found["US dollars, at most about"] == ["0.30", "0.40", "0.70"]
    assert lines[-2].startswith("tokens per call as in this group")
    assert "prompt cache" in lines[-1]


def test_where_this_group_needed_no_call_the_book_is_asked(service):
    lines = list(forecast(CONFIG, 5, stats(service, mine=Counters()), "mine"))
    assert rows(lines)["input tokens, at most about"] == ["30,000", "40,000", "70,000"]
    assert not [line for line in lines if "dollars" in line]  # the price of the model is not known
    assert lines[-1].startswith("tokens per call as in all stored calls")


def test_an_empty_book_knows_no_price(service):
    lines = list(forecast(CONFIG, 5, service.stats(), "mine"))
    assert not [line for line in lines if "tokens, at most" in line]
    assert "what a call costs is not known yet" in lines[-1]


def test_it_writes_nothing_and_the_run_meets_its_samples_again(run, tmp_path, capsys):
    with StubService(by_hash) as service:
        before = {path.name for path in tmp_path.iterdir()}
        assert run(service, arguments=("--dry-run", "--run-dir", "run")) == FINISHED
        assert {path.name for path in tmp_path.iterdir()} == before | {"config.yaml"}
        [request] = service.requests
        assert (request.run, len(request.samples)) == ("test-run/dry-run", 4)
        out = capsys.readouterr().out
        assert "generated one group: 4 samples, " in out
        assert "marks: 0." in out
        assert rows(out.splitlines())["samples"] == ["16", "12", "28"]
        assert run(service) == FINISHED
        [again] = [other for other in service.requests[1:] if other.samples == request.samples]
        assert again.run == "test-run"


def test_a_group_without_marks_is_an_error(run, capsys):
    with StubService(lambda _: unscored()) as service:
        assert run(service, arguments=("--dry-run",)) == GAVE_UP
    assert "none of the samples got a mark: teacher_unavailable: overloaded" in capsys.readouterr().err


def test_what_a_run_could_not_use_is_found(run, capsys):
    with StubService(by_hash) as service:
        assert run(service, {"trackers": ["tensorbord"]}, arguments=("--dry-run",)) == BAD_CONFIG
        assert "training.trackers names tensorbord" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            run(service, arguments=("--dry-run", "--resume"))
