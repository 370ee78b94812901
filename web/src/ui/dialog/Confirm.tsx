// What is asked before anything dangerous: its exact effects, why, and for real money the account's name, typed.
import { useEffect, useRef, useState, type ReactNode } from "react";
import { Fault } from "../form/Form";

type Command = { phase: string; isPending: boolean; error: Error | null };

export type Asked = {
  title: string;
  /** What it leads to, exactly. */
  effects: ReactNode;
  button: string;
  /** Has to be typed; empty for nothing. */
  word?: string;
  /** Why it cannot be done now; empty when it can. */
  blocked?: string;
  needsReason?: boolean;
  command: Command;
  done?: ReactNode;
  onConfirm: (reason: string) => void;
  onClose: () => void;
};

export function Confirm(props: Asked) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  const { command, needsReason = true } = props;
  const isReady =
    !props.blocked && !command.isPending && (!needsReason || reason.trim().length >= 3) && (!props.word || typed.trim() === props.word);
  return (
    <dialog ref={dialog} className="confirm" onClose={props.onClose} aria-labelledby="confirm-title">
      <div className="form">
        <h2 id="confirm-title">{props.title}</h2>
        <div className="effects">{props.effects}</div>
        {props.blocked && (
          <p className="warn" role="status">
            {props.blocked}
          </p>
        )}
        {needsReason && (
          <label>
            Reason
            <input value={reason} onChange={(e) => setReason(e.target.value)} maxLength={500} placeholder="goes into the audit trail" />
          </label>
        )}
        {props.word && (
          <label>
            Type “{props.word}” to confirm
            <input value={typed} onChange={(e) => setTyped(e.target.value)} />
          </label>
        )}
        {command.phase === "asking" && (
          <p className="warn" role="status">
            The answer was lost; asking whether it was done…
          </p>
        )}
        <Fault error={command.error} />
        {props.done && (
          <p className="up" role="status">
            {props.done}
          </p>
        )}
        <div className="actions">
          <button type="button" className="quiet" onClick={() => dialog.current?.close()}>
            {props.done ? "Close" : "Cancel"}
          </button>
          {!props.done && (
            <button type="button" className="danger" disabled={!isReady} onClick={() => props.onConfirm(reason.trim())}>
              {command.phase === "sending" ? "One moment…" : command.phase === "asking" ? "Asking…" : props.button}
            </button>
          )}
        </div>
      </div>
    </dialog>
  );
}
