// How old everything is that the page shows. Old amounts are marked, whatever else works.
import { useEffect } from "react";
import { makeStore } from "./store";
import type { Message } from "./topics";

export type Link = "connecting" | "live" | "silent" | "lost";

const OLD_AFTER_MS = 3_000;

export type Fresh = {
  link: Link;
  /** When the platform was last heard, by the page's own clock; 0 for never. */
  heardAt: number;
  /** The platform's time less this machine's, milliseconds. */
  skewMs: number;
  /** How much later than the quickest message the last one came: what a slow link has not let through yet. */
  lagMs: number;
  ages: Readonly<Record<string, number>>;
  garbage: number;
  /** Counts up four times a second, so that ages grow on the screen. */
  now: number;
};

/** The platform's time at the quickest message less this page's at its coming; a new socket begins anew. */
let quickest = -Infinity;

const store = makeStore<Fresh>({ link: "connecting", heardAt: 0, skewMs: 0, lagMs: 0, ages: {}, garbage: 0, now: 0 });

export const freshness = {
  get: store.get,
  use: store.use,
  useOf: store.useOf,
  heard(message: Message): void {
    const known = store.get();
    const isBeat = message.kind === "beat";
    if (!isBeat && known.link === "live") {
      known.heardAt = performance.now();
      return;
    }
    const ahead = message.ts_ns / 1e6 - performance.now();
    quickest = Math.max(quickest, ahead);
    const lagMs = isBeat ? quickest - ahead : known.lagMs;
    const ages = isBeat ? ((message.data.ages_ms ?? {}) as Record<string, number>) : known.ages;
    const skewMs = isBeat ? message.ts_ns / 1e6 + lagMs - Date.now() : known.skewMs;
    const link = lagMs > OLD_AFTER_MS ? "silent" : "live";
    store.set({ ...known, link, heardAt: performance.now(), lagMs, ages, skewMs, now: performance.now() });
  },
  silent(): void {
    const known = store.get();
    const link = known.link === "live" ? "silent" : known.link;
    if (known.heardAt > 0) store.set({ ...known, link, now: performance.now() });
  },
  lost(): void {
    quickest = -Infinity;
    store.set({ ...store.get(), link: "lost", now: performance.now() });
  },
  garbage(): void {
    store.set({ ...store.get(), garbage: store.get().garbage + 1 });
  },
};

/** Return how long ago the platform said what was heard last, milliseconds. */
export function silenceMs(fresh: Fresh, now = fresh.now): number {
  return fresh.heardAt > 0 ? Math.max(0, now - fresh.heardAt) + fresh.lagMs : 0;
}

/** Return how old what the page shows of an account is, milliseconds; null where it was never told. */
export function ageMs(fresh: Fresh, account: string): number | null {
  const told = fresh.ages[account];
  return told === undefined ? null : told + silenceMs(fresh);
}

export function isOld(fresh: Fresh, account?: string): boolean {
  if (fresh.link !== "live") return true;
  const age = account === undefined ? 0 : ageMs(fresh, account);
  return age === null || age > OLD_AFTER_MS;
}

/** Mark the whole page while nothing on it can be relied on. */
export function useMarks(): void {
  const isAllOld = store.useOf((fresh) => fresh.link === "silent" || fresh.link === "lost");
  useEffect(() => {
    document.documentElement.toggleAttribute("data-old", isAllOld);
  }, [isAllOld]);
}

/** An age in words. */
export function ageText(ms: number): string {
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.floor(s)} s`;
  const m = Math.floor(s / 60);
  return m < 60 ? `${m}:${String(Math.floor(s % 60)).padStart(2, "0")} min` : `${Math.floor(m / 60)} h ${m % 60} min`;
}
