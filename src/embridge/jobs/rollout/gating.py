"""The gates of a rollout's settings, checked against what its shadow found and the report."""

from __future__ import annotations

from embridge.errors import SettingsError
from embridge.evaluation.report import Report
from embridge.evaluation.report_files import load_report
from embridge.jobs.rollout.opened import OpenRollout
from embridge.rollout.gates import RolloutGate, check_rollout_gates, needs_report
from embridge.rollout.shadow_figures import shadow_figures

__all__ = ["checked_gates", "named_report"]


def checked_gates(opened: OpenRollout) -> tuple[RolloutGate, ...]:
    """Check the gates of the settings by the figures of this moment.

    Args:
        opened: The rollout.

    Returns:
        One result a gate and place; none where the settings have no gate.

    Raises:
        SettingsError: The report is of other models, or does not have what a gate is on.
        ArtefactError: The report cannot be read.
        StoreError: The shadow's log is damaged.

    Examples:
        >>> checked_gates.__name__
        'checked_gates'
    """
    gates = opened.settings.gates
    if not gates:
        return ()
    report = named_report(opened) if any(map(needs_report, gates)) else None
    shadows = shadow_figures(opened.store.documents, upgrade_id=opened.upgrade_id)
    return check_rollout_gates(gates, shadows, report)


def named_report(opened: OpenRollout) -> Report | None:
    """Read the report that the settings name.

    Args:
        opened: The rollout.

    Returns:
        The report; None where they name none.

    Raises:
        SettingsError: The report is of other models.
        ArtefactError: The report cannot be read.

    Examples:
        >>> named_report.__name__
        'named_report'
    """
    path = opened.settings.report
    if path is None:
        return None
    report = load_report(path)
    for side, space in (("old", opened.old), ("new", opened.upgrade.new_space)):
        if report.about.get(side) != str(space):
            raise SettingsError(
                f"{opened.path}: report: {path} is of {report.about.get(side)} as the {side} model, and the rollout of {space}"
            )
    return report
