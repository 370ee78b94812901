// Series over time, drawn by uPlot in the colours of the theme; a table of them for who cannot see it.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { colour, useTheme } from "../theme";

/** `colour` names a colour of the theme. */
export type Line = { name: string; colour: string; points: { ts_ns: number; value: number }[] };

const HEIGHT = 262;

/** The time of a tick; at midnight the day. */
function clock(ts: number): string {
  const text = new Date(ts * 1e3).toISOString();
  return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
}

/** Return the lines on one axis of time: where a line has no value there is none. */
export function aligned(lines: Line[]): uPlot.AlignedData {
  return uPlot.join(
    lines.map((l) => {
      const rising = l.points.filter((p, n) => n === 0 || p.ts_ns > l.points[n - 1]!.ts_ns);
      return [rising.map((p) => p.ts_ns / 1e9), rising.map((p) => p.value)] as uPlot.AlignedData;
    }),
  );
}

export function SeriesChart({ lines, label, unit = "" }: { lines: Line[]; label: string; unit?: string }) {
  const theme = useTheme();
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const names = lines.map((l) => `${l.name} ${l.colour}`).join();
  useEffect(() => {
    const host = element.current!;
    const axis = { stroke: colour("dim"), grid: { stroke: colour("raised"), width: 1 }, ticks: { stroke: colour("raised"), width: 1 } };
    const made = new uPlot(
      {
        width: host.clientWidth || 600,
        height: HEIGHT,
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
        legend: { show: lines.length > 0, live: true },
        series: [
          { value: (_, v: number | null) => (v == null ? "" : new Date(v * 1e3).toISOString().slice(5, 19).replace("T", " ")) },
          ...lines.map((l) => ({
            label: l.name,
            stroke: colour(l.colour),
            width: 2,
            points: { show: false },
            spanGaps: true,
            value: (_: uPlot, v: number | null) => (v == null ? "" : `${v.toFixed(2)}${unit}`),
          })),
        ],
        axes: [{ ...axis, values: (_, ts) => ts.map((t) => clock(t)) }, { ...axis, size: 68 }],
      },
      lines.length > 0 ? aligned(lines) : [[]],
      host,
    );
    chart.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: host.clientWidth, height: HEIGHT }));
    watch.observe(host);
    return () => {
      watch.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [theme, names]);
  useEffect(() => {
    if (lines.length > 0) chart.current?.setData(aligned(lines));
  }, [lines]);
  const ends = lines.map((l) => `${l.name} ${l.points.at(-1)?.value.toFixed(2) ?? "none"}${unit}`).join(", ");
  return <div className="chart series" ref={element} role="figure" aria-label={`${label}: ${ends}`} />;
}
