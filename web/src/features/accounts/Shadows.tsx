// Candidate strategies beside an account, with fills on paper, and what became of both.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, type Account } from "../../api/calls";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { keys } from "../../api/keys";
import { useCan } from "../../app/can";
import { fixed, formatMoney, tone, words } from "../../ui/format";
import { Field, Form, outcome, Panel } from "../../ui/form/Form";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { useStrategy } from "./strategy";

type Shadow = Schemas["Shadow"];

const percent = (bps: number) => `${bps > 0 ? "+" : ""}${fixed(bps / 100, 2)} %`;
const both = (s: Shadow, of: (p: Schemas["Performance"]) => string) => (
  <>
    {of(s.shadow)} <span className="dim">against {of(s.account)}</span>
  </>
);

const columns: Column<Shadow>[] = [
  {
    name: "Shadow",
    kind: "text",
    of: (s) => s.id,
    cell: (s) => (
      <Link to="/accounts/$account" params={{ account: s.id }}>
        {s.id}
      </Link>
    ),
  },
  { name: "Strategy", kind: "text", of: (s) => s.strategy, cell: (s) => `${words(s.strategy)} on bars of ${s.bar_s} s` },
  { name: "Since", kind: "time", of: (s) => s.since_ns },
  { name: "Return", kind: "number", of: (s) => s.shadow.return_bps, cell: (s) => both(s, (p) => percent(p.return_bps)) },
  { name: "Ahead", kind: "number", of: (s) => s.ahead_bps, cell: (s) => <span className={tone(s.ahead_bps)}>{percent(s.ahead_bps)}</span> },
  { name: "Apart at most", kind: "number", of: (s) => s.apart_bps, cell: (s) => `${fixed(s.apart_bps / 100, 2)} %` },
  { name: "Drawdown", kind: "number", of: (s) => s.shadow.drawdown_bps, cell: (s) => both(s, (p) => `${fixed(p.drawdown_bps / 100, 2)} %`) },
  { name: "Fills", kind: "number", of: (s) => s.shadow.fills, cell: (s) => both(s, (p) => String(p.fills)) },
  { name: "Fees", kind: "money", of: (s) => s.shadow.fees, cell: (s) => both(s, (p) => formatMoney(p.fees)) },
];

export function Shadows({ account: a }: { account: Account }) {
  const can = useCan();
  const [isStarting, setStarting] = useState(false);
  const shadows = useQuery({ queryKey: keys.of(a.id, "shadows"), queryFn: () => api.shadows(a.id), refetchInterval: 15_000 });
  const start = can("accounts.create", a.id) && !isStarting && <button onClick={() => setStarting(true)}>Start a shadow…</button>;
  return (
    <>
      <DataTable
        title="Shadows"
        columns={columns}
        rows={shadows.data ?? []}
        keyOf={(s) => s.id}
        empty="No candidate strategy runs beside this account."
        query={shadows}
        aside={start}
      />
      {isStarting && <Start account={a} onClose={() => setStarting(false)} />}
    </>
  );
}

function Start({ account: a, onClose }: { account: Account; onClose: () => void }) {
  const client = useQueryClient();
  const strategy = useStrategy("Choose one");
  const [id, setId] = useState(`${a.id}-shadow`);
  const [told, setTold] = useState("");
  const start = useCommand(() => api.startShadow(a.id, { id, ...strategy.chosen, reason: "started in the web interface" }), {
    onSuccess: (result) => {
      if (!result.done) return setTold(outcome(result, ""));
      void client.invalidateQueries({ queryKey: keys.of(a.id, "shadows") });
      onClose();
    },
  });
  return (
    <Panel title={`A shadow of ${a.name}`} aside={<button onClick={onClose}>Close</button>}>
      <Form
        onSubmit={() => start.mutate()}
        button="Start the shadow"
        busy={start.isPending}
        error={start.error}
        done={told}
        disabled={strategy.chosen.strategy === "" || strategy.fault !== ""}
      >
        <p className="dim">It trades the pairs of {a.name} by its limits, from its worth of now, on paper: no order leaves the platform.</p>
        <Field label="Id" value={id} onChange={setId} hint="small letters, digits, - and ." />
        {strategy.fields}
      </Form>
    </Panel>
  );
}
