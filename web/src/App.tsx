import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, NavLink, Route, Routes } from "react-router";
import { api, ApiError, type Challenge, type Me } from "./api";
import { KillSwitch } from "./components/KillSwitch";
import { ProofDialog } from "./components/ProofDialog";
import { Failure, Loading } from "./components/states";
import { useLive } from "./live";
import { AccountPage } from "./pages/AccountPage";
import { Approvals, Audit } from "./pages/Governance";
import { Keys } from "./pages/Keys";
import { NewAccount } from "./pages/NewAccount";
import { Overview } from "./pages/Overview";
import { Own } from "./pages/Own";
import { People } from "./pages/People";
import { Settings } from "./pages/Settings";
import { Setup } from "./pages/Setup";
import { SignIn } from "./pages/SignIn";

type Arrival = { token: string | undefined; invitation: string | undefined; factor: Challenge | undefined };

/** What a link or the way back from an OpenID provider brought along; it leaves the address at once. */
function takeArrival(): Arrival {
  const given = new URLSearchParams(window.location.hash.slice(1));
  if ([...given].length > 0) window.history.replaceState(null, "", window.location.pathname);
  const factor = given.get("factor");
  return {
    token: given.get("token") ?? undefined,
    invitation: given.get("invitation") ?? undefined,
    factor: factor ? (JSON.parse(fromHex(factor)) as Challenge) : undefined,
  };
}

function fromHex(text: string): string {
  const bytes = (text.match(/../g) ?? []).map((byte) => parseInt(byte, 16));
  return new TextDecoder().decode(new Uint8Array(bytes));
}

const arrival = takeArrival();

export function App() {
  const client = useQueryClient();
  const [invitation, setInvitation] = useState(arrival.invitation);
  const [ready, setReady] = useState(arrival.token === undefined);
  useEffect(() => {
    if (arrival.token) void api.useLink(arrival.token).finally(() => setReady(true));
  }, []);
  const me = useQuery({ queryKey: ["me"], queryFn: api.me, enabled: ready, refetchInterval: 60_000 });
  if (!ready || me.isPending) return <Loading what="Signing in" />;
  if (me.error && !me.data) return <Failure error={me.error} onRetry={() => void me.refetch()} />;
  const became = (next: Me) => {
    setInvitation(undefined);
    client.setQueryData(["me"], { ...next, recovery_codes: [] });
    void client.invalidateQueries();
  };
  if (invitation)
    return (
      <>
        <Setup invitation={invitation} onDone={became} />
        <ProofDialog />
      </>
    );
  if (me.data!.kind === "nobody") return <SignIn me={me.data!} arrived={arrival.factor ?? null} onDone={became} />;
  return (
    <>
      <Desk me={me.data!} onInvitation={setInvitation} />
      <ProofDialog />
    </>
  );
}

function Desk({ me, onInvitation }: { me: Me; onInvitation: (token: string) => void }) {
  const client = useQueryClient();
  const accounts = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  const signedOut = accounts.error instanceof ApiError && accounts.error.status === 401;
  useEffect(() => {
    if (signedOut) void client.invalidateQueries({ queryKey: ["me"] });
  }, [signedOut, client]);
  if (accounts.isPending || signedOut) return <Loading what="Loading the desk" />;
  if (accounts.error && !accounts.data)
    return <Failure error={accounts.error} onRetry={() => void accounts.refetch()} />;
  return <Frame me={me} onInvitation={onInvitation} />;
}

function Frame({ me, onInvitation }: { me: Me; onInvitation: (token: string) => void }) {
  const live = useLive();
  const client = useQueryClient();
  const { data: accounts = [] } = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  const system = useQuery({ queryKey: ["system"], queryFn: api.system, refetchInterval: 5_000 });
  const may = (action: string) => me.actions.includes(action);
  const waiting = useQuery({
    queryKey: ["approvals", "waiting"],
    queryFn: () => api.approvals(true),
    enabled: may("approvals.read"),
    refetchInterval: 15_000,
  });
  const failing = system.data?.checks.filter((c) => !c.ok) ?? [];
  const health = system.error || live === "lost" ? "down" : failing.length > 0 ? "warn" : "up";
  const told =
    health === "down"
      ? "The platform does not answer; trying again"
      : failing.map((c) => `${c.name}: ${c.detail}`).join("; ") || "All systems working";
  const isLive = accounts.some((a) => a.mode === "live");
  const count = waiting.data?.length ?? 0;
  return (
    <>
      <header>
        <Link to="/" className="brand">
          <img src="/favicon.svg" alt="" width="26" height="26" />
          Aether
        </Link>
        <nav aria-label="Accounts">
          <NavLink to="/" end>
            Overview
          </NavLink>
          {accounts.map((a) => (
            <NavLink key={a.id} to={`/accounts/${a.id}`}>
              {a.name}
            </NavLink>
          ))}
        </nav>
        <span className="spacer" />
        <span className={isLive ? "badge live" : "badge paper"}>{isLive ? "LIVE" : "PAPER"}</span>
        <details className={`health ${health}`}>
          <summary>
            <span role="status" title={told}>
              <i aria-hidden="true" />
              {health === "up" ? "Healthy" : health === "warn" ? "Degraded" : "Offline"}
            </span>
          </summary>
          <ul aria-label="Processes">
            {system.data?.processes.map((p) => (
              <li key={p.name}>
                {p.name} <b>{p.state}</b>
                {p.restarts > 0 && `, started again ${p.restarts} ${p.restarts === 1 ? "time" : "times"}`}
              </li>
            ))}
          </ul>
        </details>
        {(may("kill.engage") || may("kill.release")) && <KillSwitch accounts={accounts} />}
      </header>
      {me.kind === "person" && (
        <nav className="second" aria-label="Administration">
          {may("approvals.read") && (
            <NavLink to="/approvals">
              Approvals{count > 0 && <b className="count">{count}</b>}
            </NavLink>
          )}
          {may("secrets.status") && <NavLink to="/keys">API keys</NavLink>}
          {may("users.read") && <NavLink to="/people">People</NavLink>}
          {may("audit.read") && <NavLink to="/audit">Audit</NavLink>}
          {may("accounts.create") && <NavLink to="/accounts/new">New account</NavLink>}
          <span className="spacer" />
          <NavLink to="/me">{me.name}</NavLink>
          <button
            className="quiet"
            onClick={() => void api.signOut().finally(() => void client.resetQueries({ queryKey: ["me"] }))}
          >
            Sign out
          </button>
        </nav>
      )}
      {me.kind === "local" && (
        <div className="banner">
          <span>Nobody is set up yet: whoever rules this machine is let in, on paper only.</span>
          <button onClick={() => void api.firstInvitation().then((i) => onInvitation(i.token))}>Set up sign-in</button>
        </div>
      )}
      {me.waits && (
        <div className="banner" role="alert">
          Your role does not count yet: an admin who did not hold your link must confirm that it is you. Tell them that you
          are in.
        </div>
      )}
      {me.attacks >= 5 && (
        <div className="banner" role="alert">
          {me.attacks} wrong passwords were tried for your address within the last hour, on devices that you never signed
          in from. This one stays open to you; tell an admin.
        </div>
      )}
      {health !== "up" && (
        <div className={`banner ${health}`} role="alert">
          {told}
        </div>
      )}
      <main>
        <Routes>
          <Route path="/" element={<Overview market={system.data?.market ?? ""} />} />
          <Route path="/accounts/new" element={<NewAccount />} />
          <Route path="/accounts/:account" element={<AccountPage me={me} />} />
          <Route path="/accounts/:account/settings" element={<Settings />} />
          <Route path="/approvals" element={<Approvals me={me} />} />
          <Route path="/keys" element={<Keys />} />
          <Route path="/people" element={<People canChange={may("users.roles")} />} />
          <Route path="/audit" element={<Audit />} />
          <Route path="/me" element={<Own me={me} />} />
          <Route path="*" element={<p className="empty">There is no such page.</p>} />
        </Routes>
      </main>
      <footer>
        Aether {system.data?.version} · {system.data?.market} · times in UTC
      </footer>
    </>
  );
}
