// The columns that several pages show.
import type { ReactNode } from "react";
import type { Account, Fill, Order, ParentOrder, Position } from "../api/calls";
import { stoppedVenues } from "../app/frame/ages";
import type { Column } from "../ui/table/DataTable";
import { formatPrice, words } from "../ui/format";

/** A pair and the venue that it trades at. */
export function Pair({ of }: { of: { instrument: string; symbol: string } }) {
  return (
    <>
      <b>{of.symbol}</b> <span className="dim">{of.instrument.split(":")[0]}</span>
    </>
  );
}

export function State({ state, reason }: { state: string; reason?: string }) {
  return (
    <span className={`state ${state}`} title={reason}>
      {words(state)}
    </span>
  );
}

/** How an account is, with the venues at which it is stopped. */
export function AccountState({ account: a }: { account: Account }) {
  return (
    <>
      <State state={a.status} reason={a.reason} />
      {stoppedVenues(a).map((v) => (
        <span key={v.venue} className="state killed" title={v.stop[0]!.reason}>
          {v.venue} stopped
        </span>
      ))}
    </>
  );
}

/** Rows of several accounts, each with the name of its own. */
export function ofAccount<Row extends { account: string }>(names: ReadonlyMap<string, string>): Column<Row> {
  return { name: "Account", kind: "text", of: (row) => names.get(row.account) ?? row.account, sort: "account" };
}

const dash = (text: string, shown: (text: string) => ReactNode): ReactNode => (text === "" ? "—" : shown(text));

const watchedBy = (p: Position): string =>
  p.resting_stops.length > 0 ? `rests at the venue at ${p.resting_stops.map(formatPrice).join(", ")}` : "watched by the platform alone";

export const positionColumns: Column<Position>[] = [
  { name: "Instrument", kind: "text", of: (p) => p.symbol, cell: (p) => <Pair of={p} /> },
  { name: "Quantity", kind: "size", of: (p) => p.quantity },
  { name: "Average price", kind: "price", of: (p) => p.average_price },
  {
    name: "Mark",
    kind: "price",
    of: (p) => p.mark,
    cell: (p) => <span title={p.mark_ns ? undefined : "no mark: at cost"}>{formatPrice(p.mark)}{p.mark_ns === 0 && " (cost)"}</span>,
  },
  {
    name: "Stop",
    kind: "price",
    of: (p) => p.stops[0] ?? "",
    cell: (p) => dash(p.stops.map(formatPrice).join(", "), (prices) => <span title={watchedBy(p)}>{prices}{p.resting_stops.length > 0 && <span className="dim"> at the venue</span>}</span>),
  },
  { name: "Value", kind: "money", of: (p) => p.value },
  { name: "Unrealized", kind: "signed", of: (p) => p.unrealized },
  { name: "Realized", kind: "signed", of: (p) => p.realized },
  { name: "Fees", kind: "money", of: (p) => p.fees },
];

export const orderColumns: Column<Order>[] = [
  { name: "Time", kind: "time", of: (o) => o.created_ns, sort: "time" },
  { name: "Instrument", kind: "text", of: (o) => o.symbol, cell: (o) => <Pair of={o} />, sort: "instrument" },
  { name: "Side", kind: "side", of: (o) => o.side },
  { name: "Type", kind: "words", of: (o) => o.type },
  { name: "Purpose", kind: "words", of: (o) => o.purpose },
  { name: "Size", kind: "size", of: (o) => o.size },
  { name: "Filled", kind: "size", of: (o) => o.filled },
  { name: "Limit", kind: "price", of: (o) => o.limit_price || o.trigger_price },
  { name: "Average", kind: "price", of: (o) => o.average_price },
  { name: "State", kind: "state", of: (o) => o.state, cell: (o) => <State state={o.state} reason={o.reason} />, sort: "state" },
  { name: "Why", kind: "text", of: (o) => o.reason, cell: (o) => dash(o.reason, (text) => <span className="dim">{text}</span>) },
];

export const parentColumns: Column<ParentOrder>[] = [
  { name: "Started", kind: "time", of: (p) => p.started_ns },
  { name: "Parent order", kind: "text", of: (p) => p.id },
  { name: "Pair", kind: "text", of: (p) => p.symbol, cell: (p) => <b>{p.symbol}</b> },
  { name: "Side", kind: "side", of: (p) => p.side },
  { name: "Algorithm", kind: "text", of: (p) => p.algorithm.toUpperCase() },
  { name: "Amount", kind: "size", of: (p) => p.amount },
  { name: "Filled", kind: "size", of: (p) => p.filled },
  { name: "Average", kind: "price", of: (p) => p.average_price },
  { name: "Fees", kind: "money", of: (p) => p.fees },
  { name: "Children", kind: "number", of: (p) => p.children },
  { name: "State", kind: "state", of: (p) => p.state },
  { name: "Why", kind: "text", of: (p) => p.reason, cell: (p) => <span className="dim">{p.reason}</span> },
];

export const fillColumns: Column<Fill>[] = [
  { name: "Time", kind: "time", of: (f) => f.ts_ns, sort: "time" },
  { name: "Instrument", kind: "text", of: (f) => f.symbol, cell: (f) => <Pair of={f} />, sort: "instrument" },
  { name: "Side", kind: "side", of: (f) => f.side },
  { name: "Price", kind: "price", of: (f) => f.price },
  { name: "Size", kind: "size", of: (f) => f.size },
  { name: "Notional", kind: "money", of: (f) => f.notional, sort: "notional" },
  { name: "Fee", kind: "money", of: (f) => f.fee },
  { name: "Realized", kind: "signed", of: (f) => (f.side === "sell" ? f.realized : "") },
  { name: "Liquidity", kind: "words", of: (f) => f.liquidity },
  { name: "Purpose", kind: "words", of: (f) => f.purpose },
];
