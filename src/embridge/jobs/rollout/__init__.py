"""Taking a live store through an upgrade: plan, apply, look, pause, go back, end."""

from embridge.jobs.rollout.apply import Applied, apply_plan, check_plan
from embridge.jobs.rollout.dropping import drop_old_rows, rows_to_drop, take_over_name
from embridge.jobs.rollout.moving import change_phase, move_canary, move_phase
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.jobs.rollout.pace import Pace
from embridge.jobs.rollout.planning import plan_rollout
from embridge.jobs.rollout.shadowing import ShadowResult, shadow_rollout
from embridge.jobs.rollout.status import RolloutStatus, rollout_status, status_of, watch_rollout

__all__ = [
    "Applied",
    "OpenRollout",
    "Pace",
    "RolloutStatus",
    "ShadowResult",
    "apply_plan",
    "change_phase",
    "check_plan",
    "drop_old_rows",
    "move_canary",
    "move_phase",
    "open_rollout",
    "plan_rollout",
    "rollout_status",
    "rows_to_drop",
    "shadow_rollout",
    "status_of",
    "take_over_name",
    "watch_rollout",
]
