import type {
  About,
  Changed,
  Head,
  Heads,
  Pair,
  Place,
  Source,
  Status,
  Steps,
  Tile,
  TileName,
  Tokens,
  WhatIf,
} from "./types";
import { Lost, Refused } from "./types";

const KEPT = 400;

/** A server that computes; every address is relative to the page, so that its token stays in the path. */
export class Live implements Source {
  readonly live = true;
  private readonly kept = new Map<string, Promise<unknown>>();

  about = () => this.once<About>("api/about");
  status = (run: string) => get<Status>(`api/runs/${run}`);
  tokens = (run: string) => this.once<Tokens>(`api/runs/${run}/tokens`);
  heads = (run: string) => get<Heads>(`api/runs/${run}/heads`);
  head = (place: Place) => this.once<Head>(address(place, "heads"));
  pair = (place: Place, query: number, key: number) =>
    this.once<Pair>(`${address(place, "pairs")}/${query}/${key}`);
  steps = (place: Place, query: number) => this.once<Steps>(`${address(place, "steps")}/${query}`);
  whatIf = (run: string, asked: WhatIf) => post<Changed>(`api/runs/${run}/whatif`, asked);

  async ask(text: string, model: string): Promise<string> {
    return (await post<{ run: string }>("api/runs", { text, model })).run;
  }

  async cancel(run: string): Promise<void> {
    await answered(`api/runs/${run}`, { method: "DELETE" });
  }

  follow(run: string, each: (status: Status) => void, failed: (error: Error) => void): () => void {
    const events = new EventSource(`api/runs/${run}/events`);
    events.onmessage = (event) => {
      const status = JSON.parse(event.data) as Status;
      if (["ready", "failed", "cancelled"].includes(status.state)) events.close();
      each(status);
    };
    // An event source only says that something failed; a plain question tells what.
    events.onerror = () => {
      events.close();
      this.status(run).then(each, failed);
    };
    return () => events.close();
  }

  async tile(place: Place, { statistic, zoom, x, y }: TileName, signal: AbortSignal): Promise<Tile> {
    const answer = await answered(`${address(place, "tiles")}/${statistic}/${zoom}/${x}/${y}`, { signal });
    const values = new Float32Array(await answer.arrayBuffer());
    return { values, exact: answer.headers.get("Regard-Exact") !== "sampled" };
  }

  private once<T>(path: string): Promise<T> {
    const known = this.kept.get(path) as Promise<T> | undefined;
    if (known) return known;
    const asked = get<T>(path);
    this.kept.set(path, asked);
    asked.catch(() => this.kept.delete(path));
    const oldest = this.kept.keys().next().value;
    if (this.kept.size > KEPT && oldest !== undefined) this.kept.delete(oldest);
    return asked;
  }
}

const address = ({ run, layer, head }: Place, what: string) => `api/runs/${run}/${what}/${layer}/${head}`;

async function get<T>(path: string): Promise<T> {
  return (await answered(path, {})).json() as Promise<T>;
}

async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return (await answered(path, { method: "POST", headers, body: JSON.stringify(body) })).json() as Promise<T>;
}

async function answered(path: string, options: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Lost("no answer");
  }
  if (!answer.ok) throw new Refused(answer.status, await reason(answer));
  return answer;
}

async function reason(answer: Response): Promise<string> {
  try {
    const { error } = (await answer.json()) as { error?: string };
    return error ?? answer.statusText;
  } catch {
    return answer.statusText || String(answer.status);
  }
}
