import { describe, expect, it } from "vitest";
import { formatMoney, formatPercent, formatPrice, formatSigned, formatSize, formatTime, tone } from "./format";

describe("numbers", () => {
  it("shows money with two decimals and groups", () => {
    expect(formatMoney("1234567.89123456")).toBe("1,234,567.89");
  });
  it("shows a sign on both sides of zero and none at zero", () => {
    expect(formatSigned(12)).toBe("+12.00");
    expect(formatSigned(-12)).toBe("−12.00");
    expect(formatSigned(0)).toBe("0.00");
  });
  it("shows fractions as percent", () => {
    expect(formatPercent(-0.0123)).toBe("−1.23 %");
  });
  it("keeps every decimal of a price", () => {
    expect(formatPrice("46319.50")).toBe("46,319.50");
    expect(formatPrice("")).toBe("—");
  });
  it("drops trailing zeros of a size, never digits", () => {
    expect(formatSize("1000.25000000")).toBe("1,000.25");
    expect(formatSize("100")).toBe("100");
    expect(formatSize("0.00000000")).toBe("0");
  });
});

describe("times and tones", () => {
  it("shows UTC", () => {
    expect(formatTime(1_640_991_720_000_000_000)).toContain("23:02:00");
    expect(formatTime(0)).toBe("—");
  });
  it("colours by sign", () => {
    expect([tone(1), tone(-1), tone(0)]).toEqual(["up", "down", ""]);
  });
});
