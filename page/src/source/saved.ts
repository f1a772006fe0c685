import { unpack, unpackBytes } from "./bytes";
import { changed, type Layer, type Packed, scattered, pair, steps, tile } from "./equation";
import type { About, Changed, Head, Heads, Place, Source, Status, TileName, Tokens, WhatIf } from "./types";
import { Refused } from "./types";

/** What a saved page holds: the server's own answers, and q, k, v and the weights of each layer. */
export interface SavedPage {
  about: About;
  run: Status;
  tokens: Tokens;
  heads: Heads;
  head: Record<string, Head>;
  layers: Packed[];
}

/** The numbers saved in the page: all that follows from q, k, v and the weights is worked out here. */
export class Saved implements Source {
  readonly live = false;
  private readonly layers = new Map<number, Layer>();

  constructor(private readonly page: SavedPage) {}

  about = async () => this.page.about;
  status = async (run: string) => this.known(run);
  tokens = async (run: string) => this.known(run) && this.page.tokens;
  heads = async (run: string) => this.known(run) && this.page.heads;
  steps = async (place: Place, query: number) => steps(this.layer(place.layer), place.head, query);
  pair = async (place: Place, query: number, key: number) =>
    pair(this.layer(place.layer), place.head, query, key);
  tile = async (place: Place, name: TileName) => tile(this.layer(place.layer), place.head, name);

  async ask(): Promise<string> {
    throw new Refused(400, "saved");
  }

  async cancel(): Promise<void> {}

  follow(run: string, each: (status: Status) => void, failed: (error: Error) => void): () => void {
    this.status(run).then(each, failed);
    return () => {};
  }

  async head({ layer, head }: Place): Promise<Head> {
    const found = this.page.head[`${layer}/${head}`];
    if (!found) throw new Refused(404, `head ${layer}/${head} is not in this page`);
    return found;
  }

  /** Only a temperature stays within one head; all else needs the model. */
  async whatIf(_run: string, asked: WhatIf): Promise<Changed> {
    if (asked.unmask || asked.drop.length || asked.silence.length) throw new Refused(400, "saved");
    return changed(this.layer(asked.layer), asked);
  }

  private known(run: string): Status {
    if (run !== this.page.run.run) throw new Refused(404, "run");
    return this.page.run;
  }

  private layer(index: number): Layer {
    const known = this.layers.get(index);
    if (known) return known;
    const packed = this.page.layers[index];
    if (!packed) throw new Refused(404, `layer ${index} is not in this page`);
    const layer = unpacked(packed, this.page.run.tokens);
    this.layers.set(index, layer);
    return layer;
  }
}

// What no pair may see is not in the file; one mask may stand for all heads.
function unpacked(packed: Packed, tokens: number): Layer {
  const floats = (text: string | null) => (text === null ? null : unpack(text));
  const weights = unpack(packed.weights);
  const visible = packed.visible === null ? null : perHead(unpackBytes(packed.visible), packed.heads, tokens);
  return {
    ...packed,
    queries: tokens,
    q: floats(packed.q),
    k: floats(packed.k),
    v: floats(packed.v),
    weights: visible ? scattered(weights, visible) : weights,
    lse: floats(packed.lse),
    score: floats(packed.score),
    bias: floats(packed.bias),
    visible,
  };
}

function perHead(visible: Uint8Array, heads: number, tokens: number): Uint8Array {
  if (visible.length === heads * tokens * tokens) return visible;
  const all = new Uint8Array(heads * visible.length);
  for (let head = 0; head < heads; head++) all.set(visible, head * visible.length);
  return all;
}
