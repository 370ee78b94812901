import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useState } from "react";
import { api, type Challenge, type Me } from "../api/calls";
import { keys } from "../api/keys";
import { Failure, Loading } from "../ui/parts/states";
import { me as known } from "./can";
import { ProofDialog } from "./proof";
import { SignIn } from "./SignIn";

const Desk = lazy(() => import("./Desk"));
const Setup = lazy(() => import("../features/setup/page"));

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
    if (arrival.token) void api.useLink(arrival.token).catch(() => null).then(() => setReady(true));
  }, []);
  const me = useQuery({ queryKey: keys.me, queryFn: api.me, enabled: ready, refetchInterval: 60_000 });
  const who = me.data && me.data.kind !== "nobody" && !invitation ? me.data : null;
  useEffect(() => known.set(who), [who]);
  useEffect(() => {
    if (!who) document.title = "Sign in · Aether";
  }, [who]);
  if (!ready || me.isPending) return <Loading what="Signing in" />;
  if (me.error && !me.data) return <Failure error={me.error} onRetry={() => void me.refetch()} />;
  const became = (next: Me) => {
    setInvitation(undefined);
    client.setQueryData(keys.me, { ...next, recovery_codes: [] });
    void client.invalidateQueries();
  };
  return (
    <Suspense fallback={<Loading what="Loading" />}>
      {invitation ? (
        <main>
          <Setup invitation={invitation} onDone={became} />
        </main>
      ) : who ? (
        <Desk onInvitation={setInvitation} />
      ) : (
        <main>
          <SignIn me={me.data!} arrived={arrival.factor ?? null} onDone={became} />
        </main>
      )}
      <ProofDialog />
    </Suspense>
  );
}
