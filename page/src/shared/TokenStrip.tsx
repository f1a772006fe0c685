import { useSpeech } from "../words";
import { percent } from "./numbers";
import { legible } from "./text";

interface Strip {
  tokens: string[];
  special: number[];
  glued: number[];
  weights: number[];
  before?: number[] | undefined;
  visible?: boolean[] | undefined;
  query: number;
  chosen: number;
  onQuery: (query: number) => void;
  onKey: (key: number) => void;
  onPoint?: (key: number | null) => void;
}

const MANY = 24;

/** The text as it stands, with a bar above each word: how much of the query's attention it gets. */
export function TokenStrip(strip: Strip) {
  const most = Math.max(1e-9, ...strip.weights, ...(strip.before ?? []));
  return (
    <div
      class={`strip${strip.tokens.length > MANY ? " dense" : ""}`}
      onMouseLeave={() => strip.onPoint?.(null)}
    >
      {strip.tokens.map((_, index) => (
        <Place key={index} strip={strip} index={index} most={most} />
      ))}
    </div>
  );
}

function Place({ strip, index, most }: { strip: Strip; index: number; most: number }) {
  const speech = useSpeech();
  const { query, chosen } = strip;
  const token = strip.tokens[index]!;
  const weight = strip.weights[index] ?? 0;
  const before = strip.before?.[index];
  const masked = strip.visible?.[index] === false;
  const word = legible(token);
  const names = [
    "place",
    index === query && "query",
    index === chosen && "key",
    masked && "masked",
    strip.special.includes(index) && "special",
    (strip.glued.includes(index) || token.startsWith("##")) && "joined",
  ];
  return (
    <span class={names.filter(Boolean).join(" ")} onMouseEnter={() => strip.onPoint?.(index)}>
      <button
        type="button"
        class="bar"
        tabIndex={index === chosen ? 0 : -1}
        aria-pressed={index === chosen}
        aria-label={`${speech.say("goToColumn")}: ${word}, ${masked ? speech.say("notVisible") : percent(weight)}`}
        onClick={() => strip.onKey(index)}
      >
        <span class="share">
          {masked ? "×" : weight >= 0.0995 || index === chosen ? percent(weight) : ""}
        </span>
        {before !== undefined && <i class="ghost" style={{ height: `${(100 * before) / most}%` }} />}
        <i class="fill" style={{ height: `${(100 * weight) / most}%` }} />
      </button>
      <button
        type="button"
        class="word"
        dir="auto"
        tabIndex={index === query ? 0 : -1}
        aria-pressed={index === query}
        aria-label={`${speech.say("goToRow")}: ${word}`}
        onClick={() => strip.onQuery(index)}
      >
        {word.replace(/^##/, "")}
      </button>
    </span>
  );
}
