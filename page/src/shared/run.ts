import { useEffect, useState } from "preact/hooks";
import type { Heads, Status, Tokens } from "../source/types";
import { Lost } from "../source/types";
import { useAnswer, useAsking } from "./answer";

export interface Running {
  status: Status | null;
  tokens: Tokens | null;
  heads: Heads | null;
  error: Error | null;
}

/** One run: how far it is, its tokens as soon as there are any, its heads when all is in. */
export function useRun(run: string | null): Running {
  const { source, lost, again } = useAsking();
  const [status, setStatus] = useState<Status | null>(null);
  const [error, setError] = useState<Error | null>(null);
  // Dependencies: `again` asks once more
  useEffect(() => {
    setStatus(null);
    setError(null);
    if (run === null) return;
    const failed = (reason: Error) => {
      if (reason instanceof Lost) lost();
      setError(reason);
    };
    return source.follow(run, setStatus, failed);
  }, [run, source, again]);
  const current = status?.run === run ? status : null;
  const ready = current?.state === "ready" ? run : null;
  const split = current?.tokens ? run : null;
  const tokens = useAnswer(split && `${split}/tokens`, (from) => from.tokens(split!), false);
  // The heads of the layers seen so far are asked for again with every layer; the last answer stays meanwhile.
  const sofar = current?.layers ? `${run}/heads/${current.layers}/${current.state}` : null;
  const heads = useAnswer(sofar, async (from) => ({ of: run, heads: await from.heads(run!) }));
  return {
    status: current,
    tokens: tokens.value,
    heads: heads.value?.of === run ? heads.value.heads : null,
    error: error ?? tokens.error ?? (ready ? heads.error : null),
  };
}
