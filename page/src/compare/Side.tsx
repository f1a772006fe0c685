import { useState } from "preact/hooks";
import { largest } from "../learn/LearnView";
import { useAnswer } from "../shared/answer";
import { MiniMap } from "../shared/MiniMap";
import { percent } from "../shared/numbers";
import { Explained } from "../shared/problem";
import type { Running } from "../shared/run";
import { useStore } from "../shared/store";
import { TokenStrip } from "../shared/TokenStrip";
import { legible, Tok } from "../shared/text";
import type { About, Place, Tokens } from "../source/types";
import { useSpeech } from "../words";

interface Half extends Running {
  about: About;
  shared: boolean;
}

/** One side: the head's row on its own text. The left one is where the reader is; the right one has its own place. */
export function Side({ status, tokens, heads, about, shared }: Half) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const [own, setOwn] = useState<{ query: number | null; key: number | null }>({ query: null, key: null });
  if (!status || !tokens || !heads) return null;
  const layer = state.layer!;
  const head = state.head!;
  if (layer >= status.layers || head >= status.heads)
    return <p class="quiet">{speech.say("noSuchHead", { layer, head })}</p>;
  const here = shared ? state : own;
  const go = shared ? change : (to: Partial<typeof own>) => setOwn({ ...own, ...to });
  const query = Math.min(
    tokens.tokens.length - 1,
    here.query ?? likely(tokens, state.query, heads.telling?.query ?? 0),
  );
  const place = { run: status.run, layer, head };
  const long = tokens.tokens.length > about.steps_limit;
  const View = long ? LongRow : ShortRow;
  return <View {...{ place, tokens, query, chosen: here.key, go }} key={status.run} />;
}

// The same place in the other text, if it is as long; else where its own head is most telling.
const likely = (tokens: Tokens, query: number | null, telling: number) =>
  query !== null && query < tokens.tokens.length ? query : telling;

interface Row {
  place: Place;
  tokens: Tokens;
  query: number;
  chosen: number | null;
  go: (to: { query?: number; key?: number | null }) => void;
}

function ShortRow({ place, tokens, query, chosen, go }: Row) {
  const speech = useSpeech();
  const name = `${place.run}/${place.layer}/${place.head}/${query}`;
  const { value: steps, error } = useAnswer(name, (source) => source.steps(place, query));
  if (error) return <Explained error={error} />;
  if (!steps || steps.weights.length !== tokens.tokens.length)
    return <p class="wait">{speech.say("looking")}</p>;
  const most = largest(steps.weights);
  return (
    <>
      <Mostly tokens={tokens} query={query} chosen={most} weight={steps.weights[most]!} />
      <TokenStrip
        tokens={tokens.tokens}
        special={tokens.special}
        glued={tokens.glued}
        weights={steps.weights}
        visible={steps.visible}
        query={query}
        chosen={chosen ?? most}
        onQuery={(to) => go({ query: to, key: null })}
        onKey={(to) => go({ key: to })}
      />
      <MiniMap
        weights={steps.weights_all}
        query={query}
        chosen={chosen ?? most}
        onPair={(i, j) => go({ query: i, key: j })}
      />
    </>
  );
}

// Too long for every number: the words most looked at.
function LongRow({ place, tokens, query, chosen, go }: Row) {
  const speech = useSpeech();
  const name = `pair/${place.run}/${place.layer}/${place.head}/${query}/${chosen}`;
  const { value: pair, error } = useAnswer(name, (source) => source.pair(place, query, chosen ?? query));
  if (error) return <Explained error={error} />;
  if (!pair) return <p class="wait">{speech.say("looking")}</p>;
  const [first] = pair.top;
  return (
    <>
      {first && <Mostly tokens={tokens} query={query} chosen={first.key} weight={first.weight} />}
      <table class="numbers">
        <caption>{speech.say("top")}</caption>
        <tbody>
          {pair.top.map(({ key, weight }) => (
            <tr key={key}>
              <th scope="row">
                <button type="button" class="plain" onClick={() => go({ query: key })}>
                  {legible(tokens.tokens[key])} {key}
                </button>
              </th>
              <td>{percent(weight)}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">{speech.say("uncovered")}</th>
            <td>{percent(pair.uncovered)}</td>
          </tr>
        </tbody>
      </table>
    </>
  );
}

interface Found {
  tokens: Tokens;
  query: number;
  chosen: number;
  weight: number;
}

function Mostly({ tokens, query, chosen, weight }: Found) {
  const speech = useSpeech();
  return (
    <p class="mostly">
      <Tok part="query">{legible(tokens.tokens[query])}</Tok>{" "}
      {speech.show("maxAt", {
        key: <Tok part="key">{legible(tokens.tokens[chosen])}</Tok>,
        weight: percent(weight),
      })}
    </p>
  );
}
