import { select } from "d3-selection";
import { type D3ZoomEvent, type ZoomBehavior, zoom, zoomIdentity } from "d3-zoom";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Colours, type Scale, scaleOf } from "../shared/colour";
import { colourNamed } from "../shared/export";
import { useSize } from "../shared/media";
import type { Head, Statistic, Tokens } from "../source/types";
import { useSpeech } from "../words";
import { cellSide, tilesIn, type View, zoomFor } from "./geometry";
import { hiddenAt, type Picture, paint } from "./paint";
import { largestIn } from "./shading";
import type { Tiles } from "./tiles";

/** What the map lets others do with it. */
export interface Handle {
  by: (factor: number) => void;
  all: () => void;
  to: (rows: [number, number], columns: [number, number]) => void;
  canvas: () => HTMLCanvasElement | null;
}

/** What is seen now: the size of cells, the ends of colours, exact or not. */
export interface Seen {
  zoom: number;
  cell: number;
  scale: Scale;
  exact: boolean;
  waiting: boolean;
  view: View;
}

interface Canvas {
  label: string;
  tiles: Tiles;
  arrived: number;
  tokens: Tokens;
  head: Head | null;
  statistic: Statistic;
  scale: "log" | "linear";
  table: Colours;
  hide: boolean;
  dark: boolean;
  query: number;
  chosen: number;
  at: string | null;
  handle: { current: Handle | null };
  onSeen: (seen: Seen) => void;
  onPair: (query: number, key: number) => void;
  onAt: (at: string) => void;
  onPoint: (pair: { query: number; key: number } | null) => void;
}

/** The map of one head: dragged, zoomed and clicked; painted from tiles. */
export function MapCanvas(props: Canvas) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const speech = useSpeech();
  const { view, behaviour } = useZoom(props, canvas, size);
  usePaint(props, canvas, view);
  useHandle(props, canvas, behaviour, view);
  const pair = (event: MouseEvent) => {
    const { left, top } = canvas.current!.getBoundingClientRect();
    if (!view) return null;
    const query = Math.floor((event.clientY - top - view.y) / view.k);
    const key = Math.floor((event.clientX - left - view.x) / view.k);
    const n = props.tokens.tokens.length;
    return query >= 0 && key >= 0 && query < n && key < n ? { query, key } : null;
  };
  const clicked = (event: MouseEvent) => {
    const found = pair(event);
    if (found) props.onPair(found.query, found.key);
  };
  return (
    <div
      class="map-box"
      ref={box}
      tabIndex={0}
      role="application"
      aria-roledescription={speech.say("map")}
      aria-label={props.label}
    >
      <canvas
        ref={canvas}
        aria-hidden="true"
        onClick={clicked}
        onMouseMove={(event) => props.onPoint(pair(event))}
        onMouseLeave={() => props.onPoint(null)}
      />
    </div>
  );
}

type Size = { width: number; height: number };
type Zooming = ZoomBehavior<HTMLCanvasElement, unknown>;

function margins({ width }: Size) {
  return width > 520 ? { left: 112, top: 92 } : { left: 58, top: 44 };
}

function useZoom(
  { tokens, at, onAt }: Canvas,
  canvas: { current: HTMLCanvasElement | null },
  size: Size,
): { view: View | null; behaviour: { current: Zooming | null } } {
  const [transform, setTransform] = useState(zoomIdentity);
  const behaviour = useRef<Zooming | null>(null);
  const known = useRef(false);
  const n = tokens.tokens.length;
  // Dependencies: set up again for another size or text alone
  useEffect(() => {
    if (!canvas.current || size.width === 0) return;
    const { left, top } = margins(size);
    const fit = Math.min((size.width - left) / n, (size.height - top) / n);
    const made = zoom<HTMLCanvasElement, unknown>()
      .extent([
        [left, top],
        [size.width, size.height],
      ])
      .translateExtent([
        [0, 0],
        [n, n],
      ])
      .scaleExtent([fit, Math.max(40, fit)])
      .on("zoom", (event: D3ZoomEvent<HTMLCanvasElement, unknown>) => setTransform(event.transform))
      .on("end", (event: D3ZoomEvent<HTMLCanvasElement, unknown>) => {
        const { k, x, y } = event.transform;
        const middle = [((size.width + left) / 2 - x) / k, ((size.height + top) / 2 - y) / k];
        if (known.current) onAt([...middle.map((value) => value.toFixed(1)), k.toPrecision(4)].join("_"));
        known.current = true;
      });
    behaviour.current = made;
    const chosen = select(canvas.current).call(made).on("dblclick.zoom", null);
    const [column, row, k] = at?.split("_").map(Number) ?? [n / 2, n / 2, fit];
    made.scaleTo(chosen, k || fit);
    made.translateTo(chosen, column || 0, row || 0);
    return () => {
      chosen.on(".zoom", null);
      known.current = false;
    };
  }, [n, size.width, size.height]);
  if (size.width === 0) return { view: null, behaviour };
  const { left, top } = margins(size);
  const { k, x, y } = transform;
  return { view: { left, top, width: size.width - left, height: size.height - top, k, x, y }, behaviour };
}

function usePaint(props: Canvas, canvas: { current: HTMLCanvasElement | null }, view: View | null): void {
  const { tiles, tokens, statistic, onSeen } = props;
  const n = tokens.tokens.length;
  useLayoutEffect(() => {
    const element = canvas.current;
    if (!view || !element || view.k * n < 2) return;
    const ratio = devicePixelRatio || 1;
    fitted(element, view, ratio);
    const level = zoomFor(n, view.k * ratio);
    const wanted = [{ zoom: 0, x: 0, y: 0 }, ...tilesIn(view, n, level)].map((each) => ({
      ...each,
      statistic,
    }));
    tiles.want(wanted);
    const { scale, exact } = shownBy(props, wanted.slice(1), level);
    const picture: Picture = { ...props, view, zoom: level, scale, page: pageColours() };
    paint(element.getContext("2d")!, picture);
    onSeen({ zoom: level, cell: cellSide(n, level), scale, exact, waiting: tiles.waiting > 0, view });
  });
}

function fitted(element: HTMLCanvasElement, view: View, ratio: number): void {
  const width = Math.round((view.left + view.width) * ratio);
  const height = Math.round((view.top + view.height) * ratio);
  if (element.width !== width) element.width = width;
  if (element.height !== height) element.height = height;
}

function shownBy(
  props: Canvas,
  names: { zoom: number; x: number; y: number; statistic: Statistic }[],
  level: number,
) {
  const hidden = hiddenAt(props, level);
  let high = 0;
  let exact = true;
  for (const name of names) {
    const tile = props.tiles.at(name);
    if (!tile) continue;
    high = Math.max(high, largestIn(tile, name, hidden));
    exact = exact && tile.exact;
  }
  return { scale: scaleOf(props.tokens.tokens.length, props.scale, high || 1), exact };
}

function pageColours(): Picture["page"] {
  const of = (name: string) => colourNamed(`--${name}`);
  return {
    ink: of("ink"),
    quiet: of("quiet"),
    paper: of("paper"),
    line: of("line"),
    query: of("query"),
    key: of("key"),
    font: of("sans"),
  };
}

function useHandle(
  props: Canvas,
  canvas: { current: HTMLCanvasElement | null },
  behaviour: { current: Zooming | null },
  view: View | null,
): void {
  const n = props.tokens.tokens.length;
  const on = (
    act: (made: Zooming, chosen: ReturnType<typeof select<HTMLCanvasElement, unknown>>) => void,
  ) => {
    if (canvas.current && behaviour.current) act(behaviour.current, select(canvas.current));
  };
  props.handle.current = {
    canvas: () => canvas.current,
    all: () => on((made, chosen) => made.scaleTo(chosen, 0)),
    by: (factor) =>
      on((made, chosen) => {
        made.scaleBy(chosen, factor);
        made.translateTo(chosen, props.chosen + 0.5, props.query + 0.5);
      }),
    to: (rows, columns) =>
      on((made, chosen) => {
        if (!view) return;
        const size = Math.max(rows[1] - rows[0], columns[1] - columns[0], 8);
        made.scaleTo(chosen, Math.min(view.width, view.height) / Math.min(n, size));
        made.translateTo(chosen, (columns[0] + columns[1]) / 2, (rows[0] + rows[1]) / 2);
      }),
  };
}
