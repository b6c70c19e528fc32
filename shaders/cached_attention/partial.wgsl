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
// grid: (heads, splits).   overrides: WG, PARTS (1, or so many that PARTS D / 4 <= WG), NORM, SPLIT
#import params
#import reduce

override WG: u32 = 64u;
// Lanes that share the keys of a column.
override PARTS: u32 = 4u;
override NORM: bool = false;
override SPLIT: bool = false;

// Keys whose scores are kept at a time.
const CHUNK: u32 = 1024u;
// Below every real score; its exponential is zero.
const MASKED = -1e30;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> angles: array<f32>;
@group(0) @binding(4) var<storage, read> gains: array<f32>;
@group(0) @binding(5) var<storage, read_write> key: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> value: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

var<workgroup> query_row: array<f32, 128>;
var<workgroup> key_row: array<f32, 128>;
var<workgroup> scores: array<f32, CHUNK>;
var<workgroup> sums: array<vec4<f32>, 128>;

// Component i of the rotated row of qkv that begins at `at`. `which`: 0 a query, 1 a key.
fn turned(at: u32, which: u32, t: u32, i: u32) -> f32 {
    let half = 2u * p.width;
    let angle = (which * p.text + t) * 4u * p.width + 2u * (i % half);
    let other = qkv[at + (i + half) % (2u * half)];
    return qkv[at + i] * angles[angle] + other * select(angles[angle + 1u], -angles[angle + 1u], i < half);
}

// What the norm multiplies a row by.
fn rstd_of(at: u32, which: u32, t: u32, lane: u32) -> f32 {
    var rstd = 1.0;
    if NORM {
        var squares = 0.0;
        for (var i = lane; i < 4u * p.width; i += WG) {
            let v = turned(at, which, t, i);
            squares = fma(v, v, squares);
        }
        rstd = inverseSqrt(reduce_sum(squares, lane) / f32(4u * p.width) + p.eps);
    }
    return rstd;
}

fn gain_of(which: u32, i: u32) -> f32 {
    if NORM { return gains[which * 4u * p.width + i]; }
    return 1.0;
}

fn query_at(i: u32) -> vec4<f32> {
    return vec4(query_row[4u * i], query_row[4u * i + 1u], query_row[4u * i + 2u], query_row[4u * i + 3u]);
}

// The query times four keys whose rows begin there.
fn scores_of(at: vec4<u32>) -> vec4<f32> {
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var i = 0u; i < p.width; i++) {
        let q = query_at(i);
        s0 = fma(q, key[at.x + i], s0);
        s1 = fma(q, key[at.y + i], s1);
        s2 = fma(q, key[at.z + i], s2);
        s3 = fma(q, key[at.w + i], s3);
    }
    let one = vec4(1.0);
    return vec4(dot(s0, one), dot(s1, one), dot(s2, one), dot(s3, one));
}

fn own_score() -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < 4u * p.width; i++) {
        sum = fma(query_row[i], key_row[i], sum);
    }
    return sum;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let share = p.heads / p.groups;
    let g = head / share;
    let d = 4u * p.width;
    let t = min(rows[2], p.text - 1u);
    let new_key = (p.heads + g) * d;
    let new_value = new_key + p.groups * d;
    let query_rstd = rstd_of(head * d, 0u, t, lane);
    let key_rstd = rstd_of(new_key, 1u, t, lane);
    for (var i = lane; i < d; i += WG) {
        query_row[i] = turned(head * d, 0u, t, i) * query_rstd * gain_of(0u, i) * p.scale;
        key_row[i] = turned(new_key, 1u, t, i) * key_rstd * gain_of(1u, i);
    }
    workgroupBarrier();

    // The first part begins with this token, whose row nobody reads from the cache.
    let first_part = group.y == 0u;
    let column0 = g * p.width;
    let step = p.groups * p.width;
    var top = select(MASKED, own_score(), first_part);
    var total = select(0.0, 1.0, first_part);
    for (var slot = lane; slot < PARTS * p.width; slot += WG) {
        let v = new_value + 4u * (slot % p.width);
        let own = vec4(qkv[v], qkv[v + 1u], qkv[v + 2u], qkv[v + 3u]);
        sums[slot] = select(vec4<f32>(), own, first_part && slot < p.width);
        if first_part && slot < p.width && head % share == 0u {
            let k = 4u * slot;
            key[t * step + column0 + slot] = vec4(key_row[k], key_row[k + 1u], key_row[k + 2u], key_row[k + 3u]);
            value[t * step + column0 + slot] = own;
        }
    }

    // The others in the order: earlier text, image.
    let seen = t + select(0u, p.image, t >= rows[1]);
    let each = (seen + p.splits - 1u) / p.splits;
    let begin = min(group.y * each, seen);
    let end = min(begin + each, seen);
    for (var first = begin; first < end; first += CHUNK) {
        let count = min(CHUNK, end - first);
        var high = top;
        for (var k = lane; k < count; k += 4u * WG) {
            let k4 = vec4(k, k + WG, k + 2u * WG, k + 3u * WG);
            let n = vec4(first) + min(k4, vec4(count - 1u));
            let s = scores_of(select(n - vec4(t) + vec4(p.text), n, n < vec4(t)) * step + vec4(column0));
            for (var i = 0u; i < 4u; i++) {
                if k4[i] < count { scores[k4[i]] = s[i]; }
            }
            high = max(high, max(max(s.x, s.y), max(s.z, s.w)));
        }
        high = reduce_max(high, lane);
        let shrink = exp(top - high);
        top = high;
        var weight = 0.0;
        for (var k = lane; k < count; k += WG) {
            scores[k] = exp(scores[k] - high);
            weight += scores[k];
        }
        total = total * shrink + reduce_sum(weight, lane);
        for (var slot = lane; slot < PARTS * p.width; slot += WG) {
            let column = column0 + slot % p.width;
            var sum = sums[slot] * shrink;
            for (var k = select(slot / p.width, 0u, PARTS == 1u); k < count; k += PARTS) {
                let n = first + k;
                sum = fma(vec4(scores[k]), value[select(n - t + p.text, n, n < t) * step + column], sum);
            }
            sums[slot] = sum;
        }
        workgroupBarrier();
    }
    workgroupBarrier();
    for (var i = lane; i < p.width; i += WG) {
        var all = vec4<f32>();
        for (var q = 0u; q < PARTS; q++) {
            all += sums[q * p.width + i];
        }
        if SPLIT {
            let at = (head * p.splits + group.y) * (p.width + 1u);
            y[at + 1u + i] = all;
            if i == 0u { y[at] = vec4(top, total, 0.0, 0.0); }
        } else {
            y[head * p.width + i] = all / total;
        }
    }
}
