"""SIGTERM in a command: it is cancelled once, ends in order, and raises what Ctrl-C raises."""

from __future__ import annotations

import asyncio
import signal

import pytest

from markbook.scoring.cli.stop_signals import run_until_signal, sigterm_as_ctrl_c


def test_work_is_cancelled_and_its_end_is_not_cut_off_by_a_second_signal():
    ends = []

    async def work() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            signal.raise_signal(signal.SIGTERM)
            for _ in range(5):
                await asyncio.sleep(0)
            ends.append("in order")

    with pytest.raises(KeyboardInterrupt):
        run_until_signal(work())
    assert ends == ["in order"]


def test_the_handlers_before_are_back_afterwards():
    async def work() -> int:
        return 7

    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_ctrl_c():
        mine = signal.getsignal(signal.SIGTERM)
        assert run_until_signal(work()) == 7
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_of_the_work_is_raised_as_it_is():
    async def work() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        run_until_signal(work())
