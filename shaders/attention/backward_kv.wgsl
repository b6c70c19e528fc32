// attention/backward_kv: gradients of keys and values; one invocation per key, heads of its group and queries in fixed
// order, so no atomics.
//
//   w = exp(score - lse)      dv = sum of w * dy      dk = sum of w * (dy · v - delta) * q / sqrt D
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
// | 7 | dk    | write   | array<vec4<f32>> | (B, T + N, G, D) |
// | 8 | dv    | write   | array<vec4<f32>> | (B, T + N, G, D) |
//
// grid: one workgroup per (sample, key-value head, WG keys), folded.   overrides: WG, D4 (D / 4)
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
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = place_of(flat(group, groups), lane, p.text + p.image, p.groups);
    let row = row_of(own.b);
    let j = own.row;
    let at = key_at(own.b, j, own.head);
    var k: array<vec4<f32>, D4MAX>;
    var v: array<vec4<f32>, D4MAX>;
    var sum_k: array<vec4<f32>, D4MAX>;
    var sum_v: array<vec4<f32>, D4MAX>;
    for (var i = 0u; i < D4; i++) {
        k[i] = key[at + i] * p.scale;
        v[i] = value[at + i];
        sum_k[i] = vec4<f32>();
        sum_v[i] = vec4<f32>();
    }
    // Text keys of this workgroup are seen by no query before the first of them (where queries start at zero).
    let skip = p.causal == 1u && p.queries == p.text && own.first + WG <= p.text;
    let begin = select(0u, own.first, skip);
    let share = p.heads / p.groups;
    for (var head = own.head * share; head < (own.head + 1u) * share; head++) {
        for (var t = begin; t < p.queries; t++) {
            let from_q = query_at(own.b, t, head);
            let stat = stats[(own.b * p.heads + head) * p.queries + t];
            var score = vec4<f32>();
            var along = vec4<f32>();
            for (var i = 0u; i < D4; i++) {
                score = fma(q[from_q + i], k[i], score);
                along = fma(dy[from_q + i], v[i], along);
            }
            let w = select(0.0, exp(score.x + score.y + score.z + score.w - stat.x), visible(row, row.start + t, j));
            let ds = w * (along.x + along.y + along.z + along.w - stat.y) * p.scale;
            for (var i = 0u; i < D4; i++) {
                sum_v[i] = fma(vec4(w), dy[from_q + i], sum_v[i]);
                sum_k[i] = fma(vec4(ds), q[from_q + i], sum_k[i]);
            }
        }
    }
    if own.real {
        for (var i = 0u; i < D4; i++) {
            dk[at + i] = sum_k[i];
            dv[at + i] = sum_v[i];
        }
    }
}
