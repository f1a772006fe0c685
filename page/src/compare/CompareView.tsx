import { useEffect, useState } from "preact/hooks";
import { AskBar } from "../shared/AskBar";
import { useAsking } from "../shared/answer";
import { csv, Export, type Exported } from "../shared/export";
import { HeadChoice } from "../shared/HeadChoice";
import { digits } from "../shared/numbers";
import { Progress } from "../shared/Progress";
import { Explained } from "../shared/problem";
import { type Running, useRun } from "../shared/run";
import { useStore } from "../shared/store";
import type { About, Heads, Status, Tokens } from "../source/types";
import { useSpeech } from "../words";
import { bothDrawn } from "./picture";
import { Side } from "./Side";

interface Shown {
  about: About;
  status: Status;
  tokens: Tokens;
  heads: Heads;
  text: string;
  onRun: (run: string, text: string) => void;
}

/** The same head of two runs, side by side, and what it does in each. */
export function CompareView({ about, status, tokens, heads, text, onRun }: Shown) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const other = useRun(state.other);
  const [typed, setTyped] = useState<string | null>(null);
  const begin = (run: string, asked: string) => {
    setTyped(asked);
    change({ other: run });
  };
  useContrast(about, text, status.model, begin);
  const left: Running = { status, tokens, heads, error: null };
  return (
    <div class="comparing">
      <div class="bar-line">
        <p class="lead">{speech.say("compareSay")}</p>
        <HeadChoice status={status} />
        <Export of={exported(left, other, state.layer!, state.head!)} />
      </div>
      <div class="sides">
        <section class="card" aria-labelledby="left-title">
          <h2 id="left-title">{speech.say("left")}</h2>
          <AskBar
            about={about}
            text={text}
            model={status.model}
            name="left"
            hint={status.text_start}
            onRun={onRun}
          />
          <Side {...left} about={about} shared />
        </section>
        <section class="card" aria-labelledby="right-title">
          <h2 id="right-title">{speech.say("right")}</h2>
          <AskBar
            about={about}
            text={typed ?? (state.other ? (other.status?.text_start ?? "") : text)}
            model={other.status?.model ?? status.model}
            name="right"
            hint={other.status?.text_start}
            onRun={begin}
          />
          <Other {...other} about={about} />
        </section>
      </div>
      <Measures left={heads} right={other.heads} />
    </div>
  );
}

function Other(other: Running & { about: About }) {
  const { state } = useStore();
  const { source } = useAsking();
  const speech = useSpeech();
  if (other.error) return <Explained error={other.error} />;
  if (!state.other) return <p class="quiet">{speech.say(source.live ? "chooseBoth" : "savedAsk")}</p>;
  if (other.status?.state !== "ready" || !other.heads?.telling || !other.tokens)
    return <Progress status={other.status} />;
  return <Side {...other} shared={false} />;
}

// On the first visit the right side shows the example with another last word: "it" is then another thing.
function useContrast(about: About, text: string, model: string, begin: (run: string, text: string) => void) {
  const { state } = useStore();
  const { source } = useAsking();
  useEffect(() => {
    const offered = about.models.some(({ name }) => name === model);
    if (state.other || !source.live || !about.example || !offered) return;
    const contrast = text === about.example ? text.replace("tired", "wide") : about.example;
    source.ask(contrast, model).then(
      (run) => begin(run, contrast),
      () => {},
    );
  }, []);
}

const at = (heads: Heads | null, name: string, layer: number, head: number) =>
  heads?.measures.find((measure) => measure.name === name)?.values[layer]?.[head] ?? null;

function Measures({ left, right }: { left: Heads; right: Heads | null }) {
  const { state } = useStore();
  const speech = useSpeech();
  const layer = state.layer!;
  const head = state.head!;
  return (
    <section class="card" aria-labelledby="does-title">
      <h2 id="does-title">{speech.say("ofThisHead")}</h2>
      <div class="scroll">
        <table class="numbers measures">
          <thead>
            <tr>
              <th scope="col">{speech.say("measure")}</th>
              <th scope="col">{speech.say("left")}</th>
              <th scope="col">{speech.say("right")}</th>
              <th scope="col">{speech.say("difference")}</th>
            </tr>
          </thead>
          <tbody>
            {left.measures.map(({ name, title }) => {
              const [a, b] = [at(left, name, layer, head), at(right, name, layer, head)];
              return (
                <tr key={name}>
                  <th scope="row">{speech.known("m_", name, title)}</th>
                  <td>{digits(a)}</td>
                  <td>{digits(b)}</td>
                  <td>{digits(a === null || b === null ? null : b - a)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function exported(left: Running, right: Running, layer: number, head: number): Exported {
  const rows = (left.heads?.measures ?? []).map(({ name }) => [
    name,
    at(left.heads, name, layer, head),
    at(right.heads, name, layer, head),
  ]);
  return {
    name: `regard-compare-${layer}-${head}`,
    svg: () => bothDrawn(`${layer} / ${head}`),
    csv: () => csv([["measure", "left", "right"], ...rows]),
  };
}
