// The keys of what is kept from the platform; made here and nowhere else.
export const keys = {
  me: ["me"],
  accounts: ["accounts"],
  account: (id: string) => ["account", id],
  equity: (id: string) => ["account", id, "equity"],
  of: (id: string, kind: string) => ["account", id, kind],
  settings: (id: string) => ["settings", id],
  bars: (instrument: string) => ["bars", instrument],
  instruments: ["instruments"],
  strategies: ["strategies"],
  approvals: ["approvals"],
  users: ["users"],
  invitations: ["invitations"],
  tokens: ["tokens"],
  listing: (kind: string, search: object) => ["listing", kind, search],
} as const;
