import { useQueries, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "@tanstack/react-router";
import { api, type Account } from "../../api/calls";
import { LineChart, type Line } from "../../ui/chart/charts";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Stat } from "../../ui/parts/Stat";
import { fillColumns, orderColumns, positionColumns, State } from "../columns";
import { formatMoney, formatPercent, formatSigned, tone, words } from "../../ui/format";

const COLOURS = ["#5b8def", "#e0a84b", "#b48ead", "#4cc2c4", "#d97e6a"];

const sum = (accounts: Account[], pick: (a: Account) => string) => accounts.reduce((n, a) => n + Number(pick(a)), 0);
const profit = (a: Account) => Number(a.nav) - Number(a.capital);
const today = (a: Account) => Number(a.nav) - Number(a.day_start_nav);

const accountColumns: Column<Account>[] = [
  {
    name: "Account",
    text: true,
    cell: (a) => (
      <Link to={`/accounts/${a.id}`}>
        <b>{a.name}</b>
      </Link>
    ),
  },
  { name: "Strategy", text: true, cell: (a) => a.strategies.map((s) => words(s.strategy)).join(", ") },
  { name: "Status", text: true, cell: (a) => <State state={a.status} reason={a.reason} /> },
  { name: "NAV", cell: (a) => formatMoney(a.nav) },
  { name: "Today", cell: (a) => <span className={tone(today(a))}>{formatSigned(today(a))}</span> },
  { name: "Profit", cell: (a) => <span className={tone(profit(a))}>{formatSigned(profit(a))}</span> },
  {
    name: "Return",
    cell: (a) => <span className={tone(profit(a))}>{formatPercent(Number(a.capital) ? profit(a) / Number(a.capital) : 0)}</span>,
  },
  { name: "Exposure", cell: (a) => formatPercent(Number(a.nav) ? Number(a.exposure) / Number(a.nav) : 0).replace("+", "") },
  { name: "Open orders", cell: (a) => a.open_orders },
];

/** One list over all accounts, each row knowing its account. */
function useOfAll<T extends object>(accounts: Account[], kind: string, fetch: (account: string) => Promise<T[]>) {
  const results = useQueries({
    queries: accounts.map((a) => ({ queryKey: ["account", a.id, kind], queryFn: () => fetch(a.id) })),
  });
  const rows = results.flatMap((r, n) => (r.data ?? []).map((row) => ({ ...row, owner: accounts[n]!.name })));
  return { rows, query: { isPending: results.some((r) => r.isPending), error: results.find((r) => r.error)?.error ?? null } };
}

export function Overview({ market }: { market: string }) {
  const { data: listed = [] } = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  const accounts = listed.filter((a) => a.status !== "waiting");
  const curves = useQueries({
    queries: accounts.map((a) => ({
      queryKey: ["account", a.id, "equity"],
      queryFn: () => api.equity(a.id),
      refetchInterval: 15_000,
    })),
  });
  const positions = useOfAll(accounts, "positions", api.positions);
  const open = useOfAll(accounts, "open-orders", (a) => api.orders(a, true, 50));
  const fills = useOfAll(accounts, "fills-recent", (a) => api.fills(a, 15));
  const stamp = curves.map((c) => c.dataUpdatedAt).join();
  const lines = useMemo<Line[]>(
    () =>
      accounts.map((a, n) => {
        const points = curves[n]?.data ?? [];
        const first = Number(points[0]?.nav ?? 1);
        return {
          name: a.name,
          colour: COLOURS[n % COLOURS.length]!,
          points: points.map((p) => ({ ts_ns: p.ts_ns, value: (Number(p.nav) / first - 1) * 100 })),
        };
      }),
    [stamp, accounts.map((a) => a.id).join()],
  );
  const nav = sum(accounts, (a) => a.nav);
  const capital = sum(accounts, (a) => a.capital);
  const day = accounts.reduce((n, a) => n + today(a), 0);
  const start = sum(accounts, (a) => a.day_start_nav);
  const exposure = sum(accounts, (a) => a.exposure);
  const currencies = [...new Set(accounts.map((a) => a.currency))].join(", ");
  const owner = { name: "Account", text: true, cell: (row: { owner: string }) => row.owner };
  const newest = [...fills.rows].sort((a, b) => b.ts_ns - a.ts_ns).slice(0, 15);
  if (listed.length === 0) return <p className="empty">No accounts yet on the {market}.</p>;
  return (
    <>
      <div className="stats">
        <Stat name={`Net asset value, ${currencies}`} value={formatMoney(nav)} />
        <Stat name="Today" value={formatSigned(day)} tone={tone(day)} note={formatPercent(start ? day / start : 0)} />
        <Stat
          name="Profit since start"
          value={formatSigned(nav - capital)}
          tone={tone(nav - capital)}
          note={formatPercent(capital ? (nav - capital) / capital : 0)}
        />
        <Stat name="Unrealized" value={formatSigned(sum(accounts, (a) => a.unrealized))} tone={tone(sum(accounts, (a) => a.unrealized))} />
        <Stat name="Fees paid" value={formatMoney(sum(accounts, (a) => a.fees))} />
        <Stat name="Exposure" value={formatPercent(nav ? exposure / nav : 0).replace("+", "")} note={formatMoney(exposure)} />
      </div>
      <section className="panel" aria-label="Equity">
        <h2>
          Return of each account, %
          <span className="legend">
            {lines.map((l) => (
              <span key={l.name}>
                <i style={{ background: l.colour }} />
                {l.name}
              </span>
            ))}
          </span>
        </h2>
        <LineChart lines={lines} label="Equity curves of all accounts" />
      </section>
      <DataTable title="Accounts" columns={accountColumns} rows={listed} keyOf={(a) => a.id} empty="No accounts yet." />
      <DataTable
        title="Positions"
        columns={[owner, ...positionColumns]}
        rows={positions.rows}
        keyOf={(p) => p.owner + p.instrument}
        empty="No positions: every account is in cash."
        query={positions.query}
      />
      <div className="split">
        <DataTable
          title="Open orders"
          columns={[owner, ...orderColumns.filter((c) => !["Average", "Type"].includes(c.name))]}
          rows={open.rows}
          keyOf={(o) => o.id}
          empty="No order is working."
          query={open.query}
        />
        <DataTable
          title="Recent fills"
          columns={[owner, ...fillColumns.filter((c) => !["Fee", "Size", "Realized"].includes(c.name))]}
          rows={newest}
          keyOf={(f) => f.order_id + f.trade_id}
          empty="Nothing was filled yet."
          query={fills.query}
        />
      </div>
    </>
  );
}
