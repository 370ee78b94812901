import type { ReactNode } from "react";
import { ApiError } from "../../api/client";

/** What went wrong, and what to do. */
export function Fault({ error }: { error: Error | null }) {
  if (error === null) return null;
  return (
    <p className="down" role="alert">
      {error.message} {error instanceof ApiError && <span className="dim">{error.remedy}</span>}
    </p>
  );
}

/** A form that does one thing, with its button and what came of it. */
export function Form(props: {
  onSubmit: () => void;
  button: string;
  busy: boolean;
  error: Error | null;
  done?: ReactNode;
  danger?: boolean;
  disabled?: boolean;
  children: ReactNode;
}) {
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        props.onSubmit();
      }}
    >
      {props.children}
      <Fault error={props.error} />
      {props.done && (
        <p className="up" role="status">
          {props.done}
        </p>
      )}
      <div className="actions">
        <button type="submit" className={props.danger ? "danger" : "primary"} disabled={props.busy || props.disabled}>
          {props.busy ? "One moment…" : props.button}
        </button>
      </div>
    </form>
  );
}

export function Field(props: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  type?: string;
  hint?: string;
  autoFocus?: boolean;
  autoComplete?: string;
  required?: boolean;
  inputMode?: "numeric" | "decimal" | "text";
  multiline?: boolean;
}) {
  const shared = {
    value: props.value,
    onChange: (e: { target: { value: string } }) => props.onChange(e.target.value),
    required: props.required ?? true,
    autoFocus: props.autoFocus,
    autoComplete: props.autoComplete ?? "off",
    spellCheck: false,
  };
  return (
    <label>
      {props.label}
      {props.multiline ? (
        <textarea rows={4} {...shared} />
      ) : (
        <input type={props.type ?? "text"} inputMode={props.inputMode} {...shared} />
      )}
      {props.hint && <small>{props.hint}</small>}
    </label>
  );
}

export function Choice(props: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  options: readonly (readonly [string, string])[];
}) {
  return (
    <label>
      {props.label}
      <select value={props.value} onChange={(e) => props.onChange(e.target.value)}>
        {props.options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Panel({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className="panel" aria-label={title}>
      <h2>
        {title}
        {aside}
      </h2>
      <div className="inside">{children}</div>
    </section>
  );
}

/** What came of a sensitive request: it is done, or waits for a second person. */
export function outcome(result: { done: boolean; approval?: { id: string } | null } | undefined, done: string): string {
  if (result === undefined) return "It is done.";
  return result.done ? done : `Request ${result.approval?.id} waits for a second person under Approvals.`;
}
