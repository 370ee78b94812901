export function Stat({ name, value, tone = "", note }: { name: string; value: string; tone?: string; note?: string }) {
  return (
    <div className="stat">
      <span>{name}</span>
      <b className={tone}>{value}</b>
      {note && <small className={tone}>{note}</small>}
    </div>
  );
}
