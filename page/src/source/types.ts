// What the server answers, name by name.

export interface Model {
  name: string;
  title: string;
  kind: "encoder" | "decoder";
  layers: number;
  heads: number;
  positions: number;
}

export interface About {
  version: string;
  models: Model[];
  limits: { characters: number; tokens: number };
  start: { run: string } | null;
  steps_limit: number;
  tile: number;
  example?: string;
}

export interface Status {
  run: string;
  model: string;
  text_start: string;
  state: "waiting" | "running" | "ready" | "failed" | "cancelled";
  progress: { done: number; total: number; what: string };
  error: string | null;
  tokens: number;
  layers: number;
  heads: number;
  dim: number;
  rule: string[];
  exact: number | null;
}

export interface Segment {
  name: string;
  start: number;
  stop: number;
}

export interface Tokens {
  tokens: string[];
  special: number[];
  glued: number[];
  segments: Segment[];
}

export interface Measure {
  name: string;
  title: string;
  meaning: string;
  low: number;
  high: number;
  values: ((number | null)[] | null)[];
}

export interface Telling {
  layer: number;
  head: number;
  query: number;
  key: number;
  weight?: number;
  kind?: string;
  why: string;
}

export interface Heads {
  layers: number;
  measures: Measure[];
  telling: Telling | null;
}

export interface Head {
  entropy: (number | null)[];
  received: (number | null)[];
  maximum: (number | null)[];
  hidden: { sink: number; diagonal: number };
  segments: (number | null)[][] | null;
  profile: { distance_from: number; distance_to: number; share: number }[];
  sink_keys: number[];
}

export interface Pair {
  weight: number;
  score: number | null;
  rank: number;
  /** How many the query sees. */
  keys: number;
  visible: boolean;
  top: { key: number; weight: number }[];
  uncovered: number;
  entropy: number | null;
}

export interface Steps {
  query: number;
  rule: string;
  scale: number | null;
  q: number[] | null;
  k: number[][] | null;
  v: number[][] | null;
  dot: number[] | null;
  score: number[];
  bias: (number | null)[] | null;
  visible: boolean[];
  lse: number | null;
  weights: number[];
  out: number[] | null;
  weights_all: number[][];
  check: { sum: number; difference: number | null };
}

export interface WhatIf {
  layer: number;
  head: number;
  query: number;
  temperature: number;
  unmask: boolean;
  drop: number[];
  silence: [number, number][];
}

export interface Changed extends Steps {
  before: { weights: number[] };
  changed: {
    output: number | null;
    next: { token: string; before: number; after: number }[] | null;
  } | null;
}

export type Statistic = "mean" | "max";

export interface Tile {
  values: Float32Array;
  exact: boolean;
}

/** One place of one head: what most questions are about. */
export interface Place {
  run: string;
  layer: number;
  head: number;
}

export interface TileName {
  statistic: Statistic;
  zoom: number;
  x: number;
  y: number;
}

/** Where the page's numbers come from: a server that computes, or what was saved in the page itself. */
export interface Source {
  readonly live: boolean;
  about(): Promise<About>;
  ask(text: string, model: string): Promise<string>;
  status(run: string): Promise<Status>;
  follow(run: string, each: (status: Status) => void, failed: (error: Error) => void): () => void;
  cancel(run: string): Promise<void>;
  tokens(run: string): Promise<Tokens>;
  heads(run: string): Promise<Heads>;
  head(place: Place): Promise<Head>;
  pair(place: Place, query: number, key: number): Promise<Pair>;
  steps(place: Place, query: number): Promise<Steps>;
  whatIf(run: string, asked: WhatIf): Promise<Changed>;
  tile(place: Place, name: TileName, signal: AbortSignal): Promise<Tile>;
}

/** The server refused, with its reason. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The server does not answer at all. */
export class Lost extends Error {}
