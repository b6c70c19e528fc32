// Values of a word of packed data; `scale` belongs to them (1 for f32 and f16).
#ifdef F32
const PER_WORD: u32 = 1u;
fn decoded(word: u32, i: u32, scale: f32) -> f32 {
    return bitcast<f32>(word);
}
#endif
#ifdef F16
const PER_WORD: u32 = 2u;
fn decoded(word: u32, i: u32, scale: f32) -> f32 {
    let both = unpack2x16float(word);
    return select(both.x, both.y, i == 1u);
}
#endif
#ifdef INT8
const PER_WORD: u32 = 4u;
fn decoded(word: u32, i: u32, scale: f32) -> f32 {
    return scale * f32(extractBits(bitcast<i32>(word), 8u * i, 8u));
}
#endif
#ifdef INT4
const PER_WORD: u32 = 8u;
fn decoded(word: u32, i: u32, scale: f32) -> f32 {
    return scale * f32(extractBits(bitcast<i32>(word), 4u * i, 4u));
}
#endif

#ifdef SCALED
// Scale of value k of a stored row.
fn scale_at(row: u32, k: u32) -> f32 {
    let pair = unpack2x16float(scales[scales_of(row, k / 64u, p.units * PER_WORD / 16u)]);
    return select(pair.x, pair.y, k / 32u % 2u == 1u);
}
#endif
#ifndef SCALED
fn scale_at(row: u32, k: u32) -> f32 {
    return 1.0;
}
#endif
