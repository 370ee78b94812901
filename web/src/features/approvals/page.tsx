import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Me, type Schemas } from "../../api/calls";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Fault, Field } from "../../ui/form/Form";
import { State } from "../columns";
import { formatTime, words } from "../../ui/format";

type Approval = Schemas["Approval"];
type Entry = Schemas["AuditEntry"];

/** What waits for a second person, and what came of the rest. */
export function Approvals({ me }: { me: Me }) {
  const found = useQuery({ queryKey: ["approvals"], queryFn: () => api.approvals(false), refetchInterval: 5_000 });
  const waiting = (found.data ?? []).filter((a) => a.state === "waiting");
  const rest = (found.data ?? []).filter((a) => a.state !== "waiting");
  const columns: Column<Approval>[] = [
    { name: "When", text: true, cell: (a) => formatTime(a.requested_ns) },
    { name: "What", text: true, cell: (a) => a.summary },
    { name: "Asked by", text: true, cell: (a) => a.requested_by },
    { name: "State", text: true, cell: (a) => <State state={a.state} reason={a.decision} /> },
    { name: "Decided by", text: true, cell: (a) => a.decided_by || "—" },
    { name: "Why", text: true, cell: (a) => a.decision || "—" },
  ];
  return (
    <>
      <h1 className="page">Approvals</h1>
      {waiting.length === 0 && <p className="empty">Nothing waits for a second person.</p>}
      {waiting.map((a) => (
        <Waiting key={a.id} of={a} mine={a.requested_by === me.name} />
      ))}
      <DataTable title="Decided" columns={columns} rows={rest} keyOf={(a) => a.id} empty="Nothing was decided yet." query={found} />
    </>
  );
}

function Waiting({ of: a, mine }: { of: Approval; mine: boolean }) {
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const decide = useMutation({
    mutationFn: (approve: boolean) => (mine ? api.withdraw(a.id, reason) : api.decide(a.id, approve, reason)),
    onSettled: () => void client.invalidateQueries(),
  });
  const ready = reason.trim().length >= 3 && !decide.isPending;
  return (
    <section className="panel" aria-label={`Request ${a.id}`}>
      <h2>
        {a.summary}
        <State state="waiting" />
      </h2>
      <div className="inside">
        <dl className="facts">
          <dt>Action</dt>
          <dd>
            {words(a.action.replace(".", ": "))} in {a.account === "*" ? "all accounts" : a.account}
          </dd>
          <dt>Asked by</dt>
          <dd>
            {a.requested_by}, {formatTime(a.requested_ns)}: “{a.reason}”
          </dd>
          <dt>Exactly</dt>
          <dd>
            <code className="block">{JSON.stringify(a.payload)}</code>
          </dd>
          <dt>Runs out</dt>
          <dd>{formatTime(a.expires_ns)}</dd>
        </dl>
        <Field label="Reason" value={reason} onChange={setReason} hint="goes into the audit trail" />
        <Fault error={decide.error} />
        <div className="actions">
          {mine ? (
            <button onClick={() => decide.mutate(false)} disabled={!ready}>
              Withdraw
            </button>
          ) : (
            <>
              <button onClick={() => decide.mutate(false)} disabled={!ready}>
                Decline
              </button>
              <button className="primary" onClick={() => decide.mutate(true)} disabled={!ready}>
                Approve
              </button>
            </>
          )}
        </div>
      </div>
    </section>
  );
}

/** Who did what, when, from where, with what outcome. */
export function Audit() {
  const [action, setAction] = useState("");
  const [before, setBefore] = useState<number | undefined>(undefined);
  const found = useQuery({ queryKey: ["audit", action, before], queryFn: () => api.audit(before, action) });
  const verify = useMutation({ mutationFn: api.verifyAudit });
  const rows = found.data ?? [];
  const columns: Column<Entry>[] = [
    { name: "Entry", cell: (e) => e.seq },
    { name: "When", text: true, cell: (e) => formatTime(e.ts_ns) },
    { name: "Who", text: true, cell: (e) => e.actor },
    { name: "Action", text: true, cell: (e) => e.action },
    { name: "Account", text: true, cell: (e) => e.account || "—" },
    { name: "Outcome", text: true, cell: (e) => <State state={e.outcome} /> },
    { name: "Of", text: true, cell: (e) => e.target || "—" },
    { name: "Change", text: true, cell: (e) => <Changed entry={e} /> },
    { name: "Reason", text: true, cell: (e) => e.reason || "—" },
    { name: "From", text: true, cell: (e) => <span title={e.agent}>{e.address || "—"}</span> },
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
