"""Tier one: reject, for free, what no teacher need see. Only on proof; it never awards."""

from markbook.scoring.heuristics.classify import SCORES, HeuristicResult, judge
from markbook.scoring.heuristics.reasons import explain
from markbook.scoring.heuristics.tier import Tier

__all__ = ["SCORES", "HeuristicResult", "Tier", "explain", "judge"]
