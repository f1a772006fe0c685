import { digits, Number_, percent } from "../shared/numbers";
import { legible } from "../shared/text";
import { useSpeech } from "../words";
import { masked, type Row } from "./StepsList";

/** All weights of a row as one bar that is full, and as a table. */
export function Shares({ steps, tokens, chosen, onKey }: Row) {
  const speech = useSpeech();
  return (
    <>
      <div class="shares" aria-hidden="true">
        {steps.weights.map((weight, key) => (
          <i
            key={key}
            class={key === chosen ? "at" : ""}
            style={{ flexGrow: weight }}
            title={`${legible(tokens[key])}: ${percent(weight)}`}
            onClick={() => onKey(key)}
          />
        ))}
      </div>
      <details>
        <summary>{speech.say("asTable")}</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label={speech.say("weight")}>
          <table class="numbers" data-name="row">
            <thead>
              <tr>
                <th scope="col">{speech.say("word")}</th>
                <th scope="col">{speech.say("dot")}</th>
                <th scope="col">{speech.say("score")}</th>
                <th scope="col">{speech.say("bias")}</th>
                <th scope="col">exp(… − lse)</th>
                <th scope="col">{speech.say("weight")}</th>
              </tr>
            </thead>
            <tbody>
              {tokens.map((token, key) => (
                <tr key={key} class={key === chosen ? "at" : ""}>
                  <th scope="row">{legible(token)}</th>
                  <td>{digits(steps.dot?.[key])}</td>
                  <td>{digits(steps.score[key])}</td>
                  <td>{steps.visible[key] ? digits(steps.bias?.[key] ?? 0) : speech.say("notVisible")}</td>
                  <td>{digits(steps.lse === null ? null : Math.exp(masked(steps, key) - steps.lse))}</td>
                  <td>
                    <Number_ of={steps.weights[key]} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </>
  );
}
