"""`aether simulate`: the whole desk on virtual time, from seeds."""

import os
from typing import Annotated

import typer

from aether.cli.console import err, out, print_json, table
from aether.cli.options import AsJson
from aether.clock import monotonic_s
from aether.domain.errors import InvalidValueError, SimulationError
from aether.simulation.coverage import LEAST_WORLDS, shortfalls
from aether.simulation.faults import KINDS
from aether.simulation.runs import Sum, run_many, run_one, smallest

app = typer.Typer(add_completion=False)
SHOWN = 20
TOLD_EVERY = 100


@app.command()
def simulate(
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many worlds; 100 by default.")] = None,
    start: Annotated[int, typer.Option("--start", min=0, help="The first seed.")] = 0,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="One world, with its trace if it breaks.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show what happened in that world in any case.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes; one a processor by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Live through worlds with faults; say in which of them something was that should not be.

    In each, two accounts trade on three venues through the real node, sessions and codecs, while processes are killed,
    connections fail, the database goes away and people stop and release. Ends with 27 when a world breaks, and with
    1,000 worlds or more also when order states, faults, pairs of faults or places to be killed at came too seldom.
    """
    began = monotonic_s()
    if seed is not None and seeds is not None:
        raise InvalidValueError("--seed and --seeds are both given.", remedy="Name one world, or how many.")
    if trace and seed is None:
        raise InvalidValueError("--trace shows one world.", remedy="Say which: --seed N --trace.")
    seeds = seeds or 100
    if seed is not None:
        _one(seed, show=trace, as_json=as_json)
        return
    total = Sum()
    for report in run_many(range(start, start + seeds), jobs or os.cpu_count() or 1):
        total.add(report)
        if report.violations and not as_json:
            out.print(f"seed {report.seed}: {report.violations[0]}", highlight=False)
        if total.worlds % TOLD_EVERY == 0 and not as_json:
            pace = total.worlds / (monotonic_s() - began) * 60
            err.print(
                f"[dim]{total.worlds:,} worlds, {len(total.failed)} broken, {pace:.0f} a minute[/]", highlight=False
            )
    took_s = monotonic_s() - began
    short = shortfalls(total.coverage, total.faults, KINDS, total.worlds) if seeds >= LEAST_WORLDS else []
    figures = {
        "worlds": total.worlds,
        "virtual hours": round(total.seconds / 3600, 1),
        "orders": total.orders,
        "fills": total.fills,
        "worlds with a halt": total.halted,
        "worlds with a needless halt": total.needlessly_halted,
        "broken": len(total.failed),
        "never or too seldom": len(short),
        "worlds a minute": round(total.worlds / took_s * 60),
    }
    if as_json:
        failed = {r.seed: r.violations for r in total.failed}
        told = {"faults": dict(total.faults.most_common()), "failed": failed, "seldom": short}
        print_json({**figures, **told})
    else:
        table("Worlds", ("figure*", "value"), [(k, f"{v:,}") for k, v in figures.items()], "None.")
        faults = [(kind, f"{n:,}") for kind, n in total.faults.most_common()]
        table("Faults", ("fault*", "times"), faults, "None.")
        for line in short:
            out.print(line, highlight=False, markup=False)
    _refuse([r.seed for r in total.failed])
    if short:
        raise SimulationError(
            f"{len(short)} states, faults or places came about too seldom to say that the desk stands them.",
            remedy="Look at the list above; what cannot come about any more leaves the simulator.",
        )


def _one(seed: int, *, show: bool, as_json: bool) -> None:
    report = run_one(seed)
    if as_json:
        print_json({"seed": seed, "violations": report.violations, "trace": report.trace, "digest": report.digest})
    elif report.violations:
        kinds, least = smallest(seed)
        for line in least.trace:
            out.print(line, highlight=False, markup=False)
        out.print(f"[bold]It takes no more than:[/] {', '.join(sorted(kinds)) or 'no fault at all'}", highlight=False)
    else:
        for line in report.trace if show else ():
            out.print(line, highlight=False, markup=False)
        out.print(f"Nothing was that should not be. [dim]{report.digest}[/]", highlight=False)
    _refuse([seed] if report.violations else [])


def _refuse(failed: list[int]) -> None:
    if len(failed) == 1:
        raise SimulationError(
            f"In the world of seed {failed[0]} something was that should not be.",
            remedy=f"All that happened in it is shown by: aether simulate --seed {failed[0]} --trace.",
        )
    if failed:
        named = ", ".join(str(n) for n in failed[:SHOWN]) + (" and more" if len(failed) > SHOWN else "")
        raise SimulationError(
            f"In {len(failed)} worlds something was that should not be: seeds {named}.",
            remedy="Look at one with: aether simulate --seed N.",
        )
