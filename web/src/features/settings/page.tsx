import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import type { Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { useAccounts } from "../../live/desk";
import { Confirm } from "../../ui/dialog/Confirm";
import { changed, SchemaForm, type FieldSchema, type Value } from "../../ui/form/SchemaForm";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Choice, Field, Form, outcome, Panel } from "../../ui/form/Form";
import { formatMoney, formatSize, formatTime, words } from "../../ui/format";

type Version = Schemas["SettingsVersion"];

/** An account's settings: versions, changes with what they would do, capital, closing. */
export default function Settings() {
  const { account = "" } = useParams({ strict: false });
  const settings = useQuery({ queryKey: keys.settings(account), queryFn: () => api.settings(account) });
  const newest = settings.data?.[0];
  const [told, setTold] = useState("");
  return (
    <>
      <div className="title">
        <h1>Settings of {account}</h1>
        <Link to="/accounts/$account" params={{ account }} className="dim">
          back to the account
        </Link>
      </div>
      {newest && <Edit key={newest.version} account={account} newest={newest} told={told} onTold={setTold} />}
      <History account={account} versions={settings.data ?? []} query={settings} />
      <div className="split">
        <Capital account={account} />
        <Close account={account} />
      </div>
    </>
  );
}

type Settings = Record<string, Record<string, unknown>>;

const STRATEGIES = "strategies";

type Part = readonly [name: string, schema: FieldSchema, values: Record<string, unknown>];

/** What can be set, by part, with the values in force: the account's own settings, then the parameters of each strategy. */
function usePartsOf(settings: Settings): Part[] {
  const schema = useQuery({ queryKey: keys.settingsSchema, queryFn: api.settingsSchema, staleTime: Infinity });
  const known = useQuery({ queryKey: keys.strategies, queryFn: api.strategies, staleTime: Infinity });
  const own = Object.entries((schema.data as FieldSchema | undefined)?.properties ?? {}).filter(([, fields]) => fields.properties);
  const parameters = Object.entries(settings[STRATEGIES] ?? {}).flatMap(([name, values]): Part[] => {
    const found = known.data?.find((s) => s.name === name);
    return found ? [[`${STRATEGIES} ${name}`, found.parameters_schema as FieldSchema, values as Record<string, unknown>]] : [];
  });
  return [...own.map(([part, fields]): Part => [part, fields, settings[part] ?? {}]), ...parameters];
}

/** Changes as the platform takes them: by part and field, those of strategies one level deeper. */
function nested(changes: [part: string, Record<string, Value>][]): Schemas["SettingsRequest"]["changes"] {
  const made: Record<string, Record<string, Value | Record<string, Value>>> = {};
  for (const [part, values] of changes) {
    const [family = "", strategy] = part.split(" ");
    made[family] = strategy ? { ...made[family], [strategy]: values } : values;
  }
  return made;
}

function Edit({ account, newest, told, onTold }: { account: string; newest: Version; told: string; onTold: (told: string) => void }) {
  const client = useQueryClient();
  const parts = usePartsOf(newest.settings as Settings);
  const [texts, setTexts] = useState<Record<string, Record<string, string>>>({});
  const [reason, setReason] = useState("");
  const found = parts.map(([part, fields, values]) => [part, changed(fields, values, texts[part] ?? {})] as const);
  const fault = found.map(([, f]) => ("fault" in f ? f.fault : "")).find(Boolean) ?? "";
  const changes = nested(found.flatMap(([part, f]) => ("values" in f && Object.keys(f.values).length > 0 ? [[part, f.values]] : [])));
  const isChanged = Object.keys(changes).length > 0;
  const request = (why: string) => ({ version: newest.version, changes, effective_ns: 0, reason: why });
  const compare = useQuery({
    queryKey: keys.preview(account, "settings", newest.version, changes),
    queryFn: () => api.compareSettings(account, request("preview")),
    enabled: isChanged && !fault,
    retry: false,
  });
  const save = useCommand((why: string) => api.changeSettings(account, request(why)), {
    onSuccess: (result) => {
      onTold(outcome(result, "Saved."));
      void client.invalidateQueries();
    },
  });
  return (
    <Panel title={`Version ${newest.version}`}>
      <Form onSubmit={() => save.mutate(reason)} button="Save" busy={save.isPending} error={save.error ?? compare.error} done={told} disabled={!isChanged || fault !== ""}>
        {parts.map(([part, fields, values]) => (
          <fieldset key={part}>
            <legend>{words(part)}</legend>
            <p className="dim">{part.startsWith(STRATEGIES) ? "With other parameters it begins anew: what it had worked out belongs to the old ones." : fields.description}</p>
            <SchemaForm schema={fields} values={values} texts={texts[part] ?? {}} onChange={(changedTexts) => setTexts({ ...texts, [part]: changedTexts })} />
          </fieldset>
        ))}
        {compare.data && isChanged && (
          <ul className="plain" aria-label="Changes">
            {compare.data.changes.map((c) => (
              <li key={c.field}>
                {fieldName(c.field)}: {String(c.before)} → {String(c.after)}{" "}
                {c.loosens && (
                  <span className="warn">
                    {c.field.startsWith(STRATEGIES) ? "changes how it trades" : "loosens"}
                    {compare.data.needs_second_person && ", needs a second person"}
                  </span>
                )}
              </li>
            ))}
          </ul>
        )}
        <Field label="Reason" value={reason} onChange={setReason} />
      </Form>
    </Panel>
  );
}

/** The name of a setting for people: what it is of, then what it is. */
const fieldName = (field: string) => words(field.replace(`${STRATEGIES}.`, "").replace(".", ": "));

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
      cell: (v) => v.changes.map((c) => `${fieldName(c.field)} ${String(c.before)} → ${String(c.after)}`).join("; ") || "—",
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
  const balances = useQuery({ queryKey: keys.of(account, "balances"), queryFn: () => api.balances(account) });
  const venues = [...new Set((balances.data ?? []).map((b) => b.key.split(":")[0]!))];
  const [venue, setVenue] = useState("");
  const [amount, setAmount] = useState("");
  const [direction, setDirection] = useState("deposit");
  const [reference, setReference] = useState("");
  const [isAsking, setAsking] = useState(false);
  const body = (reason: string) => ({
    venue: venue || venues[0] || "",
    amount,
    direction: direction as "deposit",
    reason,
    reference,
    new_asset: false,
  });
  const preview = useQuery({
    queryKey: keys.preview(account, "capital", venue, amount, direction, reference),
    queryFn: () => api.previewCapital(account, body("preview")),
    enabled: isAsking,
    retry: false,
    gcTime: 0,
  });
  const move = useCommand((reason: string) => api.moveCapital(account, body(reason)));
  const told = move.data?.approval
    ? `Request ${move.data.approval.id} waits for a second person under Approvals.`
    : move.data?.applied
      ? "Booked."
      : "Recorded, not confirmed yet.";
  return (
    <Panel title="Capital">
      <Form onSubmit={() => setAsking(true)} button="Book it…" busy={false} error={null}>
        <p className="dim">Money that came in or went out is no profit or loss.</p>
        <div className="row">
          <Choice label="Direction" value={direction} onChange={setDirection} options={[["deposit", "Deposit"], ["withdrawal", "Withdrawal"]]} />
          <Choice label="Venue" value={venue || venues[0] || ""} onChange={setVenue} options={venues.map((v) => [v, v] as const)} />
          <Field label="Amount" value={amount} onChange={setAmount} inputMode="decimal" />
        </div>
        <Field label="Reference of the bank or venue" value={reference} onChange={setReference} />
      </Form>
      {isAsking && (
        <Confirm
          title={`Book a ${direction} of ${amount}`}
          effects={
            preview.data ? (
              <p>
                The base of the limits moves from {formatMoney(preview.data.capital_before)} to {formatMoney(preview.data.capital_after)}, the worth from{" "}
                {formatMoney(preview.data.nav_before)} to {formatMoney(preview.data.nav_after)}. {preview.data.refused}
              </p>
            ) : (
              <p className={preview.error ? "down" : "dim"}>{preview.error?.message ?? "Working out what that does…"}</p>
            )
          }
          blocked={preview.data && !preview.data.refused ? "" : "Its effects are not known, or the account would refuse it."}
          button="Book it"
          command={move}
          done={move.phase === "done" ? told : ""}
          onConfirm={move.mutate}
          onClose={() => {
            setAsking(false);
            move.reset();
          }}
        />
      )}
    </Panel>
  );
}

function Close({ account }: { account: string }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [isAsking, setAsking] = useState(false);
  const known = useAccounts().accounts.find((a) => a.id === account);
  const archive = useCommand((reason: string) => api.archive(account, reason), { onSuccess: () => {
      void client.invalidateQueries();
      void navigate({ to: "/" });
    } });
  return (
    <Panel title="Close the account">
      <p className="dim">Its orders are canceled and it never trades again; its records stay.</p>
      <button className="danger" onClick={() => setAsking(true)}>
        Archive the account…
      </button>
      {isAsking && (
        <Confirm
          title={`Archive ${known?.name ?? account}`}
          effects={
            <>
              <p>
                {known?.open_orders ?? 0} open orders are canceled. It never trades again, and that cannot be taken back; its records stay.
              </p>
              {(known?.positions ?? []).map((p) => (
                <p key={p.instrument} className="warn">
                  {formatSize(p.quantity)} {p.symbol} worth {formatMoney(p.value)} {known?.currency} stays at the venue: sell it first, or do so there.
                </p>
              ))}
            </>
          }
          word={known?.name ?? account}
          button="Archive it"
          command={archive}
          onConfirm={archive.mutate}
          onClose={() => {
            setAsking(false);
            archive.reset();
          }}
        />
      )}
    </Panel>
  );
}
