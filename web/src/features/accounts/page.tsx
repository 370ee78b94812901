import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { api, type Account } from "../../api/calls";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { keys } from "../../api/keys";
import { stoppedVenues } from "../../app/frame/ages";
import { useCan } from "../../app/can";
import { Guard } from "../../app/guard";
import { ageMs, ageText, freshness, isOld } from "../../live/freshness";
import { useAccounts } from "../../live/desk";
import { useTopic } from "../../live/socket";
import type { Level } from "../../ui/chart/PriceChart";
import { Lazily } from "../../ui/chart/lazily";
import { Confirm } from "../../ui/dialog/Confirm";
import { drawable, formatMoney, formatShare, formatSigned, formatSize, formatTime, tone, words } from "../../ui/format";
import { Loading } from "../../ui/parts/states";
import { Stat } from "../../ui/parts/Stat";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { fillColumns, orderColumns, parentColumns, positionColumns, AccountState, State } from "../columns";
import { blockedBy, Effects } from "../preview";
import { Past } from "./Past";
import { Shadows } from "./Shadows";

const verdictColumns: Column<Schemas["Verdict"]>[] = [
  { name: "Time", kind: "time", of: (v) => v.ts_ns },
  { name: "Order", kind: "text", of: (v) => v.order_id },
  { name: "Check", kind: "text", of: (v) => v.breaches.map((b) => words(b.check)).join(", ") },
  { name: "Found", kind: "text", of: (v) => v.breaches.map((b) => b.value).join("; ") },
  { name: "Allowed", kind: "text", of: (v) => v.breaches.map((b) => b.limit).join("; ") },
];

const alertColumns: Column<Schemas["Alert"]>[] = [
  { name: "Time", kind: "time", of: (a) => a.ts_ns },
  { name: "Severity", kind: "state", of: (a) => a.severity },
  { name: "Message", kind: "prose", of: (a) => a.message },
];

const balanceColumns: Column<Schemas["Balance"]>[] = [
  { name: "Balance", kind: "text", of: (b) => b.key },
  { name: "Free", kind: "size", of: (b) => b.free },
  { name: "Locked", kind: "size", of: (b) => b.locked },
];

export default function AccountPage() {
  const { account = "" } = useParams({ strict: false });
  const { accounts, isPending } = useAccounts();
  const known = accounts.find((a) => a.id === account);
  if (isPending) return <Loading what="Loading the account" />;
  if (!known) return <p className="empty">There is no account “{account}”.</p>;
  if (known.status === "waiting") return <Waiting account={known} />;
  return <Details key={account} account={known} />;
}

/** An account that is opened and not trading yet: it says what it waits for. */
function Waiting({ account: a }: { account: Account }) {
  return (
    <>
      <div className="title">
        <h1>{a.name}</h1>
        <ModeOf account={a} />
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

function ModeOf({ account: a }: { account: Account }) {
  return <span className={`badge ${a.mode}`}>{a.shadow_of ? "SHADOW" : a.mode.toUpperCase()}</span>;
}

function Age({ account }: { account: string }) {
  const age = ageMs(freshness.use(), account);
  return (
    <span className="warn" role="status">
      {age === null ? "never told" : `told ${ageText(age)} ago`}
    </span>
  );
}

function Details({ account: a }: { account: Account }) {
  const can = useCan();
  const old = freshness.useOf((fresh) => isOld(fresh, a.id));
  return (
    <>
      <div className="title">
        <h1>{a.name}</h1>
        <ModeOf account={a} />
        <AccountState account={a} />
        <span className="dim">
          {a.strategies.map((s) => `${words(s.strategy)} on bars of ${s.bar_s} s`).join(", ") || "traded by hand"}
        </span>
        {a.shadow_of && (
          <span className="dim">
            beside{" "}
            <Link to="/accounts/$account" params={{ account: a.shadow_of }}>
              {a.shadow_of}
            </Link>
          </span>
        )}
        {old && <Age account={a.id} />}
        <span className="spacer" />
        <Guard what="Trades by hand">{can("trading.override", a.id) && <ByHand account={a} isOld={old} />}</Guard>
        {can("accounts.configure", a.id) && (
          <Link className="button" to="/accounts/$account/settings" params={{ account: a.id }}>
            Settings
          </Link>
        )}
      </div>
      <Stops account={a} />
      <Guard what="Entries that wait">
        <Held account={a} />
      </Guard>
      <div className={old ? "stats old" : "stats"}>
        <Stat name={`Net asset value, ${a.currency}`} value={formatMoney(a.nav)} />
        <Stat name="Today" value={formatSigned(a.day)} tone={tone(a.day)} note={formatShare(a.day, a.day_start_nav, true)} />
        <Stat name="Profit since start" value={formatSigned(a.profit)} tone={tone(a.profit)} note={formatShare(a.profit, a.capital, true)} />
        <Stat name="Cash" value={formatMoney(a.cash)} />
        <Stat name="Unrealized" value={formatSigned(a.unrealized)} tone={tone(a.unrealized)} />
        <Stat name="Realized" value={formatSigned(a.realized)} tone={tone(a.realized)} />
        <Stat name="Fees paid" value={formatMoney(a.fees)} />
      </div>
      <div className="split">
        <Guard what="Equity">
          <Equity account={a} />
        </Guard>
        <Guard what="Market">
          <Market account={a} />
        </Guard>
      </div>
      <Guard what="Positions">
        <DataTable title="Positions" columns={positionColumns} rows={a.positions} keyOf={(p) => p.instrument} empty="No positions: the account is in cash." isOld={old} />
      </Guard>
      <Guard what="Open orders">
        <DataTable title="Open orders" columns={orderColumns} rows={a.orders} keyOf={(o) => o.id} empty="No order is working." isOld={old} />
      </Guard>
      {a.parents.length > 0 && (
        <Guard what="Parent orders">
          <DataTable title="Parent orders" columns={parentColumns} rows={a.parents} keyOf={(p) => p.id} empty="" isOld={old} />
        </Guard>
      )}
      <Guard what="Fills">
        <Fills account={a} />
      </Guard>
      {!a.shadow_of && (
        <Guard what="Shadows">
          <Shadows account={a} />
        </Guard>
      )}
      <Guard what="The past">
        <Past account={a} />
      </Guard>
      <Guard what="The records">
        <Records account={a.id} />
      </Guard>
    </>
  );
}

/** What stops the account, each with why, since when, by whom; and the way on, where there is one. */
function Stops({ account: a }: { account: Account }) {
  const can = useCan();
  const [isAsking, setAsking] = useState(false);
  const resume = useCommand((reason: string) => api.resume(a.id, reason));
  const venues = stoppedVenues(a);
  if (!a.reason && a.stops.length === 0 && venues.length === 0) return null;
  const mayResume = ["stopped", "halted", "exits_only"].includes(a.status) && can("trading.resume", a.id);
  return (
    <div className="banner warn" role="alert">
      <div>
        {a.stops.map((s) => (
          <p key={s.stop}>
            <b>{words(s.stop)}</b>: {s.reason}{" "}
            <span className="dim">
              since {formatTime(s.since_ns)}
              {s.actor && `, by ${s.actor}`}
            </span>
          </p>
        ))}
        {venues.map((v) => (
          <p key={v.venue}>
            <b>{v.venue} stopped</b>: {v.stop[0]!.reason}{" "}
            <span className="dim">
              since {formatTime(v.stop[0]!.since_ns)}
              {v.stop[0]!.actor && `, by ${v.stop[0]!.actor}`}; nothing is sent there until it is released under the kill switch
            </span>
          </p>
        ))}
        {a.stops.length === 0 && a.reason && <p>{a.reason}</p>}
      </div>
      {mayResume && <button onClick={() => setAsking(true)}>Resume trading…</button>}
      {isAsking && (
        <Confirm
          title={`Let ${a.name} trade again`}
          effects={<p>It may open positions again, unless something else stops it.</p>}
          button="Resume trading"
          word={a.mode === "live" ? a.name : ""}
          command={resume}
          done={resume.phase === "done" ? (resume.data?.applied ? "It trades again." : "Recorded, not confirmed yet.") : ""}
          onConfirm={resume.mutate}
          onClose={() => {
            setAsking(false);
            resume.reset();
          }}
        />
      )}
    </div>
  );
}

type Hand = "exit" | "hedge";

/** What a person may do by hand: shown with its exact effects before it is done. */
function ByHand({ account: a, isOld: old }: { account: Account; isOld: boolean }) {
  const [asking, setAsking] = useState<Hand | null>(null);
  return (
    <>
      <button onClick={() => setAsking("hedge")}>Sell half…</button>
      <button onClick={() => setAsking("exit")}>Exit all…</button>
      {asking && <Ask key={asking} hand={asking} account={a} isOld={old} onClose={() => setAsking(null)} />}
    </>
  );
}

const HALF_BPS = 5_000;

function Ask({ hand, account: a, isOld: old, onClose }: { hand: Hand; account: Account; isOld: boolean; onClose: () => void }) {
  const body = { reason: "preview" };
  const preview = useQuery({
    queryKey: keys.preview(a.id, hand),
    queryFn: () => (hand === "exit" ? api.previewExit(a.id, { ...body, instrument: "" }) : api.previewHedge(a.id, { ...body, share_bps: HALF_BPS })),
    retry: false,
    staleTime: 0,
    gcTime: 0,
  });
  const command = useCommand((reason: string) => (hand === "exit" ? api.exit(a.id, reason) : api.hedge(a.id, HALF_BPS, reason)));
  const done = command.phase === "done" ? (command.data?.applied ? "It was taken: its orders are under Parent orders and Open orders." : "Recorded, not confirmed yet.") : "";
  return (
    <Confirm
      title={hand === "exit" ? `Sell every position of ${a.name}` : `Sell half of every position of ${a.name}`}
      effects={
        preview.data ? <Effects of={preview.data} /> : <p className={preview.error ? "down" : "dim"}>{preview.error?.message ?? (old ? "What it would do cannot be asked: the platform does not answer." : "Working out what that does…")}</p>
      }
      button={hand === "exit" ? "Sell everything" : "Sell half"}
      word={a.mode === "live" ? a.name : ""}
      blocked={command.phase === "idle" ? blockedBy(preview.data, old) : ""}
      command={command}
      done={done}
      onConfirm={command.mutate}
      onClose={onClose}
    />
  );
}

/** Entries that wait for a person, with the buttons that decide. */
function Held({ account: a }: { account: Account }) {
  const can = useCan();
  const decide = useCommand(({ number, approve }: { number: number; approve: boolean }) =>
    api.decideIntent(a.id, number, approve, approve ? "approved on the page" : "declined on the page"),
  );
  const columns: Column<Schemas["HeldIntent"]>[] = [
    { name: "Entry", kind: "number", of: (h) => h.number },
    { name: "Instrument", kind: "text", of: (h) => h.symbol, cell: (h) => <b>{h.symbol}</b> },
    { name: "Size", kind: "size", of: (h) => h.size },
    { name: "Worth", kind: "money", of: (h) => h.notional },
    { name: "Strategy", kind: "words", of: (h) => h.strategy },
    { name: "Dropped at", kind: "time", of: (h) => h.until_ns },
    {
      name: "",
      kind: "actions",
      cell: (h) =>
        can("intents.decide", a.id) && (
          <span className="actions">
            <button disabled={decide.isPending} onClick={() => decide.mutate({ number: h.number, approve: false })}>
              Decline
            </button>
            <button className="primary" disabled={decide.isPending} onClick={() => decide.mutate({ number: h.number, approve: true })}>
              Approve {formatSize(h.size)} {h.symbol}
            </button>
          </span>
        ),
    },
  ];
  if (a.held.length === 0) return null;
  return (
    <>
      <DataTable title="Waits for a person" columns={columns} rows={a.held} keyOf={(h) => String(h.number)} empty="" />
      {decide.error && (
        <p className="down" role="alert">
          {decide.error.message}
        </p>
      )}
    </>
  );
}

function Equity({ account: a }: { account: Account }) {
  const equity = useQuery({ queryKey: keys.equity(a.id), queryFn: () => api.equity(a.id), refetchInterval: 15_000 });
  const lines = useMemo(
    () => [{ name: "NAV", colour: "series-1", points: (equity.data ?? []).map((p) => ({ ts_ns: p.ts_ns, value: drawable(p.nav) })) }],
    [equity.data],
  );
  return (
    <section className="panel" aria-label="Equity">
      <h2>Equity</h2>
      <Lazily.SeriesChart lines={lines} label={`Equity curve of ${a.name}`} />
    </section>
  );
}

function useFills(account: string): Schemas["Fill"][] {
  const live = useTopic<Schemas["FillsState"]>(`fills:${account}`);
  return useMemo(() => Object.values(live?.fills ?? {}).sort((x, y) => y.seq - x.seq || y.ts_ns - x.ts_ns), [live]);
}

function Market({ account: a }: { account: Account }) {
  const instruments = a.strategies.flatMap((s) => s.instruments);
  const offered = instruments.length > 0 ? instruments : [...new Set(a.positions.map((p) => p.instrument))];
  const [chosen, setChosen] = useState("");
  const instrument = chosen || offered[0] || "";
  const live = useTopic<Schemas["BarsState"]>(`bars:${instrument}`);
  const fills = useFills(a.id);
  const stored = useQuery({
    queryKey: keys.bars(instrument),
    queryFn: () => api.bars(instrument),
    enabled: instrument !== "",
    staleTime: 60_000,
  });
  const bars = useMemo(() => {
    const byEnd = new Map((stored.data ?? []).map((b) => [b.ts_ns, b]));
    for (const b of Object.values(live?.bars ?? {})) byEnd.set(b.ts_ns, b);
    return [...byEnd.values()].sort((x, y) => x.ts_ns - y.ts_ns);
  }, [stored.data, live]);
  const marks = useMemo(
    () => fills.filter((f) => f.instrument === instrument).map((f) => ({ ts_ns: f.ts_ns, side: f.side, text: formatSize(f.size) })),
    [fills, instrument],
  );
  const levels = useMemo<Level[]>(() => {
    const orders = a.orders
      .filter((o) => o.instrument === instrument && (o.limit_price || o.trigger_price))
      .map((o): Level => ({ price: o.limit_price || o.trigger_price, title: `${o.side} ${formatSize(o.size)}`, kind: o.side }));
    const held = a.positions.filter((p) => p.instrument === instrument);
    const stops = held.flatMap((p) => p.stops.map((price): Level => ({ price, title: "stop", kind: "stop" })));
    const entries = held.map((p): Level => ({ price: p.average_price, title: "average", kind: "entry" }));
    return [...orders, ...stops, ...entries];
  }, [a.orders, a.positions, instrument]);
  const isAmbiguous = (i: string) => offered.some((other) => other !== i && other.split(":")[1] === i.split(":")[1]);
  return (
    <section className="panel" aria-label="Market">
      <h2>
        Market
        <span className="tabs" role="tablist" aria-label="Instruments">
          {offered.map((i) => (
            <button key={i} role="tab" aria-selected={i === instrument} onClick={() => setChosen(i)}>
              {isAmbiguous(i) ? i : i.split(":")[1]}
            </button>
          ))}
        </span>
      </h2>
      {stored.error && bars.length === 0 ? (
        <p className="empty down">{stored.error.message}</p>
      ) : bars.length === 0 ? (
        <p className="empty">No bars yet; the first comes within a minute.</p>
      ) : (
        <Lazily.PriceChart bars={bars} marks={marks} levels={levels} label={`Price of ${instrument}`} />
      )}
    </section>
  );
}

function Fills({ account: a }: { account: Account }) {
  return (
    <DataTable
      title="Fills"
      columns={fillColumns}
      rows={useFills(a.id)}
      keyOf={(f) => f.order_id + f.trade_id}
      empty="Nothing was filled yet."
      aside={
        <Link to="/fills" search={{ account: a.id }} className="dim">
          all fills
        </Link>
      }
    />
  );
}

/** What is looked up now and then: it changes with orders, not with the market. */
function Records({ account }: { account: string }) {
  const every = { refetchInterval: 15_000 };
  const balances = useQuery({ queryKey: keys.of(account, "balances"), queryFn: () => api.balances(account), ...every });
  const verdicts = useQuery({ queryKey: keys.of(account, "verdicts"), queryFn: () => api.verdicts(account), ...every });
  const alerts = useQuery({ queryKey: keys.of(account, "alerts"), queryFn: () => api.alerts(account), ...every });
  return (
    <>
      <div className="split">
        <DataTable title="Denied by the risk gate" columns={verdictColumns} rows={verdicts.data ?? []} keyOf={(v) => v.order_id} empty="No order was denied." query={verdicts} />
        <DataTable title="Alerts" columns={alertColumns} rows={alerts.data ?? []} keyOf={(x) => `${x.ts_ns}${x.code}${x.message}`} empty="No alerts." query={alerts} />
      </div>
      <DataTable title="Balances" aside={<span className="dim">as of {formatTime(balances.dataUpdatedAt * 1e6)}</span>} columns={balanceColumns} rows={balances.data ?? []} keyOf={(b) => b.key} empty="No balances." query={balances} />
    </>
  );
}
