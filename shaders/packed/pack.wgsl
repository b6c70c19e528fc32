// packed/pack: rows as they stand in a file to one of the packed formats. See docs/MATH.md#packed.
//
//   f32, f16: the values      int8, int4: q = round(x / scale), scale = m / t, m the group's value of largest size and t the one of
//   127, 126 .. 64 (int8) or -8, -7.75 .. -6.25 (int4) with the least squared error; blocks of the same kind keep their scales
//
// | @ | name   | access  | type             | shape |
// |---|--------|---------|------------------|--------|
// | 0 | p      | uniform | Params           | |
// | 1 | raw    | read    | array<u32>       | (R, K) numbers of type `source`, or (R, blocks) |
// | 2 | data   | write   | array<vec4<u32>> | (panels, units, 32) |
// | 3 | scales | write   | array<u32>       | (panels, K / 64, 32), if int8 or int4 |
//
// grid: one invocation per row and 64 values, folded.   overrides: WG
#import params
#import grid
#import panel
#import source

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> raw: array<u32>;
@group(0) @binding(2) var<storage, read_write> data: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

// Bits of the nearest f16, ties to even, at most the largest finite one: pack2x16float may round either way.
fn half_bits(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let size = bits & 0x7fffffffu;
    let small = u32(round(abs(v) * 16777216.0));
    let normal = min(((size + 0xfffu + ((size >> 13u) & 1u)) >> 13u) - (112u << 10u), 0x7bffu);
    return ((bits >> 16u) & 0x8000u) | select(normal, small, size < 0x38800000u);
}

#ifdef SCALED
// A scale as it is stored.
fn rounded(scale: f32) -> f32 {
    return unpack2x16float(half_bits(scale)).x;
}

fn inverse(scale: f32) -> f32 {
    return select(0.0, 1.0 / scale, scale != 0.0);
}
#endif

#ifdef INT8
const LEAST = -127.0;
const MOST = 127.0;
const MASK = 255u;
const TRIES = 64u;
const STORED = BLOCKS8;
// Try number n: the largest value becomes 127, 126 .. 64 steps.
fn steps(n: u32) -> f32 {
    return 127.0 - f32(n);
}
#endif
#ifdef INT4
const LEAST = -8.0;
const MOST = 7.0;
const MASK = 15u;
const TRIES = 8u;
const STORED = BLOCKS4;
// The largest value becomes -8, -7.75 .. -6.25 steps.
fn steps(n: u32) -> f32 {
    return 0.25 * f32(n) - 8.0;
}
#endif

#ifdef SCALED
fn step_of(x: f32, inverse: f32) -> f32 {
    return clamp(round(x * inverse), LEAST, MOST);
}

fn four(row: u32, k: u32) -> vec4<f32> {
    return vec4(value(row, k), value(row, k + 1u), value(row, k + 2u), value(row, k + 3u));
}

// Of all numbers so far the one of largest size, the first of equals.
fn larger(most: f32, v: vec4<f32>) -> f32 {
    let a = select(most, v.x, abs(v.x) > abs(most));
    let b = select(a, v.y, abs(v.y) > abs(a));
    let c = select(b, v.z, abs(v.z) > abs(b));
    return select(c, v.w, abs(v.w) > abs(c));
}

// Squared errors, added to those so far.
fn plus(errors: vec4<f32>, x: vec4<f32>, scale: f32, inverse: f32) -> vec4<f32> {
    let off = x - scale * clamp(round(x * inverse), vec4(LEAST), vec4(MOST));
    return fma(off, off, errors);
}

// The scale of the group from k0 on: of all tries the one with the least squared error, the first of equals. The group is in
// variables, not in an array: drivers of the processor would gather from that.
fn scale_of(row: u32, k0: u32) -> f32 {
    if p.source == STORED {
        return select(0.0, block_scale(block_at(row, min(k0, p.cols - 1u))), k0 < p.cols);
    }
    let x0 = four(row, k0);
    let x1 = four(row, k0 + 4u);
    let x2 = four(row, k0 + 8u);
    let x3 = four(row, k0 + 12u);
    let x4 = four(row, k0 + 16u);
    let x5 = four(row, k0 + 20u);
    let x6 = four(row, k0 + 24u);
    let x7 = four(row, k0 + 28u);
    let first = larger(larger(larger(larger(0.0, x0), x1), x2), x3);
    let most = larger(larger(larger(larger(first, x4), x5), x6), x7);
    var best = 0.0;
    var least = 3.0e38;
    for (var n = 0u; n < TRIES; n++) {
        let scale = rounded(most / steps(n));
        let inv = inverse(scale);
        var errors = plus(plus(vec4<f32>(), x0, scale, inv), x1, scale, inv);
        errors = plus(plus(errors, x2, scale, inv), x3, scale, inv);
        errors = plus(plus(errors, x4, scale, inv), x5, scale, inv);
        errors = plus(plus(errors, x6, scale, inv), x7, scale, inv);
        let error = errors.x + errors.y + errors.z + errors.w;
        if error < least {
            least = error;
            best = scale;
        }
    }
    return best;
}

fn quantised(x: f32, inverse: f32) -> u32 {
    return u32(i32(step_of(x, inverse))) & MASK;
}
#endif

// The word of values from k on.
fn word(row: u32, k: u32, inverse: f32) -> u32 {
#ifdef F32
    return bitcast<u32>(value(row, k));
#endif
#ifdef F16
    return half_bits(value(row, k)) | (half_bits(value(row, k + 1u)) << 16u);
#endif
#ifdef SCALED
    var bits = 0u;
    for (var i = 0u; i < PER_WORD; i++) {
        bits |= quantised(value(row, k + i), inverse) << (i * 32u / PER_WORD);
    }
    return bits;
#endif
}

#ifdef F32
const PER_WORD: u32 = 1u;
#endif
#ifdef F16
const PER_WORD: u32 = 2u;
#endif
#ifdef INT8
const PER_WORD: u32 = 4u;
#endif
#ifdef INT4
const PER_WORD: u32 = 8u;
#endif

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let per_unit = 4u * PER_WORD;
    let blocks = p.units * per_unit / 64u;
    let row = i / blocks;
    let block = i % blocks;
    if row >= p.rows {
        return;
    }
    let stored = stored_row(row, p.start, p.step);
    var inverses = vec2(1.0);
#ifdef SCALED
    let pair = vec2(scale_of(row, block * 64u), scale_of(row, block * 64u + 32u));
    inverses = vec2(inverse(pair.x), inverse(pair.y));
    scales[scales_of(stored, block, blocks)] = half_bits(pair.x) | (half_bits(pair.y) << 16u);
#endif
    for (var c = 0u; c < 64u / per_unit; c++) {
        let k = block * 64u + c * per_unit;
        let inv = select(inverses.x, inverses.y, c * per_unit >= 32u);
        let unit = vec4(
            word(row, k, inv),
            word(row, k + PER_WORD, inv),
            word(row, k + 2u * PER_WORD, inv),
            word(row, k + 3u * PER_WORD, inv),
        );
        data[unit_of(stored, k / per_unit, p.units)] = unit;
    }
}
