// A list over all accounts: filters in the address, the platform's order, more rows as one scrolls, whole files.
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState, type ReactNode } from "react";
import type { ListQuery } from "../api/calls";
import { ApiError } from "../api/client";
import { keys } from "../api/keys";
import type { Listing } from "../app/router";
import { useAccounts } from "../live/desk";
import { DataTable, type Column } from "../ui/table/DataTable";
import { ofAccount } from "./columns";

const FILES = [
  ["text/csv", "CSV", "csv"],
  ["application/vnd.apache.parquet", "Parquet", "parquet"],
  ["application/x-ndjson", "NDJSON", "ndjson"],
] as const;
const PAGE = 200;

type Page<Row> = { rows: Row[]; next: string };

type Props<Row> = {
  kind: "orders" | "fills";
  title: string;
  columns: Column<Row>[];
  fetch: (query: ListQuery) => Promise<Page<Row>>;
  keyOf: (row: Row) => string;
  states?: readonly string[];
  empty: string;
};

const ns = (date: string | undefined) => {
  const ms = date ? Date.parse(`${date}Z`) : Number.NaN;
  return Number.isFinite(ms) ? ms * 1e6 : 0;
};

/** Return what the platform is asked for by the filters in the address. */
export function queryOf(search: Listing): ListQuery {
  const { since, until, sort, ...rest } = search;
  return { ...rest, sort: sort ?? "-time", since_ns: ns(since), until_ns: ns(until) };
}

export function ListingPage<Row extends { account: string }>(props: Props<Row>) {
  const search = useSearch({ strict: false }) as Listing;
  const navigate = useNavigate();
  const { accounts } = useAccounts();
  const query = useMemo(() => queryOf(search), [JSON.stringify(search)]);
  const found = useInfiniteQuery({
    queryKey: keys.listing(props.kind, query),
    queryFn: ({ pageParam }) => props.fetch({ ...query, limit: PAGE, cursor: pageParam }),
    initialPageParam: "",
    structuralSharing: false, // pages are kept as they came: comparing 25,000 rows at each new page stops the browser
    getNextPageParam: (page: Page<Row>) => page.next || undefined,
    refetchInterval: (q) => ((q.state.data?.pages.length ?? 0) > 1 ? false : 5_000),
  });
  const rows = useMemo(() => found.data?.pages.flatMap((p) => p.rows) ?? [], [found.data]);
  const names = useMemo(() => new Map(accounts.map((a) => [a.id, a.name])), [accounts]);
  const columns = useMemo(() => [ofAccount<Row>(names), ...props.columns], [names, props.columns]);
  const set = (name: keyof Listing, value: string) =>
    void navigate({ to: ".", search: { ...search, [name]: value || undefined } as never, replace: true });
  const venues = [...new Set(accounts.flatMap((a) => a.venues.map((v) => v.venue)))];
  const symbols = [...new Set(accounts.flatMap((a) => a.strategies.flatMap((s) => s.instruments.map((i) => i.split(":")[1]!))))];
  const choice = (label: string, name: keyof Listing, options: readonly (readonly [string, string])[]) => (
    <label>
      {label}
      <select value={search[name] ?? ""} onChange={(e) => set(name, e.target.value)}>
        <option value="">any</option>
        {options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
  const day = (label: string, name: "since" | "until") => (
    <label>
      {label}
      <input type="datetime-local" value={search[name] ?? ""} onChange={(e) => set(name, e.target.value)} />
    </label>
  );
  return (
    <>
      <h1 className="page">{props.title}</h1>
      <div className="filters" role="search" aria-label={`Filters of ${props.title}`}>
        {choice("Account", "account", accounts.map((a) => [a.id, a.name] as const))}
        {choice("Pair", "symbol", symbols.map((s) => [s, s] as const))}
        {choice("Venue", "venue", venues.map((v) => [v, v] as const))}
        {choice("Side", "side", [["buy", "buy"], ["sell", "sell"]])}
        {props.states && choice("State", "state", props.states.map((s) => [s, s.replaceAll("_", " ")] as const))}
        {day("From, UTC", "since")}
        {day("Before, UTC", "until")}
        <label>
          Text
          <input value={search.text ?? ""} onChange={(e) => set("text", e.target.value)} placeholder="id, strategy, reason" />
        </label>
      </div>
      <DataTable
        title={props.title}
        columns={columns}
        rows={rows}
        keyOf={props.keyOf}
        empty={props.empty}
        query={found}
        isTall
        sort={{ value: search.sort ?? "-time", onChange: (value) => set("sort", value) }}
        onMore={found.hasNextPage && !found.isFetchingNextPage ? () => void found.fetchNextPage() : undefined}
        aside={<Files kind={props.kind} query={query} />}
        total={<Count shown={rows.length} hasMore={Boolean(found.hasNextPage)} />}
      />
    </>
  );
}

function Count({ shown, hasMore }: { shown: number; hasMore: boolean }): ReactNode {
  return `${shown.toLocaleString("en-US")} rows${hasMore ? ", more as you scroll" : ", all of them"}`;
}

/** Every row that the filters leave, as a file. */
function Files({ kind, query }: { kind: string; query: ListQuery }) {
  const [error, setError] = useState("");
  const save = async (accept: string, suffix: string) => {
    setError("");
    const given = Object.entries(query).filter(([, v]) => v !== undefined && v !== "" && v !== 0);
    const response = await fetch(`/api/v1/${kind}?${new URLSearchParams(given.map(([k, v]) => [k, String(v)]))}`, {
      headers: { accept },
      signal: AbortSignal.timeout(60_000),
    });
    if (!response.ok) throw new ApiError(response.status, `The file could not be made (${response.status}).`, "");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${kind}.${suffix}`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <span className="files">
      {FILES.map(([accept, name, suffix]) => (
        <button key={suffix} className="quiet" onClick={() => void save(accept, suffix).catch((e: Error) => setError(e.message))}>
          {name}
        </button>
      ))}
      {error && <span className="down" role="alert">{error}</span>}
    </span>
  );
}
