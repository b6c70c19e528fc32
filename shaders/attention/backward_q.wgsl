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
#import visible

override WG: u32 = 64u;
// Widest head: 128.
const D4MAX = 32;
override D4: u32 = 4u;

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
    let tiles = (p.queries + WG - 1u) / WG;
    let tile = flat(group, groups);
    let local = tile % tiles * WG + lane;
    let t = min(local, p.queries - 1u);
    let head = tile / tiles % p.heads;
    let b = min(tile / (tiles * p.heads), p.batch - 1u);
    let real = tile < tiles * p.heads * p.batch && local < p.queries;
    let g = head / (p.heads / p.groups);
    let row = row_of(b);
    let at = ((b * p.queries + t) * p.heads + head) * D4;
    let keys = p.text + p.image;
    let kv = (b * keys * p.groups + g) * D4;
    let step = p.groups * D4;
    let stat = stats[(b * p.heads + head) * p.queries + t];
    var query: array<vec4<f32>, D4MAX>;
    var above: array<vec4<f32>, D4MAX>;
    var sum: array<vec4<f32>, D4MAX>;
    for (var i = 0u; i < D4; i++) {
        query[i] = q[at + i] * p.scale;
        above[i] = dy[at + i];
        sum[i] = vec4<f32>();
    }
    let own = p.causal == 1u && p.queries == p.text;
    let text = select(p.text, min((tile % tiles + 1u) * WG, p.text), own);
    for (var n = 0u; n < text + p.image; n++) {
        let j = select(n + (p.text - text), n, n < text);
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
    if real {
        for (var i = 0u; i < D4; i++) {
            dq[at + i] = sum[i];
        }
    }
}
