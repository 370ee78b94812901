// How old what is shown of accounts and venues is.
import { useEffect, useReducer } from "react";
import type { Schemas } from "../../api/client";
import type { Fresh } from "../../live/freshness";

export type Accounts = Record<string, Partial<Schemas["AccountSummary"]> | null>;

/** Render again so many times a second, for what grows by itself. */
export function useTick(everyMs: number): void {
  const [, tick] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const timer = window.setInterval(tick, everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs]);
}

/** The venues at which an account sends no orders, each with its stop. */
export const stoppedVenues = (account: Accounts[string]) => account?.venues?.filter((v) => v.stop.length > 0) ?? [];

export type VenueAge = { venue: string; ageMs: number; known: boolean; trouble: string; openOrders: number; accounts: string[]; stopped: string[] };

/** Return each venue with the age of what was heard of its market last, by the platform's clock. */
export function venueAges(accounts: Accounts, fresh: Fresh): VenueAge[] {
  const nowMs = Date.now() + fresh.skewMs;
  const found = new Map<string, VenueAge>();
  for (const [id, a] of Object.entries(accounts)) {
    for (const v of a?.venues ?? []) {
      const one = found.get(v.venue) ?? { venue: v.venue, ageMs: 0, known: false, trouble: "", openOrders: 0, accounts: [], stopped: [] };
      // Both by the account's own clock, which a recording's is too; and what has passed since it told this.
      const sinceMs = Math.max(0, nowMs - (a?.told_ns ?? 0) / 1e6);
      const ageMs = Math.max(0, ((a?.ts_ns ?? 0) - v.market_ns) / 1e6) + sinceMs;
      if (v.market_ns > 0) one.ageMs = one.known ? Math.min(one.ageMs, ageMs) : ageMs;
      one.known ||= v.market_ns > 0;
      one.trouble = one.trouble || v.trouble;
      one.openOrders += v.open_orders;
      one.accounts.push(id);
      if (v.stop.length > 0) one.stopped.push(id);
      found.set(v.venue, one);
    }
  }
  return [...found.values()];
}
