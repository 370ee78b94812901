import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Challenge, type Me } from "../api/calls";
import { FactorForm } from "./FactorForm";
import { Fault, Field, Form } from "../ui/form/Form";
import { hasPasskeys, usePasskey } from "../api/passkeys";

/** Where a stranger becomes somebody. */
export function SignIn({ me, arrived, onDone }: { me: Me; arrived: Challenge | null; onDone: (me: Me) => void }) {
  const [challenge, setChallenge] = useState<Challenge | null>(arrived);
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const first = useMutation({ mutationFn: () => api.signIn(email, password), onSuccess: setChallenge });
  const passkey = useMutation({
    mutationFn: async () => {
      const asked = await api.passkeyChallenge();
      return api.passkeySignIn(asked.challenge, await usePasskey(asked.passkey as Record<string, unknown>));
    },
    onSuccess: onDone,
  });
  if (me.needs_setup) return <NeedsLink production={me.production} />;
  return (
    <div className="card">
      <img src="/favicon.svg" alt="" width="44" height="44" />
      <h1>Sign in to Aether</h1>
      {challenge ? (
        <>
          <p className="dim">Now your second factor.</p>
          <FactorForm
            challenge={challenge}
            recovery
            button="Sign in"
            onAnswer={async (factor) => onDone(await api.finishSignIn(challenge.challenge, factor))}
          />
          <button className="quiet" onClick={() => setChallenge(null)}>
            Begin again
          </button>
        </>
      ) : (
        <>
          <Form onSubmit={() => first.mutate()} button="Continue" busy={first.isPending} error={first.error}>
            <Field label="E-mail" type="email" value={email} onChange={setEmail} autoComplete="username" autoFocus />
            <Field
              label="Password"
              type="password"
              value={password}
              onChange={setPassword}
              autoComplete="current-password"
            />
          </Form>
          {hasPasskeys && (
            <button onClick={() => passkey.mutate()} disabled={passkey.isPending}>
              Sign in with a passkey
            </button>
          )}
          <Fault error={passkey.error} />
          {me.oidc && (
            <a className="button" href="/api/v1/session/oidc/start">
              Sign in with your company
            </a>
          )}
        </>
      )}
    </div>
  );
}

function NeedsLink({ production }: { production: boolean }) {
  return (
    <div className="center">
      <img src="/favicon.svg" alt="" width="56" height="56" />
      <h1>{production ? "Set up the first admin" : "Sign in on this machine"}</h1>
      <p>
        Open the link that <code>aether up</code> printed. It works once; <code>aether link</code> prints another.
      </p>
    </div>
  );
}
