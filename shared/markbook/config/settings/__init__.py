"""The settings of both processes, section by section: every number has its type, default, unit
and reason here.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from markbook.config.settings.alerts import Alerts
from markbook.config.settings.rlaif import SERVICE_OWNED, Rlaif
from markbook.config.settings.section import Section
from markbook.config.settings.service import (
    PRICES_OF_2026_11,
    Budget,
    Budgets,
    Execution,
    Price,
    Service,
    StoreConfig,
    TeacherConfig,
)
from markbook.config.settings.training import Training

__all__ = [
    "PRICES_OF_2026_11",
    "SERVICE_OWNED",
    "Alerts",
    "Budget",
    "Budgets",
    "Config",
    "Execution",
    "Price",
    "Rlaif",
    "Service",
    "StoreConfig",
    "TeacherConfig",
    "Training",
]


class Config(Section):
    """The whole file. Sections and keys left out take their defaults."""

    training: Training = Field(default_factory=Training)
    rlaif: Rlaif = Field(default_factory=Rlaif)
    service: Service = Field(default_factory=Service)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    execution: Execution = Field(default_factory=Execution)
    budgets: Budgets = Field(default_factory=Budgets)
    alerts: Alerts = Field(default_factory=Alerts)
    store: StoreConfig = Field(default_factory=StoreConfig)

    @model_validator(mode="after")
    def _a_group_per_minibatch(self) -> Self:
        minibatches = self.rlaif.updates_per_batch // self.rlaif.epochs_per_batch
        if minibatches > self.training.prompts_per_step:
            raise ValueError(
                f"rlaif.updates_per_batch / rlaif.epochs_per_batch is {minibatches}, expected at "
                f"most training.prompts_per_step ({self.training.prompts_per_step}): a group is "
                "not divided"
            )
        return self
