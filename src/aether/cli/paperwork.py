"""What the database records of a stop from the command line, and tells of stops: asked beside the brake's file."""

from aether.cli.kill import Standing
from aether.clock import wall_ns
from aether.compose.storage import open_storage
from aether.config import Settings
from aether.control.access import EVERYWHERE, Caller, CallerKind
from aether.control.operators import Operators
from aether.domain.identifiers import AccountId
from aether.node.pulls import EVERY_ACCOUNT, Pull
from aether.store import queries


async def record(settings: Settings, account: str, pull: Pull) -> list[AccountId]:
    """Record who stopped what and why; return the accounts that it stops. Raises UnknownNameError."""
    who = Caller(kind=CallerKind.LOCAL, id="local", name=pull.actor)
    async with open_storage(settings) as storage:
        operators = Operators(storage.database, wall_ns)
        if account != EVERY_ACCOUNT:
            await queries.get_account(storage.database.desk, account)
        where = EVERYWHERE if account == EVERY_ACCOUNT else account
        await operators.submit(who, "kill.engage", where, pull.event(), pull.reason)
        return await operators.targets(where)


async def standings(settings: Settings) -> dict[str, Standing]:
    """Return how each account stands."""
    async with open_storage(settings) as storage:
        known = await queries.kill_states(storage.database.desk)
        return {
            s.config.id: Standing(s.config.id, kill.engaged, kill.reason if kill.engaged else "", [])
            for s in await queries.list_accounts(storage.database.desk)
            for kill in [known.get(s.config.id, queries.NO_KILL)]
        }
