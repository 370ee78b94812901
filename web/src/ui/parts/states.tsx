import { ApiError } from "../../api/client";

export function Loading({ what }: { what: string }) {
  return (
    <div className="center" role="status">
      <span className="spinner" aria-hidden="true" />
      <p>{what}…</p>
    </div>
  );
}

export function Failure({ error, onRetry }: { error: Error; onRetry: () => void }) {
  return (
    <div className="center" role="alert">
      <h1>{error.message}</h1>
      {error instanceof ApiError && error.remedy && <p>{error.remedy}</p>}
      <button onClick={onRetry}>Try again</button>
    </div>
  );
}
