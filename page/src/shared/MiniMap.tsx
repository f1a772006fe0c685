import { useEffect, useRef } from "preact/hooks";
import { useSpeech } from "../words";
import { colours, position, type Scale, scaleOf, shade } from "./colour";
import { Range } from "./Range";
import { useStore } from "./store";

interface Mini {
  weights: (number | null)[][];
  visible?: boolean[][];
  query: number;
  chosen: number;
  onPair: (query: number, key: number) => void;
}

/** The whole head in small: rows look, columns are looked at; the row told is framed. */
export function MiniMap({ weights, query, chosen, onPair }: Mini) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { state } = useStore();
  const speech = useSpeech();
  const n = weights.length;
  useEffect(() => {
    if (canvas.current) paint(canvas.current, weights, scaleOf(n, state.scale, 1), colours(state.palette));
  }, [weights, n, state.scale, state.palette]);
  const clicked = (event: MouseEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    const at = (value: number, size: number) => Math.min(n - 1, Math.max(0, Math.floor((value / size) * n)));
    onPair(at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width));
  };
  const share = 100 / n;
  const scale = scaleOf(n, state.scale, 1);
  return (
    <>
      <div class="mini">
        <canvas
          ref={canvas}
          width={n}
          height={n}
          role="img"
          aria-label={speech.say("minimapSay")}
          onClick={clicked}
        />
        <i class="frame-row" style={{ top: `${query * share}%`, height: `${share}%` }} />
        <i
          class="frame-pair"
          style={{
            top: `${query * share}%`,
            left: `${chosen * share}%`,
            height: `${share}%`,
            width: `${share}%`,
          }}
        />
      </div>
      <p class="small quiet scale-line">
        <Range low={scale.log ? scale.low : 0} high={1} /> {speech.say("weight")}
      </p>
    </>
  );
}

function paint(
  canvas: HTMLCanvasElement,
  weights: (number | null)[][],
  scale: Scale,
  table: Uint8ClampedArray,
) {
  const n = weights.length;
  const image = new ImageData(n, n);
  weights.forEach((row, i) => {
    row.forEach((weight, j) => {
      if (!weight) return;
      const at = shade(position(weight, scale)) * 3;
      image.data.set([table[at]!, table[at + 1]!, table[at + 2]!, 255], 4 * (i * n + j));
    });
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
