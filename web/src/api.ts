// The typed client of the platform's API; its types are generated from the OpenAPI schema (`npm run schema`).
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Account = Schemas["AccountSummary"];
export type Order = Schemas["Order"];
export type ParentOrder = Schemas["ParentOrder"];
export type Fill = Schemas["Fill"];
export type Position = Schemas["Position"];

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly remedy: string,
  ) {
    super(message);
  }
}

const client = createClient<paths>({ baseUrl: window.location.origin, credentials: "same-origin" });

type Answer<T> = { data?: T; error?: unknown; response: Response };

async function unwrap<T>(call: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await call;
  } catch {
    throw new ApiError(0, "The platform does not answer.", "Check that `aether up` is running.");
  }
  const { data, error, response } = answer;
  if (!response.ok) {
    const problem = (error ?? {}) as Partial<Schemas["Problem"]>;
    throw new ApiError(response.status, problem.detail ?? response.statusText, problem.remedy ?? "");
  }
  return data as T;
}

const inAccount = (account: string) => ({ path: { account } });

export const api = {
  signIn: (token: string) => unwrap(client.POST("/api/v1/session", { body: { token } })),
  system: () => unwrap(client.GET("/api/v1/system")),
  accounts: () => unwrap(client.GET("/api/v1/accounts")),
  instruments: () => unwrap(client.GET("/api/v1/instruments")),
  positions: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/positions", { params: inAccount(a) })),
  balances: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/balances", { params: inAccount(a) })),
  alerts: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/alerts", { params: inAccount(a) })),
  verdicts: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/verdicts", { params: inAccount(a) })),
  orders: (a: string, onlyOpen: boolean, limit: number) =>
    unwrap(
      client.GET("/api/v1/accounts/{account}/orders", {
        params: { ...inAccount(a), query: { only_open: onlyOpen, limit } },
      }),
    ),
  fills: (a: string, limit: number) =>
    unwrap(client.GET("/api/v1/accounts/{account}/fills", { params: { ...inAccount(a), query: { limit } } })),
  equity: (a: string) =>
    unwrap(client.GET("/api/v1/accounts/{account}/equity", { params: { ...inAccount(a), query: { points: 600 } } })),
  bars: (instrument: string) =>
    unwrap(
      client.GET("/api/v1/instruments/{instrument}/bars", { params: { path: { instrument }, query: { limit: 300 } } }),
    ),
  engageKill: (body: Schemas["KillRequest"]) => unwrap(client.POST("/api/v1/kill-switch/engage", { body })),
  resume: (account: string, reason: string) =>
    unwrap(client.POST("/api/v1/accounts/{account}/resume", { params: inAccount(account), body: { reason } })),
  releaseKill: (body: Schemas["KillRequest"]) => unwrap(client.POST("/api/v1/kill-switch/release", { body })),
};
