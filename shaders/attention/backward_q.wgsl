// attention/backward_q: gradient of the queries; scores are recomputed.
//
//   w = exp(score - lse)        ds = w * (dy · v - delta)        dq = sum over keys of ds * k / sqrt D
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|-------------------------------|
// | 0 | p     | uniform | Params           | |
// | 1 | rows  | read    | array<u32>       | (B, 3): length, offset, start |
// | 2 | q     | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 3 | key   | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 4 | value | read    | array<vec4<f32>> | (B, T + N, G, D) |
// | 5 | dy    | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 6 | stats | read    | array<vec2<f32>> | (B, H, Tq): lse, delta |
// | 7 | dq    | write   | array<vec4<f32>> | (B, Tq, H, D) |
//
// grid: one workgroup per (sample, head, WG queries), folded.   overrides: WG, D4 (D / 4)
#import params
#import grid
#import place
#import visible

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.queries, p.heads);
    let row = row_of(own.b);
    let t = own.row;
    let line = (own.b * p.heads + own.head) * p.queries + t;
    let at = query_at(own.b, t, own.head);
    let kv = key_at(own.b, 0u, group_of(own.head));
    let step = p.groups * D4;
    let stat = stats[line];
    var query: array<vec4<f32>, D4MAX>;
    var above: array<vec4<f32>, D4MAX>;
    var sum: array<vec4<f32>, D4MAX>;
    for (var i = 0u; i < D4; i++) {
        query[i] = q[at + i] * p.scale;
        above[i] = dy[at + i];
        sum[i] = vec4<f32>();
    }
    let text = seen_text(own.first);
    for (var n = 0u; n < text + p.image; n++) {
        let j = key_of(n, text);
        let from_k = kv + j * step;
        var score = vec4<f32>();
        var along = vec4<f32>();
        for (var i = 0u; i < D4; i++) {
            score = fma(query[i], key[from_k + i], score);
            along = fma(above[i], value[from_k + i], along);
        }
        let w = select(0.0, exp(score.x + score.y + score.z + score.w - stat.x), visible(row, row.start + t, j));
        let ds = w * (along.x + along.y + along.z + along.w - stat.y) * p.scale;
        for (var i = 0u; i < D4; i++) {
            sum[i] = fma(vec4(ds), key[from_k + i], sum[i]);
        }
    }
    if own.real {
        for (var i = 0u; i < D4; i++) {
            dq[at + i] = sum[i];
        }
    }
}
