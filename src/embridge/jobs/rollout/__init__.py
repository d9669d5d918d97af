"""Taking a live store through an upgrade: plan, apply, look, pause, go back, end."""

from embridge.jobs.rollout.apply import Applied, apply_plan
from embridge.jobs.rollout.moving import change_phase, drop_old_rows
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.jobs.rollout.planning import plan_rollout
from embridge.jobs.rollout.shadowing import ShadowResult, shadow_rollout
from embridge.jobs.rollout.status import RolloutStatus, rollout_status, watch_rollout

__all__ = [
    "Applied",
    "OpenRollout",
    "RolloutStatus",
    "ShadowResult",
    "apply_plan",
    "change_phase",
    "drop_old_rows",
    "open_rollout",
    "plan_rollout",
    "rollout_status",
    "shadow_rollout",
    "watch_rollout",
]
