// An account as it was at a time: its journal and its market are replayed until then.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Account } from "../../api/calls";
import { keys } from "../../api/keys";
import { formatMoney, formatSigned, formatTime, tone } from "../../ui/format";
import { Panel } from "../../ui/form/Form";
import { Loading } from "../../ui/parts/states";
import { Stat } from "../../ui/parts/Stat";
import { DataTable } from "../../ui/table/DataTable";
import { AccountState, orderColumns, positionColumns } from "../columns";

export function Past({ account: a }: { account: Account }) {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const ms = Date.parse(`${typed}Z`);
  const past = useQuery({ queryKey: keys.past(a.id, at), queryFn: () => api.past(a.id, at), enabled: at > 0, retry: false, staleTime: Infinity });
  return (
    <Panel title="As it was">
      <form
        className="filters"
        onSubmit={(e) => {
          e.preventDefault();
          setAt(ms * 1e6);
        }}
      >
        <label>
          At, UTC
          <input type="datetime-local" step="1" value={typed} onChange={(e) => setTyped(e.target.value)} />
        </label>
        <button className="bottom" disabled={!Number.isFinite(ms) || past.isFetching}>Show</button>
      </form>
      {past.isFetching && <Loading what="Replaying the account" />}
      {past.error && (
        <p className="down" role="alert">
          {past.error.message}
        </p>
      )}
      {past.data && <AsItWas account={past.data} />}
    </Panel>
  );
}

function AsItWas({ account: a }: { account: Account }) {
  return (
    <>
      <p>
        At {formatTime(a.ts_ns)} UTC, after row {a.seq} of its journal: <AccountState account={a} />
        {a.reason && <span className="dim"> {a.reason}</span>}
      </p>
      <div className="stats">
        <Stat name={`Net asset value, ${a.currency}`} value={formatMoney(a.nav)} />
        <Stat name="Cash" value={formatMoney(a.cash)} />
        <Stat name="Profit since start" value={formatSigned(a.profit)} tone={tone(a.profit)} />
        <Stat name="Fees paid" value={formatMoney(a.fees)} />
      </div>
      <DataTable title="Positions then" columns={positionColumns} rows={a.positions} keyOf={(p) => p.instrument} empty="No positions: the account was in cash." />
      <DataTable title="Open orders then" columns={orderColumns} rows={a.orders} keyOf={(o) => o.id} empty="No order was working." />
    </>
  );
}
