"""Tier one: reject, for free, what no teacher need see. Only on proof; it never awards."""

from services.scoring.heuristics.judge import SCORES, Judgement, judge
from services.scoring.heuristics.reasons import explain
from services.scoring.heuristics.tier import Tier

__all__ = ["SCORES", "Judgement", "Tier", "explain", "judge"]
