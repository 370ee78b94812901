"""Opening, configuring and closing accounts."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter

from aether.api.forms import schema_of
from aether.api.guard import Granted, allow
from aether.api.models import (
    AccountCreate,
    Done,
    ReasonRequest,
    RollbackRequest,
    SettingChange,
    SettingsDiff,
    SettingsRequest,
    SettingsVersion,
    ShadowCreate,
)
from aether.api.ports import Context
from aether.api.shown import done_of
from aether.clock import utc_text
from aether.control.approvals import Outcome, Task
from aether.control.configuration import Change, Document, Version, diff, loosened
from aether.control.desk import PlanReader, check_account_id
from aether.domain.accounts import AccountConfig, AccountKind, Mode, StrategyAssignment
from aether.domain.identifiers import AssetCode, InstrumentId, StrategyName
from aether.domain.scaled import parse_amount
from aether.engine.strategy import find_strategy, parse_params

router = APIRouter(tags=["settings"])

Reads = Annotated[Granted, allow("accounts.read")]
Configures = Annotated[Granted, allow("accounts.configure")]


def _changes(found: list[Change]) -> list[SettingChange]:
    return [SettingChange(**msgspec.structs.asdict(c)) for c in found]


def _shown(version: Version, before: Version | None) -> SettingsVersion:
    return SettingsVersion(
        version=version.number,
        settings=msgspec.to_builtins(version.document),
        author=version.author,
        reason=version.reason,
        created_ns=version.created_ns,
        effective_ns=version.effective_ns,
        applied_ns=version.applied_ns,
        changes=_changes(diff(before.document, version.document)) if before else [],
    )


@router.get("/settings/schema")
async def get_settings_schema(granted: Annotated[Granted, allow("platform.read")]) -> dict[str, Any]:
    """Return what can be set of an account, as JSON schema with bounds, units (`x-unit`) and meanings."""
    return schema_of(Document)


@router.get("/accounts/{account}/settings")
async def list_settings(account: str, granted: Reads) -> list[SettingsVersion]:
    """Return all versions of an account's settings, newest first, each with what it changed."""
    found = await granted.context.control.configurations.history(account)
    return [_shown(v, found[n + 1] if n + 1 < len(found) else None) for n, v in enumerate(found)]


@router.post("/accounts/{account}/settings/diff")
async def compare_settings(account: str, body: SettingsRequest, granted: Reads) -> SettingsDiff:
    """Return what a change would do, without doing it."""
    control = granted.context.control
    _, changes = await control.configurations.propose(account, body.changes, body.version, body.effective_ns)
    loosens = bool(loosened(changes))
    return SettingsDiff(
        changes=_changes(changes), loosens=loosens, needs_second_person=loosens and control.approvals.two_people
    )


async def _save(granted: Granted, body: SettingsRequest) -> Outcome:
    """Save a version; one that loosens anything goes the way of sensitive changes."""
    control, account = granted.context.control, granted.account
    document, changes = await control.configurations.propose(account, body.changes, body.version, body.effective_ns)
    if not loosened(changes):
        saved = await control.configurations.save(
            granted.caller, account, document, body.version, body.reason, body.effective_ns
        )
        return Outcome(result=saved)
    told = ", ".join(f"{c.field} {c.before} → {c.after}" for c in changes)
    at_ns = control.configurations.to_come(body.effective_ns)
    task = Task(
        action="accounts.loosen",
        account=account,
        payload={"changes": body.changes, "base": body.version, "effective_ns": body.effective_ns},
        summary=f"{account}: {told}, from {utc_text(at_ns) if at_ns else 'the approval on'}",
        reason=body.reason,
    )
    return await control.approvals.submit(granted.caller, task)


@router.put("/accounts/{account}/settings")
async def change_settings(account: str, body: SettingsRequest, granted: Configures) -> Done:
    """Change settings, now or later; in production a second person approves what loosens a limit."""
    return done_of(await _save(granted, body))


@router.post("/accounts/{account}/settings/rollback")
async def roll_back(account: str, body: RollbackRequest, granted: Configures) -> Done:
    """Make a new version with the content of an earlier one."""
    configurations = granted.context.control.configurations
    wanted = msgspec.to_builtins((await configurations.version(account, body.to)).document)
    request = SettingsRequest(version=body.version, changes=wanted, effective_ns=0, reason=body.reason)
    return done_of(await _save(granted, request))


def assignment_of(
    context: Context, body: AccountCreate | ShadowCreate, instruments: tuple[InstrumentId, ...]
) -> StrategyAssignment:
    """Return the strategy that somebody wants at work. Raises UnknownNameError, InvalidValueError."""
    definition = find_strategy(context.catalogue, body.strategy)
    params = msgspec.to_builtins(parse_params(definition, body.params, strict=True))
    return StrategyAssignment(
        strategy=StrategyName(body.strategy), instruments=instruments, params=params, bar_s=body.bar_s
    )


@router.post("/accounts", status_code=201)
async def create_account(body: AccountCreate, granted: Annotated[Granted, allow("accounts.create")]) -> Done:
    """Open an account on the running market; in production a second person approves a live one."""
    context = granted.context
    offer = context.offer()
    strategies: tuple[StrategyAssignment, ...] = ()
    wanted = tuple(InstrumentId(i) for i in body.instruments)
    if body.strategy:
        strategies = (assignment_of(context, body, wanted),)
    config = AccountConfig(
        id=check_account_id(body.id),
        name=body.name,
        kind=AccountKind(body.kind),
        mode=Mode(body.mode),
        feed=offer.feed,
        currency=AssetCode(""),
        strategies=strategies,
        tradable=() if strategies else wanted,
    )
    plan = offer.plan(config, wanted, parse_amount(body.cash))
    if body.mode == "paper":
        await context.control.desk.open(granted.caller, plan, "accounts.create", body.reason)
        return Done(done=True)
    task = Task(
        action="accounts.live",
        account="*",
        payload={"plan": msgspec.to_builtins(plan)},
        summary=f"{body.name} ({body.id}) trades real money: {', '.join(wanted)}",
        reason=body.reason,
    )
    return done_of(await context.control.approvals.submit(granted.caller, task))


@router.post("/accounts/{account}/archive", status_code=204)
async def archive_account(
    account: str, body: ReasonRequest, granted: Annotated[Granted, allow("accounts.archive")]
) -> None:
    """Stop an account for good: its kill switch is engaged, it is not started again, its records stay. So for its
    shadows.
    """
    desk, feed = granted.context.control.desk, granted.context.feed
    shadows = await PlanReader(granted.context.database.control).shadows_of(account, feed) if feed else []
    await desk.archive(granted.caller, account, body.reason)
    for plan in shadows:
        await desk.archive(granted.caller, plan.config.id, body.reason)
