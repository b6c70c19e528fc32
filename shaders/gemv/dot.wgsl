// A unit of 16 bytes of a packed row times the values of x that it meets; and the invocation's share of the sum of squares.

var<private> squares: f32;

// Values 4 i .. 4 i + 3 of x, times the gain where the row is normed. Past the end weights are zero.
fn x_at(i: u32) -> vec4<f32> {
    let at = min(i, p.cols / 4u - 1u);
    if NORM {
        return x[at] * gain[at];
    }
    return x[at];
}

// Adds the squares of `count` vec4s of x from i on.
fn add_squares(i: u32, count: u32) {
    if NORM {
        for (var n = i; n < min(i + count, p.cols / 4u); n++) {
            squares += dot(x[n], x[n]);
        }
    }
}

#ifdef F32
const PER_UNIT: u32 = 4u;
fn times_x(unit: vec4<u32>, i: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(unit) * x_at(i);
}
#endif
#ifdef F16
const PER_UNIT: u32 = 8u;
fn times_x(unit: vec4<u32>, i: u32) -> vec4<f32> {
    let low = vec4(unpack2x16float(unit.x), unpack2x16float(unit.y));
    let high = vec4(unpack2x16float(unit.z), unpack2x16float(unit.w));
    return fma(low, x_at(i), high * x_at(i + 1u));
}
#endif
#ifdef INT8
const PER_UNIT: u32 = 16u;
fn bytes(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(vec4(word) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u));
}
fn times_x(unit: vec4<u32>, i: u32) -> vec4<f32> {
    let low = fma(bytes(unit.x), x_at(i), bytes(unit.y) * x_at(i + 1u));
    return low + fma(bytes(unit.z), x_at(i + 2u), bytes(unit.w) * x_at(i + 3u));
}
#endif
#ifdef INT4
const PER_UNIT: u32 = 32u;
fn word_times_x(word: u32, i: u32) -> vec4<f32> {
    let low = vec4<f32>(vec4<i32>(vec4(word) << vec4(28u, 24u, 20u, 16u)) >> vec4(28u));
    let high = vec4<f32>(vec4<i32>(vec4(word) << vec4(12u, 8u, 4u, 0u)) >> vec4(28u));
    return fma(low, x_at(i), high * x_at(i + 1u));
}
fn times_x(unit: vec4<u32>, i: u32) -> vec4<f32> {
    let low = word_times_x(unit.x, i) + word_times_x(unit.y, i + 2u);
    return low + word_times_x(unit.z, i + 4u) + word_times_x(unit.w, i + 6u);
}
#endif

// Scale of unit c of a stored row.
fn scale_of(row: u32, c: u32) -> f32 {
#ifdef SCALED
    let k = c * PER_UNIT;
    let pair = unpack2x16float(scales[scales_of(row, k / 64u, p.units * PER_UNIT / 64u)]);
    return select(pair.x, pair.y, k % 64u >= 32u);
#else
    return 1.0;
#endif
}

fn total(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
