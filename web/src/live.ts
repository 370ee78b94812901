// Live updates: one web socket that patches what is shown and asks for what changed.
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Account } from "./api";

export type LiveState = "connecting" | "live" | "lost";

type Message =
  | ({ type: "account"; account: string } & Partial<Account>)
  | { type: "changed"; account: string }
  | { type: "bar"; instrument: string }
  | { type: "reload" };

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export function apply(client: QueryClient, message: Message): void {
  switch (message.type) {
    case "account": {
      const { type: _type, account, ...news } = message;
      client.setQueryData<Account[]>(["accounts"], (known) =>
        known?.map((a) => (a.id === account ? { ...a, ...news, unrealized: unrealized({ ...a, ...news }) } : a)),
      );
      break;
    }
    case "changed":
      void client.invalidateQueries({ queryKey: ["account", message.account] });
      break;
    case "bar":
      void client.invalidateQueries({ queryKey: ["bars", message.instrument] });
      break;
    case "reload":
      void client.invalidateQueries();
  }
}

function unrealized(a: Account): string {
  return String(Number(a.nav) - Number(a.capital) - Number(a.realized) + Number(a.fees));
}

export function useLive(): LiveState {
  const client = useQueryClient();
  const [state, setState] = useState<LiveState>("connecting");
  useEffect(() => {
    let socket: WebSocket | undefined;
    let timer: number | undefined;
    let wait = FIRST_RETRY_MS;
    let done = false;
    const open = () => {
      const scheme = window.location.protocol === "https:" ? "wss" : "ws";
      socket = new WebSocket(`${scheme}://${window.location.host}/api/v1/stream`);
      socket.onopen = () => {
        wait = FIRST_RETRY_MS;
        setState("live");
        void client.invalidateQueries();
      };
      socket.onmessage = (event) => apply(client, JSON.parse(event.data as string) as Message);
      socket.onclose = () => {
        if (done) return;
        setState("lost");
        timer = window.setTimeout(open, wait);
        wait = Math.min(wait * 2, LAST_RETRY_MS);
      };
    };
    open();
    return () => {
      done = true;
      window.clearTimeout(timer);
      socket?.close();
    };
  }, [client]);
  return state;
}
