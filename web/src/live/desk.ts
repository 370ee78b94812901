// The desk as the page knows it: accounts from the list and from live updates, each as it was told last.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo } from "react";
import { api } from "../api/calls";
import type { Schemas } from "../api/client";
import { keys } from "../api/keys";
import { useTopic } from "./socket";
import { newest, type Account } from "./topics";

export type Desk = Schemas["DeskState"];

/** Follow the desk; accounts that are new to the list are looked up. */
export function useAccounts(): { accounts: Account[]; isPending: boolean; error: Error | null; refetch: () => void } {
  const client = useQueryClient();
  const listed = useQuery({ queryKey: keys.accounts, queryFn: api.accounts, refetchInterval: 60_000 });
  const live = useTopic<Desk>("desk");
  const names = Object.keys(live?.accounts ?? {}).join();
  const known = listed.data;
  useEffect(() => {
    if (known && names.split(",").some((id) => id && !known.some((a) => a.id === id)))
      void client.invalidateQueries({ queryKey: keys.accounts });
  }, [names]);
  const accounts = useMemo(() => newest(known ?? [], live?.accounts ?? {}), [known, live?.accounts]);
  return { accounts, isPending: listed.isPending, error: listed.data ? null : listed.error, refetch: () => void listed.refetch() };
}

export function useSystem(): Schemas["System"] | null {
  return useTopic<Desk>("desk")?.system ?? null;
}

export function useTotals(): Record<string, Schemas["Totals"]> {
  return useTopic<Desk>("desk")?.totals ?? {};
}
