// cached_attention/partial: one query of one head against a part of the cached keys. See docs/MATH.md#cached_attention.
//
// The query and the key of this token are rotated and, if NORM, normed head by head; the key and its value are stored in row t.
// Text keys 0 .. t are seen, and all image keys if t >= offset. Without SPLIT there is one part and y is the result; with it,
// y has for each head and part: maximum, sum of exponentials, two unused, weighted sum of values.
//
// | @ | name   | access  | type             | shape |
// |---|--------|---------|------------------|--------|
// | 0 | p      | uniform | Params           | |
// | 1 | rows   | read    | array<u32>       | (3): length, offset, start t |
// | 2 | qkv    | read    | array<f32>       | (H D + 2 G D): q, k, v |
// | 3 | angles | read    | array<f32>       | (2, text, D): queries', then keys' (cos, sin) |
// | 4 | gains  | read    | array<f32>       | (2, D): queries', then keys', if NORM |
// | 5 | key    | update  | array<vec4<f32>> | (text + image, G D) |
// | 6 | value  | update  | array<vec4<f32>> | (text + image, G D) |
// | 7 | y      | write   | array<vec4<f32>> | (H, D), or (H, splits, 4 + D) |
//
// grid: (heads, splits).   overrides: WG (at least 64), D4, NORM, SPLIT
#import params
#import reduce

override WG: u32 = 64u;
override D4: u32 = 16u;
override NORM: bool = false;
override SPLIT: bool = false;

// Below every real score; its exponential is zero.
const MASKED = -1e30;
// Floats of the widest head.
const WIDEST: u32 = 128u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> angles: array<f32>;
@group(0) @binding(4) var<storage, read> gains: array<f32>;
@group(0) @binding(5) var<storage, read_write> key: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> value: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

var<workgroup> query_row: array<vec4<f32>, 32>;
var<workgroup> key_row: array<vec4<f32>, 32>;
var<workgroup> turned: array<f32, WIDEST>;
var<workgroup> weights: array<f32, WG>;
var<workgroup> sums: array<vec4<f32>, WG>;

// Rotates and norms D values of qkv from `at` on into `turned`. `which`: 0 a query, 1 a key.
fn turn(at: u32, which: u32, t: u32, lane: u32) {
    let half = 2u * D4;
    let d = 4u * D4;
    let i = min(lane, half - 1u);
    let angle = (which * p.text + t) * d + 2u * i;
    let low = qkv[at + i];
    let high = qkv[at + half + i];
    var a = low * angles[angle] - high * angles[angle + 1u];
    var b = high * angles[angle] + low * angles[angle + 1u];
    if NORM {
        let squares = reduce_sum(select(0.0, a * a + b * b, lane < half), lane);
        let rstd = inverseSqrt(squares / f32(d) + p.eps);
        a *= rstd * gains[which * d + i];
        b *= rstd * gains[which * d + half + i];
    }
    workgroupBarrier();
    if lane < half {
        turned[i] = a;
        turned[half + i] = b;
    }
    workgroupBarrier();
}

fn turned_at(i: u32) -> vec4<f32> {
    return vec4(turned[4u * i], turned[4u * i + 1u], turned[4u * i + 2u], turned[4u * i + 3u]);
}

fn score(at: u32) -> f32 {
    var sum = vec4<f32>();
    for (var i = 0u; i < D4; i++) {
        sum = fma(query_row[i], key[at + i], sum);
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

fn own_score() -> f32 {
    var sum = vec4<f32>();
    for (var i = 0u; i < D4; i++) {
        sum = fma(query_row[i], key_row[i], sum);
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let g = head / (p.heads / p.groups);
    let d = 4u * D4;
    let t = rows[2];
    let step = p.groups * D4;
    let new_value = (p.heads + p.groups + g) * d;
    turn(head * d, 0u, t, lane);
    if lane < D4 { query_row[lane] = turned_at(lane) * p.scale; }
    turn((p.heads + g) * d, 1u, t, lane);
    if lane < D4 { key_row[lane] = turned_at(lane); }
    workgroupBarrier();
    if head % (p.heads / p.groups) == 0u && group.y == 0u && lane < D4 {
        let v = new_value + 4u * lane;
        key[t * step + g * D4 + lane] = key_row[lane];
        value[t * step + g * D4 + lane] = vec4(qkv[v], qkv[v + 1u], qkv[v + 2u], qkv[v + 3u]);
    }

    // Keys in the order: earlier text, image, this token.
    let seen = t + select(0u, p.image, t >= rows[1]) + 1u;
    let share = (seen + p.splits - 1u) / p.splits;
    let begin = min(group.y * share, seen);
    let end = min(begin + share, seen);
    let parts = WG / D4;
    let part = lane / D4;
    let column = lane % D4;
    var top = MASKED;
    var total = 0.0;
    var sum = vec4<f32>();
    for (var first = begin; first < end; first += WG) {
        let n = first + lane;
        var s = MASKED;
        if n < end {
            if n + 1u == seen {
                s = own_score();
            } else {
                s = score(select(n - t + p.text, n, n < t) * step + g * D4);
            }
        }
        let high = max(top, reduce_max(s, lane));
        let shrink = exp(top - high);
        let weight = select(0.0, exp(s - high), n < end);
        top = high;
        total = total * shrink + reduce_sum(weight, lane);
        weights[lane] = weight;
        workgroupBarrier();
        sum *= shrink;
        if part < parts {
            for (var k = part; k < min(WG, end - first); k += parts) {
                let m = first + k;
                if m + 1u == seen {
                    let v = new_value + 4u * column;
                    sum = fma(vec4(weights[k]), vec4(qkv[v], qkv[v + 1u], qkv[v + 2u], qkv[v + 3u]), sum);
                } else {
                    sum = fma(vec4(weights[k]), value[select(m - t + p.text, m, m < t) * step + g * D4 + column], sum);
                }
            }
        }
        workgroupBarrier();
    }
    sums[lane] = select(vec4<f32>(), sum, part < parts);
    workgroupBarrier();
    if lane < D4 {
        var all = vec4<f32>();
        for (var q = 0u; q < parts; q++) {
            all += sums[q * D4 + lane];
        }
        if SPLIT {
            let at = (head * p.splits + group.y) * (D4 + 1u);
            y[at + 1u + lane] = all;
            if lane == 0u { y[at] = vec4(top, total, 0.0, 0.0); }
        } else {
            y[head * D4 + lane] = all / total;
        }
    }
}
