import { beforeEach, describe, expect, it } from "vitest";
import { ageMs, freshness, isOld, silenceMs } from "./freshness";
import type { Message } from "./topics";

const NOW_MS = 1_800_000_000_000;
const beat = (lateMs: number): Message => ({ topic: "", seq: 1, ts_ns: (NOW_MS + performance.now() - lateMs) * 1e6, kind: "beat", data: { ages_ms: { a: 100 } } });

describe("a beat", () => {
  beforeEach(() => freshness.lost());

  it("says how old an account is", () => {
    freshness.heard(beat(0));
    expect(ageMs(freshness.get(), "a")).toBeCloseTo(100, -2);
    expect(isOld(freshness.get(), "a")).toBe(false);
    expect(isOld(freshness.get(), "never told")).toBe(true);
  });

  it("that a slow link let through late makes all that is shown as old as it is itself", () => {
    freshness.heard(beat(0));
    const skew = freshness.get().skewMs;
    freshness.heard(beat(5_000));
    expect(freshness.get().link).toBe("silent");
    expect(silenceMs(freshness.get())).toBeGreaterThan(4_900);
    expect(isOld(freshness.get(), "a")).toBe(true);
    expect(freshness.get().skewMs).toBeCloseTo(skew, -2);
    freshness.heard(beat(0));
    expect(isOld(freshness.get(), "a")).toBe(false);
  });

  it("of a new socket is measured anew: the platform's clock may have been set back", () => {
    freshness.heard(beat(0));
    freshness.lost();
    freshness.heard(beat(60_000));
    expect(freshness.get().link).toBe("live");
  });
});
