"""`aether resume`: let trading go on."""

import typer

from aether.cli.console import out, settings_of
from aether.cli.options import Account, DataDir, Reason, Url, reason_text
from aether.cli.remote import Remote, ask

app = typer.Typer(add_completion=False)


@app.command()
def resume(reason: Reason, account: Account, data_dir: DataDir = None, url: Url = "") -> None:
    """Let trading go on after a halt, a loss stop, a throttled strategy or a breaker; a kill has its own release."""
    body: dict[str, object] = {"reason": reason_text(reason)}
    settings = settings_of(data_dir)
    ask(settings, url, f"/accounts/{account}/resume", body, "Resumed", account)
    for stop in Remote(settings, url).call("GET", f"/accounts/{account}")["stops"]:
        out.print(f"Still stopped by {stop['stop']}: {stop['reason']}", highlight=False, markup=False)
