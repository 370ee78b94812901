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
  ages: Readonly<Record<string, number>>;
  garbage: number;
  /** Counts up four times a second, so that ages grow on the screen. */
  now: number;
};

const store = makeStore<Fresh>({ link: "connecting", heardAt: 0, skewMs: 0, ages: {}, garbage: 0, now: 0 });

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
    const ages = isBeat ? ((message.data.ages_ms ?? {}) as Record<string, number>) : known.ages;
    const skewMs = isBeat ? message.ts_ns / 1e6 - Date.now() : known.skewMs;
    store.set({ ...known, link: "live", heardAt: performance.now(), ages, skewMs, now: performance.now() });
  },
  silent(): void {
    const known = store.get();
    const link = known.link === "live" ? "silent" : known.link;
    if (known.heardAt > 0) store.set({ ...known, link, now: performance.now() });
  },
  lost(): void {
    store.set({ ...store.get(), link: "lost", now: performance.now() });
  },
  garbage(): void {
    store.set({ ...store.get(), garbage: store.get().garbage + 1 });
  },
};

/** Return how long the platform has been silent, milliseconds. */
export function silenceMs(fresh: Fresh): number {
  return fresh.heardAt > 0 ? Math.max(0, fresh.now - fresh.heardAt) : 0;
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
