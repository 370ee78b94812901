// The button that stops everything, and the sheet behind it: a row for each account and each venue.
import { useEffect, useRef, useState } from "react";
import { api } from "../../api/calls";
import { ApiError, type Schemas } from "../../api/client";
import { useCommand } from "../../api/command";
import { freshness } from "../../live/freshness";
import { formatTime, words } from "../../ui/format";
import { anywhere, can, me } from "../can";
import { Guard } from "../guard";
import { stoppedVenues, useTick, venueAges, type Accounts, type VenueAge } from "./ages";

const CONFIRMED_WITHIN_MS = 5_000;
const REASON = "stopped from the desk";

type Account = Partial<Schemas["AccountSummary"]> | null;
type Pulled = { at: number; result: Schemas["KillResult"] | null; error: Error | null; endedAt: number; endedMs: number };

/** What was asked for since the page was opened, by account; `*` for all. */
type Pulls = Record<string, Pulled>;

export function KillControl({ accounts, stopCommand }: { accounts: Accounts; stopCommand: string }) {
  const who = me.use();
  const dialog = useRef<HTMLDialogElement>(null);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey && event.shiftKey && event.key.toLowerCase() === "x") {
        event.preventDefault();
        setOpen(true);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    if (isOpen && !dialog.current?.open) dialog.current?.showModal();
  }, [isOpen]);
  if (!anywhere(who, "kill.engage") && !anywhere(who, "kill.release")) return null;
  const known = Object.values(accounts);
  const killed = known.filter((a) => a?.status === "killed").length;
  const venues = [...new Set(known.flatMap((a) => stoppedVenues(a).map((v) => v.venue)))];
  return (
    <>
      <button className={killed + venues.length > 0 ? "kill engaged" : "kill"} onClick={() => setOpen(true)}>
        {killed > 0 ? `Killed: ${killed} of ${known.length}` : venues.length > 0 ? `Kill switch: ${venues.join(", ")} stopped` : "Kill switch"}
      </button>
      {isOpen && (
        <dialog ref={dialog} className="sheet" onClose={() => setOpen(false)} aria-labelledby="kill-title">
          <Sheet accounts={accounts} stopCommand={stopCommand} onDone={() => dialog.current?.close()} />
        </dialog>
      )}
    </>
  );
}

function Sheet({ accounts, stopCommand, onDone }: { accounts: Accounts; stopCommand: string; onDone: () => void }) {
  const who = me.use();
  const fresh = freshness.use();
  useTick(500);
  const [reason, setReason] = useState(REASON);
  const [pulls, setPulls] = useState<Pulls>({});
  const why = reason.trim().length >= 3 ? reason.trim() : REASON;
  const stop = async (account: string, flatten: boolean) => {
    const at = performance.now();
    const note = (pulled: Omit<Pulled, "at" | "endedAt" | "endedMs">) =>
      setPulls((known) => ({ ...known, [account]: { at, endedAt: performance.now(), endedMs: Date.now() + freshness.get().skewMs, ...pulled } }));
    setPulls((known) => ({ ...known, [account]: { at, endedAt: 0, endedMs: 0, result: null, error: null } }));
    try {
      note({ result: await api.engageKill(account === "*" ? "" : account, { reason: why, flatten }), error: null });
    } catch (error) {
      note({ result: null, error: error as Error });
    }
  };
  const isFirm = can(who, "kill.engage");
  // By what one may do, and not by what is shown: a stop needs nothing that comes from the platform.
  const mine = Object.keys(who?.grants ?? {}).filter((id) => id !== "*" && can(who, "kill.engage", id));
  const stopAll = (flatten: boolean) => (isFirm ? void stop("*", flatten) : mine.forEach((id) => void stop(id, flatten)));
  const mayFlatten = isFirm ? can(who, "kill.flatten") : mine.every((id) => can(who, "kill.flatten", id));
  const unlisted = Object.entries(pulls).filter(([id]) => id !== "*" && !(id in accounts));
  const isUnsure = Object.values(pulls).some((p) => isLate(p));
  return (
    <div className="form">
      <h2 id="kill-title">Kill switch</h2>
      <p>A stopped account sends no order, and everything that it has open is canceled, until somebody releases it.</p>
      {fresh.link !== "live" && (
        <p className="down" role="alert">
          The platform does not answer: what is shown here is old. A stop is tried all the same.
        </p>
      )}
      <div className="stopall">
        {anywhere(who, "kill.engage") && (
          <>
            <button type="button" className="danger" autoFocus onClick={() => stopAll(false)}>
              Stop all
            </button>
            {mayFlatten && (
              <button type="button" className="danger outline" onClick={() => stopAll(true)}>
                Stop all and sell everything
              </button>
            )}
          </>
        )}
        <label>
          Reason
          <input value={reason} onChange={(e) => setReason(e.target.value)} maxLength={500} />
        </label>
      </div>
      {pulls["*"] && <Progress name="All accounts" pulled={pulls["*"]} accounts={accounts} />}
      {unlisted.map(([id, pulled]) => (
        <Progress key={id} name={id} pulled={pulled} accounts={{}} />
      ))}
      {isUnsure && <ByHand command={stopCommand || "aether kill engage"} reason={why} />}
      <ul className="rows" aria-label="Accounts">
        {Object.entries(accounts).map(([id, account]) => (
          <li key={id} aria-label={id}>
            <Guard what={id} fallback={() => <Unshown id={id} mayStop={can(who, "kill.engage", id)} onStop={() => void stop(id, false)} />}>
              <AccountRow id={id} account={account} pulled={pulls[id]} onStop={(flatten) => void stop(id, flatten)} />
            </Guard>
          </li>
        ))}
      </ul>
      <Guard what="The venues">
        <Venues venues={venueAges(accounts, fresh)} accounts={accounts} reason={why} />
      </Guard>
      <div className="actions">
        <button type="button" className="quiet" onClick={onDone}>
          Close
        </button>
      </div>
    </div>
  );
}

const count = (orders: number) => `${orders} open ${orders === 1 ? "order" : "orders"}`;

const isLate = (p: Pulled) => p.error !== null || (p.result === null && performance.now() - p.at > CONFIRMED_WITHIN_MS);

/** The way that needs neither this page nor the API. */
function ByHand({ command, reason }: { command: string; reason: string }) {
  return (
    <p className="down" role="alert">
      Not confirmed. On the platform's machine this stops everything without the page:{" "}
      <code className="block">
        {command} --reason &quot;{reason.replaceAll('"', "'")}&quot;
      </code>
    </p>
  );
}

function Unshown({ id, mayStop, onStop }: { id: string; mayStop: boolean; onStop: () => void }) {
  return (
    <div className="line">
      <b>{id}</b>
      <span className="warn">its state cannot be shown</span>
      {mayStop && (
        <button type="button" className="danger outline" onClick={onStop}>
          Stop
        </button>
      )}
    </div>
  );
}

type RowProps = { id: string; account: Account; pulled: Pulled | undefined; onStop: (flatten: boolean) => void };

function AccountRow({ id, account, pulled, onStop }: RowProps) {
  const who = me.use();
  const [isReleasing, setReleasing] = useState(false);
  if (!account?.status) throw new Error("it has no state");
  const isKilled = account.status === "killed";
  const kill = account.stops?.find((s) => s.stop === "kill");
  return (
    <>
      <div className="line">
        <b>{account.name ?? id}</b>
        <span className={`state ${account.status}`}>{words(account.status)}</span>
        <span className="dim grow">
          {kill && `${kill.reason}${kill.actor ? `, ${kill.actor}` : ""}, ${formatTime(kill.since_ns)}`}
          {!kill && account.reason}
        </span>
        <span>{count(account.open_orders ?? 0)}</span>
        {can(who, "kill.engage", id) && !isKilled && (
          <button type="button" className="danger outline" aria-label={`Stop ${account.name ?? id}`} onClick={() => onStop(false)}>
            Stop
          </button>
        )}
        {can(who, "kill.flatten", id) && (
          <button type="button" className="danger outline" aria-label={`${isKilled ? "Sell everything" : "Stop and sell"} ${account.name ?? id}`} onClick={() => onStop(true)}>
            {isKilled ? "Sell everything" : "Stop and sell"}
          </button>
        )}
        {isKilled && can(who, "kill.release", id) && (
          <button type="button" className="quiet" aria-label={`Release ${account.name ?? id}`} onClick={() => setReleasing(!isReleasing)}>
            Release
          </button>
        )}
      </div>
      {pulled && <Progress name={account.name ?? id} pulled={pulled} accounts={{ [id]: account }} />}
      {isReleasing && isKilled && <Release id={id} name={account.name ?? id} onDone={() => setReleasing(false)} />}
    </>
  );
}

/** Letting an account go on takes its name, typed; Enter does nothing. */
function Release({ id, name, venue = "", onDone }: { id: string; name: string; venue?: string; onDone: () => void }) {
  const [typed, setTyped] = useState("");
  const [reason, setReason] = useState("");
  const release = useCommand((why: string) => (venue ? api.releaseVenue(id, venue, why) : api.releaseKill(id, why)), {
    onSuccess: (result) => result.applied && onDone(),
  });
  const isReady = typed.trim() === name && reason.trim().length >= 3 && !release.isPending;
  return (
    <div className="release" role="group" aria-label={`Release of ${name}`}>
      <label>
        Type “{name}” to let it trade again
        <input value={typed} onChange={(e) => setTyped(e.target.value)} />
      </label>
      <label>
        Why may it trade again?
        <input value={reason} onChange={(e) => setReason(e.target.value)} maxLength={500} />
      </label>
      <button type="button" disabled={!isReady} onClick={() => release.mutate(reason.trim())}>
        {release.isPending ? "One moment…" : `Release ${name}`}
      </button>
      {release.error && (
        <p className="down" role="alert">
          {release.error.message} {release.error instanceof ApiError && release.error.remedy}
        </p>
      )}
      {release.data?.approval && (
        <p className="warn" role="status">
          Request {release.data.approval.id} waits for a second person under Approvals.
        </p>
      )}
      {release.data && !release.data.approval && !release.data.applied && (
        <p className="warn" role="status">
          Recorded, but not confirmed yet.
        </p>
      )}
    </div>
  );
}

/** How far a stop is: asked for, recorded, what the venues still hold, done, in seconds. */
function Progress({ name, pulled, accounts }: { name: string; pulled: Pulled; accounts: Accounts }) {
  const seconds = (((pulled.endedAt || performance.now()) - pulled.at) / 1000).toFixed(1);
  if (pulled.error)
    return (
      <p className="down" role="alert">
        {name}: not confirmed. {pulled.error.message} {pulled.error instanceof ApiError && pulled.error.remedy}
      </p>
    );
  if (pulled.result === null)
    return (
      <p className={isLate(pulled) ? "down" : "warn"}>
        <span role="status">
          {name}: asked for{isLate(pulled) && ", not confirmed"}
        </span>
        <span aria-hidden="true"> after {seconds} s</span>
      </p>
    );
  const { result } = pulled;
  // What accounts tell now counts once they have told it after the answer.
  const told = Object.entries(accounts).filter(([id]) => result.stopped.includes(id));
  const isNewer = told.length > 0 && told.every(([, a]) => (a?.told_ns ?? 0) / 1e6 > pulled.endedMs);
  const waits = isNewer ? told.flatMap(([id, a]) => (a?.unconfirmed ?? []).map((what) => `${id} ${what}`)) : result.unconfirmed;
  const stopped = result.stopped.length > 0 ? `stopped: ${result.stopped.join(", ")}` : "nothing is known to be stopped yet";
  const recorded = result.applied ? "recorded" : result.recorded ? "written down, not confirmed yet" : "not written down yet";
  return (
    <p className={result.stopped.length > 0 && waits.length === 0 ? "up" : "warn"} role="status">
      {name}: {stopped}; {recorded} after {seconds} s;{" "}
      {waits.length === 0 ? "nothing is left open at the venues" : `waiting for ${waits.join("; ")}`}
    </p>
  );
}

function Venues({ venues, accounts, reason }: { venues: VenueAge[]; accounts: Accounts; reason: string }) {
  if (venues.length === 0) return null;
  return (
    <ul className="rows" aria-label="Venues">
      {venues.map((v) => (
        <li key={v.venue} aria-label={v.venue}>
          <VenueRow venue={v} accounts={accounts} reason={reason} />
        </li>
      ))}
    </ul>
  );
}

/** The stop of a venue in one account. */
function stopOf(account: Account | undefined, venue: string) {
  return stoppedVenues(account ?? null).find((v) => v.venue === venue)?.stop[0];
}

/** A venue: what is wrong there, and a stop of all that one may stop there; each account is released by its name. */
function VenueRow({ venue: v, accounts, reason }: { venue: VenueAge; accounts: Accounts; reason: string }) {
  const who = me.use();
  const [told, setTold] = useState<{ text: string; isBad: boolean } | null>(null);
  const [releasing, setReleasing] = useState("");
  const mine = v.accounts.filter((id) => can(who, "kill.engage", id));
  const stop = async () => {
    setTold({ text: "asked for", isBad: false });
    const asked = can(who, "kill.engage") ? [""] : mine;
    try {
      const settled = await Promise.allSettled(asked.map((id) => api.stopVenue(id, v.venue, { reason })));
      const results = settled.flatMap((s) => (s.status === "fulfilled" ? [s.value] : []));
      const failed = settled.find((s) => s.status === "rejected");
      const stopped = results.flatMap((r) => r.stopped);
      if (failed && stopped.length === 0) throw failed.reason;
      const isKept = results.every((r) => r.recorded);
      const rest = failed ? `; not all: ${(failed.reason as Error).message}` : isKept ? "" : "; not recorded yet";
      setTold({ text: `stopped for ${stopped.join(", ")}${rest}`, isBad: Boolean(failed) || !isKept });
    } catch (error) {
      const remedy = error instanceof ApiError ? error.remedy : "";
      setTold({ text: `not confirmed: ${(error as Error).message} ${remedy} “Stop all” works without the venue.`, isBad: true });
    }
  };
  const isAll = mine.length > 0 && mine.every((id) => v.stopped.includes(id));
  return (
    <>
      <div className="line">
        <b>{v.venue}</b>
        {v.stopped.length > 0 && <span className="state killed">stopped for {v.stopped.length} of {v.accounts.length}</span>}
        <span className={v.trouble ? "down grow" : "dim grow"}>{v.trouble || `${v.accounts.length} ${v.accounts.length === 1 ? "account" : "accounts"}`}</span>
        <span>{count(v.openOrders)}</span>
        {mine.length > 0 && !isAll && (
          <button type="button" className="danger outline" aria-label={`Stop ${v.venue}`} onClick={() => void stop()}>
            Stop
          </button>
        )}
      </div>
      {told && (
        <p className={told.isBad ? "down" : "warn"} role="status">
          {v.venue}: {told.text}
        </p>
      )}
      {v.stopped
        .filter((id) => can(who, "kill.release", id))
        .map((id) => ({ id, stop: stopOf(accounts[id], v.venue) }))
        .map(({ id, stop }) => (
          <div key={id}>
            <div className="line">
              <span className="grow dim">
                stopped for {accounts[id]?.name ?? id}
                {stop && `: ${stop.reason}${stop.actor && `, ${stop.actor}`}, ${formatTime(stop.since_ns)}`}
                {stop?.left && <span className="warn">, waiting for {stop.left}</span>}
              </span>
              <button
                type="button"
                className="quiet"
                aria-label={`Release ${v.venue} for ${accounts[id]?.name ?? id}`}
                onClick={() => setReleasing(releasing === id ? "" : id)}
              >
                Release
              </button>
            </div>
            {releasing === id && <Release id={id} venue={v.venue} name={accounts[id]?.name ?? id} onDone={() => setReleasing("")} />}
          </div>
        ))}
    </>
  );
}
