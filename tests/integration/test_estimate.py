"""`estimate` against what the emulator bills for a run of that shape, through the whole service
and the SDK.
"""

from __future__ import annotations

import json
from statistics import fmean

import pytest

from benchmarks import tokens as bench
from benchmarks.workload import workload
from markbook.config.loading import parse_config
from markbook.scoring.budgets.cost_estimate import Plan, forecast
from markbook.scoring.cli.estimate import Shares, assumptions
from markbook.scoring.prompts.rubric import load_rubric
from markbook.scoring.teachers.anthropic.pricing import cost_usd
from tests.emulator.server import Emulator
from tests.emulator.tokens import exact

WITHIN = 1.15
"""The likely figure is this near to the bill, either way, where length and shares are known."""


@pytest.fixture(scope="module")
def answers():
    return workload(tasks=4, left_out=0)


@pytest.mark.parametrize(
    "settings", [bench.OURS, bench.OURS_WHOLE_TASK], ids=["200 characters", "the whole task"]
)
async def test_the_bill_is_near_the_likely_figure_and_between_the_bounds(
    answers, emulator: Emulator, settings
):
    [row] = await bench.measure(emulator, settings, answers, ["x"], count=exact)
    billed = cost_usd(row.tokens, bench.HAIKU)
    judged = [code for entry in emulator.log for code in entry.codes]
    length = fmean(exact(code) for code in judged)
    # a student's tokens are about the teacher's here
    config = parse_config({**settings, "training": {"max_new_tokens": round(2 * length)}})
    tasks = [
        json.loads(line) for line in {json.dumps([each.task, each.language]) for each in answers}
    ]
    plan = Plan([(task, language) for task, language in tasks], groups=4, samples=4, steps=1)
    rubric = load_rubric()

    shares = Shares(row.rejected / row.samples, 0.0, 0.0)
    _, likely, _ = assumptions(plan, config, length, shares)
    found = forecast(plan, likely, config, rubric)
    assert found.usd is not None
    assert 1 / WITHIN < found.usd / billed < WITHIN
    assert found.judged == pytest.approx(len(judged))

    low, _, high = (forecast(plan, each, config, rubric).usd for each in assumptions(plan, config))
    assert low is not None
    assert high is not None
    assert low < billed < high
