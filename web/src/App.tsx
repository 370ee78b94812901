import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, NavLink, Route, Routes } from "react-router";
import { api, ApiError } from "./api";
import { KillSwitch } from "./components/KillSwitch";
import { Failure, Loading } from "./components/states";
import { useLive } from "./live";
import { AccountPage } from "./pages/AccountPage";
import { Overview } from "./pages/Overview";

function takeToken(): string | null {
  const token = new URLSearchParams(window.location.hash.slice(1)).get("token");
  if (token) window.history.replaceState(null, "", window.location.pathname);
  return token;
}

const arrivedWith = takeToken();

export function App() {
  const [signedIn, setSignedIn] = useState(arrivedWith === null);
  useEffect(() => {
    if (arrivedWith) void api.signIn(arrivedWith).finally(() => setSignedIn(true));
  }, []);
  return signedIn ? <Desk /> : <Loading what="Signing in" />;
}

function Desk() {
  const accounts = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  if (accounts.error instanceof ApiError && accounts.error.status === 401) return <SignIn />;
  if (accounts.isPending) return <Loading what="Loading the desk" />;
  if (accounts.error) return <Failure error={accounts.error} onRetry={() => void accounts.refetch()} />;
  return <Frame />;
}

function Frame() {
  const live = useLive();
  const { data: accounts = [] } = useQuery({ queryKey: ["accounts"], queryFn: api.accounts });
  const system = useQuery({ queryKey: ["system"], queryFn: api.system, refetchInterval: 5_000 });
  const failing = system.data?.checks.filter((c) => !c.ok) ?? [];
  const health = system.error || live === "lost" ? "down" : failing.length > 0 ? "warn" : "up";
  const told =
    health === "down"
      ? "The platform does not answer; trying again"
      : failing.map((c) => `${c.name}: ${c.detail}`).join("; ") || "All systems working";
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
        <span className="badge paper">PAPER</span>
        <span className={`health ${health}`} role="status" title={told}>
          <i aria-hidden="true" />
          {health === "up" ? "Healthy" : health === "warn" ? "Degraded" : "Offline"}
        </span>
        <KillSwitch accounts={accounts} />
      </header>
      {health !== "up" && (
        <div className={`banner ${health}`} role="alert">
          {told}
        </div>
      )}
      <main>
        <Routes>
          <Route path="/" element={<Overview market={system.data?.market ?? ""} />} />
          <Route path="/accounts/:account" element={<AccountPage />} />
          <Route path="*" element={<p className="empty">There is no such page.</p>} />
        </Routes>
      </main>
      <footer>
        Aether {system.data?.version} · {system.data?.market} · times in UTC
      </footer>
    </>
  );
}

function SignIn() {
  return (
    <div className="center">
      <img src="/favicon.svg" alt="" width="56" height="56" />
      <h1>Sign in on this machine</h1>
      <p>
        Open the link that <code>aether up</code> printed. It works once; <code>aether link</code> prints another.
      </p>
    </div>
  );
}
