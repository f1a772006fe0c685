import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAnswer, useAsking } from "../shared/answer";
import { colours } from "../shared/colour";
import { Export } from "../shared/export";
import { HeadChoice } from "../shared/HeadChoice";
import { HeadMatrix } from "../shared/HeadMatrix";
import { useKeys } from "../shared/keys";
import { useDark } from "../shared/media";
import { Explained } from "../shared/problem";
import { useStore } from "../shared/store";
import { legible, Tok } from "../shared/text";
import type { Heads, Place, Segment, Status, Tokens } from "../source/types";
import { useSpeech } from "../words";
import { GridTable } from "./GridTable";
import { inView } from "./geometry";
import { Inspector } from "./Inspector";
import { type Handle, MapCanvas, type Seen } from "./MapCanvas";
import { Profile } from "./Profile";
import { pictured } from "./picture";
import { SegmentTable } from "./SegmentTable";
import { TokenList } from "./TokenList";
import { hiddenSaid, Legend, Toolbar } from "./Toolbar";
import { Tiles } from "./tiles";

interface Shown {
  status: Status;
  tokens: Tokens;
  heads: Heads;
}

/** A head at any length: parts first, then the map, the tokens, and one pair. */
export function MapView({ status, tokens, heads }: Shown) {
  const { state, change } = useStore();
  const { run } = status;
  const layer = state.layer!;
  const head = state.head!;
  const place = useMemo(() => ({ run, layer, head }), [run, layer, head]);
  const found = useAnswer(`${run}/${layer}/${head}`, (source) => source.head(place));
  const handle = useRef<Handle | null>(null);
  const last = tokens.tokens.length - 1;
  const query = Math.min(last, state.query ?? 0);
  const chosen = Math.min(last, state.key ?? query);
  const go = (rows: Segment, columns: Segment) => {
    change({ query: rows.start, key: columns.start });
    handle.current?.to([rows.start, rows.stop], [columns.start, columns.stop]);
    document.querySelector<HTMLElement>(".map-box")?.focus();
  };
  useKeys({
    "+": () => handle.current?.by(2),
    "=": () => handle.current?.by(2),
    "-": () => handle.current?.by(0.5),
    "/": () => document.getElementById("token-search")?.focus(),
  });
  return (
    <div class="mapping">
      <TokenList tokens={tokens} head={found.value} query={query} />
      <div class="middle">
        {found.error && <Explained error={found.error} />}
        {found.value && <SegmentTable tokens={tokens} head={found.value} onGo={go} />}
        <Picture
          {...{ status, tokens, place, handle, query, chosen }}
          head={found.value}
          key={`${run}/${layer}/${head}`}
        />
        <GridTable place={place} tokens={tokens} />
      </div>
      <div class="aside">
        <Inspector place={place} tokens={tokens} query={query} chosen={chosen} />
        <HeadMatrix heads={heads} />
        {found.value && <Profile head={found.value} />}
      </div>
    </div>
  );
}

interface Drawn {
  status: Status;
  tokens: Tokens;
  place: Place;
  handle: { current: Handle | null };
  head: ReturnType<typeof useAnswer<import("../source/types").Head>>["value"];
  query: number;
  chosen: number;
}

function Picture({ status, tokens, place, handle, head, query, chosen }: Drawn) {
  const { state, change } = useStore();
  const { source } = useAsking();
  const speech = useSpeech();
  const dark = useDark(state.theme);
  const [arrived, arrive] = useState(0);
  const [seen, see] = useState<Seen | null>(null);
  const [pointed, point] = useState<{ query: number; key: number } | null>(null);
  const tiles = useMemo(() => new Tiles(source, place, () => arrive((count) => count + 1)), [source, place]);
  useEffect(() => () => tiles.drop(), [tiles]);
  useFollow(seen, tokens, query, chosen, handle);
  const title = speech.say("layerHead", { layer: place.layer, head: place.head });
  const word = (index: number) => legible(tokens.tokens[index]);
  const label = speech.say("mapLabel", {
    place: title,
    tokens: tokens.tokens.length,
    query: `${query} ${word(query)}`,
    key: `${chosen} ${word(chosen)}`,
  });
  const truth = head && seen ? hiddenSaid(head, tokens, seen, state.hide, speech.say.bind(speech)) : "";
  const notes = [truth, speech.say("weightsAreNot")];
  const name = `regard-map-${place.layer}-${place.head}`;
  const { statistic } = state;
  return (
    <section class="card map" aria-label={speech.say("map")}>
      <div class="bar-line">
        <HeadChoice status={status} />
        <code class="rule">{status.rule[place.layer]}</code>
        <Export of={pictured({ name, title, notes, tokens, tiles, statistic, seen, handle })} />
      </div>
      <Toolbar handle={handle} />
      <MapCanvas
        {...{ label, tiles, arrived, tokens, head, statistic, query, chosen, handle, dark }}
        scale={state.scale}
        table={colours(state.palette)}
        hide={state.hide}
        at={state.at}
        onSeen={(now) => setTimeout(() => see((before) => (same(before, now) ? before : now)))}
        onPair={(i, j) => change({ query: i, key: j })}
        onAt={(at) => change({ at })}
        onPoint={point}
      />
      <Legend head={head} tokens={tokens} seen={seen} />
      <p class="small quiet pointed">
        {pointed ? (
          <>
            {pointed.query} <Tok part="query">{word(pointed.query)}</Tok> → {pointed.key}{" "}
            <Tok part="key">{word(pointed.key)}</Tok>
          </>
        ) : (
          `${speech.say("entropyStrip")} · ${speech.say("receivedStrip")}`
        )}
      </p>
      {tiles.failure && <Explained error={tiles.failure} />}
    </section>
  );
}

const same = (a: Seen | null, b: Seen) => a !== null && JSON.stringify(a) === JSON.stringify(b);

// A pair chosen by keys, by the list or by a link comes into view.
function useFollow(
  seen: Seen | null,
  tokens: Tokens,
  query: number,
  chosen: number,
  handle: { current: Handle | null },
): void {
  const first = useRef(true);
  // Dependencies: the reader may move away; only a new pair calls back
  useEffect(() => {
    if (first.current || !seen) {
      first.current = false;
      return;
    }
    const { rows, columns } = inView(seen.view, tokens.tokens.length);
    const inside = query >= rows[0] && query < rows[1] && chosen >= columns[0] && chosen < columns[1];
    if (!inside) handle.current?.by(1);
  }, [query, chosen]);
}
