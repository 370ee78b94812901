"""How approvals go over the wire."""

import msgspec

from aether.api.models import Approval, Done
from aether.control import approvals


def approval_of(found: approvals.Approval) -> Approval:
    """Return an approval."""
    return Approval.model_validate(msgspec.to_builtins(found))


def done_of(outcome: approvals.Outcome) -> Done:
    """Return what came of a task."""
    waits = outcome.approval
    return Done(done=waits is None, approval=approval_of(waits) if waits else None)
