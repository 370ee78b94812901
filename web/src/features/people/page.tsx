import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../../api/calls";
import { keys } from "../../api/keys";
import type { Schemas, Write } from "../../api/client";
import { useCommand } from "../../api/command";
import { DataTable, type Column } from "../../ui/table/DataTable";
import { Choice, Fault, Field, Form, outcome, Panel } from "../../ui/form/Form";
import { useCan } from "../../app/can";
import { useAccounts } from "../../live/desk";
import { State } from "../columns";
import { formatTime } from "../../ui/format";

type User = Schemas["User"];
type Role = "admin" | "trader" | "auditor";
const ROLES = [
  ["auditor", "Auditor: reads everything"],
  ["trader", "Trader: trades, stops and resumes"],
  ["admin", "Admin: configures, answers for money and people"],
] as const;

/** Roles by account, as people type them. */
function RolesField({ roles, onChange }: { roles: Record<string, Role>; onChange: (roles: Record<string, Role>) => void }) {
  const { accounts } = useAccounts();
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

function rolesText(roles: Record<string, string>) {
  return Object.entries(roles)
    .map(([account, role]) => `${role} of ${account === "*" ? "all" : account}`)
    .join(", ");
}

/** People, their roles and factors, invitations, and the tokens of services. */
export default function People() {
  const can = useCan();
  const canChange = can("users.roles");
  const client = useQueryClient();
  const users = useQuery({ queryKey: keys.users, queryFn: api.users });
  const [editing, setEditing] = useState<User | null>(null);
  const columns: Column<User>[] = [
    { name: "Name", of: (u) => u.name },
    { name: "E-mail", of: (u) => u.email },
    {
      name: "Roles",
      cell: (u) => rolesText(u.roles) || "none",
    },
    {
      name: "Factors",
      cell: (u) => [u.has_totp && "app", u.passkeys > 0 && `${u.passkeys} passkeys`].filter(Boolean).join(", "),
    },
    { name: "Recovery codes", kind: "number", of: (u) => u.recovery_codes },
    { name: "Since", kind: "time", of: (u) => u.created_ns },
    { name: "State", cell: (u) => <State state={u.disabled ? "disabled" : u.waits ? "to be confirmed" : "active"} /> },
    { name: "", cell: (u) => canChange && <button onClick={() => setEditing(u)}>Change</button> },
  ];
  return (
    <>
      <h1 className="page">People</h1>
      <DataTable title="People" columns={columns} rows={users.data ?? []} keyOf={(u) => u.id} empty="Nobody." query={users} />
      {editing && <Edit key={editing.id} user={editing} onDone={() => void client.invalidateQueries()} />}
      <Invitations canChange={canChange} />
      {canChange && <Invite onDone={() => void client.invalidateQueries({ queryKey: keys.invitations })} />}
      <Tokens canChange={canChange} />
    </>
  );
}

function Edit({ user, onDone }: { user: User; onDone: () => void }) {
  const [roles, setRoles] = useState(user.roles as Record<string, Role>);
  const [reason, setReason] = useState("");
  const [told, setTold] = useState("");
  const save = useCommand(() => api.setRoles(user.id, { roles, reason }), { onSuccess: (result) => {
      setTold(outcome(result, "The roles are changed."));
      onDone();
    } });
  const lock = useCommand((): Write<Schemas["Done"] | undefined> => (user.disabled ? api.enableUser(user.id, reason) : api.disableUser(user.id, reason)), {
    onSuccess: (result) => {
      setTold(user.disabled ? outcome(result, "They may sign in again.") : "They are locked out, their sessions ended.");
      onDone();
    },
  });
  const confirm = useCommand(() => api.confirmUser(user.id, reason), { onSuccess: () => {
      setTold("Their roles count now.");
      onDone();
    } });
  const out = useCommand(() => api.signOutUser(user.id, reason), { onSuccess: () => setTold("Every session of theirs is ended.") });
  return (
    <Panel title={`Roles of ${user.email}`}>
      <Form onSubmit={() => save.mutate()} button="Save the roles" busy={save.isPending} error={save.error ?? lock.error ?? out.error ?? confirm.error} done={told}>
        <RolesField roles={roles} onChange={setRoles} />
        <Field label="Reason" value={reason} onChange={setReason} />
        {user.waits && (
          <p className="warn">
            Their roles do not count yet. Call them by a number that you know, and ask whether they have just signed in.
          </p>
        )}
        <div>
          {user.waits && (
            <button type="button" onClick={() => confirm.mutate()} disabled={reason.trim().length < 3 || confirm.isPending}>
              It is they: let their roles count
            </button>
          )}{" "}
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
  const invite = useCommand(() => api.invite({ email, name, roles, reason }), { onSuccess: onDone });
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
              {invite.data.link ? (
                <>
                  Give them this link; it works once within three days: <code className="block">{invite.data.link}</code>
                </>
              ) : (
                "They are invited. Another admin hands the link over, or the machine's owner: aether users vouch."
              )}
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

type Invited = Schemas["OpenInvitation"];

/** Who is invited and has not come yet; an admin's link is handed over by somebody other than who invited. */
function Invitations({ canChange }: { canChange: boolean }) {
  const client = useQueryClient();
  const invited = useQuery({ queryKey: keys.invitations, queryFn: api.invitations });
  const link = useCommand(api.handOver, { onSuccess: () => void client.invalidateQueries({ queryKey: keys.invitations }) });
  const columns: Column<Invited>[] = [
    { name: "E-mail", cell: (i) => i.email },
    {
      name: "Roles",
      cell: (i) => rolesText(i.roles),
    },
    { name: "Invited by", cell: (i) => i.invited_by },
    { name: "Link given to", cell: (i) => i.held_by || "nobody yet" },
    { name: "Until", cell: (i) => formatTime(i.expires_ns) },
    { name: "", cell: (i) => canChange && <button onClick={() => link.mutate(i.email)}>Show a link</button> },
  ];
  if (!invited.data?.length) return null;
  return (
    <>
      <DataTable title="Invited" columns={columns} rows={invited.data} keyOf={(i) => i.email} empty="Nobody." query={invited} />
      <Fault error={link.error} />
      {link.data && (
        <p role="status">
          Hand this link over; it works once, earlier ones do not any more: <code className="block">{link.data.link}</code>
        </p>
      )}
    </>
  );
}

function Tokens({ canChange }: { canChange: boolean }) {
  const client = useQueryClient();
  const tokens = useQuery({ queryKey: keys.tokens, queryFn: api.tokens });
  const [name, setName] = useState("");
  const [action, setAction] = useState("accounts.read");
  const [account, setAccount] = useState("*");
  const reload = () => void client.invalidateQueries({ queryKey: keys.tokens });
  const create = useCommand(() => api.createToken({ name, actions: [action], accounts: [account], days: 90 }), { onSuccess: reload });
  const revoke = useCommand(api.revokeToken, { onSuccess: reload });
  const columns: Column<Schemas["ServiceToken"]>[] = [
    { name: "Name", cell: (t) => t.name },
    { name: "May", cell: (t) => t.actions.join(", ") },
    { name: "Where", cell: (t) => t.accounts.map((a) => (a === "*" ? "all accounts" : a)).join(", ") },
    { name: "Made by", cell: (t) => t.created_by },
    { name: "Last used", cell: (t) => formatTime(t.used_ns) },
    { name: "Ends", cell: (t) => formatTime(t.ended_ns || t.expires_ns) },
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
                  {create.data.approval && "It works once a second person has approved it."}
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
