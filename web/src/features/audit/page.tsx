import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { Fault } from "../../ui/form/Form";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { State } from "../columns";

type Entry = Schemas["AuditEntry"];

/** Who did what, when, from where, with what outcome. */
export default function Audit() {
  const [action, setAction] = useState("");
  const [before, setBefore] = useState<number | undefined>(undefined);
  const found = useQuery({ queryKey: keys.audit(action, before), queryFn: () => api.audit(before, action) });
  const verify = useCommand(api.verifyAudit);
  const rows = found.data ?? [];
  const columns: Column<Entry>[] = [
    { name: "Entry", kind: "number", of: (e) => e.seq },
    { name: "When", kind: "time", of: (e) => e.ts_ns },
    { name: "Who", of: (e) => e.actor },
    { name: "Action", of: (e) => e.action },
    { name: "Account", of: (e) => e.account || "—" },
    { name: "Outcome", cell: (e) => <State state={e.outcome} /> },
    { name: "Of", cell: (e) => e.target || "—" },
    { name: "Change", cell: (e) => <Changed entry={e} /> },
    { name: "Reason", kind: "prose", of: (e) => e.reason || "—" },
    { name: "From", cell: (e) => <span title={e.agent}>{e.address || "—"}</span> },
  ];
  return (
    <>
      <div className="title">
        <h1>Audit trail</h1>
        <span className="spacer" />
        <button onClick={() => verify.mutate()} disabled={verify.isPending}>
          {verify.isPending ? "Proving every entry…" : "Verify"}
        </button>
        <a className="button" href="/api/v1/audit/export" download="audit.ndjson">
          Export
        </a>
      </div>
      {verify.data && (
        <p className="up" role="status">
          {verify.data.entries} entries and {verify.data.checkpoints} signed checkpoints verify.
        </p>
      )}
      <Fault error={verify.error} />
      <DataTable
        title="Entries"
        aside={
          <input
            className="inline"
            aria-label="Only actions that begin with"
            placeholder="all actions"
            value={action}
            onChange={(e) => {
              setAction(e.target.value);
              setBefore(undefined);
            }}
          />
        }
        columns={columns}
        rows={rows}
        keyOf={(e) => String(e.seq)}
        empty="No entry."
        query={found}
      />
      <div className="actions">
        {before !== undefined && (
          <button className="quiet" onClick={() => setBefore(undefined)}>
            Newest
          </button>
        )}
        {rows.length === 100 && <button onClick={() => setBefore(rows.at(-1)!.seq)}>Older</button>}
      </div>
    </>
  );
}

function Changed({ entry }: { entry: Entry }) {
  if (entry.before == null && entry.after == null) return <>—</>;
  const text = (value: unknown) => (value == null ? "" : typeof value === "string" ? value : JSON.stringify(value));
  const [before, after] = [text(entry.before), text(entry.after)];
  const shown = before && after ? `${before} → ${after}` : before || after;
  return <span title={shown}>{shown.length > 60 ? `${shown.slice(0, 60)}…` : shown}</span>;
}
