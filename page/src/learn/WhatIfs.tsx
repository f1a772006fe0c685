import { digits, percent } from "../shared/numbers";
import { legible, Tok } from "../shared/text";
import type { Changed } from "../source/types";
import { useSpeech } from "../words";

export interface Asked {
  temperature: number;
  unmask: boolean;
  drop: number[];
  silence: boolean;
}

export const unasked: Asked = { temperature: 1, unmask: false, drop: [], silence: false };
export const isAsked = (asked: Asked) =>
  asked.temperature !== 1 || asked.unmask || asked.drop.length > 0 || asked.silence;

interface Panel {
  asked: Asked;
  live: boolean;
  tokens: string[];
  query: number;
  chosen: number;
  answer: Changed | null;
  error: string | null;
  onAsk: (asked: Asked) => void;
}

/** Four changes of the question; the model recomputes what follows. */
export function WhatIfs({ asked, live, tokens, query, chosen, answer, error, onAsk }: Panel) {
  const speech = useSpeech();
  const dropped = asked.drop.includes(chosen);
  const toggle = () =>
    onAsk({ ...asked, drop: dropped ? asked.drop.filter((key) => key !== chosen) : [...asked.drop, chosen] });
  return (
    <section class="card whatif" aria-labelledby="whatif-title">
      <h2 id="whatif-title">{speech.say("whatIf")}</h2>
      <label class="slider">
        <span>
          {speech.say("temperature")}{" "}
          <small>{speech.say("temperatureSay", { temperature: digits(asked.temperature, 3) })}</small>
        </span>
        <input
          type="range"
          min={-2}
          max={2}
          step={0.1}
          value={Math.log2(asked.temperature)}
          aria-valuetext={digits(asked.temperature, 3)}
          onInput={(event) => onAsk({ ...asked, temperature: 2 ** event.currentTarget.valueAsNumber })}
        />
      </label>
      <Check
        label={speech.say("unmask")}
        checked={asked.unmask}
        disabled={!live}
        onCheck={() => onAsk({ ...asked, unmask: !asked.unmask })}
      />
      <Check
        label={speech.show("dropWord", { key: <Tok part="key">{legible(tokens[chosen])}</Tok> })}
        checked={dropped}
        disabled={!live}
        onCheck={toggle}
      />
      <Check
        label={speech.say("silence")}
        checked={asked.silence}
        disabled={!live}
        onCheck={() => onAsk({ ...asked, silence: !asked.silence })}
      />
      {!live && <p class="small quiet">{speech.say("savedWhatIf")}</p>}
      {asked.drop.length > 0 && (
        <p class="small">
          {speech.say("dropped", { words: asked.drop.map((key) => legible(tokens[key])).join(", ") })}
        </p>
      )}
      <div aria-live="polite">
        {error && <p class="error">{error}</p>}
        {answer && <Effect answer={answer} token={legible(tokens[query])} />}
      </div>
      {isAsked(asked) && (
        <button type="button" class="plain" onClick={() => onAsk(unasked)}>
          {speech.say("reset")}
        </button>
      )}
    </section>
  );
}

interface Box {
  label: preact.ComponentChildren;
  checked: boolean;
  disabled: boolean;
  onCheck: () => void;
}

function Check({ label, checked, disabled, onCheck }: Box) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} disabled={disabled} onChange={onCheck} />
      <span>{label}</span>
    </label>
  );
}

function Effect({ answer, token }: { answer: Changed; token: string }) {
  const speech = useSpeech();
  if (!answer.changed) return null;
  const { output, next } = answer.changed;
  const query = <Tok part="query">{token}</Tok>;
  return (
    <>
      {output !== null && (
        <p class="effect">
          {output === 0
            ? speech.show("outputSame", { query })
            : speech.show("outputChanged", {
                query,
                change: (
                  <strong>
                    <data value={output} data-name="changed">
                      {percent(output)}
                    </data>
                  </strong>
                ),
              })}
        </p>
      )}
      {next && <Next next={next} />}
    </>
  );
}

function Next({ next }: { next: { token: string; before: number; after: number }[] }) {
  const speech = useSpeech();
  return (
    <table class="numbers next">
      <thead>
        <tr>
          <th scope="col">{speech.say("nextWord")}</th>
          <th scope="col">{speech.say("before")}</th>
          <th scope="col">{speech.say("after")}</th>
        </tr>
      </thead>
      <tbody>
        {next.map(({ token, before, after }, index) => (
          <tr key={index}>
            <th scope="row">{legible(token)}</th>
            <td>{percent(before)}</td>
            <td>{percent(after)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
