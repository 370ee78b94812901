// What stands around every page: navigation, banners, the page itself.
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useMatches } from "@tanstack/react-router";
import { useEffect } from "react";
import { api } from "../../api/calls";
import { newerBuild } from "../../api/client";
import { keys } from "../../api/keys";
import { useAccounts, useSystem } from "../../live/desk";
import { useTopic } from "../../live/socket";
import { anywhere, me } from "../can";
import { CriticalAlerts } from "./alerts";
import { Guard } from "../guard";
import { entry } from "../router";

const PAGES = [
  { to: "/", name: "Overview", needs: "" },
  { to: "/orders", name: "Orders", needs: "accounts.read" },
  { to: "/fills", name: "Fills", needs: "accounts.read" },
  { to: "/approvals", name: "Approvals", needs: "approvals.read" },
  { to: "/keys", name: "API keys", needs: "secrets.status" },
  { to: "/people", name: "People", needs: "users.read" },
  { to: "/audit", name: "Audit", needs: "audit.read" },
  { to: "/accounts/new", name: "New account", needs: "accounts.create" },
] as const;

export function Layout() {
  const title = useMatches().map((m) => m.staticData.title).filter(Boolean).at(-1);
  useEffect(() => {
    document.title = title ? `${title} · Aether` : "Aether";
  }, [title]);
  return (
    <>
      <Guard what="The navigation">
        <Navigation />
      </Guard>
      <Guard what="The banners">
        <Banners />
      </Guard>
      <main id="content" tabIndex={-1}>
        <Outlet />
      </main>
      <Guard what="The footer">
        <Footer />
      </Guard>
    </>
  );
}

function Navigation() {
  const client = useQueryClient();
  const who = me.use();
  const { accounts } = useAccounts();
  const waiting = useTopic<{ waiting: Record<string, unknown> }>("approvals");
  const count = Object.keys(waiting?.waiting ?? {}).length;
  const isPerson = who?.kind === "person";
  const shown = PAGES.filter((p) => (!p.needs || anywhere(who, p.needs)) && (isPerson || ["", "accounts.read"].includes(p.needs)));
  return (
    <section className="bar" aria-label="Navigation">
      <a className="skip" href="#content">
        To the content
      </a>
      <nav aria-label="Pages">
        {shown.map((p) => (
          <Link key={p.to} to={p.to} activeOptions={{ exact: true, includeSearch: false }} activeProps={{ className: "active" }}>
            {p.name}
            {p.to === "/approvals" && count > 0 && <b className="count">{count}</b>}
          </Link>
        ))}
      </nav>
      <nav aria-label="Accounts" className="accounts">
        {accounts.slice(0, 4).map((a) => (
          <Link key={a.id} to="/accounts/$account" params={{ account: a.id }} activeProps={{ className: "active" }}>
            {a.name}
          </Link>
        ))}
        {accounts.length > 4 && <AccountPicker accounts={accounts} />}
      </nav>
      <span className="spacer" />
      {isPerson && (
        <>
          <Link to="/me" className="who" activeProps={{ className: "who active" }}>
            {who.name}
          </Link>
          <button
            className="quiet"
            onClick={() => void api.signOut().catch(() => null).then(() => client.resetQueries({ queryKey: keys.me }))}
          >
            Sign out
          </button>
        </>
      )}
    </section>
  );
}

/** All accounts, found by typing. */
function AccountPicker({ accounts }: { accounts: { id: string; name: string }[] }) {
  return (
    <details className="picker">
      <summary>All {accounts.length}</summary>
      <ul>
        {accounts.map((a) => (
          <li key={a.id}>
            <Link to="/accounts/$account" params={{ account: a.id }}>
              {a.name}
            </Link>
          </li>
        ))}
      </ul>
    </details>
  );
}

function Banners() {
  const who = me.use();
  const system = useSystem();
  const isNewer = newerBuild.use();
  const found = entry.use();
  const failing = system?.checks.filter((c) => !c.ok) ?? [];
  const { accounts } = useAccounts();
  return (
    <>
      <CriticalAlerts accounts={accounts} />
      {isNewer && (
        <div className="banner" role="status">
          <span>A new version of this page is here.</span>
          <button onClick={() => window.location.reload()}>Load it</button>
        </div>
      )}
      {who?.kind === "local" && (
        <div className="banner">
          <span>Nobody is set up yet: whoever rules this machine is let in, on paper only.</span>
          <button onClick={() => void api.firstInvitation().then((i) => found(i.token))}>Set up sign-in</button>
        </div>
      )}
      {who?.waits && (
        <div className="banner" role="alert">
          Your role does not count yet: an admin who did not hold your link must confirm that it is you. Tell them that you
          are in.
        </div>
      )}
      {(who?.attacks ?? 0) >= 5 && (
        <div className="banner" role="alert">
          {who!.attacks} wrong passwords were tried for your address within the last hour, on devices that you never signed
          in from. This one stays open to you; tell an admin.
        </div>
      )}
      {failing.length > 0 && (
        <div className="banner" role="alert">
          {failing.map((c) => (c.detail ? `${c.name}: ${c.detail}` : c.name)).join("; ")}
        </div>
      )}
    </>
  );
}

function Footer() {
  const system = useSystem();
  return (
    <footer>
      Aether {system?.version} · {system?.market} · times in UTC
    </footer>
  );
}

export function NoSuchPage() {
  return <p className="empty">There is no such page.</p>;
}
