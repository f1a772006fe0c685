import type { Status } from "../source/types";
import { useSpeech } from "../words";
import { useStore } from "./store";

/** The head that is n places on, over the ends of layers. */
export function stepped(status: Status, layer: number, head: number, by: number) {
  const all = status.layers * status.heads;
  const at = (layer * status.heads + head + by + all) % all;
  return { layer: Math.floor(at / status.heads), head: at % status.heads };
}

/** Layer and head by name, with the next and the previous. */
export function HeadChoice({ status }: { status: Status }) {
  const { state, change } = useStore();
  const speech = useSpeech();
  const layer = state.layer ?? 0;
  const head = state.head ?? 0;
  return (
    <div class="choice">
      <button
        type="button"
        aria-label={speech.say("previousHead")}
        onClick={() => change((now) => stepped(status, now.layer ?? 0, now.head ?? 0, -1))}
      >
        ‹
      </button>
      <Choice
        label={speech.say("layer")}
        count={status.layers}
        value={layer}
        onChoose={(to) => change({ layer: to })}
      />
      <Choice
        label={speech.say("head")}
        count={status.heads}
        value={head}
        onChoose={(to) => change({ head: to })}
      />
      <button
        type="button"
        aria-label={speech.say("nextHead")}
        onClick={() => change((now) => stepped(status, now.layer ?? 0, now.head ?? 0, 1))}
      >
        ›
      </button>
    </div>
  );
}

interface Chosen {
  label: string;
  count: number;
  value: number;
  onChoose: (to: number) => void;
}

function Choice({ label, count, value, onChoose }: Chosen) {
  return (
    <label class="inline">
      {label}
      <select value={value} onChange={(event) => onChoose(Number(event.currentTarget.value))}>
        {Array.from({ length: count }, (_, index) => (
          <option key={index} value={index}>
            {index}
          </option>
        ))}
      </select>
    </label>
  );
}
