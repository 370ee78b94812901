import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api, type Account, type Schemas } from "../api";

/** The button that stops everything, and the dialog that asks once more. */
export function KillSwitch({ accounts }: { accounts: Account[] }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isOpen, setOpen] = useState(false);
  const killed = accounts.filter((a) => a.status === "killed");
  const engaged = killed.length > 0;
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
  }, [isOpen]);
  return (
    <>
      <button className={engaged ? "kill engaged" : "kill"} onClick={() => setOpen(true)}>
        {engaged ? `Killed: ${killed.length} of ${accounts.length}` : "Kill switch"}
      </button>
      {isOpen && (
        <dialog ref={dialog} onClose={() => setOpen(false)} aria-labelledby="kill-title">
          <Form engaged={engaged} accounts={accounts} onDone={() => dialog.current?.close()} />
        </dialog>
      )}
    </>
  );
}

function Form({ engaged, accounts, onDone }: { engaged: boolean; accounts: Account[]; onDone: () => void }) {
  const client = useQueryClient();
  const [account, setAccount] = useState("");
  const [reason, setReason] = useState("");
  const [flatten, setFlatten] = useState(false);
  const request = useMutation({
    mutationFn: () => {
      const why = reason.trim();
      return engaged ? api.releaseKill(account, why) : api.engageKill(account, { reason: why, flatten });
    },
    onSuccess: (result) => {
      void client.invalidateQueries();
      if (result.applied && result.unconfirmed.length === 0) onDone();
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        request.mutate();
      }}
    >
      <h2 id="kill-title">{engaged ? "Release the kill switch" : "Engage the kill switch"}</h2>
      <p>
        {engaged
          ? "New orders are allowed again as soon as you release it."
          : "New orders are refused and all open orders canceled, until someone releases it."}
      </p>
      <label>
        Accounts
        <select value={account} onChange={(e) => setAccount(e.target.value)}>
          <option value="">All accounts</option>
          {accounts.map((a) => (
            <option key={a.id} value={a.id}>
              {a.name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Reason
        <input
          value={reason}
          onChange={(e) => setReason(e.target.value)}
          minLength={3}
          maxLength={500}
          required
          autoFocus
          placeholder="goes into the journal"
        />
      </label>
      {!engaged && (
        <label className="check">
          <input type="checkbox" checked={flatten} onChange={(e) => setFlatten(e.target.checked)} />
          Sell every position too
        </label>
      )}
      {request.error && <p className="down" role="alert">{request.error.message}</p>}
      {request.data?.approval && (
        <p className="warn" role="status">
          Request {request.data.approval.id} waits for a second person under Approvals.
        </p>
      )}
      {request.data && !request.data.approval && (
        <p className="warn" role="alert">
          {told(request.data, engaged)}
        </p>
      )}
      <div className="actions">
        <button type="button" className="quiet" onClick={onDone}>
          Cancel
        </button>
        <button type="submit" className={engaged ? "" : "danger"} disabled={request.isPending || reason.trim().length < 3}>
          {request.isPending ? "Waiting for confirmation…" : engaged ? "Release" : "Stop trading"}
        </button>
      </div>
    </form>
  );
}

/** What has come of a request, in words: what is stopped, what is recorded, what is still waited for. */
function told(result: Schemas["KillResult"], isRelease: boolean): string {
  const stopped = result.stopped.length > 0 ? `Stopped: ${result.stopped.join(", ")}.` : "Nothing is known to be stopped yet.";
  const kept = result.recorded
    ? "Recorded, but not confirmed yet. It takes effect before anything else is traded."
    : "Not recorded yet; it will be once the database is back.";
  const waits = result.unconfirmed.map((one) => `Still waiting for ${one}.`);
  return [...(isRelease ? [] : [stopped]), ...(result.applied ? [] : [kept]), ...waits].join(" ");
}
