// The one way in which the page changes anything: sent under a key, asked for by that key when its answer is lost.
import { useRef, useState } from "react";
import { ApiError, client, problem, unwrap, type Schemas, type Write } from "./client";

const ASK_EVERY_MS = 1_000;
const ASK_FOR_MS = 20_000;
const UNDONE_AFTER_MS = 4_000;

export type Phase = "idle" | "sending" | "asking" | "done" | "refused" | "unknown";

/** Nobody knows whether it was done. */
export class UnknownOutcome extends ApiError {
  constructor() {
    super(
      0,
      "It is not known whether this was done: the platform does not answer.",
      "Press again as soon as it does: what was done already is not done a second time.",
      "Unknown",
    );
  }
}

export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}

const isOpen = (error: unknown): boolean =>
  error instanceof ApiError && (error.status === 0 || error.status >= 500 || error.title === "StillAtWork");

type Ask = (key: string) => Promise<Schemas["RequestOutcome"]>;
const ask: Ask = (key) => unwrap(client.GET("/api/v1/outcomes/{key}", { params: { path: { key } } }));
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Return what came of a write whose answer was lost, or throw why that is an error. */
export async function outcomeOf<T>(key: string, asking: Ask = ask, waiting = pause, forMs = ASK_FOR_MS): Promise<T> {
  for (let waited = 0; waited < forMs; waited += ASK_EVERY_MS) {
    let found: Schemas["RequestOutcome"] | null = null;
    try {
      found = await asking(key);
    } catch {
      // Whatever keeps the question from its answer says nothing of the write.
    }
    if (found?.state === "done") {
      const answer: unknown = found.answer ? JSON.parse(found.answer) : undefined;
      if (found.status < 400) return answer as T;
      throw problem(found.status, answer, "");
    }
    if (found?.state === "interrupted")
      throw new ApiError(409, "This was begun, and the platform ended before it was answered.", "Look at what it did.", "Interrupted");
    // It may still be on its way: it is asked for a while before it counts as not done.
    if (found?.state === "unknown" && waited >= Math.min(UNDONE_AFTER_MS, forMs - ASK_EVERY_MS))
      throw new ApiError(0, "Nothing is known to have been done: the platform has not heard of it.", "Press again; it is done once.", "NotDone");
    await waiting(ASK_EVERY_MS);
  }
  throw new UnknownOutcome();
}

/**
 * Send a write, and find out what came of it.
 *
 * While that is not known the same request goes out under the same key, however often it is pressed; another one, or
 * the same after an answer, gets a key of its own.
 */
export function useCommand<A = void, T = unknown>(
  make: (arg: A) => Write<T>,
  on: { onSuccess?: (data: T, arg: A) => void; onSettled?: () => void } = {},
) {
  const [state, setState] = useState<{ phase: Phase; data: T | undefined; error: Error | null }>({
    phase: "idle",
    data: undefined,
    error: null,
  });
  const open = useRef<{ text: string; key: string } | null>(null);
  const isBusy = useRef(false);
  const run = async (arg: A): Promise<void> => {
    if (isBusy.current) return;
    isBusy.current = true;
    const wanted = make(arg);
    const text = wanted.print ?? JSON.stringify(arg ?? null);
    if (open.current?.text !== text) open.current = { text, key: newKey() };
    const { key } = open.current;
    setState((s) => ({ ...s, phase: "sending", error: null }));
    try {
      let data: T;
      try {
        data = await wanted(key);
      } catch (error) {
        if (!isOpen(error)) throw error;
        setState((s) => ({ ...s, phase: "asking" }));
        data = await outcomeOf<T>(key);
      }
      open.current = null;
      setState({ phase: "done", data, error: null });
      on.onSuccess?.(data, arg);
    } catch (error) {
      const isUnknown = error instanceof UnknownOutcome;
      const isUndone = error instanceof ApiError && error.title === "NotDone";
      if (!isUnknown && !isUndone) open.current = null;
      setState((s) => ({ ...s, phase: isUnknown ? "unknown" : "refused", error: error as Error }));
    } finally {
      isBusy.current = false;
      on.onSettled?.();
    }
  };
  return {
    ...state,
    isPending: state.phase === "sending" || state.phase === "asking",
    mutate: (arg: A) => void run(arg),
    reset: () => setState({ phase: "idle", data: undefined, error: null }),
  };
}
