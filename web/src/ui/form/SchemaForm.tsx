// Fields made from a JSON schema: the subset that the platform emits, with bounds, units and meanings.
import { numeral, ofLedger, toLedger, words } from "../format";

export type FieldSchema = {
  type?: string;
  enum?: (string | number)[];
  default?: unknown;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  "x-unit"?: string;
  properties?: Record<string, FieldSchema>;
};

export type Value = string | number | boolean;

/** A value as it stands in its field. */
export function shownValue(schema: FieldSchema, value: unknown): string {
  return schema["x-unit"] === "ledger" ? ofLedger(String(value ?? 0)) : String(value ?? schema.default ?? "");
}

/** What a field's text is worth, or what is wrong with it: the value, the rule. */
export function parsed(schema: FieldSchema, text: string): { value: Value } | { fault: string } {
  if (schema.enum) return { value: text };
  if (schema.type === "boolean") return { value: text === "true" };
  if (schema.type !== "integer" && schema.type !== "number") return { value: text };
  const number = numeral(schema["x-unit"] === "ledger" ? toLedger(text) : text);
  if (number === null || (schema.type === "integer" && number % 1 !== 0))
    return { fault: `“${text}” is no ${schema.type === "integer" ? "whole number" : "number"}` };
  if (schema.minimum !== undefined && number < schema.minimum) return { fault: `${text} is below ${schema.minimum}` };
  if (schema.maximum !== undefined && number > schema.maximum) return { fault: `${text} is above ${schema.maximum}` };
  if (schema.exclusiveMinimum !== undefined && number <= schema.exclusiveMinimum)
    return { fault: `${text} is not above ${schema.exclusiveMinimum}` };
  if (schema.exclusiveMaximum !== undefined && number >= schema.exclusiveMaximum)
    return { fault: `${text} is not below ${schema.exclusiveMaximum}` };
  return { value: number };
}

const NAMES: Record<string, string> = { bps: "basis points", s: "seconds", ms: "milliseconds", h: "hours", min: "minutes", ledger: "in the currency" };

function hint(schema: FieldSchema): string {
  const unit = schema["x-unit"];
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  const bounds = low !== undefined && high !== undefined && unit !== "ledger" ? `${low} to ${high}` : "";
  return [schema.description, [unit && (NAMES[unit] ?? unit), bounds].filter(Boolean).join(", ")].filter(Boolean).join("; ");
}

const ENDINGS = /_(bps|s|ms|h|minutes|seconds)$/;

export function SchemaField(props: { name: string; schema: FieldSchema; text: string; onChange: (text: string) => void }) {
  const { schema, text, onChange } = props;
  const found = parsed(schema, text);
  const fault = "fault" in found ? found.fault : "";
  const label = words(props.name.replace(ENDINGS, ""));
  const options = schema.type === "boolean" ? ["true", "false"] : schema.enum?.map(String);
  return (
    <label>
      {label}
      {options ? (
        <select value={text} onChange={(e) => onChange(e.target.value)}>
          {options.map((o) => (
            <option key={o} value={o}>
              {words(o)}
            </option>
          ))}
        </select>
      ) : (
        <input value={text} onChange={(e) => onChange(e.target.value)} inputMode="decimal" aria-invalid={fault !== ""} autoComplete="off" />
      )}
      {fault && <small className="down">{fault}</small>}
      <small>{hint(schema)}</small>
    </label>
  );
}

/** Fields of a part, each with its text; what was not touched shows the value in force. */
export function SchemaForm(props: {
  schema: FieldSchema;
  values: Record<string, unknown>;
  texts: Record<string, string>;
  onChange: (texts: Record<string, string>) => void;
}) {
  return (
    <div className="grid wide">
      {Object.entries(props.schema.properties ?? {}).map(([name, field]) => (
        <SchemaField
          key={name}
          name={name}
          schema={field}
          text={props.texts[name] ?? shownValue(field, props.values[name])}
          onChange={(text) => props.onChange({ ...props.texts, [name]: text })}
        />
      ))}
    </div>
  );
}

/** What was changed: the new values, or the first fault. */
export function changed(
  schema: FieldSchema,
  values: Record<string, unknown>,
  texts: Record<string, string>,
): { values: Record<string, Value> } | { fault: string } {
  const found: Record<string, Value> = {};
  for (const [name, text] of Object.entries(texts)) {
    const field = schema.properties?.[name];
    if (!field || text === shownValue(field, values[name])) continue;
    const result = parsed(field, text);
    if ("fault" in result) return { fault: `${words(name)}: ${result.fault}` };
    found[name] = result.value;
  }
  return { values: found };
}
