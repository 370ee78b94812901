// The browser's passkey dialogs, with options and answers as JSON.

type Json = Record<string, unknown>;

export const hasPasskeys = typeof window !== "undefined" && "PublicKeyCredential" in window;

/** Make a passkey for options of the platform. */
export async function makePasskey(options: Json): Promise<Json> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(
    options as unknown as PublicKeyCredentialCreationOptionsJSON,
  );
  return answerOf(await navigator.credentials.create({ publicKey }));
}

/** Use a passkey for options of the platform. */
export async function usePasskey(options: Json): Promise<Json> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(
    options as unknown as PublicKeyCredentialRequestOptionsJSON,
  );
  return answerOf(await navigator.credentials.get({ publicKey }));
}

function answerOf(credential: Credential | null): Json {
  if (credential === null) throw new Error("No passkey was chosen.");
  return (credential as PublicKeyCredential).toJSON() as Json;
}
