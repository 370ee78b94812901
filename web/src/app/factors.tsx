// What makes a second factor, and what replaces one that is lost.
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Challenge } from "../api/calls";
import { Field, Form } from "../ui/form/Form";

/** A new seed as QR code, and the code that proves it arrived. */
export function TotpForm(props: { challenge: Challenge; button: string; onCode: (code: string) => Promise<unknown> }) {
  const [code, setCode] = useState("");
  const confirm = useMutation({ mutationFn: () => props.onCode(code) });
  const secret = new URLSearchParams(props.challenge.totp_uri.split("?")[1]).get("secret") ?? "";
  return (
    <div className="totp">
      <img src={props.challenge.totp_qr} alt="QR code for your authenticator app" width="190" height="190" />
      <Form
        onSubmit={() => confirm.mutate()}
        button={props.button}
        busy={confirm.isPending}
        error={confirm.error}
        disabled={code.trim().length < 6}
      >
        <p className="dim">
          Scan it with an authenticator app, or type <code>{secret}</code>
        </p>
        <Field label="Code that the app shows" value={code} onChange={setCode} inputMode="numeric" autoComplete="one-time-code" />
      </Form>
    </div>
  );
}

/** Recovery codes, shown this once. */
export function Codes({ codes }: { codes: string[] }) {
  return (
    <>
      <ul className="codes">
        {codes.map((code) => (
          <li key={code}>
            <code>{code}</code>
          </li>
        ))}
      </ul>
      <button type="button" onClick={() => void navigator.clipboard?.writeText(codes.join("\n"))}>
        Copy
      </button>
    </>
  );
}
