// attention/delta: what both backward kernels need of each row: (lse, sum over D of dy * y).
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|---------------|
// | 0 | p     | uniform | Params           | |
// | 1 | y     | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 2 | dy    | read    | array<vec4<f32>> | (B, Tq, H, D) |
// | 3 | lse   | read    | array<f32>       | (B, H, Tq) |
// | 4 | stats | write   | array<vec2<f32>> | (B, H, Tq) |
//
// grid: one invocation per (sample, head, query), folded.   overrides: WG, D4 (D / 4)
#import params
#import grid
#import place

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.batch * p.heads * p.queries {
        let t = i % p.queries;
        let head = i / p.queries % p.heads;
        let b = i / (p.queries * p.heads);
        let at = query_at(b, t, head);
        var sum = 0.0;
        for (var d = 0u; d < D4; d++) {
            sum += dot(y[at + d], dy[at + d]);
        }
        stats[i] = vec2(lse[i], sum);
    }
}
