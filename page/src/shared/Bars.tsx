interface Columns {
  values: number[];
  part: "query" | "key" | "value" | "product" | "score";
  label: string;
  most?: number;
  at: number | null;
  onPoint?: (index: number | null) => void;
  onChoose?: (index: number) => void;
}

const STEP = 10;
const HEIGHT = 48;

/** Signed numbers as bars up and down from a line; drawn to any width. */
export function Bars({ values, part, label, most, at, onPoint, onChoose }: Columns) {
  const size =
    most ?? Math.max(1e-12, ...values.map((value) => (Number.isFinite(value) ? Math.abs(value) : 0)));
  const signed = values.some((value) => value < 0);
  const zero = signed ? HEIGHT / 2 : HEIGHT;
  const reach = signed ? HEIGHT / 2 : HEIGHT;
  const width = values.length * STEP;
  return (
    <svg
      class={`bars ${part}`}
      viewBox={`0 0 ${width} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
      onMouseLeave={() => onPoint?.(null)}
    >
      {values.map((value, index) => {
        const tall = Number.isFinite(value) ? (Math.abs(value) / size) * reach : 0;
        return (
          <g
            key={index}
            class={index === at ? "at" : ""}
            onMouseEnter={() => onPoint?.(index)}
            onClick={() => onChoose?.(index)}
          >
            <rect class="reach" x={index * STEP} y={0} width={STEP} height={HEIGHT} />
            <rect
              class={value < 0 ? "less" : "more"}
              x={index * STEP + 1}
              y={value < 0 ? zero : zero - tall}
              width={STEP - 2}
              height={tall}
            />
          </g>
        );
      })}
      <line x1={0} x2={width} y1={zero} y2={zero} />
    </svg>
  );
}
