// Charts over time, drawn by lightweight-charts.
import {
  AreaSeries,
  CandlestickSeries,
  ColorType,
  createChart,
  createSeriesMarkers,
  LineSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type SeriesType,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import { useEffect, useRef } from "react";
import type { Fill } from "../../api/calls";
import type { Schemas } from "../../api/client";

export type Line = { name: string; colour: string; points: { ts_ns: number; value: number }[] };

const seconds = (ns: number) => Math.floor(ns / 1e9) as UTCTimestamp;

function makeChart(element: HTMLElement): IChartApi {
  return createChart(element, {
    autoSize: true,
    layout: {
      background: { type: ColorType.Solid, color: "transparent" },
      textColor: "#8a94a8",
      fontFamily: "inherit",
      attributionLogo: true,
    },
    grid: { vertLines: { color: "#1a2130" }, horzLines: { color: "#1a2130" } },
    rightPriceScale: { borderVisible: false },
    timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false },
    crosshair: { vertLine: { labelBackgroundColor: "#2a3448" }, horzLine: { labelBackgroundColor: "#2a3448" } },
  });
}

/** Points with strictly rising times, as the chart demands. */
export function rising<T extends { time: UTCTimestamp }>(points: T[]): T[] {
  return points.filter((p, n) => n === points.length - 1 || p.time < points[n + 1]!.time);
}

export function LineChart({ lines, label }: { lines: Line[]; label: string }) {
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<IChartApi | null>(null);
  const series = useRef(new Map<string, ISeriesApi<SeriesType>>());
  const length = lines.reduce((n, l) => n + l.points.length, 0);
  useEffect(() => {
    const made = makeChart(element.current!);
    chart.current = made;
    const kept = series.current;
    return () => {
      made.remove();
      chart.current = null;
      kept.clear();
    };
  }, []);
  useEffect(() => {
    if (!chart.current) return;
    for (const [n, line] of lines.entries()) {
      let drawn = series.current.get(line.name);
      if (!drawn) {
        drawn =
          lines.length === 1 && n === 0
            ? chart.current.addSeries(AreaSeries, {
                lineColor: line.colour,
                topColor: `${line.colour}55`,
                bottomColor: `${line.colour}05`,
                lineWidth: 2,
                priceLineVisible: false,
              })
            : chart.current.addSeries(LineSeries, { color: line.colour, lineWidth: 2, priceLineVisible: false });
        series.current.set(line.name, drawn);
      }
      drawn.setData(rising(line.points.map((p) => ({ time: seconds(p.ts_ns), value: p.value }))));
    }
  }, [lines]);
  useEffect(() => chart.current?.timeScale().fitContent(), [length > 0]);
  return <div className="chart" ref={element} role="img" aria-label={label} />;
}

export function PriceChart({ bars, fills, label }: { bars: Schemas["Bar"][]; fills: Fill[]; label: string }) {
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<IChartApi | null>(null);
  const series = useRef<ISeriesApi<"Candlestick"> | null>(null);
  const markers = useRef<ISeriesMarkersPluginApi<Time> | null>(null);
  useEffect(() => {
    const made = makeChart(element.current!);
    chart.current = made;
    series.current = made.addSeries(CandlestickSeries, {
      upColor: "#2ebd85",
      downColor: "#f6465d",
      wickUpColor: "#2ebd85",
      wickDownColor: "#f6465d",
      borderVisible: false,
    });
    markers.current = createSeriesMarkers(series.current, []);
    return () => {
      made.remove();
      chart.current = null;
      series.current = null;
      markers.current = null;
    };
  }, []);
  useEffect(() => {
    const decimals = bars[0]?.close.split(".")[1]?.length ?? 2;
    series.current?.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    series.current?.setData(
      rising(
        bars.map((b) => ({
          time: seconds(b.ts_ns),
          open: Number(b.open),
          high: Number(b.high),
          low: Number(b.low),
          close: Number(b.close),
        })),
      ),
    );
    const first = bars[0]?.ts_ns ?? Infinity;
    const shown = fills.filter((f) => f.ts_ns >= first).sort((a, b) => a.ts_ns - b.ts_ns);
    markers.current?.setMarkers(
      shown.map((f) => ({
        time: seconds(f.ts_ns),
        position: f.side === "buy" ? "belowBar" : "aboveBar",
        shape: f.side === "buy" ? "arrowUp" : "arrowDown",
        color: f.side === "buy" ? "#2ebd85" : "#f6465d",
      })),
    );
  }, [bars, fills]);
  useEffect(() => chart.current?.timeScale().fitContent(), [label, bars.length > 0]);
  return <div className="chart" ref={element} role="img" aria-label={label} />;
}
