import { useState } from "preact/hooks";
import { Bars } from "../shared/Bars";
import { digits, Number_, percent } from "../shared/numbers";
import { legible, Tok } from "../shared/text";
import type { Steps } from "../source/types";
import { useSpeech } from "../words";
import { Shares } from "./Shares";
import { Step } from "./Step";

export interface Row {
  steps: Steps;
  tokens: string[];
  chosen: number;
  onKey: (key: number) => void;
}

const naive = (scale: number | null, dim: number) =>
  scale !== null && Math.abs(scale * Math.sqrt(dim) - 1) < 1e-5;

/** The six steps from a query and a key to the output, each with its numbers. */
export function StepsList(row: Row) {
  const speech = useSpeech();
  const { q, k } = row.steps;
  return (
    <ol class="steps">
      {q && k ? (
        <>
          <Vectors {...row} q={q} k={k} />
          <Scaled {...row} dim={q.length} />
        </>
      ) : (
        <li class="step quiet">{speech.say("vectorsLeftOut")}</li>
      )}
      <Masked {...row} />
      <Softmax {...row} />
      <Gathered {...row} />
    </ol>
  );
}

function useNames({ steps, tokens, chosen }: Row) {
  return {
    query: <Tok part="query">{legible(tokens[steps.query])}</Tok>,
    key: <Tok part="key">{legible(tokens[chosen])}</Tok>,
  };
}

function Vectors(row: Row & { q: number[]; k: number[][] }) {
  const speech = useSpeech();
  const { steps, chosen, q } = row;
  const names = useNames(row);
  const [at, point] = useState<number | null>(null);
  const k = row.k[chosen]!;
  const products = q.map((value, d) => value * k[d]!);
  const most = Math.max(...q.map(Math.abs), ...k.map(Math.abs));
  const bars = { at, onPoint: point };
  return (
    <>
      <Step number={1} title={speech.say("step1")} say={speech.show("step1Say", { ...names, dim: q.length })}>
        <div class="vectors">
          <var class="query">q</var>
          <Bars values={q} part="query" most={most} label={`q, ${q.length}`} {...bars} />
          <var class="key">k</var>
          <Bars values={k} part="key" most={most} label={`k, ${k.length}`} {...bars} />
        </div>
      </Step>
      <Step number={2} title={speech.say("step2")} say={speech.say("step2Say")}>
        <div class="vectors">
          <var>q k</var>
          <Bars values={products} part="product" label={`q × k, ${products.length}`} {...bars} />
        </div>
        <p class="readout small quiet">
          {at === null
            ? speech.say("dimensionHint")
            : speech.say("dimensionRead", {
                d: at,
                q: digits(q[at]),
                k: digits(k[at]),
                product: digits(products[at]),
              })}
        </p>
        <p class="equation">
          <var class="query">q</var> · <var class="key">k</var> ={" "}
          <Number_ of={steps.dot?.[chosen]} name="dot" />
        </p>
        <Dimensions q={q} k={k} />
      </Step>
    </>
  );
}

function Dimensions({ q, k }: { q: number[]; k: number[] }) {
  const speech = useSpeech();
  return (
    <details>
      <summary>{speech.say("asTable")}</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="q k">
        <table class="numbers" data-name="vectors">
          <thead>
            <tr>
              <th scope="col">d</th>
              <th scope="col">q</th>
              <th scope="col">k</th>
              <th scope="col">q × k</th>
            </tr>
          </thead>
          <tbody>
            {q.map((value, d) => (
              <tr key={d}>
                <th scope="row">{d}</th>
                <td>{digits(value)}</td>
                <td>{digits(k[d])}</td>
                <td>{digits(value * k[d]!)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

// Where a pair is masked out, the library leaves its score at 0; here it is told what it would be.
function scoreOf({ visible, dot, scale, score }: Steps, key: number): number {
  return visible[key] || !dot || scale === null ? score[key]! : dot[key]! * scale;
}

function Scaled({ steps, chosen, dim }: Row & { dim: number }) {
  const speech = useSpeech();
  const score = scoreOf(steps, chosen);
  const product = (steps.dot?.[chosen] ?? Number.NaN) * (steps.scale ?? Number.NaN);
  const capped = Math.abs(product - score) > 1e-3 * Math.max(1, Math.abs(product));
  const plain = naive(steps.scale, dim);
  const say = plain ? speech.say("step3Say") : speech.say("step3Scale", { scale: digits(steps.scale) });
  return (
    <Step number={3} title={speech.say("step3")} say={say}>
      <p class="equation">
        <Number_ of={steps.dot?.[chosen]} />{" "}
        {plain ? (
          <>
            ÷ √{dim} = {digits(steps.dot?.[chosen])} ÷ {digits(Math.sqrt(dim))}
          </>
        ) : (
          <>× {digits(steps.scale)}</>
        )}{" "}
        = {capped && <>{digits(product)} → </>}
        <Number_ of={score} name="score" />
      </p>
      {capped && <p class="small quiet">{speech.say("capped")}</p>}
    </Step>
  );
}

/** score + bias, −∞ where masked. */
export function masked(steps: Steps, key: number): number {
  return steps.visible[key] ? steps.score[key]! + (steps.bias?.[key] ?? 0) : -Infinity;
}

function Masked(row: Row) {
  const speech = useSpeech();
  const { steps, chosen, tokens, onKey } = row;
  const all = tokens.map((_, key) => masked(steps, key));
  const hidden = steps.visible.filter((seen) => !seen).length;
  const names = useNames(row);
  return (
    <Step number={4} title={speech.say("step4")} say={speech.say("step4Say")}>
      <p class="equation">
        <Number_ of={scoreOf(steps, chosen)} />{" "}
        {steps.bias ? (
          <>
            + <Number_ of={steps.bias[chosen]} name="bias" />
          </>
        ) : (
          <span class="note">+ 0 ({speech.say("noBias")})</span>
        )}{" "}
        {steps.visible[chosen] ? "=" : <span class="note">{speech.say("maskedOut")} →</span>}{" "}
        <Number_ of={all[chosen]} name="masked" />
      </p>
      <p class="small quiet">
        {names.key} {speech.say(steps.visible[chosen] ? "visible" : "hiddenPair")};{" "}
        {hidden === 0
          ? speech.say("allVisible")
          : speech.say("someHidden", { count: hidden, all: tokens.length })}
        .
      </p>
      <Bars values={all} part="score" label={speech.say("score")} at={chosen} onChoose={onKey} />
    </Step>
  );
}

function Softmax(row: Row) {
  const speech = useSpeech();
  const { steps, chosen } = row;
  const value = masked(steps, chosen);
  const plain = steps.lse !== null && Math.abs(Math.exp(value - steps.lse) - steps.weights[chosen]!) < 1e-4;
  return (
    <Step number={5} title={speech.say("step5")} say={speech.say(plain ? "step5Say" : "step5Other")}>
      <p class="equation">
        <var>w</var> ={" "}
        {plain && (
          <>
            exp({digits(value)} − <Number_ of={steps.lse} name="lse" />) ={" "}
          </>
        )}
        <Number_ of={steps.weights[chosen]} name="weight" />{" "}
        <span class="note">= {percent(steps.weights[chosen])}</span>
      </p>
      <Shares {...row} />
    </Step>
  );
}

function Gathered(row: Row) {
  const speech = useSpeech();
  const { steps, chosen } = row;
  const names = useNames(row);
  const [at, point] = useState<number | null>(null);
  if (!steps.v || !steps.out) return null;
  const { out } = steps;
  const v = steps.v[chosen]!;
  const weight = steps.weights[chosen]!;
  const shared = v.map((value) => value * weight);
  const most = Math.max(...v.map(Math.abs), ...out.map(Math.abs));
  const bars = { part: "value" as const, most, at, onPoint: point };
  return (
    <Step number={6} title={speech.say("step6")} say={speech.show("step6Say", names)}>
      <div class="vectors">
        <var class="value">v</var>
        <Bars values={v} label="v" {...bars} />
        <var class="value">w v</var>
        <Bars values={shared} label="w × v" {...bars} />
        <var class="value">out</var>
        <Bars values={out} label="Σ w v" {...bars} />
      </div>
      <p class="readout small quiet">
        {at === null
          ? speech.show("ofKey", { weight: percent(weight), key: names.key })
          : `${speech.say("dimension", { d: at })}: v ${digits(v[at])}, w v ${digits(shared[at])}, out ${digits(out[at])}`}
      </p>
      <details>
        <summary>{speech.say("asTable")}</summary>
        <p class="wrapnumbers" data-name="out">
          {out.map((value, d) => (
            <Number_ key={d} of={value} />
          ))}
        </p>
      </details>
    </Step>
  );
}
