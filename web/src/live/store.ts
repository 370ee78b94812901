// A value outside React that components follow.
import { useSyncExternalStore } from "react";

/** `useOf` follows what a function makes of the value: something that is the same as long as it has not changed. */
export type Store<T> = { get: () => T; set: (value: T) => void; use: () => T; useOf: <S>(select: (value: T) => S) => S };

export function makeStore<T>(initial: T): Store<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  const subscribe = (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  const get = () => value;
  return {
    get,
    set: (next) => {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of listeners) listener();
    },
    use: () => useSyncExternalStore(subscribe, get),
    useOf: (select) => useSyncExternalStore(subscribe, () => select(value)),
  };
}

/** The same for what stays on this device: `read` makes something good of whatever was kept, also of nothing. */
export function makeKept<T extends string | number>(key: string, read: (text: string) => T): Store<T> {
  const kept = () => {
    try {
      return window.localStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  };
  const store = makeStore<T>(read(kept()));
  return {
    ...store,
    set: (value) => {
      store.set(value);
      try {
        window.localStorage.setItem(key, String(value));
      } catch {
        // It holds until the page is left.
      }
    },
  };
}
