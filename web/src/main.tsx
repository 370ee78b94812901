import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/client";
import { App } from "./app/App";
import { Guard, onCaughtError } from "./app/guard";
import { usePair, useTheme } from "./ui/theme";
import "./ui/tokens.css";
import "./ui/style.css";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retryDelay: 1_000,
      retry: (count, error) => count < 1 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
});

useTheme.apply();
usePair.apply();

createRoot(document.getElementById("root")!, { onCaughtError }).render(
  <StrictMode>
    <Guard what="The page">
      <QueryClientProvider client={client}>
        <App />
      </QueryClientProvider>
    </Guard>
  </StrictMode>,
);
