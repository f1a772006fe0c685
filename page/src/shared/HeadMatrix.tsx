import { useEffect, useRef } from "preact/hooks";
import type { Heads, Measure } from "../source/types";
import { useSpeech } from "../words";
import { colours, css, ink } from "./colour";
import { digits } from "./numbers";
import { Range } from "./Range";
import { useStore } from "./store";

/** Layers × heads as a table of squares, coloured by a measure; one click shows another head. */
export function HeadMatrix({ heads }: { heads: Heads }) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const measure = heads.measures.find(({ name }) => name === state.measure) ?? heads.measures[0];
  if (!measure) return null;
  return (
    <section class="card heads" aria-labelledby="heads-title">
      <h2 id="heads-title">{speech.say("heads")}</h2>
      <p class="quiet small">{speech.say("headsSay")}</p>
      <label class="field">
        <span>{speech.say("measure")}</span>
        <select value={measure.name} onChange={(event) => change({ measure: event.currentTarget.value })}>
          {heads.measures.map(({ name, title }) => (
            <option key={name} value={name}>
              {speech.known("m_", name, title)}
            </option>
          ))}
        </select>
      </label>
      {measure.meaning && <p class="quiet small">{speech.known("d_", measure.name, measure.meaning)}</p>}
      <Squares measure={measure} />
      <Range low={measure.low} high={measure.high} />
    </section>
  );
}

function Squares({ measure }: { measure: Measure }) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const columns = Math.max(...measure.values.map((row) => row?.length ?? 0));
  const box = useRef<HTMLDivElement>(null);
  // The chosen head is in sight within its own box; the page itself stays where it is.
  useEffect(() => {
    const chosen = box.current?.querySelector<HTMLElement>('[aria-pressed="true"]');
    if (box.current && chosen) box.current.scrollTop = chosen.offsetTop - box.current.clientHeight / 2;
  }, [state.layer, measure.values.length]);
  const to = (layer: number, head: number) => {
    if (measure.values[layer]?.[head] === undefined) return;
    change({ layer, head });
    requestAnimationFrame(() => document.getElementById(`head-${layer}-${head}`)?.focus());
  };
  const moved = (event: KeyboardEvent, layer: number, head: number) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    to(layer + by[0]!, head + by[1]!);
  };
  return (
    <div class="scroll" ref={box}>
      <table class="squares">
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">{speech.say("layer")}</span>
            </th>
            {Array.from({ length: columns }, (_, head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {measure.values.map((row, layer) => (
            <tr key={layer}>
              <th scope="row">{layer}</th>
              {(row ?? []).map((value, head) => {
                const chosen = layer === state.layer && head === state.head;
                const colour = square(measure, value);
                return (
                  <td key={head}>
                    <button
                      type="button"
                      id={`head-${layer}-${head}`}
                      aria-pressed={chosen}
                      tabIndex={chosen ? 0 : -1}
                      aria-label={`${speech.say("layerHead", { layer, head })}: ${digits(value, 3)}`}
                      title={`${speech.say("layerHead", { layer, head })}: ${digits(value, 3)}`}
                      style={colour}
                      onClick={() => change({ layer, head })}
                      onKeyDown={(event) => moved(event, layer, head)}
                    />
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function square(measure: Measure, value: number | null) {
  const { palette } = useStore().state;
  if (value === null) return { background: "transparent", color: "inherit" };
  const t = (value - measure.low) / (measure.high - measure.low || 1);
  const table = colours(palette);
  return { background: css(table, t), color: ink(table, t) };
}
