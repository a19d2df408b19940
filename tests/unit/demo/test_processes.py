"""Starting and stopping: configuration of one run, exit codes, signals, and a service that does
not come up.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

from markbook.config.loading import load_config
from markbook.demo.cli import DEFAULT_CONFIG, for_one_run, introduction, with_max_steps
from markbook.demo.processes import DemoError, Interrupts, free_port, service


def test_the_demo_file_is_valid_and_names_the_stand_in():
    config = load_config(DEFAULT_CONFIG, {})
    assert config.training.model == "bundled:smollm2-135m"
    assert config.teacher.name == "static"
    text = introduction(config, DEFAULT_CONFIG.parent)
    assert "offline stub" in text
    assert "several minutes" in text


def test_a_paid_teacher_is_announced_as_such():
    config = load_config(DEFAULT_CONFIG, {"MARKBOOK_TEACHER": "anthropic"})
    assert "costs money" in introduction(config, DEFAULT_CONFIG.parent)


def test_every_run_has_its_own_name_seed_and_port():
    base = load_config(DEFAULT_CONFIG, {})
    config = for_one_run(base, 7, "elsewhere", 4321, "20260102-030405")
    assert config.training.seed == 7
    assert config.training.output_dir == "elsewhere"
    assert config.rlaif.run == f"demo-20260102-030405-{os.getpid()}-seed7"
    assert config.rlaif.scoring_url == "http://127.0.0.1:4321"
    assert (config.service.host, config.service.port) == ("127.0.0.1", 4321)
    untouched = for_one_run(base, None, None, 1, "now")
    assert untouched.training.seed == base.training.seed
    assert untouched.training.output_dir == base.training.output_dir
    assert untouched.store == base.store


def test_a_short_demo_is_announced_with_its_number_of_steps():
    base = load_config(DEFAULT_CONFIG, {})
    text = introduction(with_max_steps(base, 2), DEFAULT_CONFIG.parent)
    assert "with seed 0: 2 steps of 2 tasks x 8 samples" in text
    assert with_max_steps(base, None) == base


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)],
)
def test_exit_codes_pass_through(code, expected):
    with Interrupts() as interrupts:
        assert interrupts.run([sys.executable, "-c", code]) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_came_before_the_process_reaches_it(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), number)
        assert interrupts.received == number
        assert interrupts.run([sys.executable, "-c", "import signal; signal.pause()"]) == 130
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_a_process_that_ignores_the_first(tmp_path):
    stubborn = f"""
import os, signal
signal.signal(signal.SIGINT, lambda *_: os.kill({os.getpid()}, signal.SIGINT))
os.kill({os.getpid()}, signal.SIGINT)
while True:
    signal.pause()
"""
    with Interrupts() as interrupts:
        assert interrupts.run([sys.executable, "-c", stubborn]) == 137


def test_a_service_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("teacher: {name: socrates}\n", encoding="utf-8")
    with (
        pytest.raises(DemoError, match=r"(?s)exit code 2.*teacher\.name.*service\.log"),
        service(
            config,
            "sqlite:///data/markbook.db",
            free_port(),
            tmp_path / "service.log",
            lambda: False,
        ),
    ):
        pytest.fail("it is not ready")
