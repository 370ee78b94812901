import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Fault, Field } from "../../ui/form/Form";
import { me } from "../../app/can";
import { useTopic } from "../../live/socket";
import { State } from "../columns";
import { formatTime, words } from "../../ui/format";

type Approval = Schemas["Approval"];

/** What waits for a second person, and what came of the rest. */
export default function Approvals() {
  const who = me.use();
  const live = useTopic<Schemas["ApprovalsState"]>("approvals");
  const waits = Object.keys(live?.waiting ?? {}).join();
  const found = useQuery({ queryKey: [...keys.approvals, waits], queryFn: () => api.approvals(false), refetchInterval: 15_000, placeholderData: (known) => known });
  const waiting = (found.data ?? []).filter((a) => a.state === "waiting");
  const rest = (found.data ?? []).filter((a) => a.state !== "waiting");
  const columns: Column<Approval>[] = [
    { name: "When", kind: "time", of: (a) => a.requested_ns },
    { name: "What", of: (a) => a.summary },
    { name: "Asked by", of: (a) => a.requested_by },
    { name: "State", cell: (a) => <State state={a.state} reason={a.decision} /> },
    { name: "Decided by", of: (a) => a.decided_by || "—" },
    { name: "Why", of: (a) => a.decision || "—" },
  ];
  return (
    <>
      <h1 className="page">Approvals</h1>
      {waiting.length === 0 && <p className="empty">Nothing waits for a second person.</p>}
      {waiting.map((a) => (
        <Waiting key={a.id} of={a} mine={a.requested_by === who?.name} />
      ))}
      <DataTable title="Decided" columns={columns} rows={rest} keyOf={(a) => a.id} empty="Nothing was decided yet." query={found} />
    </>
  );
}

function Waiting({ of: a, mine }: { of: Approval; mine: boolean }) {
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const decide = useCommand((approve: boolean) => (mine ? api.withdraw(a.id, reason) : api.decide(a.id, approve, reason)), { onSettled: () => void client.invalidateQueries() });
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
