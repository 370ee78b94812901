import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import { useCommand } from "../../api/command";
import { numeral } from "../../ui/format";
import { Choice, Field, Form, outcome } from "../../ui/form/Form";
import { changed, SchemaForm, type FieldSchema } from "../../ui/form/SchemaForm";

/** Opens an account. */
export function AccountForm({ onDone }: { onDone: (account: string) => void }) {
  const instruments = useQuery({ queryKey: keys.instruments, queryFn: api.instruments });
  const strategies = useQuery({ queryKey: keys.strategies, queryFn: api.strategies });
  const [id, setId] = useState("");
  const [name, setName] = useState("");
  const [kind, setKind] = useState("company");
  const [mode, setMode] = useState("paper");
  const [cash, setCash] = useState("100000");
  const [strategy, setStrategy] = useState("");
  const [barS, setBarS] = useState("60");
  const [texts, setTexts] = useState<Record<string, string>>({});
  const schema = strategies.data?.find((s) => s.name === strategy)?.parameters_schema as FieldSchema | undefined;
  const params = schema ? changed(schema, {}, texts) : { values: {} };
  const bar = numeral(barS);
  const fault = "fault" in params ? params.fault : bar === null ? "The length of bars is no number" : "";
  const [chosen, setChosen] = useState<string[]>([]);
  const [told, setTold] = useState("");
  const create = useCommand(() =>
      api.createAccount({
        id,
        name,
        kind: kind as "company",
        mode: mode as "paper",
        cash,
        strategy,
        instruments: chosen,
        bar_s: bar ?? 60,
        params: "values" in params ? params.values : {},
        reason: "opened in the web interface",
      }), { onSuccess: (result) => (result.done ? onDone(id) : setTold(outcome(result, ""))) });
  return (
    <Form
      onSubmit={() => create.mutate()}
      button="Open the account"
      busy={create.isPending}
      error={create.error}
      done={told}
      disabled={chosen.length === 0 || fault !== ""}
    >
      <div className="row">
        <Field label="Name" value={name} onChange={setName} autoFocus />
        <Field label="Id" value={id} onChange={setId} hint="small letters, digits, - and ." />
      </div>
      <div className="row">
        <Choice label="Kind" value={kind} onChange={setKind} options={[["company", "Company"], ["director", "Director"]]} />
        <Choice label="Mode" value={mode} onChange={setMode} options={[["paper", "Paper"], ["live", "Live: real money"]]} />
      </div>
      {mode === "paper" && <Field label="First capital" value={cash} onChange={setCash} inputMode="decimal" />}
      <Choice
        label="Strategy"
        value={strategy}
        onChange={(name) => {
          setStrategy(name);
          setTexts({});
        }}
        options={[["", "None: traded by hand"], ...(strategies.data ?? []).map((s) => [s.name, s.name] as const)]}
      />
      {schema && (
        <fieldset>
          <legend>Parameters</legend>
          <p className="dim">{strategies.data?.find((s) => s.name === strategy)?.summary}</p>
          <Field label="Length of the bars that it decides on, seconds" value={barS} onChange={setBarS} inputMode="numeric" />
          <SchemaForm schema={schema} values={{}} texts={texts} onChange={setTexts} />
        </fieldset>
      )}
      <fieldset>
        <legend>Instruments</legend>
        {(instruments.data ?? []).map((i) => (
          <label key={i.id} className="check">
            <input
              type="checkbox"
              checked={chosen.includes(i.id)}
              onChange={(e) => setChosen(e.target.checked ? [...chosen, i.id] : chosen.filter((c) => c !== i.id))}
            />
            {i.symbol} <span className="dim">{i.venue}</span>
          </label>
        ))}
      </fieldset>
    </Form>
  );
}
