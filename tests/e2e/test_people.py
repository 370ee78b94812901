"""People in a real browser: set-up with TOTP and passkey, sign-in, keys, approval by a second person (U1, U8, U9)."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.e2e.conftest import shot, watched
from tests.integration.platform import Platform, vouched
from tests.running_exchange import RunningExchange

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, exchange: RunningExchange) -> Iterator[Platform]:
    """A platform where sensitive changes wait for a second person."""
    kraken = exchange.local.exchanges["kraken"]
    venue_urls = f"kraken={kraken.url} {kraken.ws_url}"
    made = Platform(tmp_path_factory.mktemp("desk"), env={"AETHER_TWO_PEOPLE": "true", "AETHER_VENUE_URLS": venue_urls})
    yield made
    made.stop()


@pytest.fixture(scope="module")
def errors() -> Iterator[list[str]]:
    """What went wrong in the browser; nothing may."""
    found: list[str] = []
    yield found
    assert found == []


def new_page(browser: Browser, errors: list[str]) -> Page:
    context: BrowserContext = browser.new_context(viewport={"width": 1400, "height": 1000})
    return watched(context.new_page(), errors)


def address(page: Page, path: str) -> str:
    """Return the address of a page of the desk, wherever the browser is now."""
    return "/".join(page.url.split("/")[:3]) + path


def add_authenticator(page: Page) -> None:
    """Plug a virtual authenticator with user verification into the page."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})


@pytest.fixture(scope="module")
def ada(platform: Platform, browser: Browser, errors: list[str]) -> Page:
    """The first admin, set up through the wizard with a passkey."""
    page = new_page(browser, errors)
    add_authenticator(page)
    page.goto(platform.link())
    page.get_by_role("button", name="Set up sign-in").click()
    shot(page, "setup-1")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Name").fill("Ada Lovelace")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("12 to 128 characters")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_alt_text("QR code for your authenticator app")).to_be_visible()
    shot(page, "setup-2")
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    shot(page, "setup-3")
    page.get_by_label("They are kept in a safe place").check()
    page.get_by_role("button", name="Continue").click()
    shot(page, "setup-4")
    page.get_by_role("button", name="Company").click()
    expect(page.get_by_role("heading", name="A key for company")).to_be_visible()
    shot(page, "setup-5")
    page.get_by_role("button", name="Later").click()
    page.get_by_label("Largest loss a day").fill("2.5")
    shot(page, "setup-6")
    page.get_by_role("button", name="Finish").click()
    page.get_by_role("dialog").get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("link", name="ada@example.com")).to_be_visible()
    return page


def prove(page: Page) -> None:
    """Answer the dialog that asks for a second factor."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Use a passkey").click()
    expect(dialog).to_be_hidden()


@pytest.fixture(scope="module")
def grace(platform: Platform, ada: Page, browser: Browser, errors: list[str]) -> Page:
    """A second admin, invited by the first, with an authenticator app."""
    ada.get_by_role("link", name="People").click()
    invite = ada.get_by_role("region", name="Invite a person")
    invite.get_by_label("E-mail").fill("grace@example.com")
    invite.get_by_label("Name").fill("Grace Hopper")
    invite.get_by_label("Role").select_option("admin")
    invite.get_by_role("button", name="Add").click()
    invite.get_by_label("Reason").fill("the second director")
    invite.get_by_role("button", name="Invite").click()
    prove(ada)
    expect(invite.get_by_text("Another admin hands the link over")).to_be_visible()
    invited = ada.get_by_role("region", name="Invited")
    expect(invited.get_by_text("nobody yet")).to_be_visible()
    invited.get_by_role("button", name="Show a link").click()
    prove(ada)
    expect(ada.get_by_text("You invited grace@example.com yourself.")).to_be_visible()
    shot(ada, "people")
    token = vouched(platform.data_dir, "grace@example.com")
    page = new_page(browser, errors)
    page.goto(f"{ada.url.rsplit('/', 1)[0]}/#invitation={token}")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    secret = page.locator(".totp code").inner_text()
    page.secret = secret  # type: ignore[attr-defined]
    page.get_by_label("Code that the app shows").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("They are kept in a safe place").check()
    page.get_by_role("button", name="To the desk").click()
    expect(page.get_by_role("link", name="grace@example.com")).to_be_visible()
    return page


def test_the_wizard_leaves_a_desk_that_strangers_cannot_enter(ada: Page, browser: Browser, errors: list[str]) -> None:
    ada.get_by_role("link", name="Overview").click()
    expect(ada.get_by_text("Net asset value, USD")).to_be_visible()
    shot(ada, "overview")
    stranger = new_page(browser, errors)
    stranger.goto(ada.url)
    expect(stranger.get_by_role("heading", name="Sign in to Aether")).to_be_visible()
    shot(stranger, "sign-in")
    stranger.get_by_label("E-mail").fill("ada@example.com")
    stranger.get_by_label("Password").fill("wrong password here")
    stranger.get_by_role("button", name="Continue").click()
    expect(stranger.get_by_role("alert")).to_contain_text("is wrong")


def test_the_new_limit_is_in_force(ada: Page) -> None:
    ada.goto(address(ada, "/accounts/company/settings"))
    versions = ada.get_by_role("region", name="Versions")
    expect(versions.get_by_text("limits: max daily loss bps 300 → 250")).to_be_visible()
    shot(ada, "settings")


def test_a_shadow_is_started_beside_an_account_and_compared_and_the_past_is_shown(ada: Page) -> None:
    """O6, and time travel, on the page."""
    ada.goto(address(ada, "/accounts/company"))
    ada.get_by_role("button", name="Start a shadow…").click()
    form = ada.get_by_role("region", name="A shadow of Company")
    form.get_by_label("Id").fill("candidate")
    form.get_by_label("Strategy").select_option("ema_cross")
    form.get_by_role("button", name="Start the shadow").click()
    prove(ada)
    shadows = ada.get_by_role("region", name="Shadows")
    expect(shadows.get_by_role("link", name="candidate")).to_be_visible(timeout=30_000)
    shot(ada, "shadows")
    shadows.get_by_role("link", name="candidate").click()
    expect(ada.get_by_text("SHADOW", exact=True)).to_be_visible(timeout=30_000)
    expect(ada.get_by_text("beside company")).to_be_visible()
    ada.goto(address(ada, "/accounts/company"))
    past = ada.get_by_role("region", name="As it was")
    moment = datetime.now(UTC) - timedelta(seconds=20)
    past.get_by_label("At, UTC").fill(moment.strftime("%Y-%m-%dT%H:%M:%S"))
    past.get_by_role("button", name="Show").click()
    expect(past.get_by_role("region", name="Positions then")).to_be_visible(timeout=60_000)
    expect(past.get_by_text(re.compile("after row [0-9]+ of its journal"))).to_be_visible()
    shot(ada, "past")
    past.get_by_label("At, UTC").fill("2019-01-01T00:00:00")
    past.get_by_role("button", name="Show").click()
    expect(past.get_by_role("alert")).to_contain_text("had not been opened by then", timeout=60_000)


def test_a_passkey_signs_in_alone(ada: Page) -> None:
    ada.get_by_role("button", name="Sign out").click()
    expect(ada.get_by_role("heading", name="Sign in to Aether")).to_be_visible()
    ada.get_by_role("button", name="Sign in with a passkey").click()
    expect(ada.get_by_role("link", name="ada@example.com")).to_be_visible()


def test_a_key_is_uploaded_approved_by_a_second_person_and_rotated(
    ada: Page, grace: Page, exchange: RunningExchange
) -> None:
    bad_key, bad_secret = exchange.local.open_account("kraken", "firm", {"USD": "1000"}, can_withdraw=True)
    key, secret = exchange.local.open_account("kraken", "firm", {})
    second_key, second_secret = exchange.local.open_account("kraken", "firm", {})
    ada.get_by_role("link", name="API keys").click()
    ada.get_by_role("button", name="Show its keys").click()
    prove(ada)
    upload = ada.get_by_role("region", name="Upload a key")
    upload.get_by_label("Venue").select_option("kraken")

    def send(one: str, two: str) -> None:
        upload.get_by_label("Key", exact=True).fill(one)
        upload.get_by_label("Secret").fill(two)
        upload.get_by_role("button", name="Try it and store it").click()
        prove(ada)

    send(bad_key, bad_secret)
    expect(upload.get_by_role("alert")).to_contain_text("may withdraw money")
    shot(ada, "keys-refused")
    send(key, secret)
    expect(upload.get_by_text("waits for a second person")).to_be_visible()
    approve(grace, "at kraken is the first one")
    ada.get_by_role("button", name="Show its keys").click()
    prove(ada)
    active = ada.get_by_role("region", name="kraken, version 1")
    expect(active.get_by_text("by no node yet")).to_be_visible()
    assert key not in ada.content()
    assert secret not in ada.content()
    active.get_by_role("button", name="Test").click()
    prove(ada)
    expect(active.get_by_text("The venue accepts it.")).to_be_visible()
    active.get_by_role("button", name="Rotate").click()
    active.get_by_label("Key", exact=True).fill(second_key)
    active.get_by_label("Secret").fill(second_secret)
    active.get_by_role("button", name="Try it and rotate").click()
    prove(ada)
    expect(active.get_by_text("waits for a second person")).to_be_visible()
    approve(grace, "replaces version 1")
    ada.get_by_role("button", name="Show its keys").click()
    prove(ada)
    expect(ada.get_by_role("region", name="kraken, version 2")).to_be_visible()
    shot(ada, "keys")


def test_a_password_and_a_code_sign_in(grace: Page) -> None:
    grace.get_by_role("button", name="Sign out").click()
    grace.get_by_label("E-mail").fill("grace@example.com")
    grace.get_by_label("Password").fill(PASSWORD)
    grace.get_by_role("button", name="Continue").click()
    expect(grace.get_by_text("Now your second factor.")).to_be_visible()
    shot(grace, "second-factor")
    form = grace.get_by_label("Code of your authenticator app")
    with_code(grace, form, grace.get_by_role("button", name="Sign in", exact=True))
    expect(grace.get_by_role("link", name="grace@example.com")).to_be_visible()


def code_of(page: Page) -> str:
    return pyotp.TOTP(page.secret).now()  # type: ignore[attr-defined]


def with_code(page: Page, form: Locator, button: Locator) -> None:
    """Give a code; one is good once, and the page says so when the next has to be waited for."""
    for _ in range(100):
        form.fill(code_of(page))
        button.click()
        used = page.get_by_text("This code was used already")
        for _ in range(40):
            if form.is_hidden():
                return
            if used.is_visible():
                break
            page.wait_for_timeout(100)
        page.wait_for_timeout(1_000)
    raise AssertionError("no code was taken")


def approve(page: Page, summary: str) -> None:
    """Approve a waiting request as the second person, with a code of the authenticator app."""
    page.get_by_role("link", name="Approvals").click()
    request = page.get_by_role("region", name="Request").filter(has_text=summary)
    expect(request).to_be_visible()
    request.get_by_label("Reason").fill("checked with the venue")
    shot(page, "approvals")
    request.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    form = dialog.get_by_label("Code of your authenticator app")
    with_code(page, form, dialog.get_by_role("button", name="Confirm"))
    expect(page.get_by_role("region", name="Decided").get_by_text(summary)).to_be_visible()


def test_parameters_of_a_strategy_are_changed_and_approved(ada: Page, grace: Page) -> None:
    settings = address(ada, "/accounts/director-1/settings")
    ada.goto(settings)
    parameters = ada.get_by_role("group", name="strategies ema cross")
    expect(parameters.get_by_text("begins anew")).to_be_visible()
    parameters.get_by_label("slow").fill("1")
    expect(parameters.get_by_text("1 is below 3")).to_be_visible()
    expect(ada.get_by_role("button", name="Save")).to_be_disabled()
    parameters.get_by_label("slow").fill("55")
    changes = ada.get_by_role("list", name="Changes")
    expect(changes).to_contain_text("slow: 48 → 55 changes how it trades, needs a second person")
    ada.get_by_role("region", name="Version 0").get_by_label("Reason").fill("a slower market")
    shot(ada, "settings-parameters")
    ada.get_by_role("button", name="Save").click()
    prove(ada)
    expect(ada.get_by_text("waits for a second person")).to_be_visible()
    approve(grace, "strategies.ema_cross.slow 48 → 55")
    ada.goto(settings)
    expect(ada.get_by_role("region", name="Versions").get_by_text("ema cross: slow 48 → 55")).to_be_visible()
    expect(parameters.get_by_label("slow")).to_have_value("55")


def test_the_audit_trail_shows_it_and_verifies(ada: Page, grace: Page) -> None:
    ada.get_by_role("link", name="Audit").click()
    entries = ada.get_by_role("region", name="Entries")
    for action in ("users.invite", "users.enrol", "accounts.configure"):
        expect(entries.get_by_text(action).first).to_be_visible()
    ada.get_by_role("button", name="Verify").click()
    expect(ada.get_by_text("signed checkpoints verify")).to_be_visible()
    shot(ada, "audit")


def test_one_manages_ones_own_factors(ada: Page) -> None:
    ada.get_by_role("link", name="ada@example.com").click()
    expect(ada.get_by_text("this one")).to_be_visible()
    ada.get_by_role("button", name="Set up an app").click()
    prove(ada)
    secret = ada.locator(".totp code").inner_text()
    ada.get_by_label("Code that the app shows").fill(pyotp.TOTP(secret).now())
    ada.get_by_role("button", name="Use this app").click()
    expect(ada.get_by_text("The new app counts from now on.")).to_be_visible()
    ada.get_by_role("button", name="Make new ones").click()
    prove(ada)
    expect(ada.locator(".codes li")).to_have_count(10)
    shot(ada, "own")
