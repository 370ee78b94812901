// A strategy with its parameters, as a form asks for it.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import { numeral } from "../../ui/format";
import { Choice, Field } from "../../ui/form/Form";
import { changed, SchemaForm, type FieldSchema } from "../../ui/form/SchemaForm";

/** Return the fields, what was chosen in them, and what is wrong with it. `none` is the choice of no strategy, if that is one. */
export function useStrategy(none: string) {
  const strategies = useQuery({ queryKey: keys.strategies, queryFn: api.strategies });
  const [strategy, setStrategy] = useState("");
  const [barS, setBarS] = useState("60");
  const [texts, setTexts] = useState<Record<string, string>>({});
  const known = strategies.data?.find((s) => s.name === strategy);
  const schema = known?.parameters_schema as FieldSchema | undefined;
  const params = schema ? changed(schema, {}, texts) : { values: {} };
  const bar = numeral(barS);
  const fault = "fault" in params ? params.fault : bar === null ? "The length of bars is no number" : "";
  const fields = (
    <>
      <Choice
        label="Strategy"
        value={strategy}
        onChange={(name) => {
          setStrategy(name);
          setTexts({});
        }}
        options={[["", none], ...(strategies.data ?? []).map((s) => [s.name, s.name] as const)]}
      />
      {schema && (
        <fieldset>
          <legend>Parameters</legend>
          <p className="dim">{known?.summary}</p>
          <Field label="Length of the bars that it decides on, seconds" value={barS} onChange={setBarS} inputMode="numeric" />
          <SchemaForm schema={schema} values={{}} texts={texts} onChange={setTexts} />
        </fieldset>
      )}
    </>
  );
  return { fields, fault, chosen: { strategy, bar_s: bar ?? 60, params: "values" in params ? params.values : {} } };
}
