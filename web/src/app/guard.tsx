// Keeps a fault where it is: what breaks in one place leaves the rest of the page alone.
import { Component, type ReactNode } from "react";

/** What a React root does with a fault that a guard has kept where it is. */
export const onCaughtError = (error: unknown, info: { componentStack?: string | undefined }) => console.warn("kept where it is:", error, info.componentStack);

type Props = { what: string; children: ReactNode; fallback?: (retry: () => void) => ReactNode };

export class Guard extends Component<Props, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    const retry = () => this.setState({ error: null });
    if (this.props.fallback) return this.props.fallback(retry);
    const report = `${this.props.what}: ${error.name}: ${error.message}\n${window.location.href}\n${__BUILD__}`;
    return (
      <section className="panel broken" role="alert" aria-label={`${this.props.what} cannot be shown`}>
        <h2>{this.props.what} cannot be shown</h2>
        <div className="inside">
          <p>Something in it is not as it should be; everything else on this page goes on.</p>
          <code className="block">{report}</code>
          <div className="actions">
            <button onClick={() => void navigator.clipboard?.writeText(report)}>Copy</button>
            <button onClick={retry}>Try again</button>
          </div>
        </div>
      </section>
    );
  }
}
