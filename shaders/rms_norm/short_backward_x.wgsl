// rms_norm/short_backward_x: rms_norm/backward_x for short rows, such as heads: a lane takes a whole row.
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|--------|
// | 0 | p     | uniform | Params           | |
// | 1 | dy    | read    | array<vec4<f32>> | (R, C) |
// | 2 | x     | read    | array<vec4<f32>> | (R, C) |
// | 3 | w     | read    | array<vec4<f32>> | (C) |
// | 4 | stats | read    | array<f32>       | (R) |
// | 5 | dx    | dest    | array<vec4<f32>> | (R, C) |
//
// grid: one lane per row, folded.   overrides: WG, ACCUMULATE
#import params
#import grid

override WG: u32 = 64u;
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> stats: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = flat(group, groups) * WG + lane;
    if row >= p.rows { return; }
    let quads = p.cols / 4u;
    let at = row * quads;
    let rstd = stats[row];
    var along = 0.0;
    for (var i = 0u; i < quads; i++) {
        along += dot(dy[at + i] * w[i], x[at + i] * rstd);
    }
    along /= f32(p.cols);
    for (var i = 0u; i < quads; i++) {
        var d = rstd * (dy[at + i] * w[i] - x[at + i] * rstd * along);
        if ACCUMULATE { d += dx[at + i]; }
        dx[at + i] = d;
    }
}
