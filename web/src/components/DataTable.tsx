import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";

export type Column<T> = { name: string; text?: boolean; cell: (row: T) => ReactNode };

type Props<T> = {
  title: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string;
  empty: string;
  query?: Pick<UseQueryResult, "isPending" | "error">;
  aside?: ReactNode;
};

export function DataTable<T>({ title, columns, rows, keyOf, empty, query, aside }: Props<T>) {
  return (
    <section className="panel" aria-label={title}>
      <h2>
        {title}
        {aside}
      </h2>
      {query?.error ? (
        <p className="empty down">{query.error.message}</p>
      ) : query?.isPending ? (
        <p className="empty">Loading…</p>
      ) : rows.length === 0 ? (
        <p className="empty">{empty}</p>
      ) : (
        <div className="scroll">
          <table>
            <thead>
              <tr>
                {columns.map((c) => (
                  <th key={c.name} scope="col" className={c.text ? "text" : ""}>
                    {c.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={keyOf(row)}>
                  {columns.map((c) => (
                    <td key={c.name} className={c.text ? "text" : ""}>
                      {c.cell(row)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
