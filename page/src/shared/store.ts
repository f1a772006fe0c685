import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { read, type State, write } from "./state";

const REMEMBERED = ["lang", "theme", "palette"] as const;

/** A part of the state; or, for a step from where the reader is, what makes it of the state that there is by then. */
export type Change = Partial<State> | ((now: State) => Partial<State>);

/** The state, the address that mirrors it, and the change of a part of it. */
export interface Store {
  state: State;
  change: (part: Change) => void;
}

export const Stored = createContext<Store | null>(null);

/** The store that the page provides. */
export function useStore(): Store {
  const store = useContext(Stored);
  if (!store) throw new Error("no store above this component");
  return store;
}

/** The state from the address, changed by the page and by the reader's own links. */
export function useAddress(): Store {
  const [state, setState] = useState(() => ({ ...read(location.hash), ...remembered(location.hash) }));
  useEffect(() => {
    const followed = () => setState({ ...read(location.hash), ...remembered(location.hash) });
    addEventListener("hashchange", followed);
    return () => removeEventListener("hashchange", followed);
  }, []);
  const change = (wanted: Change) =>
    setState((before) => {
      const part = typeof wanted === "function" ? wanted(before) : wanted;
      const after = { ...before, ...part };
      remember(part);
      place(after, before);
      return after;
    });
  return { state, change };
}

// Another view or text is a step that the back button returns from; all else replaces the address.
function place(after: State, before: State): void {
  const step = after.view !== before.view || (before.run !== null && after.run !== before.run);
  try {
    if (step) history.pushState(null, "", write(after));
    else history.replaceState(null, "", write(after));
  } catch {
    // A page within a notebook's frame may have no address of its own; the state is then kept in memory alone.
  }
}

function remembered(hash: string): Partial<State> {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  const found: Record<string, string> = {};
  try {
    for (const name of REMEMBERED) {
      const value = localStorage.getItem(`regard.${name}`);
      if (value && !said.has(name)) found[name] = value;
    }
  } catch {
    // Storage may be closed to a page opened from a file or a frame.
  }
  return found as Partial<State>;
}

function remember(part: Partial<State>): void {
  try {
    for (const name of REMEMBERED) {
      const value = part[name];
      if (value) localStorage.setItem(`regard.${name}`, value);
    }
  } catch {
    // As above.
  }
}
