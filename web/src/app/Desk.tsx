// What somebody who is signed in works with: the frame, in a React root of its own, and the pages.
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { useMarks } from "../live/freshness";
import { stream } from "../live/socket";
import { Frame } from "./frame/Frame";
import { Guard, onCaughtError } from "./guard";
import { entry, fetchPages, router } from "./router";

const FETCH_AFTER_MS = 2_000;

/** The frame stands in a root of its own: whatever becomes of the pages, the kill switch stays. */
function mountFrame(): () => void {
  const root = createRoot(document.getElementById("frame")!, { onCaughtError });
  root.render(
    <StrictMode>
      <Guard what="The frame">
        <Frame />
      </Guard>
    </StrictMode>,
  );
  return () => window.setTimeout(() => root.unmount());
}

export default function Desk({ onInvitation }: { onInvitation: (token: string) => void }) {
  useMarks();
  useEffect(() => {
    entry.set(onInvitation);
    stream.open();
    const unmount = mountFrame();
    const fetching = window.setTimeout(fetchPages, FETCH_AFTER_MS);
    return () => {
      window.clearTimeout(fetching);
      stream.close();
      unmount();
    };
  }, []);
  return <RouterProvider router={router} />;
}
