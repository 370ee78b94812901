import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import { useCommand } from "../../api/command";
import { Choice, Field, Form, outcome } from "../../ui/form/Form";
import { useStrategy } from "./strategy";

/** Opens an account. */
export function AccountForm({ onDone }: { onDone: (account: string) => void }) {
  const instruments = useQuery({ queryKey: keys.instruments, queryFn: api.instruments });
  const [id, setId] = useState("");
  const [name, setName] = useState("");
  const [kind, setKind] = useState("company");
  const [mode, setMode] = useState("paper");
  const [cash, setCash] = useState("100000");
  const strategy = useStrategy("None: traded by hand");
  const [chosen, setChosen] = useState<string[]>([]);
  const [told, setTold] = useState("");
  const create = useCommand(() =>
      api.createAccount({
        id,
        name,
        kind: kind as "company",
        mode: mode as "paper",
        cash,
        ...strategy.chosen,
        instruments: chosen,
        reason: "opened in the web interface",
      }), { onSuccess: (result) => (result.done ? onDone(id) : setTold(outcome(result, ""))) });
  return (
    <Form
      onSubmit={() => create.mutate()}
      button="Open the account"
      busy={create.isPending}
      error={create.error}
      done={told}
      disabled={chosen.length === 0 || strategy.fault !== ""}
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
      {strategy.fields}
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
