// One web socket for the whole page: topics are followed by reference, a silent platform is noticed within 3 s.
import { useEffect } from "react";
import { freshness } from "./freshness";
import { makeStore, type Store } from "./store";
import { isMessage, step, UNKNOWN, type Topic } from "./topics";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;
const SILENT_AFTER_MS = 3_000;
const GIVEN_UP_AFTER_MS = 8_000;
const REFUSED_AGAIN_MS = 5_000;

class Stream {
  private socket: WebSocket | null = null;
  private readonly topics = new Map<string, { store: Store<Topic<unknown>>; followers: number }>();
  private wait = FIRST_RETRY_MS;
  private heardAt = 0;
  private timer: number | undefined;
  private isWanted = false;

  /** Keep the socket open from now on, until `close`. */
  open(): void {
    if (this.isWanted) return;
    this.isWanted = true;
    this.connect();
    this.timer = window.setInterval(() => this.watch(), 250);
  }

  close(): void {
    this.isWanted = false;
    window.clearInterval(this.timer);
    this.socket?.close();
    this.socket = null;
  }

  /** Follow a topic while somebody does; its store keeps what it last knew. */
  follow(name: string): () => void {
    const found = this.topic(name);
    found.followers += 1;
    if (found.followers === 1) this.send({ subscribe: [name] });
    return () => {
      found.followers -= 1;
      if (found.followers === 0) this.send({ unsubscribe: [name] });
    };
  }

  store(name: string): Store<Topic<unknown>> {
    return this.topic(name).store;
  }

  private topic(name: string) {
    let found = this.topics.get(name);
    if (!found) {
      found = { store: makeStore<Topic<unknown>>(UNKNOWN), followers: 0 };
      this.topics.set(name, found);
    }
    return found;
  }

  private connect(): void {
    const scheme = window.location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${window.location.host}/api/v1/stream`);
    this.socket = socket;
    this.heardAt = performance.now();
    socket.onopen = () => {
      this.wait = FIRST_RETRY_MS;
      const wanted = [...this.topics].filter(([, t]) => t.followers > 0).map(([name]) => name);
      if (wanted.length > 0) this.send({ subscribe: wanted });
    };
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      freshness.lost();
      if (this.isWanted) window.setTimeout(() => this.isWanted && !this.socket && this.connect(), this.wait * (0.5 + Math.random()));
      this.wait = Math.min(this.wait * 2, LAST_RETRY_MS);
    };
  }

  private take(text: unknown): void {
    let message: unknown;
    try {
      message = JSON.parse(String(text));
    } catch {
      message = null;
    }
    if (!isMessage(message)) {
      freshness.garbage();
      return;
    }
    this.heardAt = performance.now();
    freshness.heard(message);
    const known = this.topics.get(message.topic);
    if (!known) return;
    const { topic, isGap } = step(known.store.get(), message);
    known.store.set(topic);
    if (isGap) this.send({ subscribe: [message.topic] });
    if (message.kind === "refused") window.setTimeout(() => known.followers > 0 && this.send({ subscribe: [message.topic] }), REFUSED_AGAIN_MS);
  }

  private watch(): void {
    const silentFor = performance.now() - this.heardAt;
    if (silentFor > SILENT_AFTER_MS) freshness.silent();
    if (this.socket && silentFor > GIVEN_UP_AFTER_MS) {
      const socket = this.socket;
      this.socket = null;
      socket.close();
      freshness.lost();
      this.connect();
    }
  }

  private send(message: { subscribe?: string[]; unsubscribe?: string[] }): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

export const stream = new Stream();

/** Follow a topic; null until its state has come. */
export function useTopic<T>(name: string): T | null {
  const store = stream.store(name);
  useEffect(() => stream.follow(name), [name]);
  return store.use().state as T | null;
}
