// The typed client of the platform's API: every request ends in time, every write carries a key, every error has words.
import createClient from "openapi-fetch";
import { makeStore } from "../live/store";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

export class ApiError extends Error {
  constructor(
    /** Of HTTP; 0 where nothing answered. */
    readonly status: number,
    message: string,
    readonly remedy: string,
    readonly title = "",
    /** What a proof of a second factor must be bound to, where one is needed. */
    readonly bound: { action: string; payload_hash: string } | null = null,
  ) {
    super(message);
  }
}

const READ_WITHIN_MS = 5_000;
const WRITE_WITHIN_MS = 15_000;

/** Whether the platform serves another build of this page than the one that runs. */
export const newerBuild = makeStore(false);

async function timed(request: Request): Promise<Response> {
  const limit = request.method === "GET" ? READ_WITHIN_MS : WRITE_WITHIN_MS;
  const response = await fetch(request, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(limit)]) });
  const build = response.headers.get("x-aether-build");
  if (build && build !== __BUILD__ && import.meta.env.PROD) newerBuild.set(true);
  return response;
}

export const client = createClient<paths>({
  baseUrl: window.location.origin,
  credentials: "same-origin",
  fetch: timed,
});

export type Answer<T> = { data?: T; error?: unknown; response: Response };

export async function unwrap<T>(call: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await call;
  } catch {
    throw new ApiError(0, "The platform does not answer.", "Check that `aether up` is running.");
  }
  const { data, error, response } = answer;
  if (!response.ok) throw problem(response.status, error, response.statusText);
  return data as T;
}

export function problem(status: number, body: unknown, text: string): ApiError {
  const p = (typeof body === "object" && body !== null ? body : {}) as Partial<Schemas["Problem"]>;
  const bound = p.title === "ProofRefused" ? { action: p.action ?? "", payload_hash: p.payload_hash ?? "" } : null;
  return new ApiError(status, p.detail ?? (text || `It was refused (${status}).`), p.remedy ?? "", p.title ?? "", bound);
}

type Bound = { action: string; payload_hash: string };
let prover: (bound: Bound) => Promise<string> = () => Promise.reject(new Error("no proof dialog"));

/** The dialog that asks for a second factor registers itself here. */
export function proveWith(ask: (bound: Bound) => Promise<string>) {
  prover = ask;
}

/** Read what needs a fresh proof of a second factor: get one when it is asked for, and read once more. */
export async function proven<T>(call: (header: { "x-mfa-token"?: string }) => Promise<Answer<T>>): Promise<T> {
  try {
    return await unwrap(call({}));
  } catch (error) {
    if (!(error instanceof ApiError && error.bound)) throw error;
    return unwrap(call({ "x-mfa-token": await prover(error.bound) }));
  }
}

type WriteHeader = { "Idempotency-Key": string; "x-mfa-token"?: string };

/** Something that can be sent: with the same key as often as need be, it is done once. `print` tells what it is. */
export type Write<T> = ((key: string) => Promise<T>) & { print?: string };

/** Calls whose writes carry what they are: another body is another write, and has a key of its own. */
export function printed<C extends object>(calls: C): C {
  const made = Object.entries(calls).map(([name, call]) => [
    name,
    (...given: unknown[]) => {
      const found: unknown = (call as (...args: unknown[]) => unknown)(...given);
      if (typeof found === "function") Object.assign(found, { print: `${name} ${JSON.stringify(given)}` });
      return found;
    },
  ]);
  return Object.fromEntries(made) as C;
}

/** A write, which asks for a proof of a second factor where one is needed. Only `useCommand` sends it. */
export function write<T>(call: (header: WriteHeader) => Promise<Answer<T>>): Write<T> {
  return async (key) => {
    const header = { "Idempotency-Key": key };
    try {
      return await unwrap(call(header));
    } catch (error) {
      if (!(error instanceof ApiError && error.bound)) throw error;
      const token = await prover(error.bound);
      return unwrap(call({ ...header, "x-mfa-token": token }));
    }
  };
}
