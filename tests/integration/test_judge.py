"""`markbook judge` with teachers on the emulator whose judges have a planted AUC: figures,
bills, repeats, failures.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter

import pytest

from markbook.cli import main
from tests.emulator import tokens
from tests.emulator.faults import Faults
from tests.emulator.judges import CRITERIA
from tests.emulator.server import Emulator
from tests.processes import ROOT

TASKS = 30
HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"


def code_of(task: int, *, is_right: bool) -> str:
    operator = "+" if is_right else "-"
    return f"def f{task}(value):\n    return value {operator} {task + 1}\n"


def samples():
    for task in range(TASKS):
        for is_right in (True, False):
            code = code_of(task, is_right=is_right)
            prompt = f"Write f{task}(value), which adds {task + 1} to value."
            yield {"prompt": prompt, "language": "python", "code": code, "passed": is_right}


def judge_of(share_known: float, salt: str = ""):
    """A judge that knows the truth of a share of the codes (90 or 10 of 100) and gives 50 to the
    others.
    """

    def judge(codes):
        marks = []
        for code in codes:
            draw = int.from_bytes(hashlib.sha256((salt + code).encode()).digest()[:4]) / 2**32
            mark = 50 if draw >= share_known else 90 if " + " in code else 10
            marks.append((mark,) * CRITERIA)
        return marks

    return judge


def planted_auc(share_known: float) -> float:
    """Right above wrong unless neither is known, which is a tie: 1 - (1 - share)² / 2."""
    return 1 - (1 - share_known) ** 2 / 2


@pytest.fixture
def second():
    with Emulator() as other:
        other.clear(count=tokens.estimate)
        yield other


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """`run(*arguments, a=(emulator, model, settings), …)`: exit status, standard output and
    error.
    """
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, samples())))

    def judge(*arguments, **teachers):
        named = []
        for name, (emulator, model, sections) in teachers.items():
            teacher = {
                "name": "anthropic",
                "base_url": emulator.url,
                "model": model,
                **sections.pop("teacher", {}),
            }
            config = {
                "teacher": teacher,
                "store": {"database_url": f"sqlite:///{tmp_path / 'marks.db'}"},
                **sections,
            }
            (tmp_path / f"{name}.yaml").write_text(json.dumps(config))
            named += ["--teacher", f"{name}.yaml"]
        status = main(["judge", "file.jsonl", *named, "--resamples", "100", *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return judge


def test_two_teachers_of_one_quality_are_indistinguishable_and_the_cheaper_is_named(run, emulator):
    emulator.settings.judge = judge_of(0.6)
    status, out, err = run(
        "--yes", "--json", dear=(emulator, SONNET, {}), cheap=(emulator, HAIKU, {})
    )
    assert status == 0
    assert err.splitlines()[0].startswith(f"dear: 60 marks, 0 of them stored; {SONNET}: 30 calls, ")
    report = json.loads(out)
    assert (report["samples"], report["tasks"], report["right"], report["wrong"]) == (
        60,
        30,
        30,
        30,
    )
    for teacher in report["teachers"]:
        auc = teacher["figures"]["auc"]
        assert auc["low"] <= planted_auc(0.6) <= auc["high"]
        assert auc["high"] - auc["low"] < 0.3
    assert report["comparisons"][0]["is_indistinguishable"] is True
    assert report["choice"] == {"best": "dear", "equals": ["dear", "cheap"], "cheapest": "cheap"}


def test_costs_are_those_of_the_bill(run, emulator):
    emulator.settings.judge = judge_of(0.6)
    _, out, _ = run("--yes", "--json", a=(emulator, HAIKU, {}))
    [teacher] = json.loads(out)["teachers"]
    billed = sum(entry.dollars() for entry in emulator.log)
    assert billed > 0
    assert teacher["paid_usd"] == pytest.approx(billed)
    assert teacher["figures"]["usd_per_1000"]["value"] == pytest.approx(billed / 60 * 1000)
    sent = sum(sum(entry.bill.usage()[name] for name in USAGE) for entry in emulator.log)
    assert teacher["figures"]["tokens_per_1000"]["value"] == pytest.approx(sent / 60 * 1000)


USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def test_a_better_teacher_is_told_from_a_worse_one(run, emulator, second):
    emulator.settings.judge, second.settings.judge = judge_of(0.9), judge_of(0.1)
    status, out, _ = run("--yes", good=(emulator, SONNET, {}), poor=(second, HAIKU, {}))
    assert status == 0
    assert "good and poor: different; AUC differs by +0." in out
    assert "best: good\n" in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_is_stored_is_not_paid_for_again_and_its_cost_is_an_estimate(run, emulator):
    emulator.settings.judge = judge_of(0.6)
    run("--yes", a=(emulator, HAIKU, {}))
    calls = len(emulator.log)
    status, out, err = run(a=(emulator, HAIKU, {}))  # nothing to confirm
    assert (status, len(emulator.log)) == (0, calls)
    assert "60 marks, 60 of them stored" in err
    assert "a: every mark was cached, so costs (~) are estimates" in out
    assert "paid now                 $0.0000" in out


def test_repeats_are_calls_of_their_own_and_their_spread_is_shown(run, emulator):
    seen: Counter[str] = Counter()

    def unsteady(codes):
        """A code whose first mark is 40 gets 60 when it is requested a second time, and the
        other way round.
        """
        marks = []
        for code in codes:
            seen[code] += 1
            is_high = (len(code) + seen[code]) % 2
            marks.append((60 if is_high else 40,) * CRITERIA)
        return marks

    emulator.settings.judge = unsteady
    _, out, err = run("--yes", "--json", "--again", "1", a=(emulator, HAIKU, {}))
    assert "a: 120 marks, 0 of them stored; claude-haiku-5-5: 60 calls" in err
    assert len(emulator.log) == 60
    figure = json.loads(out)["teachers"][0]["figures"]["retest_deviation"]
    # two marks that are 0.2 apart have the variance 0.02, for every sample
    assert figure == {name: pytest.approx(0.02**0.5) for name in ("value", "low", "high")}
    run("--again", "1", a=(emulator, HAIKU, {}))
    assert len(emulator.log) == 60


@pytest.mark.parametrize(("shuffle", "deviation"), [(True, 0.025), (False, 0.0)])
def test_the_retest_deviation_includes_what_the_order_changes(run, emulator, shuffle, deviation):
    """The second place costs 0.05.

    In either place half of the time, a score has the variance 0.05² / 4.
    """

    def biased(codes):
        return [(60 - 5 * place,) * CRITERIA for place, _ in enumerate(codes)]

    emulator.settings.judge = biased
    teacher = {"teacher": {"shuffle_group": shuffle}}
    _, out, _ = run("--yes", "--json", "--again", "3", a=(emulator, HAIKU, teacher))
    figure = json.loads(out)["teachers"][0]["figures"]["retest_deviation"]
    # the order is drawn again in each run, so an interval of 95 % would miss it in one of twenty:
    # four standard errors
    assert figure["value"] == pytest.approx(deviation, abs=0.01)
    assert figure["high"] - figure["low"] < 0.01
    assert figure["low"] <= figure["value"] <= figure["high"]


@pytest.mark.parametrize(("answer", "status", "calls"), [("y", 0, 30), ("n", 130, 0)])
def test_on_a_terminal_the_user_is_asked(run, emulator, monkeypatch, answer, status, calls):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    emulator.settings.judge = judge_of(0.6)
    found, out, err = run(a=(emulator, HAIKU, {}))
    assert (found, len(emulator.log)) == (status, calls)
    assert "make these calls? [y/N]" in err
    assert "make these calls" not in out


def test_a_failed_call_is_unscored_and_in_no_figure(run, emulator):
    emulator.settings.judge = judge_of(1.0)
    emulator.settings.faults = Faults(share=0.3, kinds=("refusal",), seed=1)
    _, out, _ = run("--yes", "--json", a=(emulator, HAIKU, {}))
    [teacher] = json.loads(out)["teachers"]
    refused = teacher["unscored"]["teacher_refused"]
    assert 0 < refused < 60
    assert teacher["scored"] == 60 - refused
    assert teacher["figures"]["mean_right"]["value"] == pytest.approx(0.9)
    assert teacher["figures"]["auc"]["value"] == 1.0


def test_a_budget_ends_the_calls(run, emulator):
    emulator.settings.judge = judge_of(0.6)
    status, out, _ = run(
        "--yes", "--run", "trial", a=(emulator, HAIKU, {"budgets": {"runs": {"trial": {"usd": 0}}}})
    )
    assert status == 1
    assert emulator.log == []
    assert "AUC (0.5 is chance)      -\n" in out
    assert "a: unscored and in no figure: budget_exhausted 60" in out


def test_calls_that_cost_money_need_consent(run, emulator):
    status, out, err = run(a=(emulator, HAIKU, {}))
    assert (status, out, emulator.log) == (2, "", [])
    estimate, refusal = err.splitlines()
    assert estimate.startswith("a: 60 marks, 0 of them stored")
    assert refusal == "these calls cost money: add --yes to make them without being asked"


def test_the_exit_status_shows_an_auc_below_the_limit(run, emulator):
    emulator.settings.judge = judge_of(0.6)
    _, out, _ = run("--yes", "--json", a=(emulator, HAIKU, {}))
    auc = json.loads(out)["teachers"][0]["figures"]["auc"]["value"]
    assert 0.5 < auc < 1
    assert run("--min-auc", str(auc), a=(emulator, HAIKU, {}))[0] == 0
    assert run("--min-auc", str(auc + 0.001), a=(emulator, HAIKU, {}))[0] == 1


def test_the_page_shows_what_its_command_prints(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "choosing-a-teacher.md").read_text()
    configurations = dict(re.findall(r"^echo '(.*)' > (\w+\.yaml)$", page, re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    for text, name in configurations.items():
        (tmp_path / name).write_text(text)
    teachers = [argument for name in configurations.values() for argument in ("--teacher", name)]
    assert main(["judge", str(ROOT / "docs" / "examples" / "labelled.jsonl"), *teachers]) == 0
    printed = capsys.readouterr().out
    [table] = re.findall(r"^```\n(40 samples.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert printed.startswith(table)
    unwrapped = printed.replace("\n  ", " ")
    assert (
        "short and whole: different; AUC differs by -0.100 [-0.200, -0.025] on 40 samples"
        in unwrapped
    )
