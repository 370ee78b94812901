// Every call that the page makes, by its name.
import createClient from "openapi-fetch";
import { client, printed, proven, unwrap, write, type Answer, type Schemas } from "./client";
import type { paths } from "./schema";

export type Account = Schemas["AccountSummary"];
export type Order = Schemas["Order"];
export type ParentOrder = Schemas["ParentOrder"];
export type Fill = Schemas["Fill"];
export type Position = Schemas["Position"];
export type Me = Schemas["Me"];
export type Challenge = Schemas["Challenge"];
export type Factor = Omit<Schemas["FactorRequest"], "challenge">;

export type ListQuery = NonNullable<paths["/api/v1/orders"]["get"]["parameters"]["query"]>;

/** The process of stops: no crowd stands before it. Empty until the platform tells where it is, or where there is none. */
let stopUrl = "";
export function stopAt(url: string): void {
  stopUrl = url;
}
const STOP_WITHIN_MS = 8_000;

/** Stop by the process of stops; by the web interface where that does not do it. */
async function byStops<T>(call: (at: typeof client, signal: AbortSignal) => Promise<Answer<T>>): Promise<T> {
  if (stopUrl !== "") {
    try {
      const stops = createClient<paths>({ baseUrl: stopUrl, credentials: "include" });
      return await unwrap(call(stops, AbortSignal.timeout(STOP_WITHIN_MS)));
    } catch {
      // The other way in says what is wrong, or does it.
    }
  }
  return unwrap(call(client, AbortSignal.timeout(STOP_WITHIN_MS)));
}

const engage = (account: string, body: Schemas["KillRequest"]) =>
  byStops((at, signal) =>
    account === ""
      ? at.POST("/api/v1/kill-switch/engage", { body, signal })
      : at.POST("/api/v1/accounts/{account}/kill-switch/engage", { params: inAccount(account), body, signal }),
  );

const inAccount = (account: string) => ({ path: { account } });
const forAccount = (account: string) => ({ query: { account } });

export const api = printed({
  // Becoming somebody.
  me: () => unwrap(client.GET("/api/v1/session")),
  useLink: (token: string) => unwrap(client.POST("/api/v1/session/token", { body: { token } })),
  signIn: (email: string, password: string) => unwrap(client.POST("/api/v1/session", { body: { email, password } })),
  finishSignIn: (challenge: string, factor: Partial<Factor>) =>
    unwrap(client.POST("/api/v1/session/factor", { body: { code: "", recovery_code: "", challenge, ...factor } })),
  passkeyChallenge: () => unwrap(client.POST("/api/v1/session/passkey/challenge")),
  passkeySignIn: (challenge: string, credential: Record<string, unknown>) =>
    unwrap(client.POST("/api/v1/session/passkey", { body: { code: "", recovery_code: "", challenge, credential } })),
  signOut: () => unwrap(client.DELETE("/api/v1/session")),
  firstInvitation: () => unwrap(client.POST("/api/v1/setup/invitation")),
  invitation: (token: string) => unwrap(client.PUT("/api/v1/setup/invitation", { body: { token } })),
  setUp: (body: Schemas["PersonSetup"]) => unwrap(client.POST("/api/v1/setup/person", { body })),
  finishSetup: (challenge: string, factor: Partial<Factor>) =>
    unwrap(client.POST("/api/v1/setup/factor", { body: { code: "", recovery_code: "", challenge, ...factor } })),

  // One's own.
  askProof: () => unwrap(client.POST("/api/v1/mfa/challenges")),
  prove: (body: Schemas["ProofRequest"]) => unwrap(client.POST("/api/v1/mfa/proofs", { body })),
  changePassword: (current: string, password: string) =>
    write((header) => client.PUT("/api/v1/me/password", { params: { header }, body: { current, password } })),
  newTotp: () => write((header) => client.POST("/api/v1/me/totp", { params: { header } })),
  confirmTotp: (challenge: string, code: string) =>
    write((header) => client.POST("/api/v1/me/totp/confirm", { params: { header }, body: { challenge, code } })),
  passkeys: () => unwrap(client.GET("/api/v1/me/passkeys")),
  newPasskey: () => write((header) => client.POST("/api/v1/me/passkeys/challenge", { params: { header } })),
  addPasskey: (body: Schemas["PasskeyAdd"]) => write((header) => client.POST("/api/v1/me/passkeys", { params: { header }, body })),
  removePasskey: (passkey: string) =>
    write((header) => client.DELETE("/api/v1/me/passkeys/{passkey}", { params: { path: { passkey }, header } })),
  newRecoveryCodes: () => write((header) => client.POST("/api/v1/me/recovery-codes", { params: { header } })),
  sessions: () => unwrap(client.GET("/api/v1/me/sessions")),
  endSession: (session: string) =>
    write((header) => client.DELETE("/api/v1/me/sessions/{session}", { params: { path: { session }, header } })),

  // The desk.
  system: () => unwrap(client.GET("/api/v1/system")),
  strategies: () => unwrap(client.GET("/api/v1/strategies")),
  accounts: () => unwrap(client.GET("/api/v1/accounts")),
  instruments: () => unwrap(client.GET("/api/v1/instruments")),
  shadows: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/shadows", { params: inAccount(a) })),
  past: (a: string, at: number) =>
    unwrap(client.GET("/api/v1/accounts/{account}/past", { params: { ...inAccount(a), query: { at_ns: at } } })),
  balances: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/balances", { params: inAccount(a) })),
  alerts: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/alerts", { params: inAccount(a) })),
  verdicts: (a: string) => unwrap(client.GET("/api/v1/accounts/{account}/verdicts", { params: inAccount(a) })),
  equity: (a: string) =>
    unwrap(client.GET("/api/v1/accounts/{account}/equity", { params: { ...inAccount(a), query: { points: 600 } } })),
  equityOfAll: () => unwrap(client.GET("/api/v1/equity", { params: { query: { points: 300 } } })),
  listOrders: (query: ListQuery) => unwrap(client.GET("/api/v1/orders", { params: { query } })),
  listFills: (query: ListQuery) => unwrap(client.GET("/api/v1/fills", { params: { query } })),
  bars: (instrument: string) =>
    unwrap(
      client.GET("/api/v1/instruments/{instrument}/bars", { params: { path: { instrument }, query: { limit: 300 } } }),
    ),

  // Operators.
  engageKill: engage,
  stopVenue: (account: string, venue: string, body: Schemas["ReasonRequest"]) =>
    byStops((at, signal) =>
      account === ""
        ? at.POST("/api/v1/venues/{venue}/stop", { params: { path: { venue } }, body, signal })
        : at.POST("/api/v1/accounts/{account}/venues/{venue}/stop", { params: { path: { account, venue } }, body, signal }),
    ),
  releaseVenue: (account: string, venue: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/venues/{venue}/release", { params: { path: { account, venue }, header }, body: { reason } }),
    ),
  releaseKill: (account: string, reason: string) =>
    write((header) =>
      account === ""
        ? client.POST("/api/v1/kill-switch/release", { params: { header }, body: { reason } })
        : client.POST("/api/v1/accounts/{account}/kill-switch/release", {
            params: { ...inAccount(account), header },
            body: { reason },
          }),
    ),
  resume: (account: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/resume", { params: { ...inAccount(account), header }, body: { reason } }),
    ),
  decideIntent: (account: string, number: number, approve: boolean, reason: string) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/intents/{number}/decide", {
        params: { path: { account, number }, header },
        body: { approve, reason },
      }),
    ),
  exit: (account: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/exit", {
        params: { ...inAccount(account), header },
        body: { instrument: "", reason },
      }),
    ),
  hedge: (account: string, share_bps: number, reason: string) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/hedge", {
        params: { ...inAccount(account), header },
        body: { share_bps, reason },
      }),
    ),

  previewExit: (account: string, body: Schemas["ExitRequest"]) =>
    unwrap(client.POST("/api/v1/accounts/{account}/exit/preview", { params: inAccount(account), body })),
  previewHedge: (account: string, body: Schemas["HedgeRequest"]) =>
    unwrap(client.POST("/api/v1/accounts/{account}/hedge/preview", { params: inAccount(account), body })),
  previewCapital: (account: string, body: Schemas["CapitalRequest"]) =>
    unwrap(client.POST("/api/v1/accounts/{account}/capital/preview", { params: inAccount(account), body })),

  // Accounts.
  createAccount: (body: Schemas["AccountCreate"]) =>
    write((header) => client.POST("/api/v1/accounts", { params: { header }, body })),
  startShadow: (account: string, body: Schemas["ShadowCreate"]) =>
    write((header) => client.POST("/api/v1/accounts/{account}/shadows", { params: { header, ...inAccount(account) }, body })),
  archive: (account: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/archive", { params: { ...inAccount(account), header }, body: { reason } }),
    ),
  settingsSchema: () => unwrap(client.GET("/api/v1/settings/schema")),
  settings: (account: string) =>
    unwrap(client.GET("/api/v1/accounts/{account}/settings", { params: inAccount(account) })),
  compareSettings: (account: string, body: Schemas["SettingsRequest"]) =>
    unwrap(client.POST("/api/v1/accounts/{account}/settings/diff", { params: inAccount(account), body })),
  changeSettings: (account: string, body: Schemas["SettingsRequest"]) =>
    write((header) =>
      client.PUT("/api/v1/accounts/{account}/settings", { params: { ...inAccount(account), header }, body }),
    ),
  rollBack: (account: string, body: Schemas["RollbackRequest"]) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/settings/rollback", { params: { ...inAccount(account), header }, body }),
    ),
  moveCapital: (account: string, body: Schemas["CapitalRequest"]) =>
    write((header) =>
      client.POST("/api/v1/accounts/{account}/capital", { params: { ...inAccount(account), header }, body }),
    ),

  // Keys.
  secrets: (account: string) =>
    proven((header) =>
      client.GET("/api/v1/secrets/status", { params: { query: { account, history: true }, header } }),
    ),
  upload: (account: string, venue: string, body: Schemas["SecretUpload"]) =>
    write((header) =>
      client.PUT("/api/v1/secrets/{venue}", { params: { path: { venue }, ...forAccount(account), header }, body }),
    ),
  rotate: (account: string, venue: string, body: Schemas["SecretRotate"]) =>
    write((header) =>
      client.POST("/api/v1/secrets/{venue}/rotate", {
        params: { path: { venue }, ...forAccount(account), header },
        body,
      }),
    ),
  testKey: (account: string, venue: string) =>
    write((header) =>
      client.POST("/api/v1/secrets/{venue}/test", { params: { path: { venue }, ...forAccount(account), header } }),
    ),
  deleteKey: (account: string, venue: string, reason: string) =>
    write((header) =>
      client.DELETE("/api/v1/secrets/{venue}", {
        params: { path: { venue }, ...forAccount(account), header },
        body: { reason },
      }),
    ),
  rotateKek: (resume: boolean) =>
    write((header) => client.POST("/api/v1/key-encryption-key/rotate", { params: { header }, body: { resume } })),

  // Governance.
  approvals: (onlyWaiting: boolean) =>
    unwrap(client.GET("/api/v1/approvals", { params: { query: { only_waiting: onlyWaiting } } })),
  decide: (approval: string, approve: boolean, reason: string) =>
    write((header) =>
      client.POST("/api/v1/approvals/{approval}/decide", {
        params: { path: { approval }, header },
        body: { approve, reason },
      }),
    ),
  withdraw: (approval: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/approvals/{approval}/withdraw", { params: { path: { approval }, header }, body: { reason } }),
    ),
  audit: (before: number | undefined, action: string) =>
    unwrap(client.GET("/api/v1/audit", { params: { query: { before: before ?? null, action, limit: 100 } } })),
  verifyAudit: () => write((header) => client.POST("/api/v1/audit/verify", { params: { header } })),
  users: () => unwrap(client.GET("/api/v1/users")),
  invite: (body: Schemas["InviteRequest"]) =>
    write((header) => client.POST("/api/v1/users", { params: { header }, body })),
  invitations: () => unwrap(client.GET("/api/v1/invitations")),
  handOver: (email: string) =>
    write((header) => client.POST("/api/v1/invitations/{email}/link", { params: { path: { email }, header } })),
  confirmUser: (user: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/users/{user}/confirm", { params: { path: { user }, header }, body: { reason } }),
    ),
  setRoles: (user: string, body: Schemas["RolesRequest"]) =>
    write((header) => client.PUT("/api/v1/users/{user}/roles", { params: { path: { user }, header }, body })),
  disableUser: (user: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/users/{user}/disable", { params: { path: { user }, header }, body: { reason } }),
    ),
  enableUser: (user: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/users/{user}/enable", { params: { path: { user }, header }, body: { reason } }),
    ),
  signOutUser: (user: string, reason: string) =>
    write((header) =>
      client.POST("/api/v1/users/{user}/sign-out", { params: { path: { user }, header }, body: { reason } }),
    ),
  tokens: () => unwrap(client.GET("/api/v1/tokens")),
  createToken: (body: Schemas["TokenCreate"]) =>
    write((header) => client.POST("/api/v1/tokens", { params: { header }, body })),
  revokeToken: (token: string) =>
    write((header) => client.DELETE("/api/v1/tokens/{token}", { params: { path: { token }, header } })),
});
