// How numbers and times look. Amounts arrive as exact decimal text and are cut here, by their digits; the only place
// where text becomes a float is `comparable`, for order and for charts.

/** Return exact text rounded half up to so many decimals, with thousands apart; "-0.00" is "0.00". */
export function fixed(text: string | number, decimals: number): string {
  const given = String(text);
  const match = /^(-?)(\d+)(?:\.(\d*))?$/.exec(given);
  if (!match) return given === "" ? "—" : given;
  const [, sign = "", whole = "0", fraction = ""] = match;
  const kept = fraction.slice(0, decimals).padEnd(decimals, "0");
  let digits = BigInt(whole + kept);
  if ((fraction[decimals] ?? "0") >= "5") digits += 1n;
  const all = digits.toString().padStart(decimals + 1, "0");
  const cut = all.length - decimals;
  const shown = decimals > 0 ? `${grouped(all.slice(0, cut))}.${all.slice(cut)}` : grouped(all);
  return sign && digits !== 0n ? `−${shown}` : shown;
}

const grouped = (whole: string) => whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

export function formatMoney(text: string | number): string {
  return fixed(text, 2);
}

/** Money with its sign; what is nothing to the cent has none. */
export function formatSigned(text: string | number): string {
  const shown = fixed(text, 2);
  return shown.startsWith("−") || /^[0.,]*$/.test(shown) || shown === "—" ? shown : `+${shown}`;
}

/** Which way an amount points, to the cent. */
export function tone(text: string | number): "up" | "down" | "" {
  const shown = formatSigned(text);
  return shown.startsWith("+") ? "up" : shown.startsWith("−") ? "down" : "";
}

/** Return `part` of `whole` in percent, for display only. */
export function formatShare(part: string | number, whole: string | number, withSign = false): string {
  const base = comparable(whole);
  const share = typeof base === "number" && base !== 0 ? (Number(part) / base) * 100 : 0;
  const text = fixed(Number.isFinite(share) ? share.toFixed(6) : "0", 2);
  const sign = withSign && !text.startsWith("−") && !/^[0.]*$/.test(text) ? "+" : "";
  return `${sign}${text} %`;
}

export function formatPrice(text: string): string {
  if (text === "") return "—";
  const [whole = "0", decimals] = text.split(".");
  return decimals === undefined ? grouped(whole) : `${grouped(whole)}.${decimals}`;
}

export function formatSize(text: string): string {
  const trimmed = text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  return formatPrice(trimmed === "" ? "0" : trimmed);
}

const clock = new Intl.DateTimeFormat("en-GB", {
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZone: "UTC",
});

export function formatTime(ns: number): string {
  return ns > 0 ? clock.format(new Date(ns / 1e6)) : "—";
}

/** A value as something that can be ordered and drawn: a number where it is one. */
export function comparable(value: string | number): string | number {
  if (typeof value === "number") return value;
  return value !== "" && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
}

/** An exact amount as a float, for charts. */
export function drawable(text: string): number {
  return Number(text);
}

const PLACES = 8;

/** A whole number of 10⁻⁸ as decimal text, and back; empty where the text is no such amount. */
export function ofLedger(units: string | number): string {
  const text = String(units).padStart(PLACES + 1, "0");
  return `${text.slice(0, -PLACES)}.${text.slice(-PLACES)}`.replace(/\.?0+$/, "");
}

export function toLedger(text: string): string {
  const match = /^(\d+)(?:\.(\d{0,8}))?$/.exec(text.trim());
  return match ? (match[1]! + (match[2] ?? "").padEnd(PLACES, "0")).replace(/^0+(?=\d)/, "") : "";
}

/** The number that a text is; null where it is none. */
export function numeral(text: string): number | null {
  const found = comparable(text.trim());
  return typeof found === "number" ? found : null;
}

export function words(name: string): string {
  return name.replaceAll("_", " ");
}
