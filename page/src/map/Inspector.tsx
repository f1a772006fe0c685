import { useAnswer } from "../shared/answer";
import { Number_, percent } from "../shared/numbers";
import { Explained } from "../shared/problem";
import { useStore } from "../shared/store";
import { legible, surroundings, Tok } from "../shared/text";
import type { Pair, Place, Tokens } from "../source/types";
import { useSpeech } from "../words";

interface Inspected {
  place: Place;
  tokens: Tokens;
  query: number;
  chosen: number;
}

/** One pair: its weight, its place in the row, the text around both, and what else the row looks at. */
export function Inspector({ place, tokens, query, chosen }: Inspected) {
  const speech = useSpeech();
  const name = `${place.run}/${place.layer}/${place.head}/${query}/${chosen}`;
  const { value: pair, error } = useAnswer(name, (source) => source.pair(place, query, chosen));
  return (
    <section class="card inspector" aria-labelledby="inspector-title">
      <h2 id="inspector-title">{speech.say("inspector")}</h2>
      <Around label={speech.say("goToRow")} tokens={tokens} at={query} part="query" />
      <Around label={speech.say("goToColumn")} tokens={tokens} at={chosen} part="key" />
      {error && <Explained error={error} />}
      {pair && <Facts pair={pair} />}
      {pair && <Top pair={pair} tokens={tokens.tokens} query={query} />}
    </section>
  );
}

interface Text {
  label: string;
  tokens: Tokens;
  at: number;
  part: "query" | "key";
}

function Around({ label, tokens, at, part }: Text) {
  const [before, word, after] = surroundings(tokens, at, 6);
  return (
    <p class="around">
      <span class="quiet small">
        {label} {at}
      </span>
      <span dir="auto">
        {before} <Tok part={part}>{word}</Tok>
        {after}
      </span>
    </p>
  );
}

function Facts({ pair }: { pair: Pair }) {
  const speech = useSpeech();
  const { entropy } = pair;
  return (
    <dl class="facts" aria-live="polite">
      <dt>{speech.say("weight")}</dt>
      <dd>
        <strong>
          <Number_ of={pair.weight} name="pair-weight" />
        </strong>{" "}
        <span class="quiet">{percent(pair.weight)}</span>
      </dd>
      <dt>{speech.say("score")}</dt>
      <dd>{pair.visible ? <Number_ of={pair.score} name="pair-score" /> : speech.say("notVisible")}</dd>
      {pair.visible && (
        <>
          <dt>{speech.say("rank")}</dt>
          <dd data-name="pair-rank">{speech.say("ofRow", { rank: pair.rank, keys: pair.keys })}</dd>
        </>
      )}
      {entropy !== null && (
        <>
          <dt>{speech.say("entropy")}</dt>
          <dd>
            <Number_ of={entropy} name="pair-entropy" /> {speech.say("nats")}{" "}
            <span class="quiet small">
              {speech.say("effective", { count: Math.exp(entropy).toFixed(1) })}
            </span>
          </dd>
        </>
      )}
    </dl>
  );
}

function Top({ pair, tokens, query }: { pair: Pair; tokens: string[]; query: number }) {
  const speech = useSpeech();
  const { change } = useStore();
  const most = Math.max(1e-9, ...pair.top.map(({ weight }) => weight));
  return (
    <table class="top-table">
      <caption>
        {speech.show("row", { query: <Tok part="query">{legible(tokens[query])}</Tok> })}: {speech.say("top")}
      </caption>
      <tbody>
        {pair.top.map(({ key, weight }) => (
          <tr key={key}>
            <th scope="row">
              <button type="button" class="plain" dir="auto" onClick={() => change({ key })}>
                {legible(tokens[key])}
              </button>{" "}
              <small class="quiet">{key}</small>
            </th>
            <td class="line">
              <i style={{ width: `${(100 * weight) / most}%` }} />
            </td>
            <td>{percent(weight)}</td>
          </tr>
        ))}
        <tr class="rest">
          <th scope="row">{speech.say("uncovered")}</th>
          <td class="line">
            <i style={{ width: `${(100 * Math.min(pair.uncovered, most)) / most}%` }} />
          </td>
          <td>{percent(pair.uncovered)}</td>
        </tr>
      </tbody>
    </table>
  );
}
