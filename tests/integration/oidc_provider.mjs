// A real OpenID provider (the certified oidc-provider library) for the tests: one client, people by e-mail address.
import { createRequire } from "node:module";
import http from "node:http";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { Provider } = await import(require.resolve("oidc-provider"));
const [redirectUri, port] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;

const provider = new Provider(issuer, {
  clients: [{ client_id: "aether", client_secret: "a-client-secret-of-the-tests", redirect_uris: [redirectUri] }],
  claims: { email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ["one-key-for-the-tests"] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: id, email_verified: !id.startsWith("unverified") }),
  }),
});

http.createServer(provider.callback()).listen(Number(port), "localhost", () => console.log(`ready ${issuer}`));
