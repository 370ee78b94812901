// Prices over time, drawn by lightweight-charts in the colours of the theme.
import {
  CandlestickSeries,
  ColorType,
  createChart,
  createSeriesMarkers,
  HistogramSeries,
  LineStyle,
  type IChartApi,
  type IPriceLine,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import { useEffect, useRef } from "react";
import { drawable } from "../format";
import { colour, useTheme } from "../theme";

export type Candle = { ts_ns: number; open: string; high: string; low: string; close: string; volume: string };
export type Mark = { ts_ns: number; side: "buy" | "sell"; text: string };
/** A price that matters: a working order's, a stop's, what was paid. */
export type Level = { price: string; title: string; kind: "buy" | "sell" | "stop" | "entry" };

const seconds = (ns: number) => Math.floor(ns / 1e9) as UTCTimestamp;

function look() {
  return {
    autoSize: true,
    layout: {
      background: { type: ColorType.Solid, color: "transparent" },
      textColor: colour("dim"),
      fontFamily: "inherit",
      attributionLogo: true,
    },
    grid: { vertLines: { color: colour("raised") }, horzLines: { color: colour("raised") } },
    rightPriceScale: { borderVisible: false },
    timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false },
    crosshair: { vertLine: { labelBackgroundColor: colour("raised") }, horzLine: { labelBackgroundColor: colour("raised") } },
  };
}

/** Points with strictly rising times, as the chart demands. */
export function rising<T extends { time: UTCTimestamp }>(points: T[]): T[] {
  return points.filter((p, n) => n === points.length - 1 || p.time < points[n + 1]!.time);
}

const LEVELS = { buy: "up", sell: "down", stop: "warn", entry: "accent" } as const;

export function PriceChart(props: { bars: Candle[]; marks: Mark[]; levels: Level[]; label: string }) {
  const { bars, marks, levels, label } = props;
  const theme = useTheme();
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<IChartApi | null>(null);
  const candles = useRef<ISeriesApi<"Candlestick"> | null>(null);
  const volumes = useRef<ISeriesApi<"Histogram"> | null>(null);
  const markers = useRef<ISeriesMarkersPluginApi<Time> | null>(null);
  const lines = useRef<IPriceLine[]>([]);
  useEffect(() => {
    const made = createChart(element.current!, look());
    chart.current = made;
    const [up, down] = [colour("up"), colour("down")];
    candles.current = made.addSeries(CandlestickSeries, { upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
    volumes.current = made.addSeries(HistogramSeries, { color: colour("line"), priceScaleId: "volume", priceFormat: { type: "volume" } });
    made.priceScale("volume").applyOptions({ scaleMargins: { top: 0.85, bottom: 0 } });
    markers.current = createSeriesMarkers(candles.current, []);
    return () => {
      made.remove();
      lines.current = [];
      chart.current = candles.current = volumes.current = markers.current = null;
    };
  }, [theme]);
  useEffect(() => {
    const decimals = bars[0]?.close.split(".")[1]?.length ?? 2;
    candles.current?.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    candles.current?.setData(
      rising(bars.map((b) => ({ time: seconds(b.ts_ns), open: drawable(b.open), high: drawable(b.high), low: drawable(b.low), close: drawable(b.close) }))),
    );
    volumes.current?.setData(rising(bars.map((b) => ({ time: seconds(b.ts_ns), value: drawable(b.volume) }))));
    const first = bars[0]?.ts_ns ?? Infinity;
    const shown = marks.filter((m) => m.ts_ns >= first).sort((a, b) => a.ts_ns - b.ts_ns);
    markers.current?.setMarkers(
      shown.map((m) => ({
        time: seconds(m.ts_ns),
        position: m.side === "buy" ? "belowBar" : "aboveBar",
        shape: m.side === "buy" ? "arrowUp" : "arrowDown",
        color: colour(m.side === "buy" ? "up" : "down"),
        text: m.text,
      })),
    );
  }, [bars, marks, theme]);
  useEffect(() => {
    for (const line of lines.current) candles.current?.removePriceLine(line);
    lines.current = levels.flatMap((l) => {
      const made = candles.current?.createPriceLine({
        price: drawable(l.price),
        title: l.title,
        color: colour(LEVELS[l.kind]),
        lineWidth: 1,
        lineStyle: l.kind === "entry" ? LineStyle.Dotted : LineStyle.Dashed,
        axisLabelVisible: true,
      });
      return made ? [made] : [];
    });
  }, [levels, theme]);
  useEffect(() => chart.current?.timeScale().fitContent(), [label, bars.length > 0, theme]);
  const told = [`last ${bars.at(-1)?.close ?? "none"}`, ...levels.map((l) => `${l.title} ${l.price}`)].join(", ");
  return <div className="chart" ref={element} role="figure" aria-label={`${label}: ${told}`} />;
}
