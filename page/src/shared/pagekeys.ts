import { stepped } from "./HeadChoice";
import { useKeys } from "./keys";
import type { Running } from "./run";
import { useStore } from "./store";

/** The keys that mean the same in every view. */
export function usePageKeys({ status, tokens }: Running, open: (box: "help" | "goto") => void): void {
  const { change } = useStore();
  const last = (tokens?.tokens.length ?? 1) - 1;
  const within = (value: number) => Math.min(last, Math.max(0, value));
  const move = (part: "query" | "key", by: number) => (event: KeyboardEvent) =>
    change((now) => ({ [part]: within((now[part] ?? now.query ?? 0) + by * (event.shiftKey ? 10 : 1)) }));
  const onHead = (by: number) => () =>
    change(({ layer, head }) =>
      status && layer !== null && head !== null ? stepped(status, layer, head, by) : {},
    );
  useKeys({
    "1": () => change({ view: "learn" }),
    "2": () => change({ view: "map" }),
    "3": () => change({ view: "compare" }),
    ArrowUp: move("query", -1),
    ArrowDown: move("query", 1),
    ArrowLeft: move("key", -1),
    ArrowRight: move("key", 1),
    "[": onHead(-1),
    "]": onHead(1),
    "{": onHead(-(status?.heads ?? 1)),
    "}": onHead(status?.heads ?? 1),
    m: () => change((now) => ({ statistic: now.statistic === "mean" ? "max" : "mean" })),
    s: () => change((now) => ({ hide: !now.hide })),
    g: () => open("goto"),
    "?": () => open("help"),
  });
}
