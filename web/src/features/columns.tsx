// The tables that several pages show.
import type { Column } from "./DataTable";
import type { Fill, Order, ParentOrder, Position } from "../api";
import { formatMoney, formatPrice, formatSigned, formatSize, formatTime, tone, words } from "../format";

export function Side({ side }: { side: string }) {
  return <span className={side === "buy" ? "up" : "down"}>{side}</span>;
}

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

export const positionColumns: Column<Position>[] = [
  { name: "Instrument", text: true, cell: (p) => <Pair of={p} /> },
  { name: "Quantity", cell: (p) => formatSize(p.quantity) },
  { name: "Average price", cell: (p) => formatPrice(p.average_price) },
  { name: "Mark", cell: (p) => formatPrice(p.mark) },
  { name: "Value", cell: (p) => formatMoney(p.value) },
  {
    name: "Unrealized",
    cell: (p) => <span className={tone(Number(p.unrealized))}>{formatSigned(Number(p.unrealized))}</span>,
  },
  {
    name: "Realized",
    cell: (p) => <span className={tone(Number(p.realized))}>{formatSigned(Number(p.realized))}</span>,
  },
  { name: "Fees", cell: (p) => formatMoney(p.fees) },
];

export const orderColumns: Column<Order>[] = [
  { name: "Time", text: true, cell: (o) => formatTime(o.created_ns) },
  { name: "Instrument", text: true, cell: (o) => <Pair of={o} /> },
  { name: "Side", text: true, cell: (o) => <Side side={o.side} /> },
  { name: "Type", text: true, cell: (o) => words(o.type) },
  { name: "Purpose", text: true, cell: (o) => words(o.purpose) },
  { name: "Size", cell: (o) => formatSize(o.size) },
  { name: "Filled", cell: (o) => formatSize(o.filled) },
  { name: "Limit", cell: (o) => formatPrice(o.limit_price) },
  { name: "Average", cell: (o) => formatPrice(o.average_price) },
  { name: "State", text: true, cell: (o) => <State state={o.state} reason={o.reason} /> },
];

export const parentColumns: Column<ParentOrder>[] = [
  { name: "Started", text: true, cell: (p) => formatTime(p.started_ns) },
  { name: "Parent order", text: true, cell: (p) => p.id },
  { name: "Pair", text: true, cell: (p) => <b>{p.symbol}</b> },
  { name: "Side", text: true, cell: (p) => <Side side={p.side} /> },
  { name: "Algorithm", text: true, cell: (p) => p.algorithm.toUpperCase() },
  { name: "Amount", cell: (p) => formatSize(p.amount) },
  { name: "Filled", cell: (p) => formatSize(p.filled) },
  { name: "Average", cell: (p) => formatPrice(p.average_price) },
  { name: "Fees", cell: (p) => formatMoney(p.fees) },
  { name: "Children", cell: (p) => p.children },
  { name: "State", text: true, cell: (p) => <State state={p.state} /> },
  { name: "Why", text: true, cell: (p) => <span className="dim">{p.reason}</span> },
];

export const fillColumns: Column<Fill>[] = [
  { name: "Time", text: true, cell: (f) => formatTime(f.ts_ns) },
  { name: "Instrument", text: true, cell: (f) => <Pair of={f} /> },
  { name: "Side", text: true, cell: (f) => <Side side={f.side} /> },
  { name: "Price", cell: (f) => formatPrice(f.price) },
  { name: "Size", cell: (f) => formatSize(f.size) },
  { name: "Notional", cell: (f) => formatMoney(f.notional) },
  { name: "Fee", cell: (f) => formatMoney(f.fee) },
  {
    name: "Realized",
    cell: (f) => (f.side === "sell" ? <span className={tone(Number(f.realized))}>{formatSigned(Number(f.realized))}</span> : "—"),
  },
  { name: "Purpose", text: true, cell: (f) => words(f.purpose) },
];
