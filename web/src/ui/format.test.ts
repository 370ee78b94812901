import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { comparable, fixed, formatMoney, formatPrice, formatShare, formatSigned, formatSize, tone } from "./format";

describe("amounts", () => {
  it("are cut by their digits, not as floats", () => {
    expect(formatMoney("1234567.895")).toBe("1,234,567.90");
    expect(formatMoney("90071992547409.93")).toBe("90,071,992,547,409.93");
    expect(formatMoney("1.005")).toBe("1.01");
    expect(formatMoney("-0.004")).toBe("0.00");
    expect(formatMoney("-12")).toBe("−12.00");
    expect(formatMoney("")).toBe("—");
  });

  it("have a sign and a colour only where there is something to the cent", () => {
    expect([formatSigned("0.004"), tone("0.004")]).toEqual(["0.00", ""]);
    expect([formatSigned("-0.001"), tone("-0.001")]).toEqual(["0.00", ""]);
    expect([formatSigned("0.005"), tone("0.005")]).toEqual(["+0.01", "up"]);
    expect([formatSigned("-3"), tone("-3")]).toEqual(["−3.00", "down"]);
  });

  it("rounded to n decimals differ from the exact amount by half a unit at most", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), (units) => {
        const sign = units < 0n ? "-" : "";
        const digits = (units < 0n ? -units : units).toString().padStart(9, "0");
        const text = `${sign}${digits.slice(0, -8)}.${digits.slice(-8)}`;
        const shown = BigInt(fixed(text, 2).replaceAll(",", "").replace("−", "-").replace(".", "")) * 1_000_000n;
        const off = shown > units ? shown - units : units - shown;
        expect(off <= 500_000n).toBe(true);
      }),
    );
  });
});

describe("prices, sizes, shares", () => {
  it("keep their decimals", () => {
    expect(formatPrice("64123.40")).toBe("64,123.40");
    expect(formatPrice("")).toBe("—");
    expect(formatSize("0.50000000")).toBe("0.5");
    expect(formatSize("100")).toBe("100");
  });

  it("are percent of a whole, and nothing of nothing", () => {
    expect(formatShare("5", "200", true)).toBe("+2.50 %");
    expect(formatShare("-5", "200")).toBe("−2.50 %");
    expect(formatShare("5", "0")).toBe("0.00 %");
  });

  it("sort as numbers where they are numbers", () => {
    expect(["10", "9", "-1"].map(comparable).sort((a, b) => Number(a) - Number(b))).toEqual([-1, 9, 10]);
    expect(comparable("BTC/USD")).toBe("BTC/USD");
  });
});
