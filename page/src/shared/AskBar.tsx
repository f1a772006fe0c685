import { useEffect, useState } from "preact/hooks";
import type { About } from "../source/types";
import { Lost } from "../source/types";
import { useSpeech } from "../words";
import { useAsking } from "./answer";
import { Explained } from "./problem";

interface Bar {
  about: About;
  text: string;
  model: string;
  name: string;
  hint?: string | undefined;
  onRun: (run: string, text: string) => void;
}

/** A text, a model, and the button that asks: the first thing on the page. */
export function AskBar({ about, text: given, model: from, name, hint, onRun }: Bar) {
  const { source, lost } = useAsking();
  const speech = useSpeech();
  const [text, setText] = useState(given);
  const [model, setModel] = useState(from);
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  useEffect(() => setText(given), [given]);
  useEffect(() => setModel(from), [from]);
  const ask = async (event?: Event) => {
    event?.preventDefault();
    setAsking(true);
    setError(null);
    try {
      onRun(await source.ask(text, model), text);
    } catch (reason) {
      if (reason instanceof Lost) lost();
      setError(reason as Error);
    }
    setAsking(false);
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
  };
  return (
    <form class="ask" onSubmit={ask}>
      <label class="text">
        <span>{speech.say("text")}</span>
        <textarea
          name={`${name}-text`}
          rows={Math.min(4, 1 + Math.floor(text.length / 90))}
          placeholder={hint?.replace(/\s+/g, " ").slice(0, 90) || speech.say("textHint")}
          value={text}
          spellcheck={false}
          readOnly={!source.live}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={pressed}
        />
      </label>
      <label class="model">
        <span>{speech.say("model")}</span>
        <select
          name={`${name}-model`}
          value={model}
          disabled={!source.live}
          onChange={(event) => setModel(event.currentTarget.value)}
        >
          {about.models.map(({ name: each, title }) => (
            <option key={each} value={each}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {source.live && (
        <button type="submit" class="primary" disabled={asking}>
          {speech.say(asking ? "looking" : "look")}
        </button>
      )}
      {error && <Explained error={error} />}
    </form>
  );
}
