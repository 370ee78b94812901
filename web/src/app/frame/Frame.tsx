// What is always visible: real money or not, how old everything is, the time, the kill switch. It asks for nothing.
import { useEffect } from "react";
import type { Schemas } from "../../api/client";
import { stopAt } from "../../api/calls";
import { ageText, freshness, silenceMs } from "../../live/freshness";
import { useTopic } from "../../live/socket";
import { me } from "../can";
import { Guard } from "../guard";
import { AlertBell } from "./alerts";
import { useTick, venueAges, type Accounts } from "./ages";
import { KillControl } from "./KillControl";

type Desk = Schemas["DeskState"];

export function Frame() {
  const who = me.use();
  const desk = useTopic<Desk>("desk");
  const stopUrl = desk?.system?.stop_url;
  useEffect(() => {
    if (stopUrl !== undefined) stopAt(stopUrl);
  }, [stopUrl]);
  if (!who) return null;
  const accounts = (desk?.accounts ?? {}) as Accounts;
  const live = Object.values(accounts).filter((a) => a?.mode === "live");
  return (
    <header className={live.length > 0 ? "top live" : "top"}>
      <a href="/" className="brand">
        <img src="/favicon.svg" alt="" width="26" height="26" />
        Aether
      </a>
      <Guard what="The ribbon" fallback={() => <span className="badge live">Mode unknown</span>}>
        {desk ? (
          <Mode live={live.map((a) => a?.name ?? a?.id ?? "")} feed={desk.system?.feed ?? ""} />
        ) : (
          <span className="badge live">Mode unknown</span>
        )}
      </Guard>
      <Guard what="The ages" fallback={() => <span className="warn">Ages unknown</span>}>
        <Ages accounts={accounts} system={desk?.system ?? null} />
      </Guard>
      <span className="spacer" />
      <Guard what="The alerts" fallback={() => null}>
        <AlertBell accounts={accounts} />
      </Guard>
      <Guard what="The clock" fallback={() => null}>
        <Clock />
      </Guard>
      <KillControl accounts={accounts} stopCommand={desk?.system?.stop_command ?? ""} />
    </header>
  );
}

function Mode({ live, feed }: { live: string[]; feed: string }) {
  if (live.length > 0)
    return (
      <span className="badge live" title={`Real money: ${live.join(", ")}`}>
        LIVE {live.slice(0, 2).join(", ")}
        {live.length > 2 && ` and ${live.length - 2} more`}
      </span>
    );
  return <span className="badge paper">{feed.startsWith("synthetic") ? "SIM" : "PAPER"}</span>;
}

/** What is said aloud, once, when it changes; the seconds beside it are for the eye. */
const SPOKEN = {
  connecting: "Connecting to the platform",
  live: "The platform answers",
  silent: "The platform is silent",
  lost: "The platform is silent",
} as const;

function Ages({ accounts, system }: { accounts: Accounts; system: Schemas["System"] | null }) {
  useTick(500);
  const fresh = freshness.use();
  const venues = venueAges(accounts, fresh);
  const silent = silenceMs(fresh, performance.now());
  const failing = system?.checks?.filter((c) => !c.ok) ?? [];
  const state = fresh.link !== "live" ? "down" : failing.length > 0 ? "warn" : "up";
  const words = {
    connecting: "connecting",
    live: failing.length > 0 ? "degraded" : "live",
    silent: `no answer for ${ageText(silent)}`,
    lost: fresh.heardAt > 0 ? `no answer for ${ageText(silent)}` : "no answer",
  }[fresh.link];
  return (
    <details className={`ages ${state}`}>
      <summary>
        <span>
          <i aria-hidden="true" />
          <span aria-hidden="true">platform {words}</span>
          <span role="status" className="hidden">
            {SPOKEN[fresh.link]}
          </span>
        </span>
        {venues.map((v) => (
          <span key={v.venue} className={v.trouble || v.ageMs > 10_000 || state === "down" ? "down" : v.ageMs > 3_000 ? "warn" : ""} title={v.trouble}>
            {v.venue} {v.known ? ageText(v.ageMs) : "never heard"}
            {v.trouble && " down"}
          </span>
        ))}
      </summary>
      <ul aria-label="Processes">
        {system?.processes?.map((p) => (
          <li key={p.name}>
            {p.name} <b>{p.state}</b>
            {p.restarts > 0 && `, started again ${p.restarts} ${p.restarts === 1 ? "time" : "times"}`}
          </li>
        ))}
        {fresh.garbage > 0 && <li>{fresh.garbage} messages were not understood</li>}
      </ul>
    </details>
  );
}

function Clock() {
  useTick(1_000);
  const fresh = freshness.get();
  const now = new Date(Date.now() + fresh.skewMs);
  const away = Math.abs(fresh.skewMs);
  return (
    <time className="clock" dateTime={now.toISOString()} title={`This machine is ${(fresh.skewMs / 1000).toFixed(1)} s behind the platform`}>
      {now.toISOString().slice(11, 19)} UTC
      {away > 2_000 && <span className="warn"> this clock is {ageText(away)} off</span>}
    </time>
  );
}
