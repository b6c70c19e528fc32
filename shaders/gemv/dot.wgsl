// Units of 16 bytes of packed rows times the values of x that they meet. Each piece of x is loaded once for four rows.

// Sum of the squares of x that the last panel met; zero without NORM.
var<private> squares: f32;

// Values 4 i .. 4 i + 3 of x, times the gain where the row is normed. Past the end weights are zero.
fn x_at(i: u32) -> vec4<f32> {
    let at = min(i, p.cols / 4u - 1u);
    let v = x[at];
    if NORM {
        squares += select(0.0, dot(v, v), i == at);
        return v * gain[at];
    }
    return v;
}

// PER_UNIT: values in a unit. Piece: the values of x that a unit meets.
#ifdef F32
const PER_UNIT: u32 = 4u;
alias Piece = array<vec4<f32>, 1>;
fn piece(i: u32) -> Piece {
    return Piece(x_at(i));
}
fn times_x(unit: vec4<u32>, v: Piece) -> vec4<f32> {
    return bitcast<vec4<f32>>(unit) * v[0];
}
#endif
#ifdef F16
const PER_UNIT: u32 = 8u;
alias Piece = array<vec4<f32>, 2>;
fn piece(i: u32) -> Piece {
    return Piece(x_at(i), x_at(i + 1u));
}
fn times_x(unit: vec4<u32>, v: Piece) -> vec4<f32> {
    let low = vec4(unpack2x16float(unit.x), unpack2x16float(unit.y));
    let high = vec4(unpack2x16float(unit.z), unpack2x16float(unit.w));
    return fma(low, v[0], high * v[1]);
}
#endif
#ifdef INT8
const PER_UNIT: u32 = 16u;
alias Piece = array<vec4<f32>, 4>;
fn piece(i: u32) -> Piece {
    return Piece(x_at(i), x_at(i + 1u), x_at(i + 2u), x_at(i + 3u));
}
fn bytes(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(vec4(word) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u));
}
fn times_x(unit: vec4<u32>, v: Piece) -> vec4<f32> {
    return fma(bytes(unit.x), v[0], bytes(unit.y) * v[1]) + fma(bytes(unit.z), v[2], bytes(unit.w) * v[3]);
}
#endif
#ifdef INT4
const PER_UNIT: u32 = 32u;
alias Piece = array<vec4<f32>, 8>;
fn piece(i: u32) -> Piece {
    return Piece(x_at(i), x_at(i + 1u), x_at(i + 2u), x_at(i + 3u), x_at(i + 4u), x_at(i + 5u), x_at(i + 6u), x_at(i + 7u));
}
fn low(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(vec4(word) << vec4(28u, 24u, 20u, 16u)) >> vec4(28u));
}
fn high(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(vec4(word) << vec4(12u, 8u, 4u, 0u)) >> vec4(28u));
}
fn times_x(unit: vec4<u32>, v: Piece) -> vec4<f32> {
    var sum = fma(low(unit.x), v[0], high(unit.x) * v[1]);
    sum = fma(low(unit.y), v[2], fma(high(unit.y), v[3], sum));
    sum = fma(low(unit.z), v[4], fma(high(unit.z), v[5], sum));
    return fma(low(unit.w), v[6], fma(high(unit.w), v[7], sum));
}
#endif

// Scale of the values of unit c in a row of a panel. One word has two scales, each of 32 values.
fn scale_of(panel: u32, row: u32, c: u32) -> f32 {
#ifdef SCALED
    let block = c * PER_UNIT / 64u;
    let pair = unpack2x16float(scales[scales_of(panel * PANEL + row, block, p.units * PER_UNIT / 64u)]);
    return select(pair.x, pair.y, c * PER_UNIT % 64u >= 32u);
#else
    return 1.0;
#endif
}

fn total(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Rows r, r + 8, r + 16 and r + 24 of a stored panel, r = lane % 8, times the lane's slice of x.
fn rows_times_x(panel: u32, lane: u32) -> vec4<f32> {
    let r = lane % LANES;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    squares = 0.0;
    // Where all lanes have the same slice, a compiler should know that they load the same x.
    for (var c = select(lane / LANES, 0u, SLICES == 1u); c < p.units; c += SLICES) {
        let v = piece(c * (PER_UNIT / 4u));
        let at = unit_of(panel * PANEL, c, p.units) + r;
        s0 = fma(vec4(scale_of(panel, r, c)), times_x(data[at], v), s0);
        s1 = fma(vec4(scale_of(panel, r + 8u, c)), times_x(data[at + 8u], v), s1);
        s2 = fma(vec4(scale_of(panel, r + 16u, c)), times_x(data[at + 16u], v), s2);
        s3 = fma(vec4(scale_of(panel, r + 24u, c)), times_x(data[at + 24u], v), s3);
    }
    return vec4(total(s0), total(s1), total(s2), total(s3));
}
