// How the page looks: three themes, and two pairs of colours for gains and losses; the choice stays on this device.
import { makeStore } from "../live/store";

export const THEMES = [
  ["dark", "Dark"],
  ["light", "Light"],
  ["contrast", "High contrast"],
] as const;
export const PAIRS = [
  ["green", "Green and red"],
  ["blue", "Blue and orange"],
] as const;

/** One of some names, kept on the device under `aether-…` and told to the style sheet as `data-…`; the first unless chosen. */
function choice<Name extends string>(attribute: string, options: readonly (readonly [Name, string])[]) {
  const key = `aether-${attribute}`;
  const known = (text: string | null) => options.find(([name]) => name === text)?.[0] ?? options[0]![0];
  const kept = () => {
    try {
      return known(window.localStorage.getItem(key));
    } catch {
      return options[0]![0];
    }
  };
  const store = makeStore<Name>(kept());
  const show = () => document.documentElement.setAttribute(`data-${attribute}`, store.get());
  return Object.assign(() => store.use(), {
    apply: show,
    choose: (text: string) => {
      store.set(known(text));
      show();
      try {
        window.localStorage.setItem(key, store.get());
      } catch {
        // It holds until the page is left.
      }
    },
  });
}

export const useTheme = choice("theme", THEMES);
export const usePair = choice("pair", PAIRS);

/** Return a colour of the theme in force, for what draws on a canvas. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
