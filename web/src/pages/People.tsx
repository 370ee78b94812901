import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Schemas } from "../api";
import { DataTable, type Column } from "../components/DataTable";
import { Choice, Fault, Field, Form, outcome, Panel } from "../components/Form";
import { State } from "../components/tables";
import { formatTime } from "../format";

type User = Schemas["User"];
type Role = "admin" | "trader" | "auditor";
const ROLES = [
  ["auditor", "Auditor: reads everything"],
  ["trader", "Trader: trades, stops and resumes"],
  ["admin", "Admin: configures, answers for money and people"],
] as const;

/** Roles by account, as people type them. */
function RolesField({ roles, onChange }: { roles: Record<string, Role>; onChange: (roles: Record<string, Role>) => void }) {
  const { data: accounts = [] } = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  const [account, setAccount] = useState("*");
  const [role, setRole] = useState<string>("auditor");
  return (
    <>
      <ul className="chips">
        {Object.entries(roles).map(([where, what]) => (
          <li key={where}>
            {what} of {where === "*" ? "all accounts" : where}
            <button
              type="button"
              aria-label={`Remove ${what} of ${where}`}
              onClick={() => onChange(Object.fromEntries(Object.entries(roles).filter(([w]) => w !== where)))}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
      <div className="row">
        <Choice
          label="Where"
          value={account}
          onChange={setAccount}
          options={[["*", "All accounts"], ...accounts.map((a) => [a.id, a.name] as const)]}
        />
        <Choice label="Role" value={role} onChange={setRole} options={ROLES} />
        <button type="button" className="bottom" onClick={() => onChange({ ...roles, [account]: role as Role })}>
          Add
        </button>
      </div>
    </>
  );
}

/** People, their roles and factors, invitations, and the tokens of services. */
export function People({ canChange }: { canChange: boolean }) {
  const client = useQueryClient();
  const users = useQuery({ queryKey: ["users"], queryFn: api.users });
  const [editing, setEditing] = useState<User | null>(null);
  const columns: Column<User>[] = [
    { name: "Name", text: true, cell: (u) => <b>{u.name}</b> },
    { name: "E-mail", text: true, cell: (u) => u.email },
    {
      name: "Roles",
      text: true,
      cell: (u) =>
        Object.entries(u.roles)
          .map(([a, r]) => `${r} of ${a === "*" ? "all" : a}`)
          .join(", ") || "none",
    },
    {
      name: "Factors",
      text: true,
      cell: (u) => [u.has_totp && "app", u.passkeys > 0 && `${u.passkeys} passkeys`].filter(Boolean).join(", "),
    },
    { name: "Recovery codes", cell: (u) => u.recovery_codes },
    { name: "Since", text: true, cell: (u) => formatTime(u.created_ns) },
    { name: "State", text: true, cell: (u) => <State state={u.disabled ? "disabled" : "active"} /> },
    { name: "", cell: (u) => canChange && <button onClick={() => setEditing(u)}>Change</button> },
  ];
  return (
    <>
      <h1 className="page">People</h1>
      <DataTable title="People" columns={columns} rows={users.data ?? []} keyOf={(u) => u.id} empty="Nobody." query={users} />
      {editing && <Edit key={editing.id} user={editing} onDone={() => void client.invalidateQueries()} />}
      {canChange && <Invite onDone={() => void client.invalidateQueries({ queryKey: ["users"] })} />}
      <Tokens canChange={canChange} />
    </>
  );
}

function Edit({ user, onDone }: { user: User; onDone: () => void }) {
  const [roles, setRoles] = useState(user.roles as Record<string, Role>);
  const [reason, setReason] = useState("");
  const [told, setTold] = useState("");
  const save = useMutation({
    mutationFn: () => api.setRoles(user.id, { roles, reason }),
    onSuccess: (result) => {
      setTold(outcome(result, "The roles are changed."));
      onDone();
    },
  });
  const lock = useMutation({
    mutationFn: () => api.setDisabled(user.id, { disabled: !user.disabled, reason }),
    onSuccess: () => {
      setTold(user.disabled ? "They may sign in again." : "They are locked out, their sessions ended.");
      onDone();
    },
  });
  const out = useMutation({
    mutationFn: () => api.signOutUser(user.id, reason),
    onSuccess: () => setTold("Every session of theirs is ended."),
  });
  return (
    <Panel title={`Roles of ${user.email}`}>
      <Form onSubmit={() => save.mutate()} button="Save the roles" busy={save.isPending} error={save.error ?? lock.error ?? out.error} done={told}>
        <RolesField roles={roles} onChange={setRoles} />
        <Field label="Reason" value={reason} onChange={setReason} />
        <div>
          <button type="button" onClick={() => lock.mutate()} disabled={reason.trim().length < 3 || lock.isPending}>
            {user.disabled ? "Let them in again" : "Lock them out"}
          </button>{" "}
          <button type="button" onClick={() => out.mutate()} disabled={reason.trim().length < 3 || out.isPending}>
            Sign them out everywhere
          </button>
        </div>
      </Form>
    </Panel>
  );
}

function Invite({ onDone }: { onDone: () => void }) {
  const [email, setEmail] = useState("");
  const [name, setName] = useState("");
  const [reason, setReason] = useState("");
  const [roles, setRoles] = useState<Record<string, Role>>({});
  const invite = useMutation({ mutationFn: () => api.invite({ email, name, roles, reason }), onSuccess: onDone });
  return (
    <Panel title="Invite a person">
      <Form
        onSubmit={() => invite.mutate()}
        button="Invite"
        busy={invite.isPending}
        error={invite.error}
        disabled={Object.keys(roles).length === 0}
        done={
          invite.data && (
            <>
              Give them this link; it works once within three days: <code className="block">{invite.data.link}</code>
            </>
          )
        }
      >
        <div className="row">
          <Field label="E-mail" type="email" value={email} onChange={setEmail} />
          <Field label="Name" value={name} onChange={setName} />
        </div>
        <RolesField roles={roles} onChange={setRoles} />
        <Field label="Reason" value={reason} onChange={setReason} />
      </Form>
    </Panel>
  );
}

function Tokens({ canChange }: { canChange: boolean }) {
  const client = useQueryClient();
  const tokens = useQuery({ queryKey: ["tokens"], queryFn: api.tokens });
  const [name, setName] = useState("");
  const [action, setAction] = useState("accounts.read");
  const [account, setAccount] = useState("*");
  const reload = () => void client.invalidateQueries({ queryKey: ["tokens"] });
  const create = useMutation({
    mutationFn: () => api.createToken({ name, actions: [action], accounts: [account], days: 90 }),
    onSuccess: reload,
  });
  const revoke = useMutation({ mutationFn: api.revokeToken, onSuccess: reload });
  const columns: Column<Schemas["ServiceToken"]>[] = [
    { name: "Name", text: true, cell: (t) => t.name },
    { name: "May", text: true, cell: (t) => t.actions.join(", ") },
    { name: "Where", text: true, cell: (t) => t.accounts.map((a) => (a === "*" ? "all accounts" : a)).join(", ") },
    { name: "Made by", text: true, cell: (t) => t.created_by },
    { name: "Last used", text: true, cell: (t) => formatTime(t.used_ns) },
    { name: "Ends", text: true, cell: (t) => formatTime(t.ended_ns || t.expires_ns) },
    {
      name: "",
      cell: (t) => canChange && t.ended_ns === 0 && <button onClick={() => revoke.mutate(t.id)}>End</button>,
    },
  ];
  return (
    <>
      <DataTable title="Tokens of services" columns={columns} rows={tokens.data ?? []} keyOf={(t) => t.id} empty="No service has a token." query={tokens} />
      <Fault error={revoke.error} />
      {canChange && (
        <Panel title="Make a token">
          <Form
            onSubmit={() => create.mutate()}
            button="Make a token for 90 days"
            busy={create.isPending}
            error={create.error}
            done={
              create.data && (
                <>
                  It is shown this once: <code className="block">{create.data.token}</code>
                </>
              )
            }
          >
            <div className="row">
              <Field label="Service" value={name} onChange={setName} />
              <Choice
                label="May"
                value={action}
                onChange={setAction}
                options={["accounts.read", "metrics.read", "kill.engage"].map((a) => [a, a] as const)}
              />
              <Field label="Account, * for all" value={account} onChange={setAccount} />
            </div>
          </Form>
        </Panel>
      )}
    </>
  );
}
