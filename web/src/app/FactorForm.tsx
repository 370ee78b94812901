import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Challenge, Factor } from "../api/calls";
import { hasPasskeys, usePasskey } from "../api/passkeys";
import { Fault, Field } from "../ui/form/Form";

/** Asks for a second factor: a passkey, a code, or where allowed a recovery code. */
export function FactorForm(props: {
  challenge: Challenge;
  onAnswer: (factor: Partial<Factor>) => Promise<unknown>;
  recovery: boolean;
  button: string;
}) {
  const { methods, passkey } = props.challenge;
  const withPasskey = methods.includes("passkey") && hasPasskeys;
  const [code, setCode] = useState("");
  const [isRecovery, setRecovery] = useState(false);
  const answer = useMutation({ mutationFn: props.onAnswer });
  const byPasskey = useMutation({
    mutationFn: async () => props.onAnswer({ credential: await usePasskey(passkey as Record<string, unknown>) }),
  });
  const byCode = methods.includes("totp") || isRecovery;
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        answer.mutate(isRecovery ? { recovery_code: code } : { code });
      }}
    >
      {withPasskey && (
        <button type="button" className="primary" onClick={() => byPasskey.mutate()} disabled={byPasskey.isPending} autoFocus>
          {byPasskey.isPending ? "Waiting for your passkey…" : "Use a passkey"}
        </button>
      )}
      {byCode && (
        <Field
          label={isRecovery ? "Recovery code" : "Code of your authenticator app"}
          value={code}
          onChange={setCode}
          inputMode={isRecovery ? "text" : "numeric"}
          autoComplete="one-time-code"
          autoFocus={!withPasskey}
        />
      )}
      <Fault error={answer.error ?? byPasskey.error} />
      <div className="actions">
        {props.recovery && (
          <button type="button" className="quiet" onClick={() => setRecovery(!isRecovery)}>
            {isRecovery ? "Use a code" : "Use a recovery code"}
          </button>
        )}
        {byCode && (
          <button type="submit" className="primary" disabled={answer.isPending || code.trim().length < 6}>
            {props.button}
          </button>
        )}
      </div>
    </form>
  );
}
