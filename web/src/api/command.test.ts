import { beforeAll, describe, expect, it, vi } from "vitest";
import type { Schemas } from "./client";

type Outcome = Schemas["RequestOutcome"];

// The client knows where it was loaded from; there is no page here.
vi.stubGlobal("window", { location: { origin: "http://localhost" } });
vi.stubGlobal("__BUILD__", "test");

let commands: typeof import("./command");
let clients: typeof import("./client");
beforeAll(async () => {
  commands = await import("./command");
  clients = await import("./client");
});

const told = (...answers: (Outcome | Error)[]) => {
  let n = 0;
  return async () => {
    const answer = answers[Math.min(n++, answers.length - 1)]!;
    if (answer instanceof Error) throw answer;
    return answer;
  };
};
const outcome = (state: Outcome["state"], status = 0, answer = ""): Outcome => ({ state, status, answer });
const now = async () => undefined;

describe("a write whose answer is lost", () => {
  it("is what the platform says that came of it, as soon as it says", async () => {
    const away = new clients.ApiError(0, "away", "");
    const asked = told(away, outcome("working"), outcome("done", 200, '{"applied":true}'));
    expect(await commands.outcomeOf("k", asked, now)).toEqual({ applied: true });
    expect(await commands.outcomeOf("k", told(outcome("done", 204)), now)).toBeUndefined();
  });

  it("is refused as it was refused", async () => {
    const refused = told(outcome("done", 409, '{"title":"Conflict","status":409,"detail":"It holds nothing."}'));
    await expect(commands.outcomeOf("k", refused, now)).rejects.toMatchObject({ status: 409, message: "It holds nothing." });
  });

  it("was not done where the platform knows nothing of it", async () => {
    await expect(commands.outcomeOf("k", told(outcome("unknown")), now)).rejects.toMatchObject({ title: "NotDone" });
  });

  it("is told of as begun where the platform ended in it", async () => {
    await expect(commands.outcomeOf("k", told(outcome("interrupted")), now)).rejects.toMatchObject({ title: "Interrupted" });
  });

  it("is unknown, and says so, where nobody answers in time", async () => {
    const away = told(new clients.ApiError(0, "away", ""));
    await expect(commands.outcomeOf("k", away, now, 3_000)).rejects.toBeInstanceOf(commands.UnknownOutcome);
  });

  it("stays unknown where the question is refused: that says nothing of the write", async () => {
    const over = told(new clients.ApiError(401, "signed out", ""));
    await expect(commands.outcomeOf("k", over, now)).rejects.toBeInstanceOf(commands.UnknownOutcome);
  });

  it("is asked for a while before it counts as not done: it may be on its way", async () => {
    const late = told(outcome("unknown"), outcome("unknown"), outcome("done", 200, "1"));
    expect(await commands.outcomeOf("k", late, now)).toBe(1);
  });
});

it("another body is another write", () => {
  const calls = clients.printed({ sell: (share: number) => clients.write(() => new Promise<never>(() => share)) });
  expect(calls.sell(5).print).toBe(calls.sell(5).print);
  expect(calls.sell(5).print).not.toBe(calls.sell(6).print);
});

it("keys are 32 hexadecimal digits, each another", () => {
  const keys = new Set(Array.from({ length: 200 }, () => commands.newKey()));
  expect(keys.size).toBe(200);
  for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
});
