import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Choice, Fault, Field, Form, Panel } from "../../ui/form/Form";
import { State } from "../columns";
import { KeyForm } from "./KeyForm";
import { formatTime } from "../../ui/format";

type Key = Schemas["SecretStatus"];

/** API keys at the venues: status, upload, test, rotation, deletion, history. */
export default function Keys() {
  const client = useQueryClient();
  const { data: accounts = [] } = useQuery({ queryKey: keys.accounts, queryFn: api.accounts });
  const [account, setAccount] = useState("");
  const chosen = account || accounts[0]?.id || "";
  const shown = useMutation({ mutationFn: () => api.secrets(chosen) });
  const kek = useCommand(api.rotateKek);
  const unwrapped = Object.entries(kek.data?.failed ?? {});
  const known = shown.data?.filter((k) => k.account === chosen) ?? null;
  const active = known?.filter((k) => k.state === "active") ?? [];
  const reload = () => {
    shown.mutate();
    void client.invalidateQueries({ queryKey: keys.approvals });
  };
  const history: Column<Key>[] = [
    { name: "Venue", cell: (k) => k.venue },
    { name: "Version", cell: (k) => k.version },
    { name: "State", cell: (k) => <State state={k.state} /> },
    { name: "Fingerprint", cell: (k) => <code>{k.fingerprint}</code> },
    { name: "By", cell: (k) => k.created_by },
    { name: "Since", cell: (k) => formatTime(k.created_ns) },
    { name: "Until", cell: (k) => formatTime(k.ended_ns) },
  ];
  return (
    <>
      <div className="title">
        <h1>API keys</h1>
        <span className="spacer" />
        <button onClick={() => kek.mutate(false)} disabled={kek.isPending}>
          Rotate the key-encryption key
        </button>
      </div>
      {kek.data && (
        <p className={unwrapped.length ? "warn" : "up"} role="status">
          Key {kek.data.key} wraps {kek.data.wrapped} values now.
        </p>
      )}
      {unwrapped.length > 0 && (
        <Panel title="Not wrapped anew">
          <ul>
            {unwrapped.map(([value, reason]) => (
              <li key={value}>
                <code>{value}</code>: {reason}
              </li>
            ))}
          </ul>
          <button onClick={() => kek.mutate(true)} disabled={kek.isPending}>
            Try these again
          </button>
        </Panel>
      )}
      <Fault error={kek.error} />
      <Panel title="Account">
        <div className="row">
          <Choice label="Account" value={chosen} onChange={setAccount} options={accounts.map((a) => [a.id, a.name] as const)} />
          <button className="primary bottom" onClick={() => shown.mutate()} disabled={shown.isPending || !chosen}>
            Show its keys
          </button>
        </div>
        <Fault error={shown.error} />
      </Panel>
      {known && (
        <>
          {active.map((k) => (
            <ActiveKey key={`${k.venue} ${k.version}`} of={k} onChanged={reload} />
          ))}
          <Panel title="Upload a key">
            <KeyForm account={chosen} venue="" replaces={0} onDone={reload} />
          </Panel>
          <DataTable title="History" columns={history} rows={known} keyOf={(k) => `${k.venue} ${k.version}`} empty="No key was ever stored." />
        </>
      )}
    </>
  );
}

function ActiveKey({ of: k, onChanged }: { of: Key; onChanged: () => void }) {
  const [doing, setDoing] = useState<"" | "rotate" | "delete">("");
  const [reason, setReason] = useState("");
  const test = useCommand(() => api.testKey(k.account, k.venue));
  const remove = useCommand(() => api.deleteKey(k.account, k.venue, reason), { onSuccess: onChanged });
  const uses = Object.entries(k.in_use);
  return (
    <Panel
      title={`${k.venue}, version ${k.version}`}
      aside={<State state={k.due ? "warning" : "active"} reason={k.due ? "replace it" : ""} />}
    >
      <dl className="facts">
        <dt>Fingerprint</dt>
        <dd>
          <code>{k.fingerprint}</code>
        </dd>
        <dt>Stored</dt>
        <dd>
          {formatTime(k.created_ns)} by {k.created_by}
        </dd>
        <dt>Replace by</dt>
        <dd className={k.due ? "warn" : ""}>{formatTime(k.rotate_by_ns)}</dd>
        <dt>May trade, withdraw</dt>
        <dd>
          {String(k.permissions.can_trade ?? "unknown")}, {String(k.permissions.can_withdraw ?? "unknown")}
        </dd>
        <dt>In use</dt>
        <dd>{uses.length ? uses.map(([node, v]) => `${node}: version ${v}`).join(", ") : "by no node yet"}</dd>
      </dl>
      <div className="actions">
        <button onClick={() => test.mutate()} disabled={test.isPending}>
          Test
        </button>
        <button onClick={() => setDoing(doing === "rotate" ? "" : "rotate")}>Rotate</button>
        <button className="quiet" onClick={() => setDoing(doing === "delete" ? "" : "delete")}>
          Delete
        </button>
      </div>
      {test.data && (
        <p className="up" role="status">
          The venue accepts it.
        </p>
      )}
      <Fault error={test.error} />
      {doing === "rotate" && <KeyForm account={k.account} venue={k.venue} replaces={k.version} onDone={onChanged} />}
      {doing === "delete" && (
        <Form onSubmit={() => remove.mutate()} button="Delete the key" danger busy={remove.isPending} error={remove.error}>
          <Field label="Reason" value={reason} onChange={setReason} hint="Delete it at the venue too." />
        </Form>
      )}
    </Panel>
  );
}
