// How a topic's state follows from its messages: pure functions, see `aether.api.live` on the platform's side.
import type { Schemas } from "../api/client";

export type Message = Omit<Schemas["LiveMessage"], "data"> & { data: Record<string, unknown> };
export type Account = Schemas["AccountSummary"];

/** A topic as the page knows it; `seq` 0 while its snapshot has not come. */
export type Topic<T> = { seq: number; state: T | null };

export const UNKNOWN: Topic<never> = { seq: 0, state: null };

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Return a state with a merge patch (RFC 7386); what the patch leaves alone stays the same object. */
export function patched(state: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const made: Record<string, unknown> = isObject(state) ? { ...state } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete made[key];
    else made[key] = patched(made[key], value);
  }
  return made;
}

/** Return a topic after a message, and whether something is missing: then it has to be asked for as a whole. */
export function step<T>(known: Topic<T>, message: Message): { topic: Topic<T>; isGap: boolean } {
  if (message.kind === "snapshot") return { topic: { seq: message.seq, state: message.data as T }, isGap: false };
  if (message.kind === "refused") return { topic: UNKNOWN as Topic<T>, isGap: false };
  if (message.kind !== "delta" || known.state === null || message.seq <= known.seq) return { topic: known, isGap: false };
  if (message.seq !== known.seq + 1) return { topic: UNKNOWN as Topic<T>, isGap: true };
  return { topic: { seq: message.seq, state: patched(known.state, message.data) as T }, isGap: false };
}

/** Return accounts in the order of a list, each as it was told last: an older answer never replaces newer values. */
export function newest(listed: readonly Account[], live: Readonly<Record<string, Account>>): Account[] {
  return listed.map((a) => {
    const told = live[a.id];
    return told && told.told_ns >= a.told_ns ? told : a;
  });
}

export function isMessage(value: unknown): value is Message {
  return (
    isObject(value) &&
    typeof value.topic === "string" &&
    Number.isInteger(value.seq) &&
    typeof value.ts_ns === "number" &&
    ["snapshot", "delta", "beat", "refused"].includes(value.kind as string) &&
    isObject(value.data)
  );
}
