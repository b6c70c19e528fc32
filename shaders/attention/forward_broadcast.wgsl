// attention/forward_broadcast: attention/forward on CPU drivers with subgroups of 8. Keys in blocks of eight: each lane loads
// one of them, 16 values at a time, and hands them round.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|-------------------------------|
// | 0 | p     | uniform | Params           | |
// | 1 | rows  | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | q     | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 3 | key   | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 4 | value | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 5 | y     | write   | array<vec4<f32>> | (B, Tq, H, D) |
// | 6 | lse   | write   | array<f32>       | (B, H, Tq) |
//
// grid: one workgroup per (sample, head, 8 queries), folded.   overrides: D4, CACHED
#import params
#import grid
#import place
#import visible
#import sixteen

// A head lies in parts of 16 values; the last may lack up to three vec4s.
#ifdef TO_16
const PARTS = 1u;
#endif
#ifdef TO_64
const PARTS = 4u;
#endif
#ifdef TO_128
const PARTS = 8u;
#endif

// Do queries start later than at zero?
override CACHED: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

// Part c of a head; zeros past its end, where the vec4s are those of another head.
fn part(c: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) -> Sixteen {
    let i = 4u * c;
    let none = vec4<f32>();
    return Sixteen(v0, select(none, v1, i + 1u < D4), select(none, v2, i + 2u < D4), select(none, v3, i + 3u < D4));
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.queries, p.heads);
    let row = row_of(own.b);
    let t = own.row;
    let line = (own.b * p.heads + own.head) * p.queries + t;
    let at = query_at(own.b, t, own.head);
    let kv = key_at(own.b, 0u, group_of(own.head));
#ifdef TO_16
    let parts = 1u;
#else
    // Data, so that drivers do not unroll what follows: eight copies took twice as long to compile.
    let parts = (p.width + 15u) / 16u;
#endif
    var query: array<Sixteen, PARTS>;
    var sum: array<Sixteen, PARTS>;
    for (var c = 0u; c < parts; c++) {
        let i = at + 4u * c;
        query[c] = scaled(part(c, q[i], q[i + 1u], q[i + 2u], q[i + 3u]), p.scale);
        sum[c] = Sixteen();
    }
    var top = MASKED;
    var total = 0.0;
    // Keys that some lane may see: these text keys, then all image keys.
    var text = seen_text(own.first);
    if CACHED && p.causal == 1u {
        // By whole blocks, so that image keys stand in the same ones whatever is seen.
        text = p.text - (p.text - min(row.start + own.first + 8u, p.text)) / 8u * 8u;
    }
    let count = text + p.image;
    for (var block = 0u; block < count; block += 8u) {
        let n = min(block + lane, count - 1u);
        let from_k = kv + key_of(n, text) * p.groups * D4;
        var low = vec4<f32>();
        var high = vec4<f32>();
        for (var c = 0u; c < parts; c++) {
            let i = from_k + 4u * c;
            let k = Sixteen(key[i], key[i + 1u], key[i + 2u], key[i + 3u]);
            low += dots_low(query[c], k);
            high += dots_high(query[c], k);
        }
        let sees_low = sees(row, row.start + t, block, text);
        let sees_high = sees(row, row.start + t, block + 4u, text);
        let score_low = select(vec4(MASKED), low, sees_low);
        let score_high = select(vec4(MASKED), high, sees_high);
        let most = max(score_low, score_high);
        let now = max(top, max(max(most.x, most.y), max(most.z, most.w)));
        let shrink = exp(top - now);
        // The second factor keeps masked scores at zero while everything so far is masked.
        let w_low = exp(score_low - now) * vec4<f32>(sees_low);
        let w_high = exp(score_high - now) * vec4<f32>(sees_high);
        top = now;
        let w = w_low + w_high;
        total = total * shrink + w.x + w.y + w.z + w.w;
        for (var c = 0u; c < parts; c++) {
            let i = from_k + 4u * c;
            let v = Sixteen(value[i], value[i + 1u], value[i + 2u], value[i + 3u]);
            sum[c] = plus_all(scaled(sum[c], shrink), w_low, w_high, v);
        }
    }
    if own.real {
        let inverse = select(0.0, 1.0 / total, total > 0.0);
        for (var c = 0u; c < parts; c++) {
            let mean = scaled(sum[c], inverse);
            let i = 4u * c;
            y[at + i] = mean.a;
            if i + 1u < D4 { y[at + i + 1u] = mean.b; }
            if i + 2u < D4 { y[at + i + 2u] = mean.c; }
            if i + 3u < D4 { y[at + i + 3u] = mean.d; }
        }
        lse[line] = select(-MASKED, top + log(total), total > 0.0);
    }
}
