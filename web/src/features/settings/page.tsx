import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { api } from "../../api/calls";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Choice, Field, Form, outcome, Panel } from "../../ui/form/Form";
import { formatTime, words } from "../../ui/format";

type Version = Schemas["SettingsVersion"];

/** Settings that are one of a few words; all others are numbers. */
const CHOICES: Record<string, readonly (readonly [string, string])[]> = {
  "reconciliation.foreign_orders": [
    ["alert", "Tell people"],
    ["adopt", "Take them up"],
    ["cancel", "Cancel them"],
  ],
};

/** An account's settings: versions, changes with what they would do, capital, closing. */
export default function Settings() {
  const { account = "" } = useParams({ strict: false });
  const settings = useQuery({ queryKey: ["settings", account], queryFn: () => api.settings(account) });
  const newest = settings.data?.[0];
  return (
    <>
      <div className="title">
        <h1>Settings of {account}</h1>
        <Link to="/accounts/$account" params={{ account }} className="dim">
          back to the account
        </Link>
      </div>
      {newest && <Edit key={newest.version} account={account} newest={newest} />}
      <History account={account} versions={settings.data ?? []} query={settings} />
      <div className="split">
        <Capital account={account} />
        <Close account={account} />
      </div>
    </>
  );
}

function Edit({ account, newest }: { account: string; newest: Version }) {
  const client = useQueryClient();
  const [changed, setChanged] = useState<Record<string, string>>({});
  const [reason, setReason] = useState("");
  const [told, setTold] = useState("");
  const request = () => {
    const changes: Record<string, Record<string, number | string>> = {};
    for (const [field, text] of Object.entries(changed)) {
      const [part = "", name = ""] = field.split(".");
      if (text !== String(newest.settings[part]?.[name])) (changes[part] ??= {})[name] = CHOICES[field] ? text : Number(text);
    }
    return { version: newest.version, changes, effective_ns: 0, reason };
  };
  const compare = useMutation({ mutationFn: () => api.compareSettings(account, { ...request(), reason: "preview" }) });
  const save = useCommand(() => api.changeSettings(account, request()), { onSuccess: (result) => {
      setTold(outcome(result, "Saved."));
      void client.invalidateQueries();
    } });
  return (
    <Panel title={`Version ${newest.version}`}>
      <Form onSubmit={() => save.mutate()} button="Save" busy={save.isPending} error={save.error ?? compare.error} done={told}>
        {Object.entries(newest.settings).map(([part, fields]) => (
          <fieldset key={part}>
            <legend>{words(part)}</legend>
            <div className="grid">
              {Object.entries(fields).map(([name, value]) => {
                const field = `${part}.${name}`;
                const shared = {
                  label: words(name),
                  value: changed[field] ?? String(value),
                  onChange: (text: string) => setChanged({ ...changed, [field]: text }),
                };
                const options = CHOICES[field];
                return options ? (
                  <Choice key={name} {...shared} options={options} />
                ) : (
                  <Field key={name} {...shared} inputMode="decimal" />
                );
              })}
            </div>
          </fieldset>
        ))}
        <Field label="Reason" value={reason} onChange={setReason} />
        <div>
          <button type="button" onClick={() => compare.mutate()} disabled={compare.isPending}>
            What would change?
          </button>
        </div>
        {compare.data && (
          <ul className="plain" aria-label="Changes">
            {compare.data.changes.length === 0 && <li>Nothing.</li>}
            {compare.data.changes.map((c) => (
              <li key={c.field}>
                {words(c.field)}: {String(c.before)} → {String(c.after)}{" "}
                {c.loosens && <span className="warn">loosens{compare.data.needs_second_person && ", needs a second person"}</span>}
              </li>
            ))}
          </ul>
        )}
      </Form>
    </Panel>
  );
}

function inForce(version: Version) {
  if (version.applied_ns < 0) return "never: another came before its time";
  return version.applied_ns ? formatTime(version.applied_ns) : `from ${formatTime(version.effective_ns)}`;
}

function History(props: { account: string; versions: Version[]; query: { isPending: boolean; error: Error | null } }) {
  const client = useQueryClient();
  const newest = props.versions[0]?.version ?? 0;
  const back = useCommand((to: number) =>
      api.rollBack(props.account, { version: newest, to, reason: `back to version ${to}` }), { onSettled: () => void client.invalidateQueries() });
  const columns: Column<Version>[] = [
    { name: "Version", cell: (v) => v.version },
    { name: "By", cell: (v) => v.author },
    { name: "Made", cell: (v) => formatTime(v.created_ns) },
    { name: "In force", cell: (v) => inForce(v) },
    {
      name: "Changes",
      cell: (v) => v.changes.map((c) => `${words(c.field)} ${String(c.before)} → ${String(c.after)}`).join("; ") || "—",
    },
    { name: "Reason", cell: (v) => v.reason },
    { name: "", cell: (v) => v.version !== newest && <button onClick={() => back.mutate(v.version)}>Go back to it</button> },
  ];
  return (
    <>
      <DataTable title="Versions" columns={columns} rows={props.versions} keyOf={(v) => String(v.version)} empty="None." query={props.query} />
      {back.error && <p className="down">{back.error.message}</p>}
    </>
  );
}

function Capital({ account }: { account: string }) {
  const balances = useQuery({ queryKey: ["account", account, "balances"], queryFn: () => api.balances(account) });
  const venues = [...new Set((balances.data ?? []).map((b) => b.key.split(":")[0]!))];
  const [venue, setVenue] = useState("");
  const [amount, setAmount] = useState("");
  const [direction, setDirection] = useState("deposit");
  const [reference, setReference] = useState("");
  const [reason, setReason] = useState("");
  const move = useCommand(() =>
      api.moveCapital(account, {
        venue: venue || venues[0]!,
        amount,
        direction: direction as "deposit",
        reason,
        reference,
        new_asset: false,
      }));
  return (
    <Panel title="Capital">
      <Form
        onSubmit={() => move.mutate()}
        button="Book it"
        busy={move.isPending}
        error={move.error}
        done={move.data && (move.data.applied ? "Booked." : "Recorded, not confirmed yet.")}
      >
        <p className="dim">Money that came in or went out is no profit or loss.</p>
        <div className="row">
          <Choice label="Direction" value={direction} onChange={setDirection} options={[["deposit", "Deposit"], ["withdrawal", "Withdrawal"]]} />
          <Choice label="Venue" value={venue || venues[0] || ""} onChange={setVenue} options={venues.map((v) => [v, v] as const)} />
          <Field label="Amount" value={amount} onChange={setAmount} inputMode="decimal" />
        </div>
        <Field label="Reference of the bank or venue" value={reference} onChange={setReference} />
        <Field label="Reason" value={reason} onChange={setReason} />
      </Form>
    </Panel>
  );
}

function Close({ account }: { account: string }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [reason, setReason] = useState("");
  const archive = useCommand(() => api.archive(account, reason), { onSuccess: () => {
      void client.invalidateQueries();
      void navigate({ to: "/" });
    } });
  return (
    <Panel title="Close the account">
      <Form onSubmit={() => archive.mutate()} button="Archive the account" danger busy={archive.isPending} error={archive.error}>
        <p className="dim">Its orders are canceled and it never trades again; its records stay.</p>
        <Field label="Reason" value={reason} onChange={setReason} />
      </Form>
    </Panel>
  );
}
