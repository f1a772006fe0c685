import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { Source } from "../source/types";
import { Lost } from "../source/types";

/** The source, and what to do when it is gone. */
export interface Asking {
  source: Source;
  lost: () => void;
  again: number;
}

export const Asked = createContext<Asking | null>(null);

export function useAsking(): Asking {
  const asking = useContext(Asked);
  if (!asking) throw new Error("no source above this component");
  return asking;
}

export interface Answer<T> {
  value: T | null;
  error: Error | null;
  waiting: boolean;
}

/** What a question is answered, asked again whenever its name changes; the last answer stays until the next is in. */
export function useAnswer<T>(
  name: string | null,
  ask: (source: Source) => Promise<T>,
  keep = true,
): Answer<T> {
  const { source, lost, again } = useAsking();
  const [answer, setAnswer] = useState<Answer<T> & { name: string | null }>({ ...nothing, name: null });
  // Dependencies: the name stands for the question
  useEffect(() => {
    if (name === null) return setAnswer({ ...nothing, name });
    let current = true;
    setAnswer((before) => ({ value: keep ? before.value : null, error: null, waiting: true, name }));
    ask(source).then(
      (value) => current && setAnswer({ value, error: null, waiting: false, name }),
      (error: Error) => {
        if (!current) return;
        if (error instanceof Lost) lost();
        setAnswer({ value: null, error, waiting: false, name });
      },
    );
    return () => {
      current = false;
    };
  }, [name, source, again]);
  return keep || answer.name === name ? answer : { ...nothing, waiting: name !== null };
}

const nothing = { value: null, error: null, waiting: false };
