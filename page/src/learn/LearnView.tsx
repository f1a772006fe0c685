import { useEffect, useState } from "preact/hooks";
import { useAnswer, useAsking } from "../shared/answer";
import { Export } from "../shared/export";
import { HeadChoice } from "../shared/HeadChoice";
import { HeadMatrix } from "../shared/HeadMatrix";
import { MiniMap } from "../shared/MiniMap";
import { Number_, percent } from "../shared/numbers";
import { Explained } from "../shared/problem";
import { useStore } from "../shared/store";
import { TokenStrip } from "../shared/TokenStrip";
import { legible, Tok } from "../shared/text";
import type { Heads, Status, Steps, Tokens } from "../source/types";
import { type Speech, useSpeech } from "../words";
import { pictured } from "./picture";
import { StepsList } from "./StepsList";
import { type Asked, isAsked, unasked, WhatIfs } from "./WhatIfs";

export interface Shown {
  status: Status;
  tokens: Tokens;
  heads: Heads;
}

/** One query of a short text, from its vectors to its output. */
export function LearnView({ status, tokens, heads }: Shown) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const place = { run: status.run, layer: state.layer!, head: state.head! };
  const query = Math.min(state.query!, tokens.tokens.length - 1);
  const found = useAnswer(`${place.run}/${place.layer}/${place.head}/${query}`, (source) =>
    source.steps(place, query),
  );
  const what = useWhatIf(status.run, place.layer, place.head, query);
  const steps = what.answer.value ?? found.value;
  const [pointed, point] = useState<number | null>(null);
  if (found.error) return <Explained error={found.error} />;
  if (!steps) return <p class="wait">{speech.say("looking")}</p>;
  const chosen = pointed ?? state.key ?? largest(steps.weights);
  const words = tokens.tokens;
  const title = sentence(speech, words, steps, place);
  return (
    <div class="learn">
      <section class="card told" aria-labelledby="told-title">
        <h2 id="told-title" class="sentence" aria-live="polite">
          {spoken(speech, words, steps, place)}
        </h2>
        <TokenStrip
          tokens={words}
          special={tokens.special}
          glued={tokens.glued}
          weights={steps.weights}
          before={what.answer.value?.before.weights}
          visible={steps.visible}
          query={query}
          chosen={chosen}
          onQuery={(to) => change({ query: to, key: null })}
          onKey={(to) => change({ key: to })}
          onPoint={point}
        />
        <p class="quiet how">{speech.say("how")}</p>
        <Why heads={heads} />
      </section>
      <div class="columns">
        <section class="card" aria-label={speech.say("rule")}>
          <div class="bar-line">
            <code class="rule">{steps.rule}</code>
            <Export of={pictured(`regard-row-${place.layer}-${place.head}-${query}`, title, words, steps)} />
          </div>
          <StepsList steps={steps} tokens={words} chosen={chosen} onKey={(to) => change({ key: to })} />
          <CheckLine steps={steps} asked={what.asked} exact={status.exact} />
        </section>
        <div class="aside">
          <WhatIfs {...what.panel} tokens={words} query={query} chosen={chosen} answer={what.answer.value} />
          <section class="card" aria-labelledby="mini-title">
            <h2 id="mini-title">{speech.say("minimap")}</h2>
            <HeadChoice status={status} />
            <MiniMap
              weights={steps.weights_all}
              query={query}
              chosen={chosen}
              onPair={(i, j) => change({ query: i, key: j })}
            />
            <p class="quiet small">{speech.say("minimapSay")}</p>
          </section>
          <HeadMatrix heads={heads} />
        </div>
      </div>
    </div>
  );
}

export function largest(weights: number[]): number {
  return weights.reduce((best, weight, key) => (weight > weights[best]! ? key : best), 0);
}

// What is asked is forgotten with the head or the query it was asked of; a slider asks when it rests.
function useWhatIf(run: string, layer: number, head: number, query: number) {
  const { source } = useAsking();
  const speech = useSpeech();
  const [asked, ask] = useState<Asked>(unasked);
  const [rested, rest] = useState<Asked>(unasked);
  // Dependencies: a new place is what resets
  useEffect(() => {
    ask(unasked);
    rest(unasked);
  }, [run, layer, head]);
  useEffect(() => {
    const timer = setTimeout(() => rest(asked), 150);
    return () => clearTimeout(timer);
  }, [asked]);
  const name = isAsked(asked) && isAsked(rested) ? JSON.stringify([run, layer, head, query, rested]) : null;
  const silence: [number, number][] = rested.silence ? [[layer, head]] : [];
  const answer = useAnswer(
    name,
    (from) => from.whatIf(run, { layer, head, query, ...rested, silence }),
    name !== null,
  );
  const refused = answer.error?.message === "saved" ? speech.say("savedWhatIf") : answer.error?.message;
  return { asked, answer, panel: { asked, live: source.live, error: refused ?? null, onAsk: ask } };
}

interface Where {
  layer: number;
  head: number;
}

function spoken(speech: Speech, words: string[], steps: Steps, { layer, head }: Where) {
  const key = largest(steps.weights);
  const weight = steps.weights[key]!;
  if (weight === 0) {
    return speech.show("sentenceNone", {
      layer,
      head,
      query: <Tok part="query">{legible(words[steps.query])}</Tok>,
    });
  }
  return speech.show(key === steps.query ? "sentenceSelf" : "sentence", {
    layer,
    head,
    query: <Tok part="query">{legible(words[steps.query])}</Tok>,
    key: <Tok part="key">{legible(words[key])}</Tok>,
    weight: <strong>{percent(weight)}</strong>,
  });
}

function sentence(speech: Speech, words: string[], steps: Steps, { layer, head }: Where): string {
  const key = largest(steps.weights);
  const blanks = { layer, head, query: legible(words[steps.query]), key: legible(words[key]) };
  return speech.say("sentence", { ...blanks, weight: percent(steps.weights[key]) });
}

function Why({ heads }: { heads: Heads }) {
  const { state, change } = useStore();
  const speech = useSpeech();
  if (!heads.telling) return null;
  const { layer, head, query, key, kind, why } = heads.telling;
  const there = state.layer === layer && state.head === head && state.query === query;
  if (there) {
    return (
      <p class="quiet small">
        {speech.say("chosenBecause")} {kind ? speech.known("why_", kind, why) : why}
      </p>
    );
  }
  return (
    <p class="small">
      <button type="button" class="plain" onClick={() => change({ layer, head, query, key })}>
        ↩ {speech.say("backToTelling")}: {speech.say("layerHead", { layer, head })}
      </button>
    </p>
  );
}

function CheckLine({ steps, asked, exact }: { steps: Steps; asked: Asked; exact: number | null }) {
  const speech = useSpeech();
  const { sum, difference } = steps.check;
  const good = Math.abs(sum - 1) < 1e-4 || sum === 0;
  return (
    <p class="checkline">
      <span aria-hidden="true">{good ? "✓" : "!"}</span> {speech.say("check")}:{" "}
      {speech.show("checkSum", {
        sum: (
          <data value={sum} data-name="sum">
            {sum.toFixed(6)}
          </data>
        ),
      })}
      ;{" "}
      {difference === null || isAsked(asked)
        ? speech.say("checkNoDifference")
        : speech.show("checkDifference", { difference: <Number_ of={difference} name="difference" /> })}
      {exact !== null && !isAsked(asked) && (
        <>; {speech.show("checkExact", { difference: <Number_ of={exact} name="exact" /> })}</>
      )}
      .
    </p>
  );
}
