import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useParams } from "@tanstack/react-router";
import { api, type Me, type Schemas } from "../../api/calls";
import { LineChart, PriceChart } from "../../ui/chart/charts";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Stat } from "../../ui/parts/Stat";
import { fillColumns, orderColumns, parentColumns, positionColumns, State } from "../columns";
import { formatMoney, formatPercent, formatSigned, formatSize, formatTime, tone, words } from "../../ui/format";

const verdictColumns: Column<Schemas["Verdict"]>[] = [
  { name: "Time", text: true, cell: (v) => formatTime(v.ts_ns) },
  { name: "Order", text: true, cell: (v) => v.order_id },
  { name: "Check", text: true, cell: (v) => v.breaches.map((b) => words(b.check)).join(", ") },
  { name: "Found", text: true, cell: (v) => v.breaches.map((b) => b.value).join("; ") },
  { name: "Allowed", text: true, cell: (v) => v.breaches.map((b) => b.limit).join("; ") },
];

const alertColumns: Column<Schemas["Alert"]>[] = [
  { name: "Time", text: true, cell: (a) => formatTime(a.ts_ns) },
  { name: "Severity", text: true, cell: (a) => <State state={a.severity} /> },
  { name: "Message", text: true, cell: (a) => a.message },
];

const balanceColumns: Column<Schemas["Balance"]>[] = [
  { name: "Balance", text: true, cell: (b) => b.key },
  { name: "Free", cell: (b) => formatSize(b.free) },
  { name: "Locked", cell: (b) => formatSize(b.locked) },
];

/** Lets trading go on, once a person says why. */
function Resume({ account }: { account: string }) {
  const client = useQueryClient();
  const request = useMutation({
    mutationFn: (reason: string) => api.resume(account, reason),
    onSettled: () => void client.invalidateQueries(),
  });
  const ask = () => {
    const reason = window.prompt("Why may this account trade on? It goes into the journal.")?.trim();
    if (reason && reason.length >= 3) request.mutate(reason);
  };
  return (
    <button onClick={ask} disabled={request.isPending}>
      {request.error ? request.error.message : "Resume trading"}
    </button>
  );
}

/** An account that is opened and not trading yet: it says what it waits for. */
function Waiting({ account: a }: { account: Schemas["AccountSummary"] }) {
  return (
    <>
      <div className="title">
        <h1>{a.name}</h1>
        <span className={`badge ${a.mode}`}>{a.mode.toUpperCase()}</span>
        <State state="waiting" />
      </div>
      <div className="banner warn" role="status">
        {a.reason}
        <Link className="button" to="/keys">
          API keys
        </Link>
      </div>
    </>
  );
}

/** Entries that wait for a person, with the buttons that decide. */
function Held({ account: a }: { account: Schemas["AccountSummary"] }) {
  const client = useQueryClient();
  const decide = useMutation({
    mutationFn: ({ number, approve }: { number: number; approve: boolean }) =>
      api.decideIntent(a.id, number, approve, approve ? "approved on the page" : "declined on the page"),
    onSettled: () => void client.invalidateQueries(),
  });
  const columns: Column<Schemas["HeldIntent"]>[] = [
    { name: "Entry", cell: (h) => h.number },
    { name: "Instrument", text: true, cell: (h) => <b>{h.symbol}</b> },
    { name: "Size", cell: (h) => formatSize(h.size) },
    { name: "Worth", cell: (h) => formatMoney(h.notional) },
    { name: "Strategy", text: true, cell: (h) => words(h.strategy) },
    { name: "Dropped at", text: true, cell: (h) => formatTime(h.until_ns) },
    {
      name: "",
      cell: (h) => (
        <span className="actions">
          <button onClick={() => decide.mutate({ number: h.number, approve: false })}>Decline</button>
          <button className="primary" onClick={() => decide.mutate({ number: h.number, approve: true })}>
            Approve
          </button>
        </span>
      ),
    },
  ];
  if (a.held.length === 0) return null;
  return <DataTable title="Waits for a person" columns={columns} rows={a.held} keyOf={(h) => String(h.number)} empty="" />;
}

/** What a person may do by hand. */
function ByHand({ account }: { account: string }) {
  const client = useQueryClient();
  const run = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onSettled: () => void client.invalidateQueries(),
  });
  const ask = (question: string, work: (reason: string) => Promise<unknown>) => {
    const reason = window.prompt(`${question} Why? It goes into the audit trail.`)?.trim();
    if (reason && reason.length >= 3) run.mutate(() => work(reason));
  };
  return (
    <>
      <button onClick={() => ask("Sell half of every position.", (why) => api.hedge(account, 5_000, why))}>Hedge half</button>
      <button onClick={() => ask("Sell every position.", (why) => api.exit(account, why))}>Exit all</button>
      {run.error && <span className="down">{run.error.message}</span>}
    </>
  );
}

export function AccountPage({ me }: { me: Me }) {
  const { account = "" } = useParams();
  const { data: accounts = [] } = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  const known = accounts.find((a) => a.id === account);
  if (!known) return <p className="empty">There is no account “{account}”.</p>;
  if (known.status === "waiting") return <Waiting account={known} />;
  return <Details key={account} account={known} me={me} />;
}

function Details({ account: a, me }: { account: Schemas["AccountSummary"]; me: Me }) {
  const of = (kind: string) => ["account", a.id, kind];
  const instruments = a.strategies.flatMap((s) => s.instruments);
  const [instrument, setInstrument] = useState(instruments[0] ?? "");
  const equity = useQuery({ queryKey: of("equity"), queryFn: () => api.equity(a.id), refetchInterval: 15_000 });
  const positions = useQuery({ queryKey: of("positions"), queryFn: () => api.positions(a.id) });
  const orders = useQuery({ queryKey: of("orders"), queryFn: () => api.orders(a.id, false, 30) });
  const fills = useQuery({ queryKey: of("fills"), queryFn: () => api.fills(a.id, 200) });
  const balances = useQuery({ queryKey: of("balances"), queryFn: () => api.balances(a.id) });
  const verdicts = useQuery({ queryKey: of("verdicts"), queryFn: () => api.verdicts(a.id) });
  const alerts = useQuery({ queryKey: of("alerts"), queryFn: () => api.alerts(a.id) });
  const bars = useQuery({ queryKey: ["bars", instrument], queryFn: () => api.bars(instrument), refetchInterval: 15_000 });
  const lines = useMemo(
    () => [
      {
        name: "NAV",
        colour: "#5b8def",
        points: (equity.data ?? []).map((p) => ({ ts_ns: p.ts_ns, value: Number(p.nav) })),
      },
    ],
    [equity.data],
  );
  const shownFills = useMemo(() => (fills.data ?? []).filter((f) => f.instrument === instrument), [fills.data, instrument]);
  const profit = Number(a.nav) - Number(a.capital);
  const day = Number(a.nav) - Number(a.day_start_nav);
  return (
    <>
      <div className="title">
        <h1>{a.name}</h1>
        <span className={`badge ${a.mode}`}>{a.mode.toUpperCase()}</span>
        <State state={a.status} reason={a.reason} />
        <span className="dim">
          {a.strategies.map((s) => `${words(s.strategy)} on bars of ${s.bar_s} s`).join(", ") || "traded by hand"}
        </span>
        <span className="spacer" />
        {me.actions.includes("trading.override") && <ByHand account={a.id} />}
        {me.kind === "person" && (
          <Link className="button" to={`/accounts/${a.id}/settings`}>
            Settings
          </Link>
        )}
      </div>
      {a.reason && (
        <div className="banner warn" role="alert">
          {a.reason}
          {["stopped", "halted", "exits_only"].includes(a.status) && <Resume account={a.id} />}
        </div>
      )}
      <Held account={a} />
      <div className="stats">
        <Stat name={`Net asset value, ${a.currency}`} value={formatMoney(a.nav)} />
        <Stat name="Today" value={formatSigned(day)} tone={tone(day)} note={formatPercent(Number(a.day_start_nav) ? day / Number(a.day_start_nav) : 0)} />
        <Stat name="Profit since start" value={formatSigned(profit)} tone={tone(profit)} note={formatPercent(Number(a.capital) ? profit / Number(a.capital) : 0)} />
        <Stat name="Cash" value={formatMoney(a.cash)} />
        <Stat name="Realized" value={formatSigned(Number(a.realized))} tone={tone(Number(a.realized))} />
        <Stat name="Fees paid" value={formatMoney(a.fees)} />
      </div>
      <div className="split">
        <section className="panel" aria-label="Equity">
          <h2>Equity</h2>
          <LineChart lines={lines} label={`Equity curve of ${a.name}`} />
        </section>
        <section className="panel" aria-label="Market">
          <h2>
            Market
            <span className="tabs" role="tablist">
              {instruments.map((i) => (
                <button key={i} role="tab" aria-selected={i === instrument} onClick={() => setInstrument(i)}>
                  {instruments.some((other) => other !== i && other.split(":")[1] === i.split(":")[1]) ? i : i.split(":")[1]}
                </button>
              ))}
            </span>
          </h2>
          {bars.data && bars.data.length === 0 ? (
            <p className="empty">No bars yet; the first comes within a minute.</p>
          ) : (
            <PriceChart bars={bars.data ?? []} fills={shownFills} label={`Price of ${instrument}`} />
          )}
        </section>
      </div>
      <DataTable title="Positions" columns={positionColumns} rows={positions.data ?? []} keyOf={(p) => p.instrument} empty="No positions: the account is in cash." query={positions} />
      {a.parents.length > 0 && (
        <DataTable title="Parent orders" columns={parentColumns} rows={a.parents} keyOf={(p) => p.id} empty="" />
      )}
      <DataTable title="Orders" columns={orderColumns} rows={orders.data ?? []} keyOf={(o) => o.id} empty="No orders yet." query={orders} />
      <DataTable title="Fills" columns={fillColumns} rows={(fills.data ?? []).slice(0, 30)} keyOf={(f) => f.order_id + f.trade_id} empty="Nothing was filled yet." query={fills} />
      <div className="split">
        <DataTable title="Denied by the risk gate" columns={verdictColumns} rows={verdicts.data ?? []} keyOf={(v) => v.order_id} empty="No order was denied." query={verdicts} />
        <DataTable title="Alerts" columns={alertColumns} rows={alerts.data ?? []} keyOf={(x) => `${x.ts_ns}${x.code}`} empty="No alerts." query={alerts} />
      </div>
      <DataTable title="Balances" columns={balanceColumns} rows={balances.data ?? []} keyOf={(b) => b.key} empty="No balances." query={balances} />
    </>
  );
}
