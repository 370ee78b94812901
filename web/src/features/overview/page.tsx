import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { api, type Account, type Fill } from "../../api/calls";
import { keys } from "../../api/keys";
import { Guard } from "../../app/guard";
import { freshness, isOld } from "../../live/freshness";
import { useAccounts, useTotals } from "../../live/desk";
import { Lazily } from "../../ui/chart/lazily";
import { Failure, Loading } from "../../ui/parts/states";
import { Stat } from "../../ui/parts/Stat";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { drawable, formatMoney, formatShare, formatSigned, tone, words } from "../../ui/format";
import { AccountState, fillColumns, ofAccount, orderColumns, positionColumns } from "../columns";

const SERIES = 5;

const accountColumns: Column<Account>[] = [
  {
    name: "Account",
    kind: "text",
    of: (a) => a.name,
    cell: (a) => (
      <Link to="/accounts/$account" params={{ account: a.id }}>
        <b>{a.name}</b>
      </Link>
    ),
  },
  { name: "Strategy", kind: "text", of: (a) => a.strategies.map((s) => words(s.strategy)).join(", ") || "by hand" },
  { name: "Status", kind: "state", of: (a) => a.status, cell: (a) => <AccountState account={a} /> },
  { name: "NAV", kind: "money", of: (a) => a.nav },
  { name: "Today", kind: "signed", of: (a) => a.day },
  { name: "Profit", kind: "signed", of: (a) => a.profit },
  { name: "Return", kind: "number", cell: (a) => <span className={tone(a.profit)}>{formatShare(a.profit, a.capital, true)}</span> },
  { name: "Exposure", kind: "number", cell: (a) => formatShare(a.exposure, a.nav) },
  { name: "Open orders", kind: "number", of: (a) => a.open_orders },
  { name: "Currency", kind: "text", of: (a) => a.currency, cell: (a) => <span className="dim">{a.currency}</span> },
];

export default function Overview() {
  const { accounts, isPending, error, refetch } = useAccounts();
  if (isPending) return <Loading what="Loading the desk" />;
  if (error) return <Failure error={error} onRetry={refetch} />;
  if (accounts.length === 0)
    return (
      <div className="empty">
        <p>No account is open yet.</p>
        <Link className="button" to="/accounts/new">
          Open one
        </Link>
      </div>
    );
  return (
    <>
      <h1 className="hidden">Overview</h1>
      <Guard what="The sums">
        <Sums />
      </Guard>
      <Guard what="Equity">
        <Equity accounts={accounts} />
      </Guard>
      <Guard what="Accounts">
        <Accounts accounts={accounts} />
      </Guard>
      <Guard what="Positions">
        <Positions accounts={accounts} />
      </Guard>
      <div className="split">
        <Guard what="Open orders">
          <OpenOrders accounts={accounts} />
        </Guard>
        <Guard what="Recent fills">
          <Fills accounts={accounts} />
        </Guard>
      </div>
    </>
  );
}

/** What the accounts of each currency are worth together; currencies are never added up. */
function Sums() {
  const totals = useTotals();
  return (
    <>
      {Object.entries(totals).map(([currency, t]) => (
        <div className="stats" key={currency}>
          <Stat name={`Net asset value, ${currency}`} value={formatMoney(t.nav)} note={`${t.accounts} ${t.accounts === 1 ? "account" : "accounts"}`} />
          <Stat name="Today" value={formatSigned(t.day)} tone={tone(t.day)} note={formatShare(t.day, t.day_start_nav, true)} />
          <Stat name="Profit since start" value={formatSigned(t.profit)} tone={tone(t.profit)} note={formatShare(t.profit, t.capital, true)} />
          <Stat name="Unrealized" value={formatSigned(t.unrealized)} tone={tone(t.unrealized)} />
          <Stat name="Fees paid" value={formatMoney(t.fees)} />
          <Stat name="Exposure" value={formatShare(t.exposure, t.nav)} note={formatMoney(t.exposure)} />
        </div>
      ))}
    </>
  );
}

function Equity({ accounts }: { accounts: Account[] }) {
  const curves = useQuery({ queryKey: keys.equityOfAll, queryFn: api.equityOfAll, refetchInterval: 15_000 });
  const names = new Map(accounts.map((a) => [a.id, a.name]));
  const lines = useMemo(
    () =>
      (curves.data ?? [])
        .filter((c) => c.points.length > 0)
        .map((c, n) => {
          const first = drawable(c.points[0]!.nav) || 1;
          return {
            name: names.get(c.account) ?? c.account,
            colour: `series-${(n % SERIES) + 1}`,
            points: c.points.map((p) => ({ ts_ns: p.ts_ns, value: (drawable(p.nav) / first - 1) * 100 })),
          };
        }),
    [curves.data, [...names.values()].join()],
  );
  return (
    <section className="panel" aria-label="Equity">
      <h2>
        Return of each account, %
      </h2>
      {curves.error && !curves.data ? (
        <p className="empty down">{curves.error.message}</p>
      ) : (
        <Lazily.SeriesChart lines={lines} label="Equity curves of all accounts" unit=" %" />
      )}
    </section>
  );
}

function useOld(accounts: Account[]): boolean {
  return freshness.useOf((fresh) => accounts.some((a) => a.status !== "waiting" && isOld(fresh, a.id)));
}

function Accounts({ accounts }: { accounts: Account[] }) {
  return (
    <DataTable title="Accounts" columns={accountColumns} rows={accounts} keyOf={(a) => a.id} empty="No accounts yet." isOld={useOld(accounts)} />
  );
}

function Positions({ accounts }: { accounts: Account[] }) {
  const rows = useMemo(() => accounts.flatMap((a) => a.positions.map((p) => ({ ...p, account: a.id }))), [accounts]);
  const names = new Map(accounts.map((a) => [a.id, a.name]));
  return (
    <DataTable
      title="Positions"
      columns={[ofAccount<(typeof rows)[number]>(names), ...positionColumns]}
      rows={rows}
      keyOf={(p) => `${p.account} ${p.instrument}`}
      empty="No positions: every account is in cash."
      isOld={useOld(accounts)}
    />
  );
}

const SHORT_ORDER = ["Instrument", "Side", "Size", "Filled", "Limit", "State"];
const SHORT_FILL = ["Time", "Instrument", "Side", "Price", "Notional"];

function OpenOrders({ accounts }: { accounts: Account[] }) {
  const rows = accounts.flatMap((a) => a.orders);
  const names = new Map(accounts.map((a) => [a.id, a.name]));
  return (
    <DataTable
      title="Open orders"
      columns={[ofAccount<(typeof rows)[number]>(names), ...orderColumns.filter((c) => SHORT_ORDER.includes(c.name))]}
      rows={rows}
      keyOf={(o) => o.id}
      empty="No order is working."
      isOld={useOld(accounts)}
      aside={<Link to="/orders" className="dim">all orders</Link>}
    />
  );
}

function Fills({ accounts }: { accounts: Account[] }) {
  const fills = useQuery({ queryKey: keys.recentFills, queryFn: () => api.listFills({ sort: "-time", limit: 15 }), refetchInterval: 3_000 });
  const names = new Map(accounts.map((a) => [a.id, a.name]));
  return (
    <DataTable
      title="Recent fills"
      columns={[ofAccount<Fill>(names), ...fillColumns.filter((c) => SHORT_FILL.includes(c.name))]}
      rows={fills.data?.rows ?? []}
      keyOf={(f) => f.account + f.order_id + f.trade_id}
      empty="Nothing was filled yet."
      query={fills}
      aside={<Link to="/fills" className="dim">all fills</Link>}
    />
  );
}
