import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Challenge, type Me } from "../../api/calls";
import { keys } from "../../api/keys";
import { useCommand } from "../../api/command";
import { numeral } from "../../ui/format";
import { Fault, Field, Form } from "../../ui/form/Form";
import { hasPasskeys, makePasskey } from "../../api/passkeys";
import { Codes, TotpForm } from "../../app/factors";
import { AccountForm } from "../accounts/AccountForm";
import { KeyForm } from "../keys/KeyForm";

const STEPS = ["You", "Second factor", "Recovery", "Account", "Keys", "Limits"] as const;

/** Sets a person up by invitation; the first admin is led on to an account, its keys and its limits. */
export default function Setup({ invitation, onDone }: { invitation: string; onDone: (me: Me) => void }) {
  const [step, setStep] = useState(0);
  const [challenge, setChallenge] = useState<Challenge | null>(null);
  const [me, setMe] = useState<Me | null>(null);
  const [account, setAccount] = useState("");
  const invited = useQuery({ queryKey: keys.invitation(invitation), queryFn: () => api.invitation(invitation), retry: false });
  const client = useQueryClient();
  const finish = () => {
    void client.invalidateQueries();
    window.history.replaceState(null, "", "/");
    onDone(me!);
  };
  if (invited.error)
    return (
      <div className="center" role="alert">
        <h1>{invited.error.message}</h1>
        <p>Ask an admin for another; for the first admin run <code>aether link</code>.</p>
      </div>
    );
  if (!invited.data) return null;
  const isAdmin = me?.actions.includes("accounts.create") ?? true;
  const steps = isAdmin && invited.data.email === "" ? STEPS : STEPS.slice(0, 3);
  return (
    <div className="card wide">
      <ol className="steps" aria-label="Steps">
        {steps.map((name, n) => (
          <li key={name} aria-current={n === step ? "step" : undefined} className={n < step ? "done" : ""}>
            {name}
          </li>
        ))}
      </ol>
      {step === 0 && (
        <Who
          invited={invited.data}
          token={invitation}
          onDone={(asked) => {
            setChallenge(asked);
            setStep(1);
          }}
        />
      )}
      {step === 1 && challenge && (
        <Factors
          challenge={challenge}
          onDone={(made) => {
            setMe(made);
            setStep(2);
          }}
        />
      )}
      {step === 2 && me && (
        <Recovery codes={me.recovery_codes} last={steps.length === 3} onDone={() => (steps.length === 3 ? finish() : setStep(3))} />
      )}
      {step === 3 && (
        <FirstAccount
          onDone={(id) => {
            setAccount(id);
            setStep(4);
          }}
        />
      )}
      {step === 4 && <FirstKey account={account} onDone={() => setStep(5)} />}
      {step === 5 && <FirstLimits account={account} onDone={finish} />}
    </div>
  );
}

function Who(props: { invited: { email: string; name: string }; token: string; onDone: (c: Challenge) => void }) {
  const [email, setEmail] = useState(props.invited.email);
  const [name, setName] = useState(props.invited.name);
  const [password, setPassword] = useState("");
  const set = useMutation({
    mutationFn: () => api.setUp({ token: props.token, email, name, password }),
    onSuccess: props.onDone,
  });
  return (
    <>
      <h1>{props.invited.email ? `Welcome, ${props.invited.name}` : "Set up the first admin"}</h1>
      <p className="dim">From then on only people who sign in reach this desk.</p>
      <Form onSubmit={() => set.mutate()} button="Continue" busy={set.isPending} error={set.error}>
        {!props.invited.email && (
          <Field label="E-mail" type="email" value={email} onChange={setEmail} autoComplete="username" autoFocus />
        )}
        <Field label="Name" value={name} onChange={setName} autoComplete="name" />
        <Field
          label="Password"
          type="password"
          value={password}
          onChange={setPassword}
          autoComplete="new-password"
          hint="12 characters or more; a few random words do well."
        />
      </Form>
    </>
  );
}

function Factors({ challenge, onDone }: { challenge: Challenge; onDone: (me: Me) => void }) {
  const passkey = useMutation({
    mutationFn: async () =>
      api.finishSetup(challenge.challenge, {
        credential: await makePasskey(challenge.passkey as Record<string, unknown>),
      }),
    onSuccess: onDone,
  });
  return (
    <>
      <h1>Your second factor</h1>
      {hasPasskeys && (
        <>
          <p className="dim">A passkey is the strongest: your fingerprint, face or a security key.</p>
          <button className="primary" onClick={() => passkey.mutate()} disabled={passkey.isPending}>
            {passkey.isPending ? "Waiting for your passkey…" : "Make a passkey"}
          </button>
          <Fault error={passkey.error} />
          <p className="or">or an authenticator app</p>
        </>
      )}
      <TotpForm
        challenge={challenge}
        button="Confirm"
        onCode={async (code) => onDone(await api.finishSetup(challenge.challenge, { code }))}
      />
    </>
  );
}

function Recovery({ codes, last, onDone }: { codes: string[]; last: boolean; onDone: () => void }) {
  const [kept, setKept] = useState(false);
  return (
    <>
      <h1>Recovery codes</h1>
      <p className="dim">Each signs you in once if your second factor is lost. They are not shown again.</p>
      <Codes codes={codes} />
      <label className="check">
        <input type="checkbox" checked={kept} onChange={(e) => setKept(e.target.checked)} />
        They are kept in a safe place
      </label>
      <div className="actions">
        <button className="primary" disabled={!kept} onClick={onDone}>
          {last ? "To the desk" : "Continue"}
        </button>
      </div>
    </>
  );
}

function FirstAccount({ onDone }: { onDone: (account: string) => void }) {
  const accounts = useQuery({ queryKey: keys.accounts, queryFn: api.accounts });
  const [chosen, setChosen] = useState("");
  const known = accounts.data ?? [];
  if (accounts.isPending) return <p className="dim">Loading the accounts…</p>;
  if (known.length === 0 || chosen === "new")
    return (
      <>
        <h1>Your first account</h1>
        <AccountForm onDone={onDone} />
      </>
    );
  return (
    <>
      <h1>Your first account</h1>
      <p className="dim">These trade on paper already. Go on with one, or open your own.</p>
      <div className="choices">
        {known.map((a) => (
          <button key={a.id} onClick={() => onDone(a.id)}>
            <b>{a.name}</b>
            <small>
              {a.kind}, {a.mode}, {a.currency}
            </small>
          </button>
        ))}
        <button onClick={() => setChosen("new")}>
          <b>Another account</b>
          <small>with its own instruments and strategy</small>
        </button>
      </div>
    </>
  );
}

function FirstKey({ account, onDone }: { account: string; onDone: () => void }) {
  return (
    <>
      <h1>A key for {account}</h1>
      <p className="dim">
        Only live accounts need one, so this can wait. Make a key at the venue that may read and trade, never withdraw.
      </p>
      <KeyForm account={account} replaces={0} venue="" onDone={onDone} />
      <div className="actions">
        <button className="quiet" onClick={onDone}>
          Later
        </button>
      </div>
    </>
  );
}

function FirstLimits({ account, onDone }: { account: string; onDone: () => void }) {
  const settings = useQuery({ queryKey: keys.settings(account), queryFn: () => api.settings(account), retry: 5 });
  const [loss, setLoss] = useState("");
  const [drawdown, setDrawdown] = useState("");
  const newest = settings.data?.[0];
  const now = (field: string) => (numeral(String(newest?.settings.limits?.[field] ?? 0)) ?? 0) / 100;
  const save = useCommand(() => {
      const limits = {
        ...(loss && { max_daily_loss_bps: Math.round((numeral(loss) ?? 0) * 100) }),
        ...(drawdown && { max_drawdown_bps: Math.round((numeral(drawdown) ?? 0) * 100) }),
      };
      return api.changeSettings(account, {
        version: newest!.version,
        changes: { limits },
        effective_ns: 0,
        reason: "set when the desk was set up",
      });
    }, { onSuccess: onDone });
  if (!newest) return <p className="dim">Loading the limits…</p>;
  return (
    <>
      <h1>Limits of {account}</h1>
      <p className="dim">When a loss reaches one of these, entries stop until a person looks at it.</p>
      <Form
        onSubmit={() => (loss || drawdown ? save.mutate() : onDone())}
        button="Finish"
        busy={save.isPending}
        error={save.error}
      >
        <Field
          label={`Largest loss a day, percent of worth (now ${now("max_daily_loss_bps")})`}
          value={loss}
          onChange={setLoss}
          inputMode="decimal"
          required={false}
        />
        <Field
          label={`Largest drawdown, percent (now ${now("max_drawdown_bps")})`}
          value={drawdown}
          onChange={setDrawdown}
          inputMode="decimal"
          required={false}
        />
      </Form>
    </>
  );
}
