import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isMessage, newest, patched, step, UNKNOWN, type Account, type Message, type Topic } from "./topics";

type State = Record<string, unknown>;

const leaf = fc.oneof(fc.string({ maxLength: 3 }), fc.integer(), fc.boolean(), fc.array(fc.integer(), { maxLength: 2 }));
const { state } = fc.letrec<{ state: State; value: unknown }>((tie) => ({
  state: fc.dictionary(fc.constantFrom("a", "b", "c"), tie("value"), { maxKeys: 3, noNullPrototype: true }) as fc.Arbitrary<State>,
  value: fc.oneof({ depthSize: "small" }, leaf, tie("state")),
}));

/** The platform's side: what makes of one state another. */
function difference(before: State, after: State): State {
  const patch: State = {};
  for (const key of Object.keys(before)) if (!(key in after)) patch[key] = null;
  for (const [key, value] of Object.entries(after)) {
    const known = before[key];
    const isBoth = [known, value].every((v) => typeof v === "object" && v !== null && !Array.isArray(v));
    if (isBoth) {
      const changed = difference(known as State, value as State);
      if (Object.keys(changed).length > 0) patch[key] = changed;
    } else if (!(key in before) || JSON.stringify(known) !== JSON.stringify(value)) patch[key] = value;
  }
  return patch;
}

const told = (seq: number, kind: Message["kind"], data: State): Message => ({ topic: "t", seq, ts_ns: 1, kind, data });

describe("a topic", () => {
  it("follows the platform's states, however messages are dropped, doubled and late, once it is asked again", () => {
    fc.assert(
      fc.property(
        fc.array(state, { minLength: 1, maxLength: 8 }),
        fc.array(fc.constantFrom("keep", "drop", "double", "late"), { minLength: 8, maxLength: 8 }),
        (states, fates) => {
          const messages = states.map((s, n) => (n === 0 ? told(1, "snapshot", s) : told(n + 1, "delta", difference(states[n - 1]!, s))));
          let topic: Topic<State> = UNKNOWN;
          let isAsked = false;
          const late: Message[] = [];
          const take = (m: Message) => {
            const next = step(topic, m);
            topic = next.topic;
            isAsked ||= next.isGap;
          };
          messages.forEach((m, n) => {
            const fate = fates[n];
            if (fate === "late") late.push(m);
            if (fate === "keep" || fate === "double") take(m);
            if (fate === "double") take(m);
          });
          late.filter((m) => m.kind === "delta").forEach(take);
          const isWhole = topic.seq === messages.length;
          if (isWhole) expect(topic.state).toEqual(states.at(-1));
          const known: Topic<State> = topic;
          if (!isWhole && known.state !== null) expect(states).toContainEqual(known.state);
          take(told(1, "snapshot", states.at(-1)!));
          expect(topic.state).toEqual(states.at(-1));
          void isAsked;
        },
      ),
    );
  });

  it("asks for the whole when a message is missing, and shows nothing made up meanwhile", () => {
    const begun = step(UNKNOWN as Topic<State>, told(1, "snapshot", { a: 1 })).topic;
    expect(step(begun, told(3, "delta", { a: 3 }))).toEqual({ topic: UNKNOWN, isGap: true });
    expect(step(begun, told(1, "delta", { a: 0 }))).toEqual({ topic: begun, isGap: false });
  });

  it("leaves alone what a patch does not name", () => {
    const before = { a: { x: 1 }, b: { y: 2 } };
    const after = patched(before, { a: { x: 2 } }) as typeof before;
    expect(after.b).toBe(before.b);
    expect(patched(before, { a: null })).toEqual({ b: { y: 2 } });
  });
});

describe("accounts", () => {
  const account = (told_ns: number, nav: string) => ({ id: "a", told_ns, nav }) as unknown as Account;

  it("are shown as they were told last, in any interleaving of answers and live values", () => {
    fc.assert(
      fc.property(fc.nat(9), fc.nat(9), (listed, live) => {
        const shown = newest([account(listed, "listed")], { a: account(live, "live") });
        expect(shown[0]!.told_ns).toBe(Math.max(listed, live));
      }),
    );
    expect(newest([account(5, "listed")], {})[0]!.nav).toBe("listed");
  });
});

it("hears nothing that is no message", () => {
  for (const bad of [null, 5, [], {}, { topic: "desk", seq: "1", ts_ns: 1, kind: "delta", data: {} }, { topic: "desk", seq: 1, ts_ns: 1, kind: "x", data: {} }, told(1.5, "delta", {})])
    expect(isMessage(bad)).toBe(false);
  expect(isMessage(told(1, "beat", {}))).toBe(true);
});
