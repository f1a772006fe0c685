/** Bytes of base64. */
export function unpackBytes(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
}

/** Numbers of base64 of little-endian float32. */
export function unpack(text: string): Float32Array {
  return new Float32Array(unpackBytes(text).buffer);
}
