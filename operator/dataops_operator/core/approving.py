"""An approval: asked for, decided by who may, or by silence."""

from __future__ import annotations

from dataclasses import replace

from ..api.base import parse_duration
from ..api.conditions import Reason
from ..api.run import Decision, Phase
from ..api.stepkinds import Approval, Approvers
from .course import Rows
from .plan import Decided
from .rows import Row
from .templating import TemplateError, as_text, fill_value
from .times import from_rfc3339, to_rfc3339
from .turn import Turn


def approval(turn: Turn, row: Row, _: Rows, outcome: Phase | None) -> Row:
    """The row of an approval that is due or asked for, taken as far as it can go now."""
    asked = turn.inputs.revision.steps[row.name].approval
    assert asked is not None  # noqa: S101 - its kind says so
    now = to_rfc3339(turn.now)
    if not row.attempt:
        approvers = asked.approvers.model_dump(by_alias=True, exclude_none=True) if asked.approvers else None
        row = row.anew(Phase.WAITING, attempt=1, started_at=now, approvers=approvers)
    try:
        question = as_text(
            fill_value(asked.message or "may the run go on?", turn.inputs.resolver(turn.outputs, outcome))
        )
    except TemplateError as error:
        text = f"approval.message: {error}"
        return row.anew(Phase.FAILED, Reason.INVALID_TEMPLATE, text, attempt=1, finished_at=now)
    decided = turn.asked.decisions.get(row.name)
    if decided is not None and may_decide(asked.approvers, decided):
        return _decided(row, decided, now)
    deadline = None
    if asked.timeout is not None:
        deadline = from_rfc3339(row.started_at or now) + parse_duration(asked.timeout)
        if turn.now >= deadline:
            return _silence(row, asked, now)
        turn.wakes.append(deadline)
    text = f"asks {_who(asked.approvers)}: {question}"
    if deadline is not None:
        text += f" ({'approved' if asked.on_timeout == 'Approve' else 'rejected'} at {to_rfc3339(deadline)})"
    if decided is not None:
        return replace(row, reason=Reason.APPROVAL_FORBIDDEN, message=f"{_not_theirs(decided)}; {text}")
    return replace(row, reason=Reason.APPROVAL, message=text)


def may_decide(approvers: Approvers | None, decided: Decided) -> bool:
    """Whether who decided may: everyone, where nobody is named; else one of the users, or of one of the groups."""
    if approvers is None:
        return True
    groups = set(approvers.groups or ()) & set(decided.groups)
    return bool(decided.by) and (decided.by in (approvers.users or ()) or bool(groups))


def _decided(row: Row, decided: Decided, now: str) -> Row:
    approves = decided.decision is Decision.APPROVE
    text = f"{'approved' if approves else 'rejected'} by {decided.by or 'somebody'}"
    text += f": {decided.comment}" if decided.comment else ""
    if not approves:
        return _ended(row, Phase.FAILED, Reason.REJECTED, text, now)
    row = _ended(row, Phase.SUCCEEDED, Reason.APPROVED, text, now)
    return replace(row, outputs={"by": decided.by, "comment": decided.comment})


def _silence(row: Row, asked: Approval, now: str) -> Row:
    text = f"nobody decided within {asked.timeout}"
    if asked.on_timeout == "Reject":
        return _ended(row, Phase.FAILED, Reason.APPROVAL_TIMED_OUT, text, now)
    row = _ended(row, Phase.SUCCEEDED, Reason.APPROVED, f"{text}, which approves (onTimeout)", now)
    return replace(row, outputs={"by": "", "comment": ""})


def _ended(row: Row, phase: Phase, reason: Reason, text: str, now: str) -> Row:
    return replace(row, phase=phase, reason=reason, message=text, finished_at=now, approvers=None)


def _who(approvers: Approvers | None) -> str:
    if approvers is None:
        return "whoever may change the run"
    users, groups = list(approvers.users or ()), [f"group {one}" for one in approvers.groups or ()]
    named = [*users, *groups]
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")


def _not_theirs(decided: Decided) -> str:
    if not decided.by:
        return "the decision does not say whose it is, and is not counted"
    return f"{decided.by} is none of the approvers, and the decision is not counted"
