// The one table: typed columns, sorting, a filter, a choice of columns, rows by keyboard, virtual rows above a hundred.
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { comparable, formatMoney, formatPrice, formatSigned, formatSize, formatTime, tone, words } from "../format";

export type Kind = "text" | "prose" | "words" | "money" | "signed" | "price" | "size" | "number" | "time" | "state" | "side" | "actions";

export type Column<Row> = {
  name: string;
  kind?: Kind;
  /** The value as the platform gave it: what is sorted, filtered and shown, unless `cell` shows it. */
  of?: (row: Row) => string | number;
  cell?: (row: Row) => ReactNode;
  /** What the platform calls it where it sorts. */
  sort?: string;
};

export type Sort = { value: string; onChange: (value: string) => void };

type Props<Row> = {
  title: string;
  columns: Column<Row>[];
  rows: Row[];
  keyOf: (row: Row) => string;
  empty: ReactNode;
  query?: { isPending: boolean; error: Error | null; refetch?: () => unknown };
  aside?: ReactNode;
  /** What is shown is old. */
  isOld?: boolean;
  /** The platform sorts: `name` upwards, `-name` downwards. */
  sort?: Sort;
  /** There are more rows; called when the end is near. */
  onMore?: (() => void) | undefined;
  total?: ReactNode;
  isTall?: boolean;
};

const VIRTUAL_ABOVE = 100;
const ROW_PX = 35;
const TEXTUAL: Kind[] = ["text", "prose", "words", "time", "state", "side", "actions"];
const FILTER_ABOVE = 8;

type Order = { column: string; isDown: boolean };

/** The name of a column within its table, also where its head says nothing. */
function idOf<Row>(column: Column<Row>, index: number): string {
  return column.name || `#${index}`;
}

/** Return what follows when a head is pressed: text begins upwards, amounts downwards; then the other way, then as told. */
function nextOrder<Row>(order: Order | null, column: Column<Row>, id: string): Order | null {
  const isDownFirst = !TEXTUAL.includes(column.kind ?? "text");
  if (order?.column !== id) return { column: id, isDown: isDownFirst };
  return order.isDown === isDownFirst ? { column: id, isDown: !isDownFirst } : null;
}

/** Return rows in the order of a value: numbers by size, before text. */
function inOrder<Row>(rows: Row[], of: (row: Row) => string | number, isDown: boolean): Row[] {
  const keyed = rows.map((row) => ({ row, key: comparable(of(row)) }));
  const less = (a: string | number, b: string | number) => (typeof a === typeof b ? a < b : typeof a === "number");
  keyed.sort(({ key: a }, { key: b }) => (a === b ? 0 : less(a, b) === isDown ? 1 : -1));
  return keyed.map(({ row }) => row);
}

function shown<Row>(column: Column<Row>, row: Row): ReactNode {
  if (column.cell) return column.cell(row);
  const value = column.of?.(row) ?? "";
  switch (column.kind) {
    case "money":
      return formatMoney(value);
    case "signed":
      return <span className={tone(value)}>{formatSigned(value)}</span>;
    case "price":
      return formatPrice(String(value));
    case "size":
      return formatSize(String(value));
    case "time":
      return formatTime(value as number);
    case "state":
      return <span className={`state ${value}`}>{words(String(value))}</span>;
    case "side":
      return <span className={value === "buy" ? "up" : "down"}>{value}</span>;
    case "words":
      return words(String(value));
    default:
      return value;
  }
}

export function DataTable<Row>(props: Props<Row>) {
  const { title, columns, keyOf, query, sort } = props;
  const [filter, setFilter] = useState("");
  const [order, setOrder] = useState<Order | null>(null);
  const [hidden, setHidden] = useState<readonly string[]>([]);
  const scroll = useRef<HTMLDivElement>(null);
  const wanted = filter.trim().toLowerCase();
  const by = order && columns.find((c, n) => idOf(c, n) === order.column)?.of;
  const rows = useMemo(() => {
    const found = wanted
      ? props.rows.filter((row) => columns.some((c) => c.of && String(c.of(row)).toLowerCase().includes(wanted)))
      : props.rows;
    return by && !sort ? inOrder(found, by, order.isDown) : found;
  }, [props.rows, wanted, by, order, sort !== undefined]);
  const visible = useMemo(() => columns.filter((c, n) => !hidden.includes(idOf(c, n))), [columns, hidden]);
  const isVirtual = rows.length > VIRTUAL_ABOVE;
  const virtual = useVirtualizer({
    count: rows.length,
    enabled: isVirtual,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    indexAttribute: "data-row",
  });
  const items = isVirtual ? virtual.getVirtualItems() : null;
  const first = items?.[0]?.start ?? 0;
  const last = items && items.length > 0 ? virtual.getTotalSize() - items.at(-1)!.end : 0;
  const drawn = items ? items.map((i) => ({ row: rows[i.index]!, index: i.index })) : rows.map((row, index) => ({ row, index }));
  const isNearEnd = drawn.length > 0 && drawn.at(-1)!.index >= rows.length - 20;
  useEffect(() => {
    if (isNearEnd) props.onMore?.();
  }, [isNearEnd, rows.length]);
  const head = (c: Column<Row>, id: string) => {
    const by = c.sort;
    const own = order?.column === id && (order.isDown ? "desc" : "asc");
    const told = sort ? by && (sort.value === by ? "asc" : sort.value === `-${by}` && "desc") : own;
    const canSort = sort ? Boolean(by) : Boolean(c.of);
    const toggle = () => {
      if (sort && by) sort.onChange(sort.value === `-${by}` ? by : `-${by}`);
      else setOrder(nextOrder(order, c, id));
    };
    return (
      <th
        key={id}
        scope="col"
        className={TEXTUAL.includes(c.kind ?? "text") ? "text" : ""}
        aria-sort={told === "asc" ? "ascending" : told === "desc" ? "descending" : undefined}
      >
        {canSort ? (
          <button className="sort" onClick={toggle}>
            {c.name}
            <span aria-hidden="true">{told === "asc" ? " ▲" : told === "desc" ? " ▼" : ""}</span>
          </button>
        ) : (
          c.name || <span className="hidden">Actions</span>
        )}
      </th>
    );
  };
  const onKey = (event: KeyboardEvent<HTMLTableSectionElement>) => {
    const row = (event.target as HTMLElement).closest("tr");
    if (!row || event.target !== row) return;
    const to = ["j", "ArrowDown"].includes(event.key) ? row.nextElementSibling : ["k", "ArrowUp"].includes(event.key) ? row.previousElementSibling : null;
    if (to instanceof HTMLElement && to.dataset.row) {
      event.preventDefault();
      to.focus();
    }
  };
  const hasRows = props.rows.length > 0;
  return (
    <section className={`panel${props.isOld ? " old" : ""}`} aria-label={title}>
      <h2>
        {title}
        {props.aside}
        {hasRows && (
          <span className="tools">
            {!sort && props.rows.length > FILTER_ABOVE && (
              <input className="inline" aria-label={`Filter ${title}`} placeholder="filter" value={filter} onChange={(e) => setFilter(e.target.value)} />
            )}
            <details className="columns">
              <summary>Columns</summary>
              <div>
                {columns.map((c) => c.name).filter(Boolean).map((name) => (
                  <label key={name} className="check">
                    <input
                      type="checkbox"
                      checked={!hidden.includes(name)}
                      onChange={(e) => setHidden(e.target.checked ? hidden.filter((h) => h !== name) : [...hidden, name])}
                    />
                    {name}
                  </label>
                ))}
              </div>
            </details>
          </span>
        )}
      </h2>
      {query?.error && (
        <p className="empty down" role="alert">
          {query.error.message} {hasRows && "What is shown is from before."}{" "}
          {query.refetch && <button onClick={() => void query.refetch!()}>Try again</button>}
        </p>
      )}
      {!hasRows && !query?.error && (query?.isPending ? <Skeleton /> : <div className="empty">{props.empty}</div>)}
      {hasRows && (
        <div className={`scroll${props.isTall ? " tall" : ""}${isVirtual ? " virtual" : ""}`} ref={scroll} tabIndex={0} role="group" aria-label={`Rows of ${title}`}>
          <table aria-rowcount={rows.length}>
            <thead>
              <tr>{visible.map((c) => head(c, idOf(c, columns.indexOf(c))))}</tr>
            </thead>
            <tbody onKeyDown={onKey}>
              {first > 0 && (
                <tr aria-hidden="true">
                  <td colSpan={visible.length} style={{ height: first, padding: 0, border: 0 }} />
                </tr>
              )}
              {drawn.map(({ row, index }) => (
                <DrawnRow
                  key={keyOf(row)}
                  row={row}
                  columns={visible}
                  index={index}
                  isFirst={index === drawn[0]!.index}
                  measure={isVirtual ? virtual.measureElement : undefined}
                />
              ))}
              {last > 0 && (
                <tr aria-hidden="true">
                  <td colSpan={visible.length} style={{ height: last, padding: 0, border: 0 }} />
                </tr>
              )}
            </tbody>
          </table>
          {rows.length === 0 && <p className="empty">Nothing matches “{filter}”.</p>}
        </div>
      )}
      {props.total && hasRows && <p className="total">{props.total}</p>}
    </section>
  );
}

type Drawn<Row> = {
  row: Row;
  columns: Column<Row>[];
  index: number;
  isFirst: boolean;
  measure: ((node: Element | null) => void) | undefined;
};

const DrawnRow = memo(function DrawnRow<Row>({ row, columns, index, isFirst, measure }: Drawn<Row>) {
  return (
    <tr ref={measure} data-row={index} aria-rowindex={index + 1} tabIndex={isFirst ? 0 : -1}>
      {columns.map((c, n) => (
        <td key={idOf(c, n)} data-name={c.name} className={c.kind === "prose" ? "text prose" : TEXTUAL.includes(c.kind ?? "text") ? "text" : "amount"}>
          {shown(c, row)}
        </td>
      ))}
    </tr>
  );
}) as <Row>(props: Drawn<Row>) => ReactNode;

function Skeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading">
      <i />
      <i />
      <i />
    </div>
  );
}
