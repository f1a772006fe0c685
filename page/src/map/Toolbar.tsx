import { percent } from "../shared/numbers";
import { Range } from "../shared/Range";
import type { State } from "../shared/state";
import { useStore } from "../shared/store";
import { legible } from "../shared/text";
import type { Head, Tokens } from "../source/types";
import { useSpeech, type Word } from "../words";
import type { Handle, Seen } from "./MapCanvas";

interface Bar {
  handle: { current: Handle | null };
}

/** What the map shows of each cell, and how. */
export function Toolbar({ handle }: Bar) {
  const { state, change } = useStore();
  const speech = useSpeech();
  return (
    <div class="toolbar">
      <Either label="statistic" field="statistic" options={["mean", "max"]} />
      <Either label="scale" field="scale" options={["log", "linear"]} />
      <label class="inline">
        {speech.say("palette")}
        <select
          value={state.palette}
          onChange={(event) => change({ palette: event.currentTarget.value as State["palette"] })}
        >
          <option value="viridis">viridis</option>
          <option value="cividis">cividis</option>
        </select>
      </label>
      <label class="check">
        <input type="checkbox" checked={state.hide} onChange={() => change({ hide: !state.hide })} />
        <span>{speech.say("hide")}</span>
      </label>
      <fieldset class="joined" aria-label="zoom">
        <button type="button" aria-label={speech.say("zoomOut")} onClick={() => handle.current?.by(0.5)}>
          −
        </button>
        <button type="button" aria-label={speech.say("zoomIn")} onClick={() => handle.current?.by(2)}>
          +
        </button>
        <button type="button" onClick={() => handle.current?.all()}>
          {speech.say("zoomAll")}
        </button>
      </fieldset>
    </div>
  );
}

interface Pick {
  label: Word;
  field: "statistic" | "scale";
  options: readonly ("mean" | "max" | "log" | "linear")[];
}

function Either({ label, field, options }: Pick) {
  const { state, change } = useStore();
  const speech = useSpeech();
  return (
    <fieldset class="joined" aria-label={speech.say(label)}>
      {options.map((option) => (
        <button
          key={option}
          type="button"
          aria-pressed={state[field] === option}
          onClick={() => change({ [field]: option })}
        >
          {speech.say(option)}
        </button>
      ))}
    </fieldset>
  );
}

interface Truth {
  head: Head | null;
  tokens: Tokens;
  seen: Seen | null;
}

/** How far the picture can be trusted: exact or sampled, what is hidden, what a cell is, what a colour means. */
export function Legend({ head, tokens, seen }: Truth) {
  const { state } = useStore();
  const speech = useSpeech();
  if (!head || !seen) return <div class="legend">{speech.say("looking")}</div>;
  return (
    <div class="legend">
      <span class="badge" title={speech.say(seen.exact ? "exactSay" : "sampledSay")}>
        {speech.say(seen.exact ? "exact" : "sampled")}
      </span>
      <Range low={seen.scale.log ? seen.scale.low : 0} high={seen.scale.high} />
      <span>
        {speech.say(seen.cell === 1 ? "weight" : state.statistic === "mean" ? "cellMean" : "cellMax")},{" "}
        {seen.cell === 1 ? speech.say("onePair") : speech.say("cell", { cell: seen.cell })}
      </span>
      {seen.waiting && <span>{speech.say("looking")}</span>}
      <span data-name="hidden">{hiddenSaid(head, tokens, seen, state.hide, speech.say.bind(speech))}</span>
    </div>
  );
}

type Say = (word: Word, blanks?: Record<string, string | number>) => string;

/** "46 % hidden: sink 40 % ([CLS]), diagonal 6 %". */
export function hiddenSaid(head: Head, tokens: Tokens, seen: Seen, hide: boolean, say: Say): string {
  const { sink, diagonal } = head.hidden;
  const share = percent(sink + diagonal);
  if (!hide) return say("hiddenNo", { share });
  const words = head.sink_keys.map((key) => legible(tokens.tokens[key])).join(", ");
  const shares = { sink: percent(sink), words, diagonal: percent(diagonal) };
  const detail = say(words ? "hiddenDetail" : "hiddenDetailNone", shares);
  const around = seen.cell > 1 ? `, ${say("hiddenCells", { cell: seen.cell })}` : "";
  return `${say("hiddenSay", { share })}: ${detail}${around}`;
}
