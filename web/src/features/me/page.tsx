import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Challenge } from "../../api/calls";
import { keys } from "../../api/keys";
import type { Schemas } from "../../api/client";
import { newKey, useCommand } from "../../api/command";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Choice, Fault, Field, Form, Panel } from "../../ui/form/Form";
import { formatTime } from "../../ui/format";
import { hasPasskeys, makePasskey } from "../../api/passkeys";
import { me } from "../../app/can";
import { Codes, TotpForm } from "../../app/factors";
import { PAIRS, THEMES, usePair, useTheme } from "../../ui/theme";

/** One's own password, factors and devices. */
export default function Own() {
  const who = me.use();
  const client = useQueryClient();
  const reload = () => void client.invalidateQueries({ queryKey: keys.own });
  const sessions = useQuery({ queryKey: keys.sessions, queryFn: api.sessions });
  const end = useCommand(api.endSession, { onSuccess: reload });
  const columns: Column<Schemas["Session"]>[] = [
    { name: "Device", cell: (s) => <span title={s.agent}>{s.agent.slice(0, 60) || "unknown"}</span> },
    { name: "From", of: (s) => s.address },
    { name: "By", of: (s) => s.method },
    { name: "Since", kind: "time", of: (s) => s.created_ns },
    { name: "Last seen", kind: "time", of: (s) => s.seen_ns },
    { name: "", cell: (s) => (s.current ? "this one" : <button onClick={() => end.mutate(s.id)}>Sign out</button>) },
  ];
  return (
    <>
      <h1 className="page">{who?.name}</h1>
      <DataTable title="Devices" columns={columns} rows={sessions.data ?? []} keyOf={(s) => s.id} empty="None." query={sessions} />
      <div className="split">
        <Passkeys onChanged={reload} />
        <App />
        <Password />
        <Recovery />
        <Look />
      </div>
    </>
  );
}

function Passkeys({ onChanged }: { onChanged: () => void }) {
  const [name, setName] = useState("");
  const passkeys = useQuery({ queryKey: keys.passkeys, queryFn: api.passkeys });
  const add = useCommand(
    () => async (key) => {
      const asked = await api.newPasskey()(newKey());
      const credential = await makePasskey(asked.passkey as Record<string, unknown>);
      return api.addPasskey({ challenge: asked.challenge, credential, name })(key);
    },
    {
      onSuccess: () => {
        setName("");
        onChanged();
      },
    },
  );
  const remove = useCommand(api.removePasskey, { onSuccess: onChanged });
  return (
    <Panel title="Passkeys">
      <ul className="plain">
        {(passkeys.data ?? []).map((p) => (
          <li key={p.id}>
            <b>{p.name}</b> <span className="dim">since {formatTime(p.created_ns)}</span>
            <button onClick={() => remove.mutate(p.id)}>Remove</button>
          </li>
        ))}
      </ul>
      <Fault error={remove.error} />
      {hasPasskeys && (
        <Form onSubmit={() => add.mutate()} button="Add a passkey" busy={add.isPending} error={add.error}>
          <Field label="Name of the device" value={name} onChange={setName} />
        </Form>
      )}
    </Panel>
  );
}

function App() {
  const [challenge, setChallenge] = useState<Challenge | null>(null);
  const [done, setDone] = useState(false);
  const begin = useCommand(api.newTotp, { onSuccess: (asked) => asked && setChallenge(asked) });
  return (
    <Panel title="Authenticator app">
      {done && (
        <p className="up" role="status">
          The new app counts from now on.
        </p>
      )}
      {challenge ? (
        <TotpForm
          challenge={challenge}
          button="Use this app"
          onCode={async (code) => {
            await api.confirmTotp(challenge.challenge, code)(newKey());
            setChallenge(null);
            setDone(true);
          }}
        />
      ) : (
        <Form onSubmit={() => begin.mutate()} button="Set up an app" busy={begin.isPending} error={begin.error}>
          <p className="dim">A new app takes the place of the old one.</p>
        </Form>
      )}
    </Panel>
  );
}

function Password() {
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const change = useCommand(() => api.changePassword(current, password), { onSuccess: () => {
      setCurrent("");
      setPassword("");
    } });
  return (
    <Panel title="Password">
      <Form
        onSubmit={() => change.mutate()}
        button="Change it"
        busy={change.isPending}
        error={change.error}
        done={change.phase === "done" && "It is changed; every other device is signed out."}
      >
        <Field label="Present password" type="password" value={current} onChange={setCurrent} autoComplete="current-password" />
        <Field label="New password" type="password" value={password} onChange={setPassword} autoComplete="new-password" />
      </Form>
    </Panel>
  );
}

/** How the page looks on this device. */
function Look() {
  const theme = useTheme();
  const pair = usePair();
  return (
    <Panel title="Look">
      <Choice label="Theme" value={theme} onChange={useTheme.choose} options={THEMES} />
      <Choice label="Gains and losses" value={pair} onChange={usePair.choose} options={PAIRS} />
    </Panel>
  );
}

function Recovery() {
  const renew = useCommand(api.newRecoveryCodes);
  return (
    <Panel title="Recovery codes">
      {renew.data ? (
        <Codes codes={renew.data.codes} />
      ) : (
        <Form onSubmit={() => renew.mutate()} button="Make new ones" busy={renew.isPending} error={renew.error}>
          <p className="dim">The old ones end.</p>
        </Form>
      )}
    </Panel>
  );
}
