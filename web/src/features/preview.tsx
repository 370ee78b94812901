// What a decision would lead to, as the engine says: its orders, their cost, each check with value and limit.
import type { Schemas } from "../api/client";
import { formatMoney, formatPrice, formatSize, words } from "../ui/format";

export function Effects({ of: p }: { of: Schemas["Preview"] }) {
  return (
    <>
      {p.refused && (
        <p className="down" role="alert">
          {p.refused}
        </p>
      )}
      {p.orders.length === 0 && p.canceled.length === 0 && <p>No order would be sent now.</p>}
      {p.canceled.length > 0 && <p>{p.canceled.length} open orders would be canceled.</p>}
      {p.orders.map((o, n) => (
        <div key={n} className="effect">
          <p>
            <b className={o.side === "buy" ? "up" : "down"}>{o.side}</b> {formatSize(o.size)} {o.symbol}{" "}
            <span className="dim">{o.instrument.split(":")[0]}</span> {words(o.type)} at about {formatPrice(o.price)}: {formatMoney(o.notional)} {currency(o.symbol)}
          </p>
          <p className="dim">
            fee at most {formatMoney(o.fee)}, half the spread {formatMoney(o.half_spread)}, worst price {formatPrice(o.worst_price)}
          </p>
          <Checks checks={o.checks} />
        </div>
      ))}
      {p.later.map((l) => (
        <p key={l.symbol} className="dim">
          {formatSize(l.amount)} {l.symbol} would be left for orders that follow.
        </p>
      ))}
    </>
  );
}

const currency = (symbol: string) => symbol.split("/")[1] ?? "";

function Checks({ checks }: { checks: Schemas["PreviewCheck"][] }) {
  const failed = checks.filter((c) => !c.ok);
  return (
    <details open={failed.length > 0}>
      <summary className={failed.length > 0 ? "down" : "dim"}>
        {failed.length > 0 ? `${failed.length} of ${checks.length} checks fail` : `all ${checks.length} checks pass`}
      </summary>
      <ul className="checks">
        {checks.map((c) => (
          <li key={c.check} className={c.ok ? "" : "down"}>
            {c.ok ? "✓" : "✗"} {words(c.check)} <span className="dim">{[c.value, c.limit].filter(Boolean).join(", ")}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}

/** Why nothing could be sent as previewed; empty when something can. */
export function blockedBy(p: Schemas["Preview"] | undefined, isOld: boolean): string {
  if (isOld) return "What is known is old: nothing is sent by it.";
  if (!p) return "Its effects are not known yet.";
  if (p.refused) return "The account would refuse it.";
  if (p.orders.length === 0 && p.canceled.length === 0 && p.later.length === 0) return "Nothing would come of it.";
  if (p.orders.length > 0 && p.orders.every((o) => !o.approved)) return "The risk gate would deny every order.";
  return "";
}
