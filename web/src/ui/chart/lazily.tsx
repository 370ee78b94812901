// Charts are loaded when one is shown: their libraries are larger than most pages.
import { lazy, Suspense, type ComponentProps } from "react";

const Series = lazy(() => import("./SeriesChart").then((m) => ({ default: m.SeriesChart })));
const Price = lazy(() => import("./PriceChart").then((m) => ({ default: m.PriceChart })));

const Space = () => <div className="chart" role="status" aria-label="Loading the chart" />;

export const Lazily = {
  SeriesChart: (props: ComponentProps<typeof Series>) => (
    <Suspense fallback={<Space />}>
      <Series {...props} />
    </Suspense>
  ),
  PriceChart: (props: ComponentProps<typeof Price>) => (
    <Suspense fallback={<Space />}>
      <Price {...props} />
    </Suspense>
  ),
};
