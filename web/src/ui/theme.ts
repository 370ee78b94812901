// How the page looks: three themes, and two pairs of colours for gains and losses; the choice stays on this device.
import { makeKept } from "../live/store";

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
  const known = (text: string) => options.find(([name]) => name === text)?.[0] ?? options[0]![0];
  const store = makeKept<Name>(`aether-${attribute}`, known);
  const show = () => document.documentElement.setAttribute(`data-${attribute}`, store.get());
  return Object.assign(() => store.use(), {
    apply: show,
    choose: (text: string) => {
      store.set(known(text));
      show();
    },
  });
}

export const useTheme = choice("theme", THEMES);
export const usePair = choice("pair", PAIRS);

/** Return a colour of the theme in force, for what draws on a canvas. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
