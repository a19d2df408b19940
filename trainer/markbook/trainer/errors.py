"""Why a run ends before its last step."""

from __future__ import annotations


class RunStoppedError(Exception):
    """A run ends early and in good order: its adapter, curves and summary are there."""


class ServiceTimeoutError(RunStoppedError):
    """The service was away, or marked too few samples, for longer than `rlaif.service_wait_s`; or a
    generation server was away for longer than `training.generation_wait_s`.
    """


class BudgetExceededError(RunStoppedError):
    """The service pays for no more marks of this run."""


class RewardHackingError(RunStoppedError):
    """A check struck, and `rlaif.reward_hacking_action` is stop."""


class GpuMemoryError(RunStoppedError):
    """Learning does not fit into the GPU's memory, with a halved micro-batch size either."""


class RankLostError(Exception):
    """Another process of the run has ended without a word."""
