// What the accounts warned of: a bell with what nobody here has seen yet, and critical ones where nobody misses them.
import type { Account } from "../../api/calls";
import type { Schemas } from "../../api/client";
import { useTopic } from "../../live/socket";
import { makeKept } from "../../live/store";
import { formatTime, numeral } from "../../ui/format";
import type { Accounts } from "./ages";

type Alert = Schemas["AccountAlert"];

const DAY_NS = 86_400e9;

/** Up to when alerts were seen on this device, by the platform's clock. */
const seen = makeKept("aether-alerts-seen", (text) => numeral(text) ?? 0);

const see = (alerts: Alert[]) => seen.set(Math.max(seen.get(), ...alerts.map((a) => a.ts_ns)));

/** The alerts of the last day before the newest one, newest first, and how many of them are new here. */
function useAlerts(): { alerts: Alert[]; unseen: Alert[] } {
  const told = useTopic<Schemas["AlertsState"]>("alerts");
  const upTo = seen.use();
  const alerts = Object.values(told?.alerts ?? {}).sort((a, b) => b.ts_ns - a.ts_ns);
  const first = (alerts[0]?.ts_ns ?? 0) - DAY_NS;
  return { alerts, unseen: alerts.filter((a) => a.ts_ns > Math.max(upTo, first)) };
}

export function AlertBell({ accounts }: { accounts: Accounts }) {
  const { alerts, unseen } = useAlerts();
  if (alerts.length === 0) return null;
  return (
    <details className="ages bell">
      <summary>
        Alerts
        {unseen.length > 0 && <b className="count">{unseen.length}</b>}
      </summary>
      <div>
        <ul aria-label="Alerts">
          {alerts.slice(0, 12).map((a) => (
            <li key={`${a.account} ${a.ts_ns} ${a.message}`} className={unseen.includes(a) ? "" : "dim"}>
              <span className={`state ${a.severity}`}>{a.severity}</span> <b>{accounts[a.account]?.name ?? a.account}</b> {formatTime(a.ts_ns)}
              <br />
              {a.message}
            </li>
          ))}
        </ul>
        {unseen.length > 0 && (
          <button type="button" className="quiet" onClick={() => see(alerts)}>
            Mark all as seen
          </button>
        )}
      </div>
    </details>
  );
}

/** The critical ones that nobody here has seen, above everything on every page. */
export function CriticalAlerts({ accounts }: { accounts: Pick<Account, "id" | "name">[] }) {
  const { alerts, unseen } = useAlerts();
  const critical = unseen.filter((a) => a.severity === "critical");
  if (critical.length === 0) return null;
  const newest = critical[0]!;
  return (
    <div className="banner down" role="status" aria-label="Critical alerts">
      <span>
        <b>{accounts.find((a) => a.id === newest.account)?.name ?? newest.account}</b>, {formatTime(newest.ts_ns)}: {newest.message}
        {critical.length > 1 && ` (and ${critical.length - 1} more)`}
      </span>
      <button onClick={() => see(alerts)}>Seen</button>
    </div>
  );
}
