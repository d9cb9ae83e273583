"""Load: a fleet of charge points in separate processes, and its results.

`LoadRun` starts and awaits it, `Plan` describes it, `LoadResult` is its result. The generating side is `python -m
ocpp_resilience.load PLAN`.
"""

from ocpp_resilience.evidence.measure.times import Spread
from ocpp_resilience.load.plan import Model, Plan, Profile, Stage
from ocpp_resilience.load.result import LoadResult
from ocpp_resilience.load.run import LoadRun

__all__ = ["LoadResult", "LoadRun", "Model", "Plan", "Profile", "Spread", "Stage"]
