// One table of pages: where each is, what it needs, what it is called. Navigation is made from it.
import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { lazy, Suspense, useState, type ComponentType } from "react";
import { Loading } from "../ui/parts/states";
import { makeStore } from "../live/store";
import { Layout, NoSuchPage } from "./frame/Layout";
import { Guard } from "./guard";

/** Leads to the set-up of the first admin. */
export const entry = makeStore<(token: string) => void>(() => undefined);

type Listing = { account?: string; symbol?: string; venue?: string; side?: string; state?: string; text?: string; since?: string; until?: string; sort?: string };
const LISTING = ["account", "symbol", "venue", "side", "state", "text", "since", "until", "sort"] as const;

/** Filters of a list, as its address holds them; what is no text is left out. */
function listing(search: Record<string, unknown>): Listing {
  return Object.fromEntries(
    LISTING.flatMap((name) => {
      const value = search[name];
      return typeof value === "string" && value ? [[name, value]] : typeof value === "number" ? [[name, String(value)]] : [];
    }),
  );
}

const root = createRootRoute({ component: Layout, notFoundComponent: NoSuchPage });

type Load = () => Promise<{ default: ComponentType }>;

const loads: Load[] = [];

/** Fetch all pages: one that is looked at while the platform is silent is there then. */
export function fetchPages(): void {
  for (const load of loads) void load().catch(() => undefined);
}

/** A page that is fetched when it is looked at; one that cannot be says so, is asked for again, and takes nothing else along. */
function guarded(title: string, load: Load) {
  let known: ComponentType | undefined;
  const fetched: Load = () =>
    load().then(
      (found) => {
        known = found.default;
        return found;
      },
      () => {
        throw new Error("its code cannot be fetched while the platform does not answer");
      },
    );
  loads.push(fetched);
  /** Outside of what waits for the page, and inside of what keeps its faults: trying again begins here. */
  function Fetched() {
    const [Page] = useState<ComponentType>(() => known ?? lazy(fetched));
    return (
      <Suspense fallback={<Loading what={title} />}>
        <Page />
      </Suspense>
    );
  }
  return () => (
    <Guard what={title}>
      <Fetched />
    </Guard>
  );
}

const routes = [
  createRoute({ getParentRoute: () => root, path: "/", staticData: { title: "Overview" }, component: guarded("Overview", () => import("../features/overview/page")) }),
  createRoute({ getParentRoute: () => root, path: "/orders", validateSearch: listing, staticData: { title: "Orders" }, component: guarded("Orders", () => import("../features/orders/page")) }),
  createRoute({ getParentRoute: () => root, path: "/fills", validateSearch: listing, staticData: { title: "Fills" }, component: guarded("Fills", () => import("../features/fills/page")) }),
  createRoute({ getParentRoute: () => root, path: "/accounts/new", staticData: { title: "New account" }, component: guarded("New account", () => import("../features/accounts/new")) }),
  createRoute({ getParentRoute: () => root, path: "/accounts/$account", staticData: { title: "Account" }, component: guarded("The account", () => import("../features/accounts/page")) }),
  createRoute({ getParentRoute: () => root, path: "/accounts/$account/settings", staticData: { title: "Settings" }, component: guarded("Settings", () => import("../features/settings/page")) }),
  createRoute({ getParentRoute: () => root, path: "/approvals", staticData: { title: "Approvals" }, component: guarded("Approvals", () => import("../features/approvals/page")) }),
  createRoute({ getParentRoute: () => root, path: "/keys", staticData: { title: "API keys" }, component: guarded("API keys", () => import("../features/keys/page")) }),
  createRoute({ getParentRoute: () => root, path: "/people", staticData: { title: "People" }, component: guarded("People", () => import("../features/people/page")) }),
  createRoute({ getParentRoute: () => root, path: "/audit", staticData: { title: "Audit trail" }, component: guarded("Audit trail", () => import("../features/audit/page")) }),
  createRoute({ getParentRoute: () => root, path: "/me", staticData: { title: "Yourself" }, component: guarded("Yourself", () => import("../features/me/page")) }),
] as const;

export const router = createRouter({ routeTree: root.addChildren(routes) });

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
  interface StaticDataRouteOption {
    title?: string;
  }
}

export type { Listing };
