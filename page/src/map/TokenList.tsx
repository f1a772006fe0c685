import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useSize } from "../shared/media";
import { useStore } from "../shared/store";
import { legible } from "../shared/text";
import type { Head, Tokens } from "../source/types";
import { useSpeech } from "../words";
import { listed, matches } from "./listed";

const ROW = 26;

interface List {
  tokens: Tokens;
  head: Head | null;
  query: number;
}

/** Every token in order; only the lines in sight are in the page. A search goes from match to match. */
export function TokenList({ tokens, head, query }: List) {
  const { change } = useStore();
  const speech = useSpeech();
  const [text, setText] = useState("");
  const found = useMemo(() => matches(tokens.tokens, text), [tokens, text]);
  const at = found.indexOf(query);
  const next = (by: number) => {
    if (!found.length) return;
    const from = at >= 0 ? at : found.findIndex((token) => token > query) - (by > 0 ? 1 : 0);
    change({ query: found[(Math.max(-1, from) + by + found.length) % found.length]! });
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Escape") setText("");
    if (event.key !== "Enter") return;
    event.preventDefault();
    next(event.shiftKey ? -1 : 1);
  };
  return (
    <section class="card tokens" aria-labelledby="tokens-title">
      <h2 id="tokens-title">{speech.say("tokens")}</h2>
      <div class="search">
        <input
          id="token-search"
          type="search"
          value={text}
          placeholder={`${speech.say("search")}  /`}
          aria-label={speech.say("search")}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={pressed}
        />
        {text && (
          <button type="button" aria-label={speech.say("searchNext")} onClick={() => next(1)}>
            ↓
          </button>
        )}
      </div>
      <p class="small quiet count" aria-live="polite">
        {text &&
          (found.length
            ? speech.say("found", { at: at < 0 ? "–" : at + 1, count: found.length })
            : speech.say("foundNone"))}
      </p>
      <Lines tokens={tokens} head={head} query={query} found={new Set(found)} />
    </section>
  );
}

function Lines({ tokens, head, query, found }: List & { found: Set<number> }) {
  const { change } = useStore();
  const speech = useSpeech();
  const box = useRef<HTMLDivElement>(null);
  const { height } = useSize(box);
  const [top, setTop] = useState(0);
  const { items, line } = useMemo(() => listed(tokens), [tokens]);
  useEffect(() => {
    const here = (line[query] ?? 0) * ROW;
    const element = box.current;
    if (!element) return;
    if (here < element.scrollTop || here > element.scrollTop + element.clientHeight - ROW)
      element.scrollTop = here - element.clientHeight / 3;
  }, [query, line]);
  const first = Math.max(0, Math.floor(top / ROW) - 5);
  const last = Math.min(items.length, Math.ceil((top + Math.max(height, 200)) / ROW) + 5);
  const most = Math.max(1e-9, ...(head?.entropy.slice(0, 4096) ?? []).map((value) => value ?? 0));
  return (
    <div
      class="lines"
      ref={box}
      tabIndex={0}
      role="listbox"
      aria-label={speech.say("tokens")}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
    >
      <div role="presentation" style={{ height: `${items.length * ROW}px` }}>
        {items.slice(first, last).map((item, offset) => {
          const style = { transform: `translateY(${(first + offset) * ROW}px)` };
          if ("segment" in item) {
            return (
              <div key={first + offset} class="part" role="presentation" style={style}>
                {item.segment}
              </div>
            );
          }
          const { token } = item;
          return (
            <div
              key={first + offset}
              class={`line${token === query ? " chosen" : ""}${found.has(token) ? " found" : ""}`}
              role="option"
              aria-selected={token === query}
              aria-posinset={token + 1}
              aria-setsize={tokens.tokens.length}
              style={style}
              onClick={() => change({ query: token })}
            >
              <small>{token}</small>
              <span dir="auto">{legible(tokens.tokens[token])}</span>
              <i style={{ width: `${(30 * (head?.entropy[token] ?? 0)) / most}px` }} />
            </div>
          );
        })}
      </div>
    </div>
  );
}
