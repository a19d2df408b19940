"""The heuristic tier: rejects invalid samples for free, only on proof. It never awards a score."""

from markbook.scoring.heuristics.classify import SCORES, HeuristicResult, classify
from markbook.scoring.heuristics.reasons import explain
from markbook.scoring.heuristics.tier import HeuristicTier

__all__ = ["SCORES", "HeuristicResult", "HeuristicTier", "classify", "explain"]
