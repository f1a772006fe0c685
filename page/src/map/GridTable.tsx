import { useAnswer } from "../shared/answer";
import { legible } from "../shared/text";
import type { Place, Tokens } from "../source/types";
import { useSpeech } from "../words";
import { SIDE } from "./geometry";

const MOST = 40;

/** The map of a short text as a table of percents, for those who don't see the picture. */
export function GridTable({ place, tokens }: { place: Place; tokens: Tokens }) {
  const speech = useSpeech();
  const words = tokens.tokens;
  const name = words.length <= MOST ? `grid/${place.run}/${place.layer}/${place.head}` : null;
  const { value } = useAnswer(name, (source) =>
    source.tile(place, { statistic: "mean", zoom: 0, x: 0, y: 0 }, new AbortController().signal),
  );
  if (!value || name === null) return null;
  return (
    <details class="grid-table">
      <summary>{speech.say("asTable")}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={speech.say("gridTable")}>
        <table class="numbers">
          <caption>{speech.say("gridTable")}</caption>
          <thead>
            <tr>
              <th scope="col">{speech.say("queries")}</th>
              {words.map((word, key) => (
                <th key={key} scope="col">
                  {legible(word)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {words.map((word, query) => (
              <tr key={query}>
                <th scope="row">{legible(word)}</th>
                {words.map((_, key) => (
                  <td key={key}>{(100 * value.values[query * SIDE + key]!).toFixed(1)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
