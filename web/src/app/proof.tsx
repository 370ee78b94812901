import { useEffect, useRef, useState } from "react";
import { api, type Challenge } from "../api/calls";
import { ApiError, proveWith } from "../api/client";
import { words } from "../ui/format";
import { FactorForm } from "./FactorForm";

type Asked = {
  bound: { action: string; payload_hash: string };
  challenge: Challenge;
  resolve: (token: string) => void;
  reject: (error: Error) => void;
};

/** Asks for a second factor whenever a request needs a fresh proof; the proof is good for that request alone. */
export function ProofDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [asked, setAsked] = useState<Asked | null>(null);
  useEffect(() => {
    proveWith(async (bound) => {
      const challenge = await api.askProof();
      return new Promise<string>((resolve, reject) => setAsked({ bound, challenge, resolve, reject }));
    });
  }, []);
  useEffect(() => {
    if (asked) dialog.current?.showModal();
  }, [asked]);
  if (!asked) return null;
  const close = () => {
    asked.reject(new ApiError(403, "Nothing was done: the second factor was not proven.", ""));
    setAsked(null);
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="proof-title">
      <h2 id="proof-title">Prove it is you</h2>
      <p>
        For <b>{words(asked.bound.action.replace(".", ": "))}</b>. The proof is good for this one request.
      </p>
      <FactorForm
        challenge={asked.challenge}
        recovery={false}
        button="Confirm"
        onAnswer={async (factor) => {
          const { token } = await api.prove({
            code: "",
            ...factor,
            ...asked.bound,
            challenge: asked.challenge.challenge,
          });
          asked.resolve(token);
          setAsked(null);
        }}
      />
      <div className="actions">
        <button type="button" className="quiet" onClick={close}>
          Cancel
        </button>
      </div>
    </dialog>
  );
}
