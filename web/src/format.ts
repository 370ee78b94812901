// How numbers and times look. Amounts arrive as exact decimal text; floats are for display only.

const money = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export function formatMoney(text: string | number): string {
  return money.format(Number(text));
}

export function formatSigned(value: number): string {
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${money.format(Math.abs(value))}`;
}

export function formatPercent(fraction: number): string {
  const text = (Math.abs(fraction) * 100).toFixed(2);
  return `${fraction > 0 ? "+" : fraction < 0 ? "−" : ""}${text} %`;
}

export function formatPrice(text: string): string {
  if (text === "") return "—";
  const [whole = "0", decimals] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return decimals === undefined ? grouped : `${grouped}.${decimals}`;
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

export function words(name: string): string {
  return name.replaceAll("_", " ");
}

export function tone(value: number): "up" | "down" | "" {
  return value > 0 ? "up" : value < 0 ? "down" : "";
}
