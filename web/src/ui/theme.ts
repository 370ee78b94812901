// Three themes; the choice stays on this device.
import { makeStore } from "../live/store";

export const THEMES = [
  ["dark", "Dark"],
  ["light", "Light"],
  ["contrast", "High contrast"],
] as const;
export type Theme = (typeof THEMES)[number][0];

const KEPT = "aether-theme";

function kept(): Theme {
  try {
    const found = window.localStorage.getItem(KEPT);
    return THEMES.some(([name]) => name === found) ? (found as Theme) : "dark";
  } catch {
    return "dark";
  }
}

const store = makeStore<Theme>(kept());

function show(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
}

export const useTheme = Object.assign(() => store.use(), {
  apply: () => show(store.get()),
  choose: (theme: Theme) => {
    show(theme);
    store.set(theme);
    try {
      window.localStorage.setItem(KEPT, theme);
    } catch {
      // It holds until the page is left.
    }
  },
});

/** Return a colour of the theme in force, for what draws on a canvas. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
