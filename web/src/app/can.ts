// What a person may do, by account, as the platform says.
import type { Me } from "../api/calls";
import { makeStore } from "../live/store";

export const me = makeStore<Me | null>(null);

export function can(who: Pick<Me, "grants"> | null, action: string, account = "*"): boolean {
  const held = (where: string) => who?.grants[where]?.includes(action) ?? false;
  return held("*") || (account !== "*" && held(account));
}

/** Return whether the person may do something in an account, or in all of them. */
export function useCan(): (action: string, account?: string) => boolean {
  const who = me.use();
  return (action, account) => can(who, action, account);
}

/** Return whether the person may do something anywhere. */
export function anywhere(who: Pick<Me, "grants"> | null, action: string): boolean {
  return Object.values(who?.grants ?? {}).some((actions) => actions.includes(action));
}
