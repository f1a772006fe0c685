import type { Place, Source, Tile, TileName } from "../source/types";
import { Lost } from "../source/types";

const KEPT = 200;

/** Tiles by name: asked for when wanted, given up when no longer, the longest unseen forgotten. */
export class Tiles {
  private readonly kept = new Map<string, Tile>();
  private readonly underWay = new Map<string, AbortController>();
  failure: Error | null = null;

  constructor(
    private readonly source: Source,
    private readonly place: Place,
    private readonly changed: () => void,
  ) {}

  /** The tile if it is here. */
  at(name: TileName): Tile | null {
    const label = named(name);
    const tile = this.kept.get(label);
    if (!tile) return null;
    this.kept.delete(label);
    this.kept.set(label, tile);
    return tile;
  }

  /** From now on these are wanted, and no others. */
  want(names: TileName[]): void {
    const labels = new Set(names.map(named));
    for (const [label, control] of this.underWay) if (!labels.has(label)) control.abort();
    for (const name of names)
      if (!this.kept.has(named(name)) && !this.underWay.has(named(name))) this.fetch(name);
  }

  get waiting(): number {
    return this.underWay.size;
  }

  drop(): void {
    for (const control of this.underWay.values()) control.abort();
  }

  private async fetch(name: TileName): Promise<void> {
    const label = named(name);
    const control = new AbortController();
    this.underWay.set(label, control);
    try {
      this.kept.set(label, await this.source.tile(this.place, name, control.signal));
      for (const oldest of this.kept.keys()) {
        if (this.kept.size <= KEPT) break;
        this.kept.delete(oldest);
      }
    } catch (error) {
      if (!control.signal.aborted) this.failure = error instanceof Error ? error : new Lost(String(error));
    } finally {
      if (this.underWay.get(label) === control) this.underWay.delete(label);
      if (!control.signal.aborted) this.changed();
    }
  }
}

const named = ({ statistic, zoom, x, y }: TileName) => `${statistic}/${zoom}/${x}/${y}`;
