"""What goes over the wire. Money, prices and sizes are exact decimal text, times nanoseconds since 1970 UTC."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from aether.domain.accounts import AccountKind, Mode, Parameters
from aether.domain.commands import Severity
from aether.domain.orders import Liquidity, OrderState, OrderType, Purpose, Side, TimeInForce
from aether.domain.parents import Algorithm, ParentState
from aether.domain.records import BreakKind
from aether.engine.stops import Stop


class Model(BaseModel):
    """Base: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


RULES: dict[str, tuple[str, str]] = {}
"""What each pattern asks for in words, and what to do instead; errors say both."""

_CONTROL = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"
_LINE = rf"^[^{_CONTROL}]*$"
_WORDS = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"
RULES[_LINE] = ("text is one line, without control characters", "Write it in one line.")
RULES[_WORDS] = ("text is one line, not blank, without control characters", "Write it in words, in one line.")


def _like(pattern: str, rule: str, example: str) -> Any:
    """Return a field of text that follows a pattern."""
    RULES[pattern] = (rule, f"Give one such as {example}.")
    return Field(pattern=pattern, examples=[example])


def _line(example: str, *, min_length: int = 0, max_length: int) -> Any:
    """Return a field of text for people, which ends up in logs and on terminals."""
    return Field(
        pattern=_WORDS if min_length else _LINE, examples=[example], min_length=min_length, max_length=max_length
    )


Reason = Annotated[str, _line("agreed at the desk", min_length=3, max_length=500)]
Reference = Annotated[str, _line("W-5", max_length=100)]
Token = Annotated[str, Field(min_length=1, max_length=200)]
Email = Annotated[str, _line("ada@example.com", min_length=3, max_length=254)]
PersonName = Annotated[str, _line("Ada Lovelace", min_length=1, max_length=80)]
Password = Annotated[str, Field(min_length=1, max_length=128)]
VenueName = Annotated[str, _like("^[a-z0-9-]{2,40}$", "a venue is small letters, digits and dashes", "kraken")]
AccountId = Annotated[
    str,
    _like("^[a-z][a-z0-9.-]{1,39}$", "an account begins with a small letter; letters, digits, . and -", "d-3"),
]
AccountName = Annotated[str, _like(r"^([a-z][a-z0-9.-]{1,39}|\*)$", "it is an account's id, or * for all", "company")]
OfAccount = Annotated[str, Query(max_length=40, description="only what is about this account")]
LineText = Annotated[str, Query(max_length=60, pattern=_LINE)]
VenueOrAny = Annotated[str, Query(max_length=40, pattern="^[a-z0-9-]*$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Amount = Annotated[
    str,
    _like(
        r"^[0-9]{1,15}(\.[0-9]{1,8})?$",
        "an amount is plain digits, at most 15 of them before a point and 8 after it",
        "1000.50",
    ),
]
MONEY_DIGITS = 12
"""Of a sum of money before the point: it is below a trillion."""
Money = Annotated[
    str,
    _like(
        rf"^[0-9]{{1,{MONEY_DIGITS}}}(\.[0-9]{{1,8}})?$",
        "a sum of money is plain digits, at most 12 of them before a point and 8 after it: below a trillion",
        "1000.50",
    ),
]
SignedAmount = Annotated[
    str,
    _like(
        r"^-?[0-9]{1,15}(\.[0-9]{1,8})?$",
        "an amount is plain digits, at most 15 of them before a point and 8 after it, with a minus for what is gone",
        "-0.00012345",
    ),
]
AssetName = Annotated[str, _like("^[A-Z0-9]{1,20}$", "an asset is capital letters and digits", "BNB")]


def _unit(unit: str, meaning: str = "") -> Any:
    """Return a field with its unit, for people and for pages that show it."""
    return Field(description=meaning or None, json_schema_extra={"x-unit": unit})


InCurrency = Annotated[str, _unit("currency", "in the account's currency")]
InQuote = Annotated[str, _unit("quote", "in the pair's quote asset")]
InBase = Annotated[str, _unit("base", "in the pair's base asset")]
At = Annotated[int, _unit("ns", "nanoseconds since 1970 UTC")]
Digest = Annotated[str, _like("^[0-9a-f]{64}$", "a SHA-256 is 64 hexadecimal digits", "0" * 64)]


KEY = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
"""What an Idempotency-Key may be: whatever can also stand in an address."""
OutcomeKey = Annotated[str, Path(pattern=KEY)]


class Problem(Model):
    """An error as RFC 9457 describes it; `remedy` says what to do.

    Attributes:
        action, payload_hash: what a proof of a second factor must be bound to, where one is needed.
    """

    title: str
    status: int
    detail: str
    remedy: str = ""
    action: str = ""
    payload_hash: str = ""


# Becoming somebody.


class TokenRequest(Model):
    """A one-time token from a link."""

    token: Token


class LinkRequest(Model):
    """The secret from the data directory."""

    secret: Token


class Link(Model):
    """What `aether link` prints: a one-time token, and whether it signs in or sets up the first admin."""

    token: str
    kind: Literal["session", "setup"]


class SignInRequest(Model):
    """Address and password."""

    email: Email
    password: Password


class FactorRequest(Model):
    """The answer to a challenge: a code of the authenticator app, a passkey's answer, or a recovery code."""

    challenge: Token
    code: str = Field("", max_length=10, examples=["123456"])
    recovery_code: str = Field("", max_length=40)
    credential: dict[str, Any] | None = None


class Challenge(Model):
    """What a second factor is asked for with.

    Attributes:
        methods: what may answer: `totp`, `passkey`, `recovery`.
        passkey: options for `navigator.credentials`.
        totp_uri, totp_qr: a new seed for an authenticator app, and its QR code as a data URI.
    """

    challenge: str
    methods: list[str]
    passkey: dict[str, Any]
    totp_uri: str
    totp_qr: str


class Me(Model):
    """Who the caller is.

    Attributes:
        kind: `person`, `service`, `local` (the machine's owner before anybody is set up), or `nobody`.
        roles: by account; `*` for all.
        actions: what the caller may do somewhere.
        grants: what the caller may do, by account; `*` for what they may do in all accounts and for the firm.
        waits: no role of theirs counts yet: an admin must confirm that it is they.
        oidc: whether an OpenID provider may sign people in.
        attacks: wrong passwords tried for the caller's address within the last hour, by devices never signed in from.
        recovery_codes: shown once, when they are new.
    """

    kind: Literal["person", "service", "local", "nobody"]
    name: str
    roles: dict[str, str]
    actions: list[str]
    grants: dict[str, list[str]]
    needs_setup: bool
    production: bool
    waits: bool
    oidc: bool
    attacks: int
    recovery_codes: list[str] = []


class Invitation(Model):
    """A one-time token with which a person sets themselves up; `link` is the page to open.

    Both are empty when another admin has to hand the link over.
    """

    token: str
    link: str


class PersonSetup(Model):
    """Who one is; address and name of an invitation win."""

    token: Token
    email: str = Field("", max_length=254)
    name: PersonName
    password: Password


class InvitationCheck(Model):
    """An invitation's token."""

    token: Token


class Invited(Model):
    """Who an invitation is for; empty for the first admin."""

    email: str
    name: str


# One's own.


class ProofRequest(Model):
    """What a proof of a second factor is wanted for, and the answer to a challenge of `POST /mfa/challenges`.

    Attributes:
        action: name of the action, as the refusal of the request names it.
        payload_hash: SHA-256 in hex of `METHOD\nPATH?QUERY\nBODY` of the very request.
    """

    action: str = Field(max_length=60, examples=["kill.release"])
    payload_hash: Digest
    challenge: Token
    code: str = Field("", max_length=10)
    credential: dict[str, Any] | None = None


class Proof(Model):
    """A token to send as `X-MFA-Token` with that very request, within two minutes."""

    token: str


class PasswordChange(Model):
    """Another password, and the present one."""

    current: Password
    password: Password


class TotpConfirm(Model):
    """A code of the new authenticator app."""

    challenge: Token
    code: str = Field(max_length=10)


class PasskeyAdd(Model):
    """A passkey that the browser made."""

    challenge: Token
    credential: dict[str, Any]
    name: PersonName


class Passkey(Model):
    """One of one's passkeys; `id` is hex."""

    id: str
    name: str
    created_ns: int
    used_ns: int


class RecoveryCodes(Model):
    """New recovery codes; they are shown this once."""

    codes: list[str]


class Session(Model):
    """A device that is signed in."""

    id: str
    method: str
    address: str
    agent: str
    created_ns: int
    seen_ns: int
    current: bool


# People and services.


class User(Model):
    """A person."""

    id: str
    email: str
    name: str
    roles: dict[str, str]
    waits: bool = Field(description="their roles do not count yet: somebody has to confirm that it is they")
    has_totp: bool
    passkeys: int
    recovery_codes: int
    created_ns: int
    disabled: bool


Roles = Annotated[
    dict[AccountName, Literal["admin", "trader", "auditor"]],
    Field(min_length=1, max_length=100, examples=[{"*": "auditor"}]),
]


class InviteRequest(Model):
    """Whom to invite, as what."""

    email: Email
    name: PersonName
    roles: Roles
    reason: Reason


class OpenInvitation(Model):
    """Somebody who is invited and has not come yet; `held_by` was given the link."""

    email: str
    name: str
    roles: dict[str, str]
    invited_by: str
    held_by: str
    expires_ns: int


class RolesRequest(Model):
    """Exactly these roles from now on."""

    roles: Roles
    reason: Reason


class ServiceToken(Model):
    """A service's token; its text is never shown again."""

    id: str
    name: str
    actions: list[str]
    accounts: list[str]
    created_by: str
    created_ns: int
    expires_ns: int
    used_ns: int
    ended_ns: int


class TokenCreate(Model):
    """A service's name, what it may do, where and for how long."""

    name: str = _like(
        "^[A-Za-z0-9 ._-]{1,40}$", "a name is letters, digits, blanks, . _ and -, at most 40", "dashboard"
    )
    actions: list[str] = Field(min_length=1, max_length=20, examples=[["accounts.read"]])
    accounts: list[AccountName] = Field(min_length=1, max_length=100)
    days: int = Field(ge=1, le=365)


class TokenCreated(Model):
    """A new token; its text is shown this once. It works at once, or once a second person has approved it."""

    id: str
    token: str
    approval: "Approval | None" = None


# Keys.


class SecretUpload(Model):
    """A venue's key. The secret of Coinbase is a PEM text, line ends included."""

    key: str = Field(min_length=1, max_length=500)
    secret: str = Field(min_length=1, max_length=8_000)
    reason: Reason


class SecretRotate(SecretUpload):
    """A key in place of the one that is active now.

    Attributes:
        version: of the active key, as its status tells.
    """

    version: int = Field(ge=1, le=2**53)


class SecretDelete(Model):
    """Why a key is deleted."""

    reason: Reason


class SecretStatus(Model):
    """What may be told of a key; never the key.

    Attributes:
        state: `active`, `replaced` or `deleted`.
        fingerprint: a name of the key that tells nothing about it.
        in_use: version that each node trades with.
        rotate_by_ns: when it should be replaced; `due` when that time has come.
    """

    account: str
    venue: str
    version: int
    state: str
    fingerprint: str
    permissions: dict[str, Any]
    created_by: str
    created_ns: int
    ended_ns: int
    rotate_by_ns: int
    due: bool
    in_use: dict[str, int]


class SecretTest(Model):
    """What a venue says that a key may do."""

    permissions: dict[str, Any]


class KekRotate(Model):
    """How to rotate: with `resume`, by the key that there is, what an older one still wraps."""

    resume: bool = False


class KekRotated(Model):
    """The key-encryption key's name, how many data keys it wraps now, and by value why one is not among them."""

    key: str
    wrapped: int
    failed: dict[str, str]


# Governance.


class Approval(Model):
    """What somebody asked for, and what came of it."""

    id: str
    action: str
    account: str
    summary: str
    payload: dict[str, Any]
    reason: str
    requested_by: str
    requested_ns: int
    expires_ns: int
    state: Literal["waiting", "approved", "done", "failed", "declined", "withdrawn", "expired"]
    decided_by: str
    decided_ns: int
    decision: str


class Done(Model):
    """What came of a write: `done`, or it waits for a second person in `approval`."""

    done: bool
    approval: Approval | None = None


class DecideRequest(Model):
    """Approve or decline, and why."""

    approve: bool
    reason: Reason


class ReasonRequest(Model):
    """Why."""

    reason: Reason


class SettingChange(Model):
    """One field that differs."""

    field: str
    before: Any
    after: Any
    loosens: bool


class SettingsVersion(Model):
    """One version of an account's settings; `applied_ns` is 0 while its time has not come, -1 when it never will."""

    version: int
    settings: dict[str, dict[str, Any]]
    author: str
    reason: str
    created_ns: int
    effective_ns: int
    applied_ns: int
    changes: list[SettingChange] = []


Setting = bool | int | float | Annotated[str, Field(max_length=40)]
"""What a setting or a parameter of a strategy may be."""


class SettingsRequest(Model):
    """Settings to change.

    Attributes:
        version: the newest version that the caller has seen.
        changes: by part, then by field; of strategies by strategy, then by parameter.
        effective_ns: from when on; 0 for now.
    """

    version: int = Field(ge=0, le=2**53)
    changes: dict[str, dict[str, Setting | dict[str, Setting]]] = Field(
        max_length=6,
        examples=[{"limits": {"max_daily_loss_bps": 200}, "strategies": {"ema_cross": {"fast": 20}}}],
    )
    effective_ns: int = Field(0, ge=0, le=2**62)
    reason: Reason


class SettingsDiff(Model):
    """What a change would do: the fields that differ, and whether a second person is needed."""

    changes: list[SettingChange]
    loosens: bool
    needs_second_person: bool


class RollbackRequest(Model):
    """Go back to the content of an earlier version.

    Attributes:
        version: the newest version that the caller has seen.
        to: the version to go back to.
    """

    version: int = Field(ge=0, le=2**53)
    to: int = Field(ge=0, le=2**53)
    reason: Reason


class AccountCreate(Model):
    """An account to open on the running market.

    Attributes:
        cash: first capital of a paper account; a live one begins with what its venues hold.
        strategy: empty for none: people trade it by hand.
    """

    id: AccountId
    name: PersonName
    kind: Literal["company", "director"]
    mode: Literal["paper", "live"] = "paper"
    cash: Money = "100000"
    strategy: str = Field("", max_length=60)
    instruments: list[str] = Field(min_length=1, max_length=50, examples=[["paper:BTC/USD"]])
    bar_s: int = Field(60, ge=1, le=86_400)
    params: Parameters = {}
    reason: Reason


class ShadowCreate(Model):
    """A candidate strategy to run beside an account."""

    id: AccountId
    strategy: str = Field(min_length=1, max_length=60)
    bar_s: int = Field(60, ge=1, le=86_400)
    params: Parameters = {}
    reason: Reason


class Performance(Model):
    """What an account made of a time.

    Attributes:
        return_bps: profit of the worth at the beginning; deposits and withdrawals are none.
        drawdown_bps: deepest fall of the worth.
        traded: worth of all fills.
    """

    nav: InCurrency
    return_bps: float
    drawdown_bps: float
    fills: int
    traded: InCurrency
    fees: InCurrency


class Shadow(Model):
    """A candidate strategy beside an account, and what became of both since it began.

    Attributes:
        ahead_bps: the shadow's return less the account's.
        apart_bps: how far the two returns were apart at most.
    """

    id: str
    name: str
    strategy: str
    params: Parameters
    bar_s: int
    since_ns: At
    shadow: Performance
    account: Performance
    ahead_bps: float
    apart_bps: float


class CapitalRequest(Model):
    """Money or coins that came in or went out at a venue: no profit, no loss.

    Attributes:
        asset: the account's currency when it is left out.
        value: what coins cost in the account's currency; their worth at the mark when it is left out.
        reference: the bank's or the venue's name for the transfer; no amount is booked twice under the same.
        new_asset: the asset is one that the account has nothing to do with yet.
    """

    venue: VenueName
    amount: Amount
    direction: Literal["deposit", "withdrawal"]
    asset: AssetName | None = None
    value: Money | None = None
    reference: Reference = ""
    new_asset: bool = False
    reason: Reason


class BookingRequest(Model):
    """What a venue did and the books do not know, such as interest: profit or loss, below 0 for what is gone.

    Attributes:
        new_asset: the asset is one that the account has nothing to do with yet.
    """

    venue: VenueName
    asset: AssetName
    amount: SignedAmount
    reference: Reference = ""
    new_asset: bool = False
    reason: Reason


class AssignRequest(Model):
    """Who takes a break on."""

    name: str = Field(min_length=3, max_length=200, examples=["balance|kraken:USD"])
    owner: PersonName
    reason: Reason


class TradeRequest(Model):
    """An amount to trade by hand; amounts and prices are decimal text."""

    symbol: str = _like("^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$", "a pair is two assets in capital letters", "BTC/USD")
    side: Literal["buy", "sell"]
    amount: Amount
    algorithm: Literal["route", "twap", "vwap", "pov", "pegged", "iceberg", "oco", "bracket"] = "route"
    limit_price: Amount = "0"
    duration_s: int = Field(0, ge=0, le=604_800)
    slices: int = Field(10, ge=1, le=1_000)
    profile: list[Annotated[int, Field(ge=0, le=10**9)]] = Field([], max_length=1_000)
    participation_bps: int = Field(1_000, ge=1, le=5_000)
    display: Amount = "0"
    profit_price: Amount = "0"
    stop_price: Amount = "0"
    reason: Reason


class TradeStarted(Model):
    """A trade by hand that was asked for; `applied` is False while the node has not confirmed it yet."""

    id: str
    applied: bool


class ExitRequest(Model):
    """Sell what is held of one instrument, or of all without one."""

    instrument: str = Field("", max_length=60)
    reason: Reason


class HedgeRequest(Model):
    """Sell a share of every position, in hundredths of a percent."""

    share_bps: int = Field(ge=1, le=10_000)
    reason: Reason


class HeldIntent(Model):
    """An entry that waits for a person."""

    number: int
    instrument: str
    symbol: str
    side: str
    size: str
    notional: str
    strategy: str
    since_ns: int
    until_ns: int


class AuditEntry(Model):
    """One entry of the audit trail; `hash` is hex."""

    seq: int
    ts_ns: int
    actor: str
    actor_kind: str
    account: str
    action: str
    outcome: str
    target: str
    before: Any
    after: Any
    reason: str
    address: str
    agent: str
    request_id: str
    hash: str


class AuditProof(Model):
    """The audit trail verifies: how many entries, and against how many checkpoints."""

    entries: int
    checkpoints: int


class AuditCheckpoint(Model):
    """A signed checkpoint, to be kept elsewhere."""

    document: str
    signature: str
    public_key: str


class StrategyUse(Model):
    """A strategy at work in an account."""

    strategy: str
    instruments: list[str]
    bar_s: Annotated[int, _unit("s", "length of the bars that it decides on")]
    params: Parameters


class ParentOrder(Model):
    """An amount traded over venues or time, and how far it is."""

    id: str
    symbol: str
    side: Side
    algorithm: Algorithm
    amount: InBase
    filled: InBase
    average_price: InQuote
    notional: InQuote
    fees: InQuote
    children: Annotated[int, Field(description="orders that it has sent so far")]
    state: ParentState
    reason: str
    started_ns: At
    ended_ns: Annotated[int, _unit("ns", "0 while it is at work")]


class AccountStop(Model):
    """Something that stops an account, and since when."""

    stop: Stop
    reason: str
    since_ns: At
    actor: str


class BookBreak(Model):
    """A difference between our books and a venue's; `amount` is the venue's figure less ours."""

    name: str
    kind: BreakKind
    subject: str
    amount: str
    evidence: str
    since_ns: At
    owner: str


class VenueStop(Model):
    """A venue where an account sends no orders: why, since when, by whom.

    Attributes:
        asked_ns: when that was asked for last.
        left: what it still waits for at the venue, in words; empty once its list was seen to be empty.
    """

    reason: str
    since_ns: At
    actor: str
    asked_ns: At
    left: str


class AccountVenue(Model):
    """A venue as one account knows it.

    Attributes:
        trouble: what is wrong between them, empty while nothing is.
        open_orders: of the account, by its books.
        stop: the one that is on, if any.
    """

    venue: str
    market_ns: Annotated[int, _unit("ns", "when its market was heard last, 0 for never")]
    trouble: str
    open_orders: int
    stop: list[VenueStop]


class Position(Model):
    """A holding at average cost, valued at the mark."""

    instrument: str
    symbol: str
    quantity: InBase
    average_price: InQuote
    mark: InQuote
    mark_ns: Annotated[int, _unit("ns", "from when the mark is known; 0 where there is none and it is at cost")]
    value: InQuote
    cost: InQuote
    unrealized: InQuote
    realized: InQuote
    fees: InQuote
    stops: Annotated[list[str], _unit("quote", "prices at which it would be sold to protect it")] = []
    resting_stops: Annotated[list[str], _unit("quote", "where stops rest at the venue, as orders")] = []


class Order(Model):
    """An order."""

    account: str
    id: str
    number: int
    instrument: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    purpose: Purpose
    strategy: str
    state: OrderState
    size: InBase
    filled: InBase
    limit_price: Annotated[str, _unit("quote", "empty for none")]
    trigger_price: Annotated[str, _unit("quote", "empty for none")]
    average_price: Annotated[str, _unit("quote", "empty while nothing is filled")]
    fees: InQuote
    reason: str
    created_ns: At
    updated_ns: At


AccountStatus = Literal[
    "waiting", "starting", "trading", "exits_only", "paused", "halted", "stopped", "killed", "failed"
]


class Worth(Model):
    """What one account, or several of one currency, are worth."""

    nav: InCurrency
    cash: InCurrency
    exposure: InCurrency
    realized: InCurrency
    unrealized: InCurrency
    fees: InCurrency
    capital: InCurrency
    day_start_nav: InCurrency
    day: InCurrency
    profit: InCurrency


class AccountSummary(Worth):
    """An account as the screen shows it: what it is, what it is worth, what stops it, what it holds and works on.

    All of it is of one moment: `nav` is `cash` with the values of all positions and of what else it holds; `profit` is
    `nav` less `capital`, and `realized` with `unrealized` less `fees`; `day` is `nav` less `day_start_nav`.

    Attributes:
        shadow_of: the account beside which it runs a candidate strategy, on paper; empty for none.
        reason: why it does not simply trade.
        switched_off: strategies that do not trade, each with who says so.
        orders: those that are open, newest first.
        unconfirmed: what a stop still waits for at the venues, in words.
        seq: of the journal's last event that this knows of.
    """

    id: str
    name: str
    kind: AccountKind
    mode: Mode
    shadow_of: str
    currency: str
    strategies: list[StrategyUse]
    status: AccountStatus
    reason: str
    stops: list[AccountStop]
    breaks: list[BookBreak]
    switched_off: dict[str, str]
    unconfirmed: list[str]
    open_orders: int
    positions: list[Position]
    orders: list[Order]
    venues: list[AccountVenue]
    parents: list[ParentOrder]
    held: list[HeldIntent]
    ts_ns: Annotated[int, _unit("ns", "the account's own time")]
    told_ns: Annotated[int, _unit("ns", "when the account told this, by the platform's clock; 0 for not yet")]
    seq: int


class Balance(Model):
    """An asset at a venue."""

    key: str
    free: str
    locked: str


class Fill(Model):
    """An execution."""

    account: str
    order_id: str
    trade_id: str
    seq: int
    ts_ns: At
    instrument: str
    symbol: str
    side: Side
    price: InQuote
    size: InBase
    notional: InQuote
    fee: InQuote
    realized: InQuote
    liquidity: Liquidity
    purpose: Purpose
    strategy: str


class OrderPage(Model):
    """Some of a list, and where it goes on; `next` is empty at its end."""

    rows: list[Order]
    next: str


class FillPage(Model):
    """Some of a list, and where it goes on; `next` is empty at its end."""

    rows: list[Fill]
    next: str


class EquityPoint(Model):
    """An account's worth at a moment."""

    ts_ns: At
    nav: InCurrency
    cash: InCurrency
    exposure: InCurrency


class AccountEquity(Model):
    """The equity curve of one account."""

    account: str
    points: list[EquityPoint]


class Breach(Model):
    """A check that failed."""

    check: str
    value: str
    limit: str


class Verdict(Model):
    """What the risk gate said about an order."""

    order_id: str
    ts_ns: At
    instrument: str
    approved: bool
    breaches: list[Breach]


class Alert(Model):
    """Something a person should know."""

    ts_ns: At
    severity: Severity
    code: str
    message: str


class Instrument(Model):
    """A pair at a venue."""

    id: str
    symbol: str
    venue: str
    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    tick: str
    lot: str
    min_notional: str


class Bar(Model):
    """Open, high, low, close and volume of a minute that ends at `ts_ns`."""

    ts_ns: int
    open: str
    high: str
    low: str
    close: str
    volume: str


class KillRequest(Model):
    """Engage the kill switch; with `flatten`, sell every position too."""

    reason: Reason
    flatten: bool = False


class KillState(Model):
    """The kill switch of an account."""

    account: str
    engaged: bool
    reason: str


class KillResult(Model):
    """What came of a request to accounts.

    Attributes:
        applied: False while the node has not confirmed it yet.
        stopped: accounts whose orders the brake has stopped at their venues, whether or not it could be recorded.
        unconfirmed: what the stop still waits for at the venues, in words.
        recorded: False when the database did not take it: it is journaled as soon as that is back.
        approval: the request waits for a second person.
    """

    applied: bool
    accounts: list[KillState] = []
    stopped: list[str] = []
    unconfirmed: list[str] = []
    recorded: bool = True
    approval: Approval | None = None


class VenueStopResult(Model):
    """What came of stopping a venue: the accounts that are stopped there; False while the audit trail lacks it."""

    stopped: list[str]
    recorded: bool = True


class StrategyParameter(Model):
    """A parameter with its bounds, as JSON Schema has them."""

    name: str
    default: float | int | str | bool
    description: str
    bounds: dict[str, Any]


class Strategy(Model):
    """A strategy that accounts may run.

    Attributes:
        parameters_schema: its parameters as JSON schema, with bounds, units (`x-unit`) and meanings.
    """

    name: str
    summary: str
    parameters: list[StrategyParameter]
    parameters_schema: dict[str, Any]


class Check(Model):
    """One thing that the service depends on; nothing is done without what is `needed`."""

    name: str
    ok: bool
    detail: str
    needed: bool


class Process(Model):
    """One process of the platform: `starting`, `up`, or `down` until it is started again."""

    name: str
    pid: int
    state: str
    restarts: int
    since_ns: int


class System(Model):
    """The service as a whole.

    Attributes:
        stop_command: what stops everything on the platform's machine, without the page; `--reason` follows.
    """

    version: str
    market: str
    ready: bool
    feed: str
    venues: list[str]
    checks: list[Check]
    processes: list[Process]
    stop_url: str
    stop_command: str


class PreviewCheck(Model):
    """A check of the risk gate on an order that would be sent: what it found and what it allows, in words."""

    check: str
    value: str
    limit: str
    ok: bool


class PreviewOrder(Model):
    """An order that would be sent.

    Attributes:
        price: what it is judged at: its limit, else the mark.
        worst_price: its limit, else the price collar around the mark.
        half_spread: what half of the spread costs at its size.
        approved: whether the risk gate lets it out.
    """

    instrument: str
    symbol: str
    side: Side
    type: OrderType
    size: InBase
    price: InQuote
    worst_price: InQuote
    notional: InQuote
    fee: InQuote
    half_spread: InQuote
    approved: bool
    checks: list[PreviewCheck]


class PreviewLater(Model):
    """What is left of an amount for orders that follow over time."""

    symbol: str
    side: Side
    amount: InBase


class Preview(Model):
    """What a decision would lead to at once, as the engine works it out now; nothing of it has happened.

    Attributes:
        refused: why the account would not take it, empty when it would.
        orders: those that would be sent, or denied by the risk gate.
        canceled: ids of open orders that would be canceled.
        later: what would be left for orders that follow.
    """

    refused: str
    orders: list[PreviewOrder]
    canceled: list[str]
    later: list[PreviewLater]
    nav_before: InCurrency
    nav_after: InCurrency
    capital_before: InCurrency
    capital_after: InCurrency


class RequestOutcome(Model):
    """What came of a write that carried an Idempotency-Key.

    Attributes:
        status, answer: HTTP status and body of its answer, once it is done; empty where the answer may be secret.
    """

    state: Literal["unknown", "working", "done", "interrupted"]
    status: int = 0
    answer: str = ""


# Live updates.


class Totals(Worth):
    """What accounts of one currency are worth together.

    Attributes:
        accounts: how many they are.
    """

    accounts: int


class DeskState(Model):
    """What the topic `desk` holds: the accounts that the caller may see, their sums by currency, the platform."""

    accounts: dict[str, AccountSummary]
    totals: dict[str, Totals]
    system: System


class FillsState(Model):
    """What the topic `fills:{account}` holds: the newest executions, by order and trade."""

    fills: dict[str, Fill]


class BarsState(Model):
    """What the topic `bars:{instrument}` holds: the last minutes, by their end."""

    bars: dict[str, Bar]


class WaitingRequest(Model):
    """A request that waits for a second person."""

    summary: str
    requested_by: str


class ApprovalsState(Model):
    """What the topic `approvals` holds: the requests that wait and that the caller may see, by their ids."""

    waiting: dict[str, WaitingRequest]


class Beat(Model):
    """What a beat tells: how long ago each account told anything, milliseconds."""

    ages_ms: dict[str, int]


class AccountAlert(Alert):
    """An alert of an account."""

    account: str


class AlertsState(Model):
    """What accounts warned of last, by account and place in its journal (topic `alerts`)."""

    alerts: dict[str, AccountAlert]


class LiveMessage(Model):
    """A message of the web socket `/stream`.

    Attributes:
        topic: whose state it is; empty for a beat.
        seq: counts the messages of a topic from 1.
        ts_ns: when it was sent, by the platform's clock.
        kind: `snapshot` is the whole state; `delta` a JSON Merge Patch to the state before; `beat` says that the
            platform is there, each second; `refused`: there is no such topic, or it is not the caller's.
    """

    topic: str
    seq: int
    ts_ns: At
    kind: Literal["snapshot", "delta", "beat", "refused"]
    data: DeskState | FillsState | BarsState | ApprovalsState | AlertsState | Beat | dict[str, Any]
