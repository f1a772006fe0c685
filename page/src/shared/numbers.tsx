const MINUS = "−";

/** Four digits that count, plain where that is readable: 12.43, 0.0411, 3.1e−7. */
export function digits(value: number | null | undefined, count = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value < 0 ? `${MINUS}∞` : "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-3 && size < 1e6 ? fixed(value, size, count) : value.toExponential(count - 2);
  return text.replaceAll("-", MINUS);
}

function fixed(value: number, size: number, count: number): string {
  const places = Math.max(0, count - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(places, count + 1));
}

/** A share in percent: 41.1 %. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const hundred = share * 100;
  if (hundred > 0 && hundred < 0.1) return "<0.1 %";
  return `${hundred.toFixed(hundred >= 99.95 ? 0 : 1)} %`;
}

/** A number as shown, and as it is for whoever reads the page by program. */
export function Number_({
  of,
  name,
  count,
}: {
  of: number | null | undefined;
  name?: string;
  count?: number;
}) {
  return (
    <data value={of ?? ""} data-name={name}>
      {digits(of, count)}
    </data>
  );
}
