"""Runs the tests of samples in the sandbox, where these are their truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from markbook.config.settings import Execution
from markbook.scoring.execution import Limits, TestResult, TestRunner, Verdict, open_runner
from markbook.scoring.judging.labelled import LabelledSample, Truth, given_truth
from markbook.scoring.languages import canonical
from markbook.scoring.pipeline.code_extraction import extract


def find_truths(
    samples: Sequence[LabelledSample],
    config: Execution,
    right_from: float,
    on_tested: Callable[[int], None],
) -> list[Truth | None]:
    """The truth of each sample; None where its tests neither failed nor could all be run, so that
    nothing is shown.

    Blocks. `on_tested` is called with the number of samples whose tests have run since its last
    call. Raises ConfigError and ExecutionUnavailableError where there is no sandbox.
    """
    truths = [given_truth(each, right_from) for each in samples]
    untested = [at for at, sample in enumerate(samples) if sample.tests is not None]
    if not untested:
        return truths
    limits = Limits(config.test_timeout_s, config.sample_timeout_s, config.memory_mib * 1024 * 1024)
    runner = open_runner(config.confirm, limits=limits)
    try:
        with ThreadPoolExecutor(runner.max_running) as threads:
            verdicts = threads.map(lambda at: _run(samples[at], runner), untested)
            for at, truth in zip(untested, verdicts, strict=True):
                truths[at] = truth
                on_tested(1)
    finally:
        runner.close()
    return truths


def _run(sample: LabelledSample, runner: TestRunner) -> Truth | None:
    code, _ = extract(sample.code, canonical(sample.language))
    return decide(runner.run_sync(code, sample.tests or [], sample.test_setup))


def decide(results: Sequence[TestResult]) -> Truth | None:
    """Wrong if any test failed, right if all passed."""
    verdicts = {result.verdict for result in results}
    if verdicts - {Verdict.PASSED, Verdict.CANNOT_RUN}:
        return Truth(0.0, False)
    return None if Verdict.CANNOT_RUN in verdicts else Truth(1.0, True)
