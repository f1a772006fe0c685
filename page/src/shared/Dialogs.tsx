import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useSpeech, type Word } from "../words";

interface Box {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** A dialog of the browser's own: it keeps the focus, and Escape closes it. */
function Dialog({ title, onClose, children }: Box) {
  const dialog = useRef<HTMLDialogElement>(null);
  const speech = useSpeech();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onClose={onClose}>
      <h2 id="dialog-title">{title}</h2>
      {children}
      <button type="button" class="plain close" onClick={() => dialog.current?.close()}>
        {speech.say("close")}
      </button>
    </dialog>
  );
}

const keys: [string[], Word][] = [
  [["1", "2", "3"], "keyViews"],
  [["←", "→", "↑", "↓"], "keyArrows"],
  [["[", "]"], "keyHead"],
  [["{", "}"], "keyLayer"],
  [["+", "−"], "keyZoom"],
  [["m"], "keyStatistic"],
  [["s"], "keyHide"],
  [["/"], "keySearch"],
  [["g"], "keyGo"],
  [["?"], "keyHelp"],
];

/** Every key of the page. */
export function Help({ onClose }: { onClose: () => void }) {
  const speech = useSpeech();
  return (
    <Dialog title={speech.say("help")} onClose={onClose}>
      <dl class="keys">
        {keys.map(([names, word]) => (
          <div key={word}>
            <dt>
              {names.map((name) => (
                <kbd key={name}>{name}</kbd>
              ))}
            </dt>
            <dd>{speech.say(word)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

interface Going {
  tokens: number;
  query: number;
  chosen: number;
  onGo: (query: number, key: number) => void;
  onClose: () => void;
}

/** Two numbers: the pair to go to. */
export function GoTo({ tokens, query, chosen, onGo, onClose }: Going) {
  const speech = useSpeech();
  const [to, set] = useState({ query, chosen });
  const within = (value: number) => Math.min(tokens - 1, Math.max(0, Math.round(value) || 0));
  const go = (event: Event) => {
    event.preventDefault();
    onGo(within(to.query), within(to.chosen));
    onClose();
  };
  const field = (label: string, value: number, onSet: (value: number) => void) => (
    <label class="inline">
      {label}
      <input
        type="number"
        min={0}
        max={tokens - 1}
        value={value}
        onInput={(event) => onSet(event.currentTarget.valueAsNumber)}
      />
    </label>
  );
  return (
    <Dialog title={speech.say("goTo")} onClose={onClose}>
      <form class="goto" onSubmit={go}>
        {field(speech.say("goToRow"), to.query, (value) => set({ ...to, query: value }))}
        {field(speech.say("goToColumn"), to.chosen, (value) => set({ ...to, chosen: value }))}
        <button type="submit" class="primary">
          {speech.say("go")}
        </button>
      </form>
    </Dialog>
  );
}
