// The one table: typed columns, sorting, a filter, a choice of columns, rows by keyboard, virtual rows above a hundred.
import {
  columnVisibilityFeature,
  createColumnHelper,
  createSortedRowModel,
  rowSortingFeature,
  tableFeatures,
  useTable,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { comparable, formatMoney, formatPrice, formatSigned, formatSize, formatTime, tone, words } from "../format";

export type Kind = "text" | "words" | "money" | "signed" | "price" | "size" | "number" | "time" | "state" | "side" | "actions";

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
const TEXTUAL: Kind[] = ["text", "words", "time", "state", "side", "actions"];
const FILTER_ABOVE = 8;

const features = tableFeatures({
  rowSortingFeature,
  columnVisibilityFeature,
  sortedRowModel: createSortedRowModel(),
});

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
  const scroll = useRef<HTMLDivElement>(null);
  const helper = useMemo(() => createColumnHelper<typeof features, { row: Row }>(), []);
  const defined = useMemo(
    () =>
      helper.columns(
        columns.map((c, n) =>
          helper.accessor(({ row }) => comparable(c.of?.(row) ?? ""), {
            id: c.name || `#${n}`,
            enableSorting: Boolean(c.of) && !sort,
            enableHiding: Boolean(c.name),
          }),
        ),
      ),
    [columns.map((c) => c.name).join("|"), Boolean(sort)],
  );
  const wanted = filter.trim().toLowerCase();
  const data = useMemo(() => {
    const found = wanted
      ? props.rows.filter((row) => columns.some((c) => c.of && String(c.of(row)).toLowerCase().includes(wanted)))
      : props.rows;
    return found.map((row) => ({ row }));
  }, [props.rows, wanted]);
  const table = useTable({ features, columns: defined, data, getRowId: ({ row }: { row: Row }) => keyOf(row) });
  const byId = new Map(columns.map((c, n) => [c.name || `#${n}`, c]));
  const visible = table.getVisibleLeafColumns().map((c) => byId.get(c.id)!);
  const rows = table.getRowModel().rows;
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
    const told = sort && by ? (sort.value === by ? "asc" : sort.value === `-${by}` ? "desc" : false) : table.getColumn(id)?.getIsSorted();
    const canSort = sort ? Boolean(by) : Boolean(c.of);
    const toggle = () => {
      if (sort && by) sort.onChange(sort.value === `-${by}` ? by : `-${by}`);
      else table.getColumn(id)?.toggleSorting();
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
                {table.getAllLeafColumns().filter((c) => c.getCanHide()).map((c) => (
                  <label key={c.id} className="check">
                    <input type="checkbox" checked={c.getIsVisible()} onChange={(e) => c.toggleVisibility(e.target.checked)} />
                    {c.id}
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
              <tr>{visible.map((c) => head(c, c.name || `#${columns.indexOf(c)}`))}</tr>
            </thead>
            <tbody onKeyDown={onKey}>
              {first > 0 && (
                <tr aria-hidden="true">
                  <td colSpan={visible.length} style={{ height: first, padding: 0, border: 0 }} />
                </tr>
              )}
              {drawn.map(({ row, index }) => (
                <tr key={row.id} ref={isVirtual ? virtual.measureElement : undefined} data-row={index} aria-rowindex={index + 1} tabIndex={index === drawn[0]!.index ? 0 : -1}>
                  {visible.map((c, n) => (
                    <td key={c.name || n} data-name={c.name} className={TEXTUAL.includes(c.kind ?? "text") ? "text" : "amount"}>
                      {shown(c, row.original.row)}
                    </td>
                  ))}
                </tr>
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

function Skeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading">
      <i />
      <i />
      <i />
    </div>
  );
}
